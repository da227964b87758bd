"""Sweeps on Ray Tune, as a person starts them; and one that is killed."""

from pathlib import Path

import pyarrow.parquet as pq
import pytest
from running import SMALL, here, one_line, shell, start, until

from dsopt.errors import JobError

pytestmark = [pytest.mark.ray, pytest.mark.slow]

BASE = (*SMALL, "data.limit=200", "train.split=0", "sweep.seeds=1", "cluster.checkpoint_seconds=0")


def listed(storage: Path) -> list[dict]:
    (file,) = storage.glob("sweep/*/trials.parquet")
    timed = ("training_seconds", "choosing_seconds")
    return [{key: value for key, value in row.items() if key not in timed} for row in pq.read_table(file).to_pylist()]


@pytest.mark.long
def test_one_fails_and_a_killed_sweep_goes_on(
    ray_joined: dict[str, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = [*BASE, "sweep.grid.train.learning_rate=[0.01,0.02,1e30,0.03]"]
    storage = tmp_path / "ray"
    here(f"storage={storage}", *arguments, "cluster.workers=0", job="ingest")  # by Ray Data it takes as long as a trial
    job = start("sweep", f"storage={storage}", *arguments, "cluster.workers=2")
    until(lambda: list(storage.glob("train/*/_DONE")))
    job.kill()
    job.communicate()
    done = {path: path.stat().st_mtime_ns for mark in storage.glob("train/*/_DONE") for path in mark.parent.rglob("*")}
    job = start("sweep", f"storage={storage}", *arguments, "cluster.workers=2", **ray_joined)
    with pytest.raises(JobError, match="1 of 4 trials failed"):  # meanwhile
        here(f"storage={tmp_path}/alone", *arguments, "cluster.workers=0", job="sweep")
    alone = capsys.readouterr().out
    again, told = job.communicate()
    assert job.returncode == 1 and "1 of 4 trials failed" in one_line(told)
    assert {path: path.stat().st_mtime_ns for path in done} == done
    assert all(
        len(list(folder.glob("model-*.safetensors"))) == 1 for folder in storage.glob("train/*") if (folder / "_DONE").exists()
    )

    assert listed(storage) == listed(tmp_path / "alone")
    failed = [row for row in listed(storage) if row["status"] == "failed"]
    assert len(failed) == 1 and "diverged at step" in failed[0]["reason"]
    assert "failed: " in again and "trial 4/4" in again
    accuracies = [[line.split()[5] for line in said.splitlines() if line.startswith("full data ")] for said in (alone, again)]
    assert accuracies[0] == accuracies[1] and len(accuracies[0]) == 3


@pytest.mark.long
def test_asha_and_a_search(ray_joined: dict[str, str], tmp_path: Path) -> None:
    pytest.importorskip("optuna")
    space = ("sweep.searcher=optuna", "sweep.space.train.learning_rate={log: [1e-7, 0.1]}", "sweep.samples=6")
    asha = ("sweep.scheduler=asha", "sweep.grace=0.25", "sweep.reduction=2", "train.validate_every=50", "train.average=0.5")
    arguments = [f"storage={tmp_path}", *BASE, *space, *asha, "train.steps=400"]
    here(*arguments, "cluster.workers=0", job="ingest")
    ended = shell("sweep", *arguments, "cluster.workers=2", **ray_joined)
    assert (ended.returncode, ended.stderr) == (0, "")
    rows = listed(tmp_path)
    assert len(rows) == 6 and {row["status"] for row in rows} == {"done", "stopped"}
    assert all(row["reason"].startswith("stopped at step") for row in rows if row["status"] == "stopped")
    best = max(rows, key=lambda row: row["accuracy"])
    assert next(line for line in ended.stdout.splitlines() if line.startswith("best ")).split()[1] == best["overrides"][0]
