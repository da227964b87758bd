"""Networks of libraries and of the user: trained, rebuilt from their stage alone, and as proxies; what does not fit is refused."""

import sys
from pathlib import Path

import pytest
import timm
import torch
from safetensors.torch import save_file

from dsopt.config import Config, load
from dsopt.data.loading import load as load_images
from dsopt.errors import InputError
from dsopt.pipeline import networks
from dsopt.pipeline.plan import Plan
from dsopt.stages import classifier, select
from dsopt.storage import Table

CPU = torch.device("cpu")
BASE = ["cluster.workers=0", "train.steps=6", "train.batch_size=32", "train.split=0", "train.precision=fp32", "data.limit=200"]

OWN = """
from torch import nn

def small(channels, classes, width=8):
    body = [nn.Conv2d(channels, width, 3, 2), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten()]
    return nn.Sequential(*body, nn.Linear(width, classes))

def whole(channels, classes):
    class Whole(nn.Module):
        def __init__(self):
            super().__init__()
            self.network = small(channels, classes)
        def forward(self, images):
            return self.network(images)
    return Whole()

def wrong(channels, classes):
    return nn.Flatten()
"""


@pytest.fixture(autouse=True)
def _own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.delitem(sys.modules, "own_networks", raising=False)
    (tmp_path / "own_networks.py").write_text(OWN)


def config(tmp_path: Path, *more: str) -> Config:
    return load([*BASE, f"storage={tmp_path}/runs", *more])


@pytest.mark.slow
@pytest.mark.parametrize(
    "given",
    [
        ["train.name=timm:test_resnet", "data.image_size=40", "train.size=32", "train.augment=[random_resized_crop,flip]"],
        ["train.name=torchvision:mobilenet_v3_small", "data.image_size=48", "data.channels=1", "train.standardise=channels"],
        ["train.name=own_networks:whole", "train.optimizer=adamw", "train.augment=flip"],
        ["train.name=own_networks:small", "train.options.width=12", "train.optimizer=muon", "train.label_smoothing=0.1"],
    ],
)
def test_one_is_trained_and_rebuilt_from_its_folder_alone(given: list[str], tmp_path: Path) -> None:
    plan = Plan(config(tmp_path, *given))
    stage = classifier.alone(plan)
    plan.run(stage)
    table = Table(stage.uri)
    images = load_images(stage.inputs["images"].uri, "test", size=networks.inputs_of(table).loaded)
    with torch.inference_mode():
        logits = networks.trained(table, CPU)(networks.inputs_of(table).test(images.images))
    metrics = {row["name"]: row["value"] for row in table.read().to_pylist() if row["split"] == "test"}
    assert float((logits.argmax(1) == images.labels).float().mean()) == pytest.approx(metrics["accuracy"])
    assert table.manifest["steps"] == 6


def test_it_starts_from_a_file(tmp_path: Path) -> None:
    torch.manual_seed(5)
    weights = timm.create_model("test_resnet").state_dict()
    save_file(weights, tmp_path / "w.safetensors")
    settings = [
        "data.channels=3",
        "train.name=timm:test_resnet",
        f"train.weights={tmp_path}/w.safetensors",
        "train.learning_rate=1e-12",
        "train.average=0",
    ]
    plan = Plan(config(tmp_path, *settings))
    stage = classifier.alone(plan)
    plan.run(stage)
    found = networks.load_weights(Table(stage.uri), Table(stage.uri).manifest["model"]["weights"])
    kept = {key.removeprefix("0."): value for key, value in found.items() if key.startswith("0.") and key.endswith("weight")}
    assert len(kept) > 5
    for key, value in kept.items():
        torch.testing.assert_close(value, weights[key], atol=1e-6, rtol=1e-6, msg=key)
    save_file({key: value + 0 for key, value in weights.items()}, tmp_path / "w.safetensors")
    assert classifier.alone(Plan(config(tmp_path, *settings))).hash != stage.hash  # written anew: may be other weights


def test_a_changed_function_is_another_network(tmp_path: Path) -> None:
    before = classifier.alone(Plan(config(tmp_path, "train.name=own_networks:small"))).hash
    (tmp_path / "own_networks.py").write_text(OWN + "# changed\n")
    assert classifier.alone(Plan(config(tmp_path, "train.name=own_networks:small"))).hash != before


@pytest.mark.slow
def test_one_as_the_proxy_gives_scores_soft_labels_and_embeddings(tmp_path: Path) -> None:
    proxy = ["proxy.name=timm:test_resnet", "proxy.steps=8", "proxy.batch_size=32", "select.budget=20", "select.soft_labels=proxy"]
    for method in ("el2n", "kcenter"):
        made = config(tmp_path, *proxy, f"select.name={method}", "select.views=2", "embed.encoder=proxy")
        plan = Plan(made)
        stage = select.subset(plan, made.select, 0)
        plan.run(stage)
        rows = Table(stage.uri).read().to_pylist()
        assert len(rows) == 20 and all(sum(row["soft_label"]) == pytest.approx(1, abs=1e-4) for row in rows)


@pytest.mark.slow
def test_what_does_not_fit_is_refused_in_one_line(tmp_path: Path) -> None:
    for given, says in [
        (["train.size=24"], r"train\.size=24: must be not given for classifier24, which has its own size"),
        (["train.name=timm:test_resnet", "train.size=64"], r"data\.image_size=32: timm:test_resnet is to take 64 pixels"),
        (["train.name=tim:x-y"], "Did you mean 'timm'"),
        (["train.name=open_clip:ViT-B-32"], "networks of open_clip only embed"),
        (["train.name=own_networks:wrong"], r"gave \[2, \d+\] for 2 pictures; expected logits \[2, 10\]"),
        (["train.name=own_networks:nothing"], "has no function 'nothing'"),
        (["train.name=timm:test_resnet", "train.weights=nowhere.pth"], r"weights=nowhere\.pth: there is no such file"),
        (["train.name=classifier42"], "Did you mean 'classifier24'"),
        (["proxy.name=own_networks:whole", "select.name=el2n", "proxy.batch_size=32"], "must be a torch.nn.Sequential"),
    ]:
        with pytest.raises(InputError, match=says) as told:
            plan = Plan(config(tmp_path, *given))
            stage = select.subset(plan, plan.config.select, 0) if "proxy" in given[0] else classifier.alone(plan)
            plan.run(stage)
        assert "\n" not in str(told.value)
