"""Extra images: what they are, that training is fed with them, and what they cost."""

import io
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from running import SMALL

from dsopt.augment.inputs import make_inputs
from dsopt.config import Config, load
from dsopt.data import images as reading
from dsopt.errors import InputError
from dsopt.jobs import train as job
from dsopt.jobs.optimize import job as optimize
from dsopt.jobs.optimize import page as report
from dsopt.pipeline.feeding import Feeder
from dsopt.pipeline.plan import Plan
from dsopt.stages import classifier, extra
from dsopt.stages.classifier import Row
from dsopt.storage import Stage, Table
from dsopt.training.worker import Worker


@pytest.fixture(scope="module")
def storage(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(tmp_path_factory.mktemp("storage"))


def small(storage: str, *overrides: str) -> Config:
    """Training on 40 digits and as many extra ones."""
    base = [*SMALL, "cluster.workers=0", "data.limit=300", "select.name=stratified", "select.budget=40", "train.options.width=4"]
    return load([*base, "train.steps=6", "train.split=1", "extra.name=copies", f"storage={storage}", *overrides])


def planned(config: Config, *, trained: bool = False) -> tuple[Row, Stage]:
    """What a run trains on, all of it made, and the run."""
    plan = Plan(config)
    (stage,) = job.targets(plan)
    plan.run(*([stage] if trained else stage.inputs.values()))
    return Row("it", "it", 1.0, stage.inputs["images"], stage.inputs.get("subset"), added=stage.inputs["added"]), stage


def rows(stage: Stage) -> list[dict[str, Any]]:
    return Table(stage.uri).read().to_pylist()


def pixels(row: dict[str, Any]) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(row["image"]["bytes"])))


def test_copies_without_a_transform_are_the_images_again(storage: str) -> None:
    row, _ = planned(small(storage, "extra.amount=3"))
    assert row.subset and row.added
    once, added = rows(row.subset), rows(row.added)
    assert len({extra["id"] for extra in added}) == 120
    assert Counter(extra["image"]["bytes"] for extra in added) == Counter({image["image"]["bytes"]: 3 for image in once})
    assert all(extra["label"] == image["label"] for extra in added for image in once if image["image"] == extra["image"])


def test_copies_are_transformed_once_by_the_seed(storage: str) -> None:
    config = small(storage, "extra.augment=[rotate, blur]")
    row, _ = planned(config)
    assert row.subset and row.added
    image, extra = rows(row.subset)[7], rows(row.added)[7]
    assert extra["id"] == image["id"] and extra["label"] == image["label"] and extra["key"] == image["key"]
    change = np.abs(pixels(extra).astype(float) - pixels(image))
    assert 5 < change.mean() < 80 and pixels(extra).shape == pixels(image).shape
    other, _ = planned(small(storage, "extra.augment=[rotate, blur]", "seed=1", f"train.subset={row.subset.uri}"))
    assert other.added and other.added.hash != row.added.hash
    assert rows(other.added)[7]["id"] == image["id"] and (pixels(rows(other.added)[7]) != pixels(extra)).any()


def test_a_fraction_is_about_that_share_of_the_images(storage: str) -> None:
    row, _ = planned(small(storage, "extra.amount=1.5"))
    assert row.added
    count = Counter(extra["image"]["bytes"] for extra in rows(row.added))
    assert set(count.values()) == {1, 2} and 50 <= count.total() <= 70


@pytest.mark.parametrize("split", [1, 0.5, 0])
def test_a_phase_draws_from_its_images_and_those_made_from_them(storage: str, split: float) -> None:
    config = small(storage, "extra.augment=[blur]", f"train.split={split}")
    row, stage = planned(config)
    assert row.added
    feeder = Feeder(stage, config.train, 0, make_inputs([], 24, None), Worker())
    full, chosen = Table(row.images.uri).rows("train"), 40
    found = [feeder.rows(phase) for phase in stage.made_of["phases"]]
    assert found == {1: [2 * chosen], 0.5: [2 * chosen, full], 0: [2 * full]}[split]
    images = feeder.full if split == 0 else feeder.subset
    assert len(images.ids.unique()) == len(images.ids)
    assert images.images.is_contiguous(memory_format=torch.channels_last)
    half = len(images.ids) // 2
    assert torch.equal(images.labels[:half], images.labels[half:]) and (images.ids[half:] < 0).all()
    assert torch.equal(-1 - images.ids[half:], images.ids[:half])


