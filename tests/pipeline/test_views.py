"""No network sees a small part of a picture unasked: pictures that differ only in a corner are told apart by every kind."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from running import read

from dsopt.augment import draws
from dsopt.augment.inputs import make_inputs
from dsopt.config import Choice
from dsopt.pipeline import networks
from dsopt.pipeline.plan import Plan
from dsopt.stages import autoencoder, classifier, embed, evaluate, features, ingest, proxy, select
from dsopt.stages.classifier import Row
from dsopt.stages.evaluate import Evaluation
from dsopt.storage import Stage, Table

SIDE, CORNER = 160, 40  # pixels: of the pictures, and of the corner in which the content lies
SETTINGS = (
    *("data.name=folder", "data.image_size=150", "cluster.workers=0", "cluster.cpus_per_worker=1", "embed.precision=fp32"),
    *("autoencoder.steps=5", "autoencoder.batch_size=16", "autoencoder.options.width=4", "autoencoder.precision=fp32"),
    *(f"{role}.{setting}" for role in ("proxy", "train") for setting in ("batch_size=32", "options.width=8", "precision=fp32")),
    *("train.name=convnet", "train.steps=100", "train.learning_rate=0.02", "train.augment=[]", "train.average=0"),
    *("proxy.steps=200", "proxy.augment=[shift]", "select.name=random", "select.budget=40"),
    *("evaluate.steps=40", "evaluate.repeats=1", "evaluate.augment=[]"),
)


def color(i: int) -> tuple[int, int, int]:
    return ((230, 30, 30), (30, 30, 230))[i % 2]


@pytest.fixture(scope="module")
def plan(tmp_path_factory: pytest.TempPathFactory) -> Plan:
    """Gray pictures of two classes, told by the color of a corner: the middle of all of them is noise."""
    root, numbers = tmp_path_factory.mktemp("corners"), np.random.default_rng(0)
    for i in range(120):
        pixels = numbers.integers(110, 140, (SIDE, SIDE, 3), np.uint8)
        pixels[:CORNER, :CORNER] = color(i)
        place = root / ("train" if i < 80 else "test") / f"class{i % 2}"
        place.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(place / f"{i:03}.png")
    return Plan(read(*SETTINGS, f"data.root={root}", f"storage={tmp_path_factory.mktemp('storage')}"))


def made(plan: Plan, stage: Stage) -> Table:
    plan.run(stage)
    return Table(stage.uri)


def accuracy(table: Table) -> float:
    (found,) = (row["value"] for row in table.read().to_pylist() if (row["split"], row["name"]) == ("test", "accuracy"))
    return found


def apart(table: Table, split: str | None = None) -> float:
    """The distance between the classes' mean embeddings, in multiples of the distance of the images from these."""
    rows = table.read(split).to_pylist()
    labels = np.array([row["label"] for row in rows])
    points = np.array([row["embedding"] for row in rows]).reshape(len(rows), -1)
    means = [points[labels == label].mean(0) for label in (0, 1)]
    around = np.mean([np.linalg.norm(points[labels == label] - means[label], axis=1).mean() for label in (0, 1)])
    return float(np.linalg.norm(means[0] - means[1]) / around)


@pytest.mark.slow
def test_a_classifier_learns_what_is_in_a_corner(plan: Plan) -> None:
    assert accuracy(made(plan, classifier.run(plan, Row("", "full", 0.0, ingest.images(plan)), 0))) == 1


@pytest.mark.slow
def test_the_autoencoder_and_its_embeddings_see_the_corner(plan: Plan) -> None:
    table = made(plan, embed.embeddings(plan))
    assert apart(table) > 1
    about = networks.description_of(Table(autoencoder.model(plan).uri))["inputs"]
    assert (about["loaded"], about["size"]) == (32, 24)


@pytest.mark.slow
def test_a_proxy_its_features_and_judgements_see_the_corner(plan: Plan) -> None:
    trained = proxy.model(plan, "proxy")
    assert made(plan, trained).manifest["train_accuracy"] == 1
    table = made(plan, features.features(plan))
    assert apart(table, "train") > 1 and apart(table, "test") > 1
    judge = proxy.Judge(trained, torch.device("cpu"))
    for side in (64, 200):  # as generated images may be
        pictures = torch.full((2, 3, side, side), 125, dtype=torch.uint8)
        for i in range(2):
            pictures[i, :, : side // 4, : side // 4] = torch.tensor(color(i))[:, None, None]
        assert judge.logits(pictures).argmax(1).tolist() == judge.logits(pictures / 255).argmax(1).tolist() == [0, 1]
        assert judge.soft_labels(pictures, 4, 0).argmax(1).tolist() == [0, 1]


@pytest.mark.slow
def test_an_evaluation_sees_the_corner(plan: Plan) -> None:
    subset = select.subset(plan, plan.config.select, 0)
    made(plan, subset)
    for network in (Choice("convnet", {"width": 32}), Choice("lenet")):
        trial = Evaluation(subset.uri, network, "common", True)
        assert accuracy(made(plan, evaluate.evaluation(plan, trial, ingest.images(plan)))) > 0.9


def test_inputs_resize_larger_pictures_whole_and_leave_others() -> None:
    inputs = make_inputs(["flip"], 24, None, loaded=32)
    corner = torch.zeros(3, 1, 96, 120, dtype=torch.uint8)
    corner[:, :, :32, :40] = 255
    found = inputs.test(corner)
    assert found.shape == (3, 1, 24, 24) and float(found[:, :, :5, :5].min()) > 0.9 and float(found[:, :, 9:, 9:].max()) == 0
    turned = inputs.train(corner, draws(0, 3, 0, 3, torch.device("cpu")))
    assert all(torch.equal(one, whole) or torch.equal(one, whole.flip(2)) for one, whole in zip(turned, found, strict=True))
    small = (255 * torch.rand(2, 3, 36, 36)).byte()
    assert torch.equal(inputs.test(small), make_inputs([], 24, None).test(small))


def test_gradients_pass_through_a_larger_picture() -> None:
    pictures = torch.rand(1, 3, 64, 64, requires_grad=True)
    make_inputs([], 32, "deviation", loaded=32).test(pictures)[:, :, 0, 0].sum().backward()
    assert pictures.grad is not None and bool((pictures.grad[:, :, 0, 0] != 0).all())


def test_small_pictures_are_loaded_as_they_are_stored(tmp_path: Path) -> None:
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (36, 36, 3), np.uint8)).save(tmp_path / "a.png")
    plan = Plan(
        read(*SETTINGS, f"data.root={tmp_path}", f"storage={tmp_path}/runs", "data.image_size=36", "data.test_fraction=0.001")
    )
    images = ingest.images(plan)
    plan.run(images)
    (row,) = Table(images.uri).read("train", ["image"])["image"].to_pylist()
    assert row["bytes"] == (tmp_path / "a.png").read_bytes()
