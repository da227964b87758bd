"""Ingest from a folder: what is told, what is refused, and the same table however many processes read it."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from running import assert_same, read, tables

from dsopt.config import DataConfig
from dsopt.data.sets import folder
from dsopt.data.sources import source as sources
from dsopt.data.sources.source import Findings, Source
from dsopt.errors import InputError
from dsopt.files import read_bytes
from dsopt.pipeline.plan import Plan
from dsopt.pipeline.step import show
from dsopt.stages import ingest
from dsopt.storage import Table

POINTER = "version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 12345\n"


def write(root: Path, counts: dict[str, int]) -> None:
    """Pictures that all differ: {"train/cats": 8}."""
    numbers = np.random.default_rng(0)
    for name, count in counts.items():
        (root / name).mkdir(parents=True, exist_ok=True)
        for i in range(count):
            Image.fromarray(numbers.integers(0, 255, (20, 30, 3), np.uint8)).save(root / name / f"{i}.png")


def made(root: Path, storage: Path, *overrides: str) -> dict[str, Any]:
    """The manifest of the images table of a folder."""
    plan = Plan(read("data.name=folder", f"data.root={root}", f"storage={storage}", "cluster.workers=0", *overrides))
    stage = ingest.images(plan)
    plan.run(stage)
    return Table(stage.uri).manifest


def findings(monkeypatch: pytest.MonkeyPatch, found: Findings) -> None:
    """What a look at any source finds."""
    find = sources.find

    def looked(data: DataConfig) -> Source:
        return replace(find(data), look=lambda: found)

    monkeypatch.setattr(ingest, "find", looked)


def test_the_manifest_and_the_terminal_have_what_was_read(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write(tmp_path / "in", {"train/a": 6, "train/b": 5, "test/a": 2, "test/b": 2})
    (tmp_path / "in/test/a/again.png").write_bytes((tmp_path / "in/train/a/0.png").read_bytes())
    Image.new("RGB", (40, 40), "red").save(tmp_path / "in/train/b/red.png")
    manifest = made(tmp_path / "in", tmp_path / "runs")
    assert manifest["understood"] | {"bytes": 0} == {
        "counts": {"test": {"a": 3, "b": 2}, "train": {"a": 6, "b": 6}},
        "formats": {"PNG": 17},
        "smallest": [30, 20],
        "largest": [40, 40],
        "duplicates": 1,
        "in_both": 1,
        "conflicting": 0,
        "bytes": 0,
        "pointers": 0,
        "uniform": 1,
        "hints": [],
    }
    assert manifest["understood"]["bytes"] == sum(path.stat().st_size for path in (tmp_path / "in").rglob("*.png"))
    out = capsys.readouterr().out
    for line in ("pixels               30x20  the smallest; the largest 40x40", "duplicates               1  with"):
        assert f"  {line}" in out
    assert "warning        1 test image has the same bytes as a training image" in out
    assert "warning        1 image has one color in all pixels" in out


def test_check_off_warns_of_nothing_and_changes_no_hash(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write(tmp_path / "in", {"train/cats": 6, "train/dogs": 6, "test/cats": 2})
    hash = made(tmp_path / "in", tmp_path / "runs", "data.check=off")["hash"]
    assert "warning" not in capsys.readouterr().out
    assert made(tmp_path / "in", tmp_path / "other")["hash"] == hash
    assert "warning        1 of 2 classes are only in training, and never tested: dogs" in capsys.readouterr().out


def test_names_that_differ_between_splits_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path / "in", {"train/Cat": 4, "train/dog": 4, "test/cat": 2, "test/dog": 2})
    with pytest.raises(InputError, match=r"'Cat', 'cat'; training and test use different ones \(data.check=off"):
        made(tmp_path / "in", tmp_path / "runs")
    assert not list((tmp_path / "runs").glob("ingest/*/_DONE"))
    assert made(tmp_path / "in", tmp_path / "runs", "data.check=off")["num_classes"] == 3
    findings(monkeypatch, Findings(counts={"train": {"Cat": 4, "dog": 4}, "test": {"cat": 2, "dog": 2}}))
    with pytest.raises(InputError, match="different ones"):  # before any image is read
        made(tmp_path / "in", tmp_path / "new")
    assert not list((tmp_path / "new").glob("ingest/*/data"))


def test_what_the_source_tells_is_shown_before_any_work(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    write(tmp_path / "in", {"train/a": 6, "train/b": 5, "test/a": 2, "test/b": 2})
    hint = "column species may hold labels; data.options.label_column=species reads it"
    findings(monkeypatch, Findings(hints=(hint,), counts={"train": {"a": 6, "b": 5}, "test": 4}))
    plan = Plan(read("data.name=folder", f"data.root={tmp_path}/in", f"storage={tmp_path}/runs", "cluster.workers=0"))
    show(plan.to(ingest.images(plan)), plan.config)
    shown = capsys.readouterr().out
    assert f"what was found in {tmp_path}/in\n  train                   11  labelled\n" in shown
    assert f"  warning        {hint}\n" in shown and not (tmp_path / "runs").exists()
    assert made(tmp_path / "in", tmp_path / "runs")["understood"]["hints"] == [hint]
    assert capsys.readouterr().out.count("labelled") == 1  # what was told before is not told again


def test_pointers_of_git_lfs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write(tmp_path / "in", {"a": 6, "b": 6})
    for i in range(4):
        (tmp_path / f"in/a/more{i}.png").write_text(POINTER)
    made(tmp_path / "in", tmp_path / "runs")
    out = capsys.readouterr().out
    assert "4 of 16 rows are broken" in out and "pointers of git-lfs" in out
    for path in (tmp_path / "in").rglob("*.png"):
        path.write_text(POINTER)
    with pytest.raises(InputError, match="git lfs pull"):
        made(tmp_path / "in", tmp_path / "runs")


@pytest.mark.long
@pytest.mark.slow
def test_several_processes_give_the_same_table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(folder, "SHARD_FILES", 8)
    monkeypatch.setattr(ingest, "FEW", 0)
    write(tmp_path / "in", {"train/a": 20, "train/b": 15, "test/a": 5, "test/b": 5})
    for cores in (1, 2, 3):
        manifest = made(tmp_path / "in", tmp_path / str(cores), f"cluster.cpus_per_worker={cores}")
        assert len(manifest["parts"]) == 7
        assert_same(tables(str(tmp_path / str(cores))), tables(str(tmp_path / "1")))
        files = {path.name: path.read_bytes() for path in (tmp_path / str(cores)).glob("ingest/*/data/*")}
        assert files == {path.name: path.read_bytes() for path in (tmp_path / "1").glob("ingest/*/data/*")}


def test_each_task_is_sent_its_own_names_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(folder, "SHARD_FILES", 8)
    write(tmp_path / "in", {"train/a": 20, "train/b": 15})
    sent: list[Any] = []

    def stream(function: Callable[[Any], Any], items: list[Any], processes: int) -> Any:
        sent.extend([function, *items])
        return map(function, items)

    monkeypatch.setattr(ingest.processes, "unordered", stream)
    stage = made(tmp_path / "in", tmp_path / "runs")
    function, *items = sent
    assert len(items) == 5 and ".png" not in str(function)
    assert [len(shard.read.files) for _, shard in items] == [8, 8, 8, 8, 3]
    journal = sorted((tmp_path / "runs").glob("ingest/*/_journal/*"))
    assert sum(json.loads(read_bytes(str(path)))["read"] for path in journal) == stage["understood"]["bytes"]
