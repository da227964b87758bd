"""Choosing is done once, where there is memory, and reads what it needs."""

import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from running import read

from dsopt.cluster import local, session, train
from dsopt.config import ClusterConfig
from dsopt.data import room
from dsopt.errors import InputError, JobError
from dsopt.pipeline.plan import Plan
from dsopt.pipeline.step import show
from dsopt.selection import scores
from dsopt.stages import select, taken, told
from dsopt.storage import Part, Table
from dsopt.training.worker import Worker


def test_an_interrupted_stage_does_not_choose_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    overrides = (f"storage={tmp_path}", "cluster.workers=0", "select.name=random", "select.budget=10", "data.limit=50")

    def run() -> Table:
        plan = Plan(read(*overrides))
        plan.run(select.subset(plan, plan.config.select, 0))
        (done,) = tmp_path.glob("select/*")
        return Table(str(done))

    def lost(*_: Any, **__: Any) -> None:
        raise JobError("a worker was lost")

    with monkeypatch.context() as patched, pytest.raises(JobError):
        patched.setattr(select, "item_by_item", lost)
        run()
    monkeypatch.setattr(select, "choose", lambda *_, **__: pytest.fail("it chose again"))
    table = run()
    assert len(table.read()) == 10 and table.manifest["seconds"] > 0
    assert not [part for part in table.parts() if "_chosen" in part.uri]


def test_what_grows_with_the_chosen_images_is_not_done_by_the_driver(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sent: list[tuple[str, int]] = []

    def away(work: Any, arguments: Any, config: ClusterConfig, memory: int, gpus: float = 0.0) -> None:
        sent.append((work.__name__, memory))
        work(Worker(), *arguments)

    monkeypatch.setattr(train, "away", away)
    plan = Plan(read(f"storage={tmp_path}", "cluster.workers=0", "select.name=random", "select.budget=10", "data.limit=50"))
    plan.run(select.subset(plan, plan.config.select, 0))
    assert [name for name, _ in sent] == ["_choose", "_write_csv"] and sent[1][1] == 10 * taken.ENTRY_BYTES


@pytest.mark.parametrize(("workers", "ours", "where"), [(0, False, "here"), (2, True, "here"), (2, False, "there")])
def test_it_goes_to_a_machine_of_a_cluster(monkeypatch: pytest.MonkeyPatch, workers: int, ours: bool, where: str) -> None:
    """And reserves its memory, but leaves room for a driver on the largest machine."""
    gone: list[tuple[str, int]] = []
    there = {"CPU": 8.0, "memory": 60e9}
    nodes = [{"Alive": True, "Resources": there}, {"Alive": True, "Resources": {"memory": 90e9}}]  # the head has no CPU
    monkeypatch.setattr(session, "connect", lambda: SimpleNamespace(nodes=lambda: nodes))
    monkeypatch.setattr(local, "is_own", lambda: ours)
    monkeypatch.setattr(train, "_on_cluster", lambda *_, memory, **__: gone.append(("there", memory)))

    def work(worker: Worker) -> None:
        gone.append(("here", 0))

    for memory in (int(20e9), int(50e9)):
        train.away(work, (), ClusterConfig(workers=workers), memory)
    assert gone == [(where, int(20e9) if where == "there" else 0), (where, int(30e9) if where == "there" else 0)]


def test_what_choosing_takes_is_told_before(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """In a dry run once there is something to choose from, and as the first line of the choice."""
    overrides = (f"storage={tmp_path}", "cluster.workers=0", "select.name=random", "select.budget=10", "data.limit=50")
    plan = Plan(read(*overrides))
    stage = select.subset(plan, plan.config.select, 0)
    show(plan.to(stage), plan.config)
    assert "10 of " not in capsys.readouterr().out
    plan.run(stage.inputs["images"])
    show(plan.to(stage), plan.config)
    line = r"select random +10 of 41 images in memory: about 1 s, 1.1 GB"
    assert re.search(line, capsys.readouterr().out)
    plan.run(stage)
    assert re.search(line, capsys.readouterr().out)


def test_what_does_not_fit_is_refused_with_what_would(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plan = Plan(read(f"storage={tmp_path}", "select.name=kcenter", "select.budget=1000", "select.rounds=2"))
    stage = select.subset(plan, plan.config.select, 0)
    monkeypatch.setattr(told, "looked_at", lambda stage: [Part("a", 3_000_000), Part("b", 1_000_000)])
    monkeypatch.setattr(told, "embedding_size", lambda part: 1024)
    told.tell(stage, plan.config)
    monkeypatch.setattr(room, "memory", lambda: 8 << 30)
    would = r"expected select\.rounds=1 or select\.shard_rows=500000 or select\.name=top_activation"
    with pytest.raises(InputError, match=r"needs about 13\.9 GB and this process may have 8\.6 GB; " + would):
        told.tell(stage, plan.config)


def test_scores_are_read_by_column(monkeypatch: pytest.MonkeyPatch) -> None:
    """One column of the table has the probabilities of all classes."""
    import pyarrow as pa

    asked: list[list[str] | None] = []
    table = pa.table({"id": [0, 1], "el2n": [0.5, 0.25], "probability": [[1.0, 0.0], [0.5, 0.5]]})

    def read_table(uri: str, columns: list[str] | None = None) -> pa.Table:
        asked.append(columns)
        return table.select(columns or table.column_names)

    monkeypatch.setattr(scores, "read_table", read_table)
    monkeypatch.setattr(scores, "schema_of", lambda part: table.schema)
    ids, columns = scores.read_scores([Part("s", 2)], ["el2n"], "el2n")
    assert ids.tolist() == [0, 1] and columns.tolist() == [[0.5], [0.25]] and asked == [["id", "el2n"]]
