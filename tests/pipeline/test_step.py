"""Plans: in order, nothing twice, what was interrupted goes on."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from dsopt.config import Config, load
from dsopt.errors import InputError, JobError
from dsopt.pipeline.step import Step, item_by_item, run, show
from dsopt.storage import Stage

SCHEMA = pa.schema([("id", pa.int64())])


@pytest.fixture
def config(tmp_path: Path) -> Config:
    return load([f"storage={tmp_path}", "cluster.workers=0"])


def stage(config: Config, name: str, *inputs: Stage) -> Stage:
    return Stage(config.storage, "toy", name, {"name": name}, {one.name: one for one in inputs})


def step(log: list[str], made: Stage, *, parallel: bool = False) -> Step:
    """A step that logs its name and commits its stage."""

    def work(here: Stage, config: Config) -> None:
        assert all(needed.done() for needed in here.inputs.values())
        log.append(here.name)
        here.commit([], SCHEMA, seconds=0.0)

    def parallel_work(worker: object, here: Stage, config: Config) -> None:
        work(here, config)

    return Step(made, parallel_work if parallel else work, parallel=parallel)


def test_neighbours_of_the_same_work_are_made_by_one_call_of_it(config: Config, capsys: pytest.CaptureFixture[str]) -> None:
    calls: list[list[str]] = []

    def together(steps: list[Step], config: Config) -> None:
        calls.append([step.stage.name for step in steps])
        for one in steps:
            one.stage.commit([], SCHEMA, seconds=0.0)

    def others(steps: list[Step], config: Config) -> None:
        together(steps, config)

    first, second, third = (stage(config, name) for name in ("first", "second", "third"))
    needy, other, last = stage(config, "needy", first), stage(config, "other"), stage(config, "last")
    plan = [Step(made, together, together=True) for made in (first, second, third, needy)]
    run([plan[1]], config)
    run([*plan, Step(other, others, together=True), step([], last), plan[0]], config)
    assert calls == [["second"], ["first", "third"], ["needy"], ["other"]]
    assert capsys.readouterr().out.count("2 together") == 2


def test_in_order_and_never_twice(config: Config, capsys: pytest.CaptureFixture[str]) -> None:
    log: list[str] = []
    first = stage(config, "first")
    left, right = (stage(config, name, first) for name in ("left", "right"))
    last = stage(config, "last", left, right)  # parallel like its inputs, but it needs them
    plan = [step(log, first), *(step(log, made, parallel=True) for made in (left, right, last))]
    run(plan[:1], config)
    run(plan, config)
    run(plan, config)
    assert log == ["first", "left", "right", "last"]
    assert capsys.readouterr().out.count("done before, reused") == 1 + 4


def test_a_failed_step_ends_the_plan(config: Config) -> None:
    def fail(here: Stage, config: Config) -> None:
        raise JobError("no")

    log: list[str] = []
    first, second, third = (stage(config, name) for name in ("first", "second", "third"))
    with pytest.raises(JobError):
        run([step(log, first), Step(second, fail), step(log, third)], config)
    assert log == ["first"] and first.done() and not second.done() and not third.done()


def test_show(config: Config, capsys: pytest.CaptureFixture[str]) -> None:
    log: list[str] = []
    plan = [step(log, stage(config, "first")), step(log, stage(config, "second"))]
    run(plan[:1], config)
    capsys.readouterr()
    show(plan, config)
    *_, first, second = capsys.readouterr().out.splitlines()
    assert first.startswith("done   toy first") and second.startswith("to do  toy second") and log == ["first"]


def items(asked: list[list[int]], stop: int | None = None) -> Callable[[list[int]], Iterator[dict[str, Any]]]:
    """Gives the square of every item, the last first; dies before the item `stop`."""

    def stream(indices: list[int]) -> Iterator[dict[str, Any]]:
        asked.append(indices)
        for index in indices[::-1]:
            if index == stop:
                raise JobError("interrupted")
            yield {"index": index, "square": index**2}

    return stream


def test_items_go_on_where_they_were(config: Config, capsys: pytest.CaptureFixture[str]) -> None:
    made, asked = stage(config, "items"), []
    with pytest.raises(JobError):
        item_by_item("toy", made, [10, 20, 30, 40], "rows", items(asked, stop=1))
    entries, seconds = item_by_item("toy", made, [10, 20, 30, 40], "rows", items(asked))
    assert asked == [[0, 1, 2, 3], [0, 1]]
    assert [entry["square"] for entry in entries] == [0, 1, 4, 9]
    assert seconds >= max(entry["seconds"] for entry in entries)  # those of the first attempt are counted
    assert "goes on after 70 rows of an interrupted run" in capsys.readouterr().out
    again, _ = item_by_item("toy", made, [10, 20, 30, 40], "rows", items(asked))
    assert again == entries and len(asked) == 2


def test_a_journal_of_something_else(config: Config) -> None:
    made = stage(config, "items")
    item_by_item("toy", made, [1, 1, 1], "rows", items([]))
    with pytest.raises(InputError, match="remove the folder"):
        item_by_item("toy", made, [1, 1], "rows", items([]))
