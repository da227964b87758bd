"""The Python face: the examples of docs/python.md as they stand there, and what each function promises."""

import re
import subprocess
import sys
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pyarrow as pa
import pytest
import torch
from digits import digits
from torch import nn

import dsopt
from dsopt.data.images import Images, encode
from dsopt.errors import InputError
from dsopt.files import write_table
from dsopt.registry import DISTILLERS, SAMPLERS, SELECTORS
from dsopt.storage import SUBSET, Kind, Stage
from dsopt.training.samplers.contract import Score

PAGE = Path(__file__).resolve().parent.parent / "docs" / "python.md"
GENERATOR = torch.Generator().manual_seed(0)
EMBEDDINGS, LABELS = torch.randn(60, 5, generator=GENERATOR), torch.arange(60) % 3
SCORES = {name: torch.rand(60, generator=GENERATOR) for name in get_args(Score)}
SCORES["probability"] = torch.rand(60, 3, generator=GENERATOR).softmax(1)


@pytest.fixture(scope="module")
def subset(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The first 40 digits as a subset table."""
    images, labels = digits()
    rows = encode(Images(torch.arange(40), images[:40], labels[:40]), ["digits"] * 40)
    chosen = {
        "label_name": [str(label) for label in labels[:40].tolist()],
        "rank": range(40),
        "score": [0.0] * 40,
        "reason": ["first"] * 40,
    }
    for name, values in chosen.items():
        rows = rows.append_column(name, pa.array(values, SUBSET.field(name).type))
    stage = Stage(str(tmp_path_factory.mktemp("storage")), Kind("select"), "digits-random", {})
    size = write_table(stage.path("data/part-00000.parquet"), rows)
    stage.commit([{"path": "data/part-00000.parquet", "rows": 40, "bytes": size}], SUBSET, seconds=0.0)
    return stage.uri


@pytest.mark.slow
def test_the_examples_of_the_page(subset: str, capsys: pytest.CaptureFixture[str]) -> None:
    """All of them in one namespace, as in a notebook; lines keep their numbers."""
    text = PAGE.read_text()
    blocks = list(re.finditer(r"^```python\n(.*?)^```", text, re.DOTALL | re.MULTILINE))
    assert len(blocks) >= 8
    namespace: dict[str, Any] = {}
    torch.manual_seed(0)
    for block in blocks:
        code = "\n" * text[: block.start(1)].count("\n") + block[1].replace("runs/select/digits-random-...", subset)
        exec(compile(code, str(PAGE), "exec"), namespace)
    assert "learned from 10 synthetic ones" in capsys.readouterr().out


@pytest.mark.slow
def test_importing_the_package_imports_no_torch_and_its_functions_no_ray() -> None:
    code = "import sys, dsopt; assert 'torch' not in sys.modules; dsopt.select, dsopt.transforms, dsopt.sampler, dsopt.distill"
    subprocess.run([sys.executable, "-c", f"{code}; assert 'ray' not in sys.modules"], check=True)
    assert {"select", "transforms", "sampler", "distill", "load_subset"} <= set(dir(dsopt))
    with pytest.raises(AttributeError, match="no attribute 'selekt'"):
        dsopt.selekt  # noqa: B018


@pytest.mark.parametrize("name", SELECTORS.names())
def test_every_selector_chooses_from_tensors_and_arrays_alike(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dsopt.selection.zcore.DRAWS", 1000)  # else seconds
    labels = LABELS if SELECTORS.traits(name).labels else None
    chosen = dsopt.select(EMBEDDINGS, labels, 12, name, scores=SCORES)
    assert chosen.dtype == torch.int64 and len(chosen.unique()) == 12
    arrays = {key: value.numpy() for key, value in SCORES.items()}
    same = dsopt.select(EMBEDDINGS.numpy(), None if labels is None else labels.numpy(), 0.2, name, scores=arrays)
    assert isinstance(same, np.ndarray) and same.tolist() == chosen.tolist()
    balanced = dsopt.select(EMBEDDINGS, LABELS, 12, name, per_class=True, scores=SCORES)
    assert LABELS[balanced].bincount().tolist() == [4, 4, 4]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"name": "kcentre"}, "Did you mean 'kcenter'"),
        ({"metrik": "l2"}, "Did you mean 'metric'"),
        ({"budget": 61}, "there are 60 images"),
        ({"name": "moderate"}, "moderate needs labels"),
        ({"per_class": True}, "per_class=True needs labels"),
        ({"labels": LABELS[:9]}, "expected 60 integers"),
        ({"name": "dual"}, "dual needs scores={'dual': ..., 'mean_probability': ...}"),
        ({"name": "el2n", "scores": {"el2n": torch.ones(9)}}, "expected finite numbers for 60 rows"),
    ],
)
def test_select_refuses_what_does_not_fit(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=re.escape(message)):
        dsopt.select(EMBEDDINGS, **({"budget": 5} | settings))


def test_select_refuses_embeddings_that_are_no_numbers() -> None:
    for values, message in ((EMBEDDINGS.flatten(), "expected [n, d]"), (EMBEDDINGS / 0, "not finite"), ([["a"]], "of numbers")):
        with pytest.raises(InputError, match=re.escape(message)):
            dsopt.select(values, budget=5)  # type: ignore[type-var]


def test_transforms_refuse_before_the_loop_what_they_can() -> None:
    for names, message in ((["flop"], "Did you mean 'flip'"), (["shift(mot=1)"], "Did you mean 'most'"), (["mixup"], "classes=")):
        with pytest.raises(InputError, match=re.escape(message)):
            dsopt.transforms(names)
    with pytest.raises(InputError, match="images and labels"):
        dsopt.transforms(["cutmix"], classes=10)(digits()[0][:4])
    with pytest.raises(InputError, match="32 x 16 pixels: give size="):
        dsopt.transforms(["flip"])(digits()[0][:4, :, :, :16])
    for names in (["flip"], ["crop"]):  # neither a corner nor a traceback
        with pytest.raises(InputError, match="32 x 32 pixels: no square of 40 can be cut"):
            dsopt.transforms(names, size=40)(digits()[0][:4])
    assert dsopt.transforms(["random_resized_crop"], size=40)(digits()[0][:4]).shape == (4, 1, 40, 40)


def test_transforms_crop_to_the_size_that_was_asked_for() -> None:
    images = digits()[0][:4]
    assert dsopt.transforms(["crop(size=24)"])(images).shape == (4, 1, 24, 24)
    assert dsopt.transforms(["crop", "flip"], size=20)(images).shape == (4, 1, 20, 20)


@pytest.mark.parametrize("name", [name for name in SAMPLERS.names() if not SAMPLERS.traits(name).small_classifier])
def test_every_sampler(name: str) -> None:
    draw = dsopt.sampler(name, 60, 16, 0, steps=10, scores={"el2n": SCORES["el2n"].numpy()})(0)
    assert draw.indices.shape == (16,) and draw.indices.max() < 60


def test_samplers_say_what_they_need() -> None:
    for name, message in (("infobatch", "needs steps="), ("loss_topk", "needs small_classifier="), ("weighted", "needs scores=")):
        with pytest.raises(InputError, match=message):
            dsopt.sampler(name, 60, 16)
    for n, batch_size in ((0, 1), (3, 0)):  # there would be no end to looking for the first image
        with pytest.raises(InputError, match=f"n={n}, batch_size={batch_size}; expected at least one"):
            dsopt.sampler("shuffle", n, batch_size)
    with pytest.raises(InputError, match=r"needs scores=.'aum'"):
        dsopt.sampler("weighted", 60, 16, scores={"el2n": SCORES["el2n"]}, score="aum")


def tiny() -> nn.Sequential:
    """A network of one's own, for images of 8 pixels."""
    return nn.Sequential(nn.Flatten(), nn.Linear(64, 16), nn.Tanh(), nn.Linear(16, 10))


@pytest.mark.parametrize("name", DISTILLERS.names())
def test_every_distiller_with_a_network_of_ones_own(name: str) -> None:
    images, labels = digits()
    small = images[:400, :, ::4, ::4].float() / 255
    options = {"bptt": {"length": 6, "window": 3}, "halving": {"rounds": 1}, "gradient_matching": {"outer": 2, "inner": 2}}.get(
        name, {}
    )
    state = torch.get_rng_state()
    made = dsopt.distill(small, labels[:400], name, network=tiny, steps=3, batch_size=40, **options)
    assert torch.equal(torch.get_rng_state(), state), "torch's global generator is the notebook's"
    assert made.images.shape == (10, 1, 8, 8) and made.labels.tolist() == list(range(10)) and made.pictures is None
    assert made.train()(small[:7]).shape == (7, 10)
    again = dsopt.distill(small.numpy(), labels[:400].numpy(), name, network=tiny, steps=3, batch_size=40, **options)
    assert torch.equal(again.images, made.images)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"name": "dn"}, "Did you mean 'dm'"),
        ({"network": "lenett"}, "Did you mean 'lenet'"),
        ({"network": "autoencoder"}, "Valid: alexcifarnet"),
        ({"name": "dd", "network": "resnet21"}, "batch normalization"),
        ({"images": torch.zeros(20, 1, 8, 8, dtype=torch.uint8)}, "convnet takes 32"),
        ({"labels": torch.arange(20) % 10 + 1}, "every class from 0"),
        ({"images": torch.zeros(20, 1, 32)}, "expected [n, c, s, s]"),
    ],
)
def test_distill_refuses_what_does_not_fit(settings: dict[str, Any], message: str) -> None:
    given = {"images": digits()[0][:20], "labels": torch.arange(20) % 10} | settings
    with pytest.raises(InputError, match=re.escape(message)):
        dsopt.distill(**given)
