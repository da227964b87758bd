"""Steps: inputs first, nothing twice, side by side where they can be, and wrong inputs refused before any work."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
import yaml

from dsopt.cluster import train
from dsopt.config import Config, load
from dsopt.errors import InputError, JobError
from dsopt.files import read_bytes, write_bytes
from dsopt.pipeline.step import Check, Step, Where, make_together, run, show
from dsopt.storage import Kind, Stage
from dsopt.training.worker import Worker

SCHEMA = pa.schema([("id", pa.int64())])
TOY = Kind("toy")


@pytest.fixture
def config(tmp_path: Path) -> Config:
    return load([f"storage={tmp_path}", "cluster.workers=0"])


@pytest.fixture
def log(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of stages as they are made. This process stands for the workers; "|" comes before what they are given together."""
    log: list[str] = []

    def each(function: Callable[..., None], arguments: list[tuple[Any, ...]], *_: Any) -> None:
        log.append("|")
        for some in arguments:
            function(Worker(), *some)

    def distributed(function: Callable[..., None], arguments: tuple[Any, ...], *_: Any) -> None:
        log.append("all workers:")
        function(Worker(), *arguments)

    monkeypatch.setattr(train, "each", each)
    monkeypatch.setattr(train, "distributed", distributed)
    return log


def test_a_new_checkpoint_is_progress(config: Config) -> None:
    """A run's lost workers are counted anew after it."""
    one = Step(stage(config, "one"), config, lambda *_: None)
    before = one.saved()
    seen = [before]
    for content in (b"step 10", b"step 200"):
        write_bytes(one.stage.path("checkpoint.pt"), content)
        seen.append(one.saved())
    assert before is None and len(set(seen)) == 3


def stage(config: Config, name: str, *inputs: Stage) -> Stage:
    return Stage(config.storage, TOY, name, {"name": name}, {one.name: one for one in inputs})


def step(log: list[str], config: Config, made: Stage, where: Where = "driver", check: Check | None = None) -> Step:
    """A step that logs its name and commits its stage."""

    def work(worker: Worker, here: Stage, given: Config) -> None:
        assert all(needed.done() for needed in here.inputs.values()) and given is config
        log.append(here.name)
        here.commit([], SCHEMA, seconds=0.0)

    return Step(made, config, work, where, check)


