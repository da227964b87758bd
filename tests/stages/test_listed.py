"""select.ids: a list that another tool made is the subset, in its order."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from running import SMALL, one_line, read

from dsopt.errors import InputError
from dsopt.files import join, read_table, write_bytes, write_table
from dsopt.pipeline.plan import Plan
from dsopt.selection.listed import choose_listed, read_list
from dsopt.stages import select
from dsopt.storage import Part, Stage, Table


def subset(storage: str, *overrides: str) -> Stage:
    plan = Plan(read(f"storage={storage}/runs", "data.limit=60", "data.image_size=32", "cluster.workers=0", *overrides))
    stage = select.subset(plan, plan.config.select, plan.config.seed)
    plan.run(stage)
    return stage


@pytest.fixture(scope="module")
def ids(tmp_path_factory: pytest.TempPathFactory) -> list[int]:
    """Ids of training images, in an order of their own."""
    images = subset(str(tmp_path_factory.mktemp("images")), "select.name=random").inputs["images"]
    return Table(images.uri).read("train", ["id"])["id"].to_pylist()[30:0:-1]


def ranked(stage: Stage, column: str = "id") -> list[Any]:
    return Table(stage.uri).read(columns=["rank", column]).sort_by("rank")[column].to_pylist()


def as_text(names: list[Any]) -> bytes:
    return "\ufeff".encode() + "\r\n".join([*map(str, names), ""]).encode()


@pytest.mark.slow
def test_ids_or_keys_in_any_format_give_the_same_images_in_that_order(storage: str, ids: list[int]) -> None:
    lists = {"ids.txt": as_text(ids), "ids.csv": b"split,id\n" + b"".join(b"train,%d\n" % id for id in ids)}
    for name, content in lists.items():
        write_bytes(join(storage, name), content)
    first = subset(storage, f"select.ids={storage}/ids.txt")
    keys, other = ranked(first, "key"), subset(storage, f"select.ids={storage}/ids.csv")
    assert ranked(first) == ranked(other) == ids and first.hash != other.hash
    assert "ids-" in first.folder and set(ranked(first, "reason")) == {"listed"}
    write_bytes(join(storage, "keys.list"), as_text(keys))
    write_bytes(join(storage, "keys.jsonl"), "\n".join(json.dumps({"key": key}) for key in keys).encode())
    write_table(join(storage, "keys.parquet"), pa.table({"id": ["a document's"] * len(keys), "key": keys}))
    for name in ("keys.list", "keys.jsonl", "keys.parquet"):
        assert ranked(subset(storage, f"select.ids={storage}/{name}")) == ids


def test_a_list_of_another_subset_is_taken_by_its_ranks(tmp_path: Path) -> None:
    first = subset(str(tmp_path), "select.name=random", "select.budget=7")
    again = subset(str(tmp_path), f"select.ids={first.uri}/subset.csv")
    assert ranked(again) == ranked(first) and again.hash != first.hash


def test_a_changed_list_is_another_subset_and_a_moved_one_is_the_same(tmp_path: Path, ids: list[int]) -> None:
    for name, some in (("a.txt", ids), ("b.txt", ids), ("c.txt", ids[:3])):
        (tmp_path / name).write_bytes(as_text(some))
    a, b, c = (subset(str(tmp_path), f"select.ids={tmp_path}/{name}") for name in ("a.txt", "b.txt", "c.txt"))
    assert a.hash == b.hash != c.hash and ranked(c) == ids[:3]
    budget = subset(str(tmp_path), f"select.ids={tmp_path}/a.txt", "select.budget=2", "select.name=random")
    assert budget.hash == a.hash != subset(str(tmp_path), f"select.ids={tmp_path}/a.txt", "select.content=none").hash


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.txt", b"", "lists no image"),
        ("a.txt", b"1\n2\n1\n", "1 ids come more than once, such as 1"),
        ("a.txt", b"3\n999999\n-1\n", "keys are of no training image, such as"),
        ("a.txt", b"3\n999999\n888888\n", "2 of 3 ids are of no training image, such as 999999, 888888"),
        ("a.txt", b"\xff\xfe\x00", "is no text; expected one id or key a line"),
        ("a.csv", b"name\nx\n", "expected a column `id` of whole numbers or `key`; the columns are name"),
        ("a.csv", b"id,x\n1,\n,2\n", "has rows without a name"),
        ("a.json", b"[1, 2]", "not a readable table"),
        ("a.txt", b"9" * 30, "1 of 1 keys are of no training image, such as 999"),
        ("a.jsonl", b'{"id": 1, "rank": "10"}', "column `rank` is string; expected numbers"),
        (None, b"", "there is no such file"),
    ],
)
def test_what_is_wrong_with_a_list_is_one_line(
    name: str | None, content: bytes, message: str, tmp_path: Path, job: Callable[..., tuple[int, str, str]]
) -> None:
    if name:
        (tmp_path / name).write_bytes(content)
    place = (f"storage={tmp_path}/runs", "data.limit=60", "cluster.workers=0")
    status, _, error = job("select", f"select.ids={tmp_path}/{name or 'nothing.txt'}", *place)
    assert status == 2 and message in one_line(error)


def parts(folder: Path, keys: list[str]) -> list[Part]:
    path = str(folder / "images.parquet")
    write_table(path, pa.table({"id": range(len(keys)), "key": keys}))
    return [Part(path, len(keys))]


def test_numbers_that_are_keys(tmp_path: Path) -> None:
    text, table = tmp_path / "a.txt", tmp_path / "a.csv"
    for path, content in ((text, "007\n008\n"), (table, "key\n007\n008\n")):
        path.write_text(content)
        found = choose_listed(read_list(str(path)), parts(tmp_path, ["008", "x", "007"]))
        assert found["id"].to_pylist() == [2, 0] and found["rank"].to_pylist() == [0, 1]
    text.write_text("1\n2\n")
    with pytest.raises(InputError, match="its numbers are ids and keys of images"):
        choose_listed(read_list(str(text)), parts(tmp_path, ["2", "1", "0"]))
    assert choose_listed(read_list(str(text)), parts(tmp_path, ["0", "1", "2"]))["id"].to_pylist() == [1, 2]


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16"])  # utf-16: as PowerShell's > writes
def test_keys_with_blanks_around_them(tmp_path: Path, encoding: str) -> None:
    text = tmp_path / "a.txt"
    text.write_bytes("b.png \r\n  a b.png\t\r\nb.png\r\n".encode(encoding))
    assert choose_listed(read_list(str(text)), parts(tmp_path, ["a b.png", "b.png", "b.png "]))["id"].to_pylist() == [2, 0, 1]
    with pytest.raises(InputError, match="1 keys come more than once, such as b"):
        choose_listed(read_list(str(text)), parts(tmp_path, ["a b.png", "b.png"]))
    text.write_bytes(" 1 \r\n 0\r\n".encode(encoding))
    assert choose_listed(read_list(str(text)), parts(tmp_path, ["x", "y"]))["id"].to_pylist() == [1, 0]


def test_a_key_of_several_images_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("x\ny\n")
    with pytest.raises(InputError, match="1 more images have the same keys; expected a list of ids"):
        choose_listed(read_list(str(tmp_path / "a.txt")), parts(tmp_path, ["x", "y", "x"]))


@pytest.mark.slow
def test_a_list_is_compared_with_as_many_random_images(
    tmp_path: Path, ids: list[int], job: Callable[..., tuple[int, str, str]]
) -> None:
    (tmp_path / "best.txt").write_bytes(as_text(ids))
    tiny = (*SMALL, "cluster.workers=0", "autoencoder.steps=6", "train.steps=6", "data.limit=60", f"storage={tmp_path}/runs")
    status, output, error = job("optimize", f"select.ids={tmp_path}/best.txt", *tiny)
    assert (status, error) == (0, "") and "ids, 50/50" in output and "random, 50/50" in output
    assert {len(read_table(str(path))) for path in (tmp_path / "runs" / "select").rglob("part-*.parquet")} == {30}
    assert not (tmp_path / "runs" / "autoencoder").exists()
