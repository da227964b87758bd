"""A training run's budget: steps, epochs or seconds, in one phase or several."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
import torch
from running import SMALL
from torch import Tensor, nn

from dsopt.config import Config, TrainConfig, load
from dsopt.data.batches import Batch
from dsopt.errors import InputError
from dsopt.jobs import train as job
from dsopt.learners.classifier import Classifier
from dsopt.pipeline.plan import Plan
from dsopt.stages import classifier, ingest
from dsopt.stages.classifier import phases
from dsopt.storage import METRICS, Kind, Stage, Table
from dsopt.training.worker import Worker


@pytest.fixture(scope="module")
def storage(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(tmp_path_factory.mktemp("storage"))


def trained(storage: str, *overrides: str) -> tuple[dict[str, Any], pa.Table]:
    """The manifest and the metrics of a run on digits and, where a phase asks for it, a random subset of 50."""
    config = load([f"storage={storage}", "cluster.workers=0", *SMALL, "select.name=random", *overrides])
    plan = Plan(config)
    (stage,) = job.targets(plan)
    plan.run(stage)
    table = Table(stage.uri)
    return table.manifest, table.read()


class OneSize(nn.Module):
    """A network that takes pictures of 8 pixels alone, and says so as a library's vision transformer does."""

    def forward(self, images: Tensor) -> Tensor:
        assert images.shape[-1] == 8, "Input height doesn't match model (8)."
        return images.mean((1, 2, 3))


def test_a_network_that_takes_no_smaller_pictures_is_refused_before_the_first_step() -> None:
    settings = TrainConfig(name="timm:vit", progressive=0.5)
    with pytest.raises(InputError, match=r"train\.progressive=0\.5: timm:vit does not take pictures of 4 pixels \(Input height"):
        classifier._check_smallest(OneSize(), settings, 3, 8, Worker())
    classifier._check_smallest(OneSize(), replace(settings, progressive=1.0), 3, 8, Worker())


def test_shares_of_the_budget() -> None:
    def plan(split: float, **settings: Any) -> list[dict[str, Any]]:
        return phases(TrainConfig(**settings), split)

    assert plan(0.25, steps=100) == [{"data": "subset", "steps": 25}, {"data": "full", "steps": 75}]
    assert plan(0.0, steps=100) == [{"data": "full", "steps": 100}]
    assert plan(1.0, steps=100) == [{"data": "subset", "steps": 100}]
    assert plan(0.5, epochs=3.0) == [{"data": "subset", "epochs": 1.5}, {"data": "full", "epochs": 1.5}]
    assert plan(0.5, seconds=8.0) == [{"data": "subset", "seconds": 4.0}, {"data": "full", "seconds": 4.0}]
    own = [{"data": "full", "steps": 3}, {"data": "subset", "epochs": 2}]
    assert plan(0.5, phases=own) == own


def test_a_batch_that_grows_with_the_workers_is_that_batch(storage: str) -> None:
    """And equal work is found by its folder, however its batch was given."""

    def planned(*overrides: str) -> str:
        config = load([f"storage={storage}", "cluster.workers=4", *SMALL, "train.split=0", *overrides])
        return job.targets(Plan(config))[0].hash

    whole = planned("train.batch_size=64", "train.learning_rate=0.4")
    each = ["train.batch_size_per_worker=16", "train.batch_size=999"]
    assert planned(*each, "train.learning_rate=0.1", "train.rate_rule=linear") == whole
    assert planned(*each, "train.learning_rate=0.4") == whole
    assert planned(*each, "train.learning_rate=0.4", "cluster.workers=2") != whole
    assert planned(*each, "train.learning_rate=0.4", "train.sync_batch_norm=true") != whole
    alone = planned("train.batch_size=16", "train.learning_rate=0.1", "cluster.workers=0")
    more = ["train.rate_rule=linear", "train.learning_rate=0.1", "train.sync_batch_norm=true"]
    assert planned(*each, *more, "cluster.workers=1") == planned(*each, *more, "cluster.workers=0") == alone