def test_in_the_order_of_their_inputs_and_never_twice(config: Config, log: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    first = stage(config, "first")
    left, right = (stage(config, name, first) for name in ("left", "right"))
    last = stage(config, "last", left, right)
    steps = [step(log, config, made) for made in (last, right, left, first)]
    run(steps[-1:])
    run(steps)
    run(steps)
    assert log == ["first", "right", "left", "last"]
    assert capsys.readouterr().out.count("done before, reused") == 1 + 4


def test_those_known_to_be_done_are_not_told_again(config: Config, log: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    mentioned: set[str] = set()
    steps = [step(log, config, stage(config, name)) for name in ("first", "second")]
    run(steps[:1], mentioned)
    run(steps, mentioned)
    run(steps, mentioned)
    out = capsys.readouterr().out
    assert log == ["first", "second"] and "reused" not in out and out.count("done in") == 2
    run(steps, set())
    assert capsys.readouterr().out.count("done before, reused") == 2


def test_steps_for_one_worker_each_wait_for_all_else_that_is_ready_and_run_side_by_side(config: Config, log: list[str]) -> None:
    first = stage(config, "first")
    left, right = stage(config, "left", first), stage(config, "right")
    other = stage(config, "other", first)
    last = stage(config, "last", left, right, other)
    alone = [step(log, config, made, "worker") for made in (right, left, last)]
    run([*alone, step(log, config, other, "workers"), step(log, config, first)])
    assert log == ["first", "all workers:", "other", "|", "right", "left", "|", "last"]


def test_a_failed_step_ends_the_run(config: Config, log: list[str]) -> None:
    def fail(worker: Worker, here: Stage, given: Config) -> None:
        raise JobError("no")

    first, second, third = (stage(config, name) for name in ("first", "second", "third"))
    with pytest.raises(JobError, match="no"):
        run([step(log, config, first), Step(second, config, fail), step(log, config, third)])
    assert log == ["first"] and first.done() and not second.done() and not third.done()


def test_what_fails_takes_along_what_needs_it_and_nothing_else(config: Config, log: list[str]) -> None:
    def fail(worker: Worker, here: Stage, given: Config) -> None:
        raise JobError(f"toy {here.name}: no\nand more")

    first, second = (stage(config, name) for name in ("first", "second"))
    third = stage(config, "third", first, second)
    last, other = stage(config, "last", third), stage(config, "other", second)
    steps = [Step(first, config, fail), *(step(log, config, made) for made in (second, third, last, other))]
    failed: dict[str, str] = {}
    run(steps, failed=failed)
    assert log == ["second", "other"] and failed == dict.fromkeys([first.hash, third.hash, last.hash], "no")
    assert first.failure() == "no" and third.failure() is None and not first.done()
    run([step(log, config, made) for made in (first, third, last)])
    assert log[2:] == ["first", "third", "last"] and first.failure() is None
    assert not Path(first.path("failed.txt")).exists()


@pytest.mark.parametrize("where", ["driver", "worker", "workers"])
def test_a_check_refuses_before_any_work_and_sees_finished_inputs(config: Config, log: list[str], where: Where) -> None:
    def refuse(made: Stage, given: Config) -> None:
        assert all(needed.done() for needed in made.inputs.values())
        raise InputError(f"{made.name}: seed {given.seed} is wrong.")

    first = stage(config, "first")
    beside, wrong = stage(config, "beside", first), stage(config, "wrong", first)
    steps = [step(log, config, first), step(log, config, beside, where), step(log, config, wrong, where, refuse)]
    with pytest.raises(InputError, match=r"wrong: seed 0 is wrong\."):
        run(steps)
    # Of those side by side none starts.
    before = {"driver": ["first", "beside"], "worker": ["first"], "workers": ["first", "all workers:", "beside"]}
    assert log == before[where]
    assert not wrong.done() and not Path(wrong.path("config.yaml")).exists()
    log.clear()
    run([step(log, config, wrong, where, lambda made, given: None)])  # the check of a finished stage is not asked
    run([step(log, config, wrong, where, refuse)])
    assert log[-1] == "wrong"


def test_a_stage_notes_the_configuration_that_it_was_planned_with(config: Config, log: list[str], tmp_path: Path) -> None:
    other = load([f"storage={tmp_path}", "cluster.workers=0", "seed=7"])
    here, there, alone = stage(config, "here"), stage(config, "there"), stage(config, "alone")
    run([step(log, config, here), step(log, other, there, "worker"), step(log, other, alone, "workers")])
    assert [yaml.safe_load(read_bytes(made.path("config.yaml")))["seed"] for made in (here, there, alone)] == [0, 7, 7]


def test_several_stages_by_one_call(config: Config, capsys: pytest.CaptureFixture[str]) -> None:
    calls: list[list[str]] = []

    def refuse(worker: Worker, here: Stage, given: Config) -> None:
        raise AssertionError("the work of the steps is not called")

    def together() -> None:
        calls.append([made.name for made in stages])
        assert all(Path(made.path("config.yaml")).exists() for made in stages)
        for made in stages:
            made.commit([], SCHEMA, seconds=0.0)

    stages = [stage(config, name) for name in ("first", "second")]
    make_together([Step(made, config, refuse) for made in stages], together)
    assert calls == [["first", "second"]] and all(made.done() for made in stages)
    assert capsys.readouterr().out.count("2 together") == 2
    stages = [stage(config, "third")]
    make_together([Step(stages[0], config, refuse, title="the third")], together)
    out = capsys.readouterr().out
    assert "together" not in out and out.startswith("the third") and "done in" in out


def test_a_step_for_this_process_alone_asks_no_cluster(config: Config, log: list[str]) -> None:
    config.cluster.workers = 4
    given = step(log, config, stage(config, "first"), "workers")
    assert given.here().config.cluster.workers == 0 and given.here().stage is given.stage
    assert given.config.cluster.workers == config.cluster.workers == 4


def test_a_storage_that_cannot_be_written_is_told_before_any_work(config: Config, log: list[str], tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    config.storage = str(tmp_path / "file")
    with pytest.raises(InputError, match="storage"):
        run([step(log, config, stage(config, "first"))])
    assert log == []


def test_show(config: Config, log: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    steps = [step(log, config, stage(config, "first")), step(log, config, stage(config, "second"))]
    run(steps[:1])
    capsys.readouterr()
    show(steps, config)
    *given, first, second = capsys.readouterr().out.splitlines()
    assert first.startswith("done   toy first") and second.startswith("to do  toy second") and log == ["first"]
    assert yaml.safe_load("\n".join(given))["storage"] == config.storage
