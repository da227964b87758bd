"""Choosing is done once, where there is memory, and reads what it needs."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from running import read

from dsopt.cluster import local, session, train
from dsopt.config import ClusterConfig
from dsopt.errors import JobError
from dsopt.pipeline.plan import Plan
from dsopt.selection import choose, reading
from dsopt.stages import select
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


def test_what_choosing_takes(monkeypatch: pytest.MonkeyPatch) -> None:
    parts = [Part("a", 3_000_000), Part("b", 1_000_000)]
    monkeypatch.setattr(reading, "embedding_size", lambda part: 200)
    keys = 64 * 4_000_000 + reading.PROCESS_BYTES

    def needed(name: str, **more: Any) -> int:
        return reading.memory_needed(parts, name, {}, **more)

    assert needed("random") == keys == needed("top_activation")  # the latter reads embeddings block by block
    assert needed("kcenter") == keys + 12 * 200 * 1_000_000  # a shard
    assert needed("top_activation", pca=8) == needed("kcenter") == needed("kcenter", shard_rows=1_000_000)


def test_scores_are_read_by_column(monkeypatch: pytest.MonkeyPatch) -> None:
    """One column of the table has the probabilities of all classes."""
    import pyarrow as pa

    asked: list[list[str] | None] = []
    table = pa.table({"id": [0, 1], "el2n": [0.5, 0.25], "probability": [[1.0, 0.0], [0.5, 0.5]]})

    def read_table(uri: str, columns: list[str] | None = None) -> pa.Table:
        asked.append(columns)
        return table.select(columns or table.column_names)

    monkeypatch.setattr(choose, "read_table", read_table)
    monkeypatch.setattr(choose, "schema_of", lambda part: table.schema)
    ids, columns = choose._scores([Part("s", 2)], ["el2n"], "el2n")
    assert ids.tolist() == [0, 1] and columns.tolist() == [[0.5], [0.25]] and asked == [["id", "el2n"]]
