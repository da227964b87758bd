"""The stages that the trials of a sweep need, trained side by side: in this process in place of workers, and on Ray."""

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import pyarrow as pa
import pytest

from dsopt.cluster import tune
from dsopt.config import Config, load
from dsopt.errors import JobError
from dsopt.files import read_bytes, write_bytes
from dsopt.jobs.sweep import prepare
from dsopt.pipeline.step import Step
from dsopt.storage import Kind, Stage
from dsopt.training.worker import Worker

SCHEMA = pa.schema([("id", pa.int64())])
TOY = Kind("toy")
TOLD = "they do not learn"


def _steps(config: Config) -> dict[str, Step]:
    """Two trainings and one that fails; and, on the driver, what needs one of them, and what needs the one that fails."""

    def work(worker: Worker, stage: Stage, config: Config) -> None:  # defined here, so that it is sent to workers by value
        assert worker.world == 1 and all(needed.done() for needed in stage.inputs.values())
        if stage.name == "failing":
            raise JobError(f"{TOLD}\nand more")
        write_bytes(stage.path("process.txt"), str(os.getpid()).encode())
        stage.commit([], SCHEMA, seconds=0.0)

    def stage(name: str, *inputs: Stage) -> Stage:
        return Stage(config.storage, TOY, name, {"name": name}, {one.name: one for one in inputs})

    first, second, failing = (stage(name) for name in ("first", "second", "failing"))
    later = [stage("images", first), stage("lost", failing)]
    steps = [
        *(Step(made, config, work, "workers") for made in (first, second, failing)),
        *(Step(made, config, work) for made in later),
    ]
    return {step.stage.name: step for step in steps}


def _check(config: Config, capsys: pytest.CaptureFixture[str]) -> None:
    steps = _steps(config)
    failed = prepare.make(list(steps.values()), config)
    assert failed == {steps[name].stage.hash: TOLD for name in ("failing", "lost")}
    assert [name for name, step in steps.items() if step.stage.done()] == ["first", "second", "images"]
    assert steps["failing"].stage.failure() == TOLD
    told = capsys.readouterr().out
    assert "3 trainings side by side, 2 at a time" in told and told.count(" done: toy/") == 2
    assert steps["first"].config.cluster.workers == 2  # alone they had one each


def _settings(tmp_path: Path) -> Config:
    return load([f"storage={tmp_path}", "cluster.workers=2", "cluster.cpus_per_worker=1", "cluster.max_failures=0"])


def test_what_waits_for_nothing_is_made_together(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    together: list[int] = []

    def run(work: Callable[..., Any], points: Sequence[tune.Point], config: Config, listener: tune.TrialListener) -> None:
        together.append(len(points))
        assert config.sweep.scheduler == "none"  # nothing stops them early
        tune._in_process(work, points, len(points), config, listener, None, None)

    monkeypatch.setattr(tune, "run", run)
    _check(_settings(tmp_path), capsys)
    assert together == [3]


@pytest.mark.long
@pytest.mark.ray
@pytest.mark.slow
def test_on_ray_each_is_made_by_a_worker(ray_local: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = _settings(tmp_path)
    _check(config, capsys)
    steps, this = _steps(config), str(os.getpid()).encode()
    made_by = {name: read_bytes(steps[name].stage.path("process.txt")) for name in ("first", "second", "images")}
    assert made_by["images"] == this and this not in (made_by["first"], made_by["second"])