def test_a_row_of_a_comparison_has_one_worker(storage: str) -> None:
    more = ["train.batch_size_per_worker=16", "train.rate_rule=linear", "cluster.workers=4"]
    plan = Plan(load([f"storage={storage}", *SMALL, *more]))
    stage = classifier.run(plan, classifier.Row("full", "full", 0.0, ingest.images(plan)), 0)
    made = plan.step(stage).config.train
    assert (made.batch_size, made.learning_rate) == (16, plan.config.train.learning_rate)


@pytest.mark.slow
def test_epochs_are_of_the_full_set(storage: str) -> None:
    manifest, _ = trained(storage, "train.epochs=1", "train.split=0.5")
    assert manifest["steps"] == 2 * round(0.5 * 1445 / 32)


def test_a_test_on_the_way_is_that_of_a_shorter_run(storage: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """With a constant rate, so that one run gives several lengths of training; by deterministic operations alone, if told so."""
    constant, modes, update = ("train.schedule.name=constant", "train.split=0"), set(), Classifier.update

    def noted(learner: Classifier, batch: Batch) -> dict[str, torch.Tensor]:
        modes.add(torch.are_deterministic_algorithms_enabled())
        return update(learner, batch)

    monkeypatch.setattr(Classifier, "update", noted)
    _, longer = trained(storage, *constant, "train.steps=4", "train.test_every=2", "deterministic=true")
    assert modes == {True} and not torch.are_deterministic_algorithms_enabled()
    _, shorter = trained(storage, *constant, "train.steps=2")
    assert modes == {True, False}
    found = [
        {row["step"]: row["value"] for row in metrics.to_pylist() if (row["split"], row["name"]) == ("test", "loss")}
        for metrics in (longer, shorter)
    ]
    assert list(found[0]) == [2, 4] and found[1] == {2: pytest.approx(found[0][2], abs=1e-6)}


@pytest.mark.slow
def test_seconds(storage: str) -> None:
    manifest, metrics = trained(storage, "train.seconds=0.6", "train.split=0.5")
    assert manifest["steps"] > 2 and 0.6 <= manifest["seconds"] < 3
    assert metrics["step"].to_pylist()[-1] == manifest["steps"]


@pytest.mark.slow
def test_phases_spelled_out(storage: str) -> None:
    manifest, metrics = trained(storage, "train.phases=[{data: full, steps: 21}, {data: subset, steps: 4}]")
    assert manifest["steps"] == 25 and metrics.schema.equals(METRICS)
    steps = [row["step"] for row in metrics.to_pylist() if row["name"] == "loss" and row["split"] == "train"]
    assert steps == [20, 21, 25]  # every 20, and at the end of a phase
    with pytest.raises(InputError, match="either all phases are in seconds or none"):
        trained(storage, "train.phases=[{data: full, steps: 21}, {data: full, seconds: 1}]")


def test_choosing_is_paid_for_in_steps(storage: str) -> None:
    """100 steps in 20 s, and 5 s of choosing: 25 steps more."""
    config = load([f"storage={storage}", "cluster.workers=0", "train.steps=100"])
    made = {name: Stage(storage, Kind(name), "toy", {}) for name in ("ingest", "select", "train")}
    made["select"].commit([], METRICS, seconds=5.0)
    made["train"].commit([], METRICS, seconds=20.0)
    row = classifier.Row("longer", "full", 0.0, made["ingest"], extra=made["select"])
    stage = classifier.run(Plan(config), row, 0, made["train"])
    assert classifier._with_extra(stage, stage.made_of["phases"]) == [{"data": "full", "steps": 125}]


def same_hash(one: Config, other: Config) -> bool:
    (first,), (second,) = (job.targets(Plan(config)) for config in (one, other))
    return first.hash == second.hash


def test_what_a_run_is_made_of(tmp_path: Path) -> None:
    """The cluster is no part of it: a run resumes, and is found again, on any number of workers."""
    base = [f"storage={tmp_path}", "select.name=random"]
    assert same_hash(load([*base, "cluster.workers=0"]), load([*base, "cluster.workers=4", "cluster.checkpoint_seconds=1"]))
    for different in ("train.steps=7", "train.learning_rate=0.2", "seed=1", "data.image_size=36", "train.split=0.25"):
        assert not same_hash(load(base), load([*base, different])), different