def test_labels_become_probabilities_beside_soft_ones() -> None:
    def some(soft: torch.Tensor | None) -> reading.Images:
        return reading.Images(torch.arange(2), torch.zeros(2, 1, 4, 4, dtype=torch.uint8), torch.tensor([2, 0]), soft)

    given = torch.tensor([[0.2, 0.3, 0.5], [1.0, 0.0, 0.0]])
    both = reading.joined(some(given), some(None), 3).soft
    assert both is not None and both.tolist() == [*given.tolist(), [0, 0, 1], [1, 0, 0]]
    assert reading.joined(some(None), some(None), 3).soft is None
    other = reading.Images(torch.arange(2), torch.zeros(2, 1, 5, 5, dtype=torch.uint8), torch.tensor([2, 0]))
    with pytest.raises(InputError, match="all must be alike"):
        reading.joined(some(None), other, 3)


def test_training_on_them_and_what_it_costs(storage: str) -> None:
    config = small(storage, "extra.augment=[rotate]", "train.passes=4")
    row, stage = planned(config, trained=True)
    assert row.subset and row.added
    assert Table(stage.uri).manifest["steps"] == 4 * 80 / 32
    for made, seconds in ((row.subset, 5.0), (row.added, 7.0)):
        path = Path(made.uri) / "manifest.json"
        path.write_text(path.read_text().replace(f'"seconds": {Table(made.uri).manifest["seconds"]}', f'"seconds": {seconds}'))
    found = report.info(row, 0, stage)
    assert found.images == 80 and found.choosing_seconds == 12.0


def test_the_main_job_compares_with_and_without(storage: str) -> None:
    config = small(storage, "compare.splits=[1.0]", "compare.methods=[]", "compare.equal_cost=true", "extra.augment=[blur]")
    compared = optimize.comparison(Plan(config))
    titles = [
        "full data",
        "stratified, 100/0",
        "full data + copies+blur",
        "stratified, 100/0 + copies+blur",
        "full data + choosing",
    ]
    assert [row.title for row, _, _ in compared] == titles
    added = [(row.title, row.added.kind) for row, _, _ in compared if row.added]
    assert added == [(titles[2], extra.EXTRA), (titles[3], extra.EXTRA)]
    assert all(stage.inputs.get("added") is row.added for row, _, stage in compared)
    assert len({row.added.hash for row, _, _ in compared if row.added}) == 2


@pytest.mark.parametrize(
    "overrides, says",
    [
        (["train.sampler.name=weighted", "train.split=0"], "weighted: needs scores"),
        (["train.overlap=true", "train.split=0.5"], "cannot be combined with extra images"),
        (["train.overlap=true", "train.split=0.5", "extra.name=none", "train.passes=2"], "cannot be combined with passes"),
        *(
            (["train.validation=0.1", f"extra.name={name}"], "train.validation=0.1: must be 0 with extra images")
            for name in ("copies", "generated", "interpolated")
        ),
        (["extra.amount=0"], "extra.amount=0.0: must be above 0"),
        (["extra.name=generated"], "have no labels to train on; expected a class-conditional generator, such as preset=cdcgan"),
        (["extra.augment=[rotat]"], "Did you mean 'rotate'"),
        (["extra.name=none", "extra.augment=[blur]"], "extra.augment=['blur']: must be given with extra.name=copies"),
        (["train.passes=1", "train.epochs=1"], "train.epochs=1.0: must be not given with train.passes"),
    ],
)
def test_what_cannot_work_is_told_before(storage: str, overrides: list[str], says: str) -> None:
    with pytest.raises(InputError) as error:
        classifier.alone(Plan(small(storage, *overrides)))
    assert says in str(error.value) and "\n" not in str(error.value)
