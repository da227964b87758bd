"""A job lists its data once, however many planners ask for the images, and writes the same page from the same stages."""

import shutil
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from running import SMALL, here, read

from dsopt.data.sets import folder, parquet
from dsopt.data.sources import listing
from dsopt.jobs.optimize import job as optimize
from dsopt.jobs.sweep import grid
from dsopt.jobs.sweep import job as sweep
from dsopt.pipeline.plan import Plan
from dsopt.stages import select

TINY = (
    *("data.name=folder", "data.image_size=24", "cluster.workers=0", *SMALL),
    *("autoencoder.steps=4", "autoencoder.options.width=4", "train.steps=4", "train.options.width=4", "select.budget=10"),
)


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Forty pictures of two classes."""
    made, numbers = tmp_path_factory.mktemp("pictures"), np.random.default_rng(0)
    for i in range(40):
        place = made / ("train" if i < 30 else "test") / f"class{i % 2}"
        place.mkdir(parents=True, exist_ok=True)
        Image.fromarray(numbers.integers(0, 255, (24, 24, 3), np.uint8)).save(place / f"{i}.png")
    return str(made)


@pytest.fixture
def listed(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """How often each folder was listed, by whichever kind of data set."""
    counts: Counter[str] = Counter()
    original: Callable[[str], listing.Below] = listing.list_data

    def counted(uri: str) -> listing.Below:
        counts[uri] += 1
        return original(uri)

    for module in (folder, parquet):
        monkeypatch.setattr(module, "list_data", counted)
    return counts


@pytest.mark.slow
def test_the_main_job_lists_its_data_once(root: str, listed: Counter[str], tmp_path: Path) -> None:
    here(f"storage={tmp_path}", f"data.root={root}", *TINY)
    assert listed == {root: 1} and list(tmp_path.glob("report/*/_DONE"))
    here(f"storage={tmp_path}", f"data.root={root}", *TINY)  # again, with everything done
    assert listed == {root: 2}


def test_planning_lists_the_data_once(root: str, listed: Counter[str], tmp_path: Path) -> None:
    plan = Plan(read(f"storage={tmp_path}", f"data.root={root}", *TINY))
    for _ in range(2):
        assert len(plan.to(*optimize.targets(plan))) > 5
    assert listed == {root: 1}


@pytest.mark.slow
def test_so_does_a_set_in_parquet_files(pictures: str, listed: Counter[str], tmp_path: Path) -> None:
    plan = Plan(read(f"storage={tmp_path}", *TINY, "data.name=parquet", f"data.root={pictures}", "data.limit=20"))
    plan.run(select.subset(plan, plan.config.select, 0))
    assert optimize.comparison(plan) and listed == {pictures: 1}


ROWS = "sweep.rows={RANDOM: [select.name=random], BALANCED: [select.name=random_balanced], FULL: [train.split=0]}"


@pytest.mark.slow
def test_a_sweep_of_several_rows_lists_the_data_once(root: str, listed: Counter[str], tmp_path: Path) -> None:
    own = (ROWS, "sweep.grid.train.learning_rate=[0.01,0.02]", "sweep.seeds=1")
    here(f"storage={tmp_path}", f"data.root={root}", *TINY, *own, job="sweep")
    assert listed == {root: 1} and len(list(tmp_path.glob("train/*/_DONE"))) == 6


def test_a_sample_that_is_planned_on_a_worker_lists_nothing(root: str, listed: Counter[str], tmp_path: Path) -> None:
    """A worker gets the driver's plan without its steps, and plans a search's sample with that."""
    space = ("sweep.searcher=random", "sweep.samples=2", "sweep.space.select.name=[random,kcenter]", "sweep.seeds=1")
    plan, trials, _ = sweep.planned(Plan(read(f"storage={tmp_path}", f"data.root={root}", *TINY, *space)))
    assert listed == {root: 1} and len(trials) == 2
    listed.clear()
    sent = plan.without_steps()
    known = {trial.evaluated.hash for trial in trials}
    sampled = {grid.sampled(sent, {"select.name": name}).evaluated.hash for name in ("random", "kcenter")}
    assert known <= sampled and not listed


@pytest.mark.slow
def test_a_page_is_the_same_however_often_it_is_written(root: str, tmp_path: Path) -> None:
    """Of the same stages: nothing of the moment, and nothing drawn at random, is in it."""
    here(f"storage={tmp_path}", f"data.root={root}", *TINY)
    (page,) = tmp_path.glob("report/*/report.html")
    first = page.read_bytes()
    shutil.rmtree(page.parent)
    here(f"storage={tmp_path}", f"data.root={root}", *TINY)
    assert page.read_bytes() == first and first.count(b"data:image/png") >= 3
