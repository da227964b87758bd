"""Measures of made images: noise, copies and unseen real images are told apart, and every number says what it is of."""

import statistics
from pathlib import Path

import pytest
import torch
from running import SMALL

from dsopt.config import Config, load
from dsopt.data import images as tables
from dsopt.data.images import Images
from dsopt.data.loading import load as load_images
from dsopt.errors import InputError
from dsopt.files import write_table
from dsopt.models.inception import Inception
from dsopt.pipeline.plan import Plan
from dsopt.stages import features, generator, ingest, measure, samples
from dsopt.storage import IMAGES, Stage, Table

QUICK = [
    *SMALL,
    *("cluster.workers=0", "data.name=digits", "data.limit=800", "proxy.steps=60", "proxy.batch_size=64", "proxy.options.width=8"),
    *("proxy.precision=fp32", "train.steps=40", "measure.samples=150"),
]


@pytest.fixture(scope="module")
def storage(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(tmp_path_factory.mktemp("storage"))


def settings(storage: str, *overrides: str) -> Config:
    return load([f"storage={storage}", *QUICK, *overrides])


def real(config: Config, split: str) -> Images:
    plan = Plan(config)
    stage = ingest.images(plan)
    plan.run(stage)
    return load_images(stage.uri, split)


def made(config: Config, name: str, images: torch.Tensor, labels: torch.Tensor) -> Stage:
    """A table of made images, as a stage of its own."""
    stage = Stage(config.storage, samples.SAMPLES, name, {"name": name})
    rows = tables.encode(Images(torch.arange(len(labels)), images, labels), ["test"] * len(labels))
    size = write_table(stage.path("data/part-0.parquet"), rows)
    about = {"channels": images.shape[1], "image_size": images.shape[2]}
    stage.commit([{"path": "data/part-0.parquet", "rows": len(rows), "bytes": size}], IMAGES, seconds=1.0, **about)
    return stage


def measured(config: Config, of: Stage) -> tuple[dict[str, float], Table]:
    plan = Plan(config)
    stage = measure.measured(plan, of, 0)
    plan.run(stage)
    table = Table(stage.uri)
    rows = table.read()
    assert set(rows["split"].to_pylist()) == {"test"} and set(rows["run"].to_pylist()) == {stage.folder}
    return dict(zip(rows["name"].to_pylist(), rows["value"].to_pylist(), strict=True)), table


@pytest.mark.slow
def test_noise_copies_and_a_generator_are_told_apart(storage: str) -> None:
    config = settings(storage)
    train = real(config, "train")
    noise = torch.randint(0, 256, (100, 1, 32, 32), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    of_noise, table = measured(config, made(config, "noise", noise, torch.full((100,), -1)))
    of_copies, _ = measured(config, made(config, "copies", train.images[:200], train.labels[:200]))
    assert table.manifest["extractor"] == "classifier" and table.manifest["reference"] == "test"
    assert (table.manifest["n_real"], table.manifest["n_fake"], table.manifest["n_learned_from"]) == (150, 100, len(train.ids))
    assert of_noise["fcd"] > 10 * of_noise["fcd_train"] and of_noise["coverage"] < 0.2 and "gan_test" not in of_noise
    assert of_copies["fcd"] < 2 * of_copies["fcd_train"] and of_copies["coverage"] > 0.8
    assert of_copies["copied"] == of_copies["copied_pixels"] == 1 and of_copies["nearest_ratio_pixels"] == 0
    assert of_copies["gan_test"] > 0.5 and of_copies["gan_test_real"] > 0.5
    assert of_noise["nearest_ratio_pixels"] > 1 and of_noise["copied_pixels"] == 0
    expected = {"fcd", "fcd_unlimited", "kid", "kid_sd", "precision", "recall", "density", "coverage"}
    assert expected | {f"{name}_train" for name in expected} <= set(of_copies)


@pytest.mark.slow
def test_samples_of_a_generator_are_compared_with_what_it_learned_from(storage: str) -> None:
    small = ("generate.steps=2", "generate.batch_size=8", "generate.latent=4", "generate.images=subset", "select.budget=60")
    config = settings(storage, *small, "select.name=random", "generate.generator.options.width=4",
                      "generate.discriminator.options.width=4")  # fmt: skip
    plan = Plan(config)
    stage = samples.images(plan, generator.base(plan), 120, seed=0)
    plan.run(stage)
    found, table = measured(config, stage)
    assert table.manifest["n_learned_from"] == 60 and table.manifest["n_fake"] == 120
    assert all(value == value for value in found.values()) and found["fcd"] > found["fcd_train"]


@pytest.mark.slow
def test_classification_accuracy_score_is_of_made_images_alone(storage: str) -> None:
    config = settings(storage)
    train = real(config, "train")
    wrong = (train.labels + 1) % 10
    accuracies = []
    for name, labels in (("right", train.labels), ("wrong", wrong)):
        plan = Plan(config)
        stage = measure.cas(plan, made(config, name, train.images, labels), seed=0)
        plan.run(stage)
        rows = Table(stage.uri).read().to_pylist()
        accuracies.append(statistics.fmean(r["value"] for r in rows if (r["split"], r["name"]) == ("test", "accuracy")))
    assert accuracies[0] > 0.4 and accuracies[1] < 0.1


def test_by_inceptions_features_the_distance_is_fid(storage: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Table 1 of the augmentation paper. A small network stands for Inception, whose own is in tests/models/test_inception.py."""
    weights = torch.randn(6, 8 * 8, generator=torch.Generator().manual_seed(0))
    logits = torch.randn(6, 5, generator=torch.Generator().manual_seed(1))

    def features_of(images: torch.Tensor) -> torch.Tensor:
        return torch.nn.functional.adaptive_avg_pool2d(images.float() / 255, 8).flatten(1) @ weights.T

    monkeypatch.setattr(features, "inception", lambda *_: Inception(features_of, lambda found: found @ logits))
    (tmp_path / "weights.pth").write_bytes(b"those of the small network")
    given = ("measure.extractor=inception", f"measure.weights={tmp_path}/weights.pth", "measure.against=learned")
    config = settings(storage, *given, "data.limit=60", "measure.samples=30")
    train = real(config, "train")
    found, table = measured(config, made(config, "same", train.images, train.labels))
    assert {"fid", "fid_train", "kid", "inception_score"} <= set(found) and not {"fcd", "gan_test"} & set(found)
    assert 1 <= found["inception_score"] <= 5 and found["copied"] == 1
    assert (table.manifest["extractor"], table.manifest["reference"]) == ("inception", "learned from")


@pytest.mark.slow
def test_wrong_samples_are_told_in_one_line(storage: str) -> None:
    config = settings(storage)
    stage = made(config, "color", torch.zeros(20, 3, 16, 16, dtype=torch.uint8), torch.zeros(20, dtype=torch.int64))
    with pytest.raises(InputError, match="has images of 3x16x16, but the real ones of this configuration are 1x32x32"):
        measured(config, stage)


def test_inception_without_its_weights_is_told_in_one_line(storage: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"measure.weights=None: must be given with measure.extractor=inception"):
        settings(storage, "measure.extractor=inception")
    config = settings(storage, "measure.extractor=inception", f"measure.weights={tmp_path}/none.pth")
    with pytest.raises(InputError, match=r"none.pth: there is no such file"):
        measure.measured(Plan(config), Stage(storage, samples.SAMPLES, "none", {}), 0)
