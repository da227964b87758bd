"""What a job needs of its data set is asked as soon as that is there, before anything trains."""

from dataclasses import replace
from pathlib import Path

import pytest
from running import read

from dsopt.config import DataConfig
from dsopt.data.sources import source as sources
from dsopt.data.sources.source import Findings, Shard, Source, SourceRow
from dsopt.errors import InputError
from dsopt.jobs.job import find
from dsopt.pipeline.plan import Plan
from dsopt.pipeline.step import show
from dsopt.stages import ingest
from dsopt.storage import Stage

HINT = "column species may hold labels; data.options.label_column=species reads it"
SWEEP = ("sweep.grid.train.split=[0]", "sweep.seeds=1")
SMALL = ("cluster.workers=0", "data.limit=60", "autoencoder.steps=1", "proxy.steps=1", "train.steps=4", "distill.steps=1")


def run(job: str, storage: Path, *overrides: str) -> None:
    plan, found = Plan(read(f"storage={storage}", *SMALL, *overrides)), find(job)
    found.run(plan) if found.run else plan.run(*found.targets(plan))


def kinds(storage: Path) -> set[str]:
    """The kinds of stage that were begun."""
    return {path.parent.parent.name for path in storage.glob("*/*/config.yaml")}


def as_source(
    monkeypatch: pytest.MonkeyPatch, labelled: bool = True, split: str | None = None, hints: tuple[str, ...] = ()
) -> None:
    """The digits, without labels or all of them in one split."""

    def found(data: DataConfig) -> Source:
        source = sources.find(data)
        shards, classes = source.list_shards()
        shards = [replace(shard, split=split, read=Rows(shard, labelled), labelled=labelled) for shard in shards]
        return replace(source, list_shards=lambda: (shards, classes if labelled else None), look=lambda: Findings(hints=hints))

    monkeypatch.setattr(ingest, "find", found)


class Rows:
    def __init__(self, shard: Shard, labelled: bool) -> None:
        self.shard, self.labelled = shard, labelled

    def __call__(self):
        return iter([SourceRow(row.image, row.label if self.labelled else None, row.key) for row in self.shard.read()])


@pytest.mark.slow
@pytest.mark.parametrize("job", ["optimize", "select", "train"])
def test_a_budget_above_the_number_of_images(job: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"select.budget=61: there are \d+ images"):
        run(job, tmp_path, "select.budget=61")
    assert kinds(tmp_path) == {"ingest"}


def test_a_sweep_asks_for_all_of_its_trials(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"select.budget=1000: there are \d+ images"):
        run("sweep", tmp_path, "sweep.grid.select.budget=[5,1000]", "select.name=kcenter", "sweep.seeds=1")
    assert kinds(tmp_path) == {"ingest", "sweep"}


def test_a_dry_run_refuses_it_too_once_the_data_set_is_there(tmp_path: Path) -> None:
    run("ingest", tmp_path)
    plan = Plan(read(f"storage={tmp_path}", *SMALL, "select.budget=61"))
    with pytest.raises(InputError, match=r"select.budget=61"):
        show(plan.to(*find("select").targets(plan)), plan.config)


def test_more_per_class_than_the_smallest_class_has(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run("select", tmp_path, "select.name=random", "select.per_class=true", "select.budget=40")
    assert "warning: select.per_class=true: class " in capsys.readouterr().out
    run("select", tmp_path, "select.name=random", "select.per_class=true", "select.budget=40", "data.check=off", "seed=1")
    assert "warning" not in capsys.readouterr().out


@pytest.mark.parametrize(
    ("job", "overrides"), [("train", ["train.split=0"]), ("optimize", []), ("search", []), ("sweep", list(SWEEP))]
)
def test_no_test_images(job: str, overrides: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    as_source(monkeypatch, split="train")
    with pytest.raises(InputError, match="needs test images, and the data set has none"):
        run(job, tmp_path, "select.budget=5", *overrides)
    assert kinds(tmp_path) <= {"ingest", "sweep"}


@pytest.mark.parametrize(("job", "overrides"), [("train", []), ("distill", []), ("search", []), ("sweep", list(SWEEP))])
def test_no_labels(job: str, overrides: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    as_source(monkeypatch, labelled=False, hints=(HINT,))
    with pytest.raises(InputError, match="labels"):
        run(job, tmp_path, "select.budget=5", *overrides)
    assert kinds(tmp_path) <= {"ingest", "sweep"}


def test_labels_that_were_overlooked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    as_source(monkeypatch, labelled=False, hints=(HINT,))
    with pytest.raises(InputError, match="column species may hold labels"):
        run("optimize", tmp_path, "select.budget=5")
    assert kinds(tmp_path) == {"ingest"}
    with pytest.raises(InputError, match="train: needs labels, and the data set has none; column species"):
        run("train", tmp_path, "select.budget=5")
    run("optimize", tmp_path, "select.budget=5", "select.name=random", "data.check=off")
    assert "done up to the subset" in capsys.readouterr().out


def test_more_distilled_than_the_smallest_class_has(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(InputError):
        run("distill", tmp_path, "distill.name=random", "distill.per_class=50")
    assert "warning: distill.per_class=50: class " in capsys.readouterr().out


def test_a_step_of_finished_images_is_checked_once(tmp_path: Path) -> None:
    asked: list[str] = []
    plan = Plan(read(f"storage={tmp_path}", *SMALL))
    images = ingest.images(plan)

    def needs(stage: Stage, config: object) -> None:
        asked.append(stage.name)

    kind = ingest.Kind("toy")
    one = plan.add(kind, "one", {}, {"images": images}, lambda worker, stage, config: stage.commit([], ingest.IMAGES, seconds=0.0))
    two = plan.add(
        kind,
        "two",
        {"x": 1},
        {"images": images, "one": one},
        lambda w, stage, c: stage.commit([], ingest.IMAGES, seconds=0.0),
        needs=needs,
    )
    plan.run(two)
    assert asked == ["two"]
