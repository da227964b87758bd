"""The sources `folder` and `parquet`: supported layouts, and broken rows."""

import dataclasses
import io
import json
import os
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from dsopt.config import DataConfig
from dsopt.data.ingest import Broken, ingest_shard, source_channels
from dsopt.data.sets import parquet as parquet_set
from dsopt.data.sources.source import Listing, find
from dsopt.errors import InputError


def encoded(color: Any = (200, 30, 90), kind: str = "PNG", mode: str = "RGB", size: tuple[int, int] = (32, 32)) -> bytes:
    sink = io.BytesIO()
    Image.new(mode, size, color).save(sink, kind)
    return sink.getvalue()


def write(root: Path, **files: bytes) -> None:
    for name, content in files.items():
        path = root / name.replace("__", "/").replace("_png", ".png").replace("_jpg", ".jpg")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)


def ingested(listing: Listing, **changes: Any) -> tuple[dict[str, list[dict[str, Any]]], list[Broken]]:
    """All rows of a source by split, and the skipped rows."""
    shards, classes = listing
    data = DataConfig(**{"channels": 3, "test_fraction": 0.5, **changes})
    rows: dict[str, list[dict[str, Any]]] = {"train": [], "test": []}
    broken = []
    for shard in pickle.loads(pickle.dumps(shards)):
        found = ingest_shard(shard, data, classes)
        broken += found.broken
        for split, table in found.tables.items():
            rows[split] += table.to_pylist()
    return rows, broken


def folder(root: Path, **changes: Any) -> DataConfig:
    return DataConfig(name="folder", root=str(root), **changes)


def parquet(root: Path | str, **options: Any) -> DataConfig:
    return DataConfig(name="parquet", root=str(root), options=options)


# --- folder --------------------------------------------------------------------------------------------------------


def test_folder_with_train_and_test(tmp_path):
    write(tmp_path, train__cat__1_png=encoded(), train__dog__1_jpg=encoded(kind="JPEG"), test__dog__x__2_png=encoded())
    for name in ("train/cat/Thumbs.db", "train/cat/.hidden.png", "notes.txt", "__MACOSX/cat/1.png"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"no image")
    source = find(folder(tmp_path))
    assert source.list_shards()[1] == ["cat", "dog"] and not source.remote and source.fingerprint["files"] == 3
    rows, broken = ingested(source.list_shards())
    assert broken == []
    found = {split: [(row["id"], row["label"], row["key"]) for row in rows[split]] for split in rows}
    assert found["train"] == [(0, 0, "train/cat/1.png"), (1, 1, "train/dog/1.jpg")]
    assert found["test"] == [(2, 1, "test/dog/x/2.png")]
    assert rows["train"][1]["image"]["bytes"] == encoded(kind="JPEG")


def test_folder_of_classes_is_split_by_fraction(tmp_path):
    for i in range(20):
        write(tmp_path, **{f"b__{i:02}_png": encoded(), f"a__{i:02}_png": encoded()})
    listing = find(folder(tmp_path)).list_shards()
    rows, broken = ingested(listing)
    assert broken == [] and listing[1] == ["a", "b"]
    assert sorted(row["id"] for split in rows.values() for row in split) == list(range(40))
    assert rows["train"] and rows["test"]
    for row in rows["train"] + rows["test"]:
        assert "ab"[row["label"]] == row["key"][0]


def test_limit_of_a_folder_shows_all_classes(tmp_path):
    for i in range(5):
        write(tmp_path, **{f"{c}__{i}_png": encoded() for c in "abc"})
    rows, _ = ingested(find(folder(tmp_path, limit=6)).list_shards())
    assert sorted(row["key"] for split in rows.values() for row in split) == [f"{c}/{i}.png" for c in "abc" for i in (0, 1)]


def test_folder_without_classes_has_no_labels(tmp_path):
    write(tmp_path, a_png=encoded(), b_png=encoded())
    listing = find(folder(tmp_path)).list_shards()
    rows, broken = ingested(listing)
    assert listing[1] is None and broken == []
    assert [row["label"] for split in rows.values() for row in split] == [None, None]


def test_validation_serves_as_test_only_where_there_is_none(tmp_path):
    write(tmp_path, train__a__1_png=encoded(), val__a__2_png=encoded())
    rows, _ = ingested(find(folder(tmp_path)).list_shards())
    assert [row["key"] for row in rows["test"]] == ["val/a/2.png"]
    write(tmp_path, test__a__3_png=encoded())
    rows, _ = ingested(find(folder(tmp_path)).list_shards())
    assert [row["key"] for row in rows["test"]] == ["test/a/3.png"] and len(rows["train"]) == 1


def test_classes_may_be_called_train(tmp_path):
    write(tmp_path, train__1_png=encoded(), car__1_png=encoded())
    assert find(folder(tmp_path)).list_shards()[1] == ["car", "train"]


def test_only_train_is_one_undecided_split(tmp_path):
    write(tmp_path, train__a__1_png=encoded(), train__b__1_png=encoded())
    shards, classes = find(folder(tmp_path)).list_shards()
    assert classes == ["a", "b"] and [shard.split for shard in shards] == [None]


def test_what_lies_beside_train_and_test_is_refused(tmp_path):
    write(tmp_path, train__a__1_png=encoded(), test__a__1_png=encoded(), extra__1_png=encoded())
    with pytest.raises(InputError, match="also extra"):
        find(folder(tmp_path))


@pytest.mark.parametrize("make", [lambda path: path.mkdir(), lambda path: path.write_text("a file")])
def test_a_wrong_root_is_named(tmp_path, make):
    make(tmp_path / "there")
    with pytest.raises(InputError, match="there: no image files there"):
        find(folder(tmp_path / "there"))
    with pytest.raises(InputError, match=r"elsewhere: there is no such folder\.$"):
        find(folder(tmp_path / "elsewhere"))


def test_a_root_is_needed():
    with pytest.raises(InputError, match=r"data\.root"):
        find(DataConfig(name="folder"))


def test_the_fingerprint_follows_the_files(tmp_path):
    write(tmp_path, a__1_png=encoded())
    first = find(folder(tmp_path)).fingerprint
    assert first == find(folder(tmp_path)).fingerprint == json.loads(json.dumps(first))
    write(tmp_path, a__1_png=encoded((0, 0, 0)))
    assert first != find(folder(tmp_path)).fingerprint


def test_broken_rows_are_listed_and_leave_the_ids_alone(tmp_path):
    good = encoded(kind="JPEG", size=(64, 64))
    files = {f"a__{i}_png": encoded() for i in (0, 2, 5, 6)}
    write(tmp_path, **files, a__1_png=b"not an image", a__3_jpg=good[: len(good) // 2], a__4_png=b"", top_png=encoded())
    rows, broken = ingested(find(folder(tmp_path)).list_shards())
    kept = {row["id"]: row["key"] for split in rows.values() for row in split}
    reasons = {bad.key: bad.reason for bad in broken}
    assert set(reasons) == {"top.png", "a/1.png", "a/3.jpg", "a/4.png"}
    assert reasons["top.png"] == "no label" and "runcated" in reasons["a/3.jpg"]
    assert reasons["a/1.png"].startswith("not an image") and "0x" not in reasons["a/1.png"]
    everything = kept | {bad.id: bad.key for bad in broken}
    assert sorted(everything) == list(range(8))

    for name in ("1.png", "4.png"):
        (tmp_path / "a" / name).write_bytes(encoded())
    (tmp_path / "a/3.jpg").write_bytes(good)
    mended, _ = ingested(find(folder(tmp_path)).list_shards())
    assert kept.items() <= {row["id"]: row["key"] for split in mended.values() for row in split}.items()


def test_on_error_fail_names_the_row(tmp_path):
    write(tmp_path, a__1_png=encoded(), a__2_png=b"no image")
    with pytest.raises(InputError, match=r"a/2\.png: not an image"):
        ingested(find(folder(tmp_path)).list_shards(), on_error="fail")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_file_without_permission_is_a_broken_row(tmp_path):
    write(tmp_path, a__1_png=encoded())
    (tmp_path / "a/1.png").chmod(0)
    assert [bad.reason for bad in ingested(find(folder(tmp_path)).list_shards())[1]] == ["no image"]


# --- parquet -------------------------------------------------------------------------------------------------------


def write_parquet(path: Path, labels: Any, image: str = "image", label: str = "label", struct: bool = True, **how: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    data = encoded()
    images: list[Any] = [{"bytes": data, "path": f"{i}.png"} for i in range(len(labels))] if struct else [data] * len(labels)
    pq.write_table(pa.table({image: images, label: labels}), path, **how)


@pytest.mark.parametrize("image, struct", [("img", True), ("image", False)])
def test_parquet_columns_are_recognised(tmp_path, image, struct):
    write_parquet(tmp_path / "data.parquet", [3, 1, 2], image=image, struct=struct)
    listing = find(parquet(tmp_path / "data.parquet")).list_shards()
    rows, broken = ingested(listing)
    assert broken == [] and listing[1] is None
    everything = sorted(rows["train"] + rows["test"], key=lambda row: row["id"])
    assert [row["label"] for row in everything] == [3, 1, 2]
    assert all(row["image"]["bytes"] == encoded() for row in everything)
    assert everything[1]["key"] == "data.parquet#1"


@pytest.mark.parametrize("encode", [pa.array, lambda labels: pa.array(labels).dictionary_encode()])
def test_text_labels_become_sorted_classes(tmp_path, encode):
    write_parquet(tmp_path / "train-0.parquet", encode(["dog", "cat"]))
    write_parquet(tmp_path / "test-0.parquet", encode(["emu", "dog"]))
    listing = find(parquet(tmp_path)).list_shards()
    rows, _ = ingested(listing)
    assert listing[1] == ["cat", "dog", "emu"]
    assert [row["label"] for row in rows["train"]] == [1, 0] and [row["label"] for row in rows["test"]] == [2, 1]


def test_class_names_of_the_hub(tmp_path):
    features = {"image": {"_type": "Image"}, "label": {"names": ["no", "yes"], "_type": "ClassLabel"}}
    table = pa.table({"image": [encoded()] * 3, "label": [0, 1, 2]})
    note = {"huggingface": json.dumps({"info": {"features": features}})}
    pq.write_table(table.replace_schema_metadata(note), tmp_path / "a.parquet")
    listing = find(parquet(tmp_path)).list_shards()
    assert listing[1] == ["no", "yes"]
    assert [(bad.id, bad.reason) for bad in ingested(listing)[1]] == [(2, "label 2 is not in 0..1")]


def test_files_folders_and_globs(tmp_path):
    for name in ("train/0.parquet", "train/1.pq", "test/0.parquet", "train/.hidden.parquet", "train/notes.txt"):
        write_parquet(tmp_path / name, [0])

    def found(root: str) -> list[tuple[str | None, int]]:
        return [(shard.split, shard.first_id) for shard in find(parquet(tmp_path / root)).list_shards()[0]]

    assert found("") == [("train", 0), ("train", 1), ("test", 2)]
    assert found("train/0.parquet") == [(None, 0)]
    assert found("*/*.parquet") == found("**/*.parquet") == found("t*/[0-9].parquet") == [("train", 0), ("test", 1)]
    with pytest.raises(InputError, match="no Parquet files"):
        find(parquet(tmp_path / "*/*.arrow"))


def test_validation_is_left_out_beside_train_and_test(tmp_path):
    for name in ("train", "validation", "test"):
        write_parquet(tmp_path / f"{name}.parquet", [0])
    assert [shard.split for shard in find(parquet(tmp_path)).list_shards()[0]] == ["train", "test"]


def test_missing_wrong_and_hidden_labels_are_broken_rows(tmp_path):
    write_parquet(tmp_path / "a.parquet", pa.array([1.0, 2.5, None, float("nan"), -1.0, 0.0]))
    rows, broken = ingested(find(parquet(tmp_path)).list_shards())
    assert {row["id"]: row["label"] for row in rows["train"] + rows["test"]} == {0: 1, 5: 0}
    reasons = {bad.id: bad.reason for bad in broken}
    assert list(reasons) == [1, 2, 3, 4]
    assert reasons[1] == "label 2.5 is not a whole number" and reasons[2] == reasons[3] == "no label"


def test_a_set_without_labels(tmp_path):
    pq.write_table(pa.table({"image": [encoded(), None]}), tmp_path / "a.parquet")
    rows, broken = ingested(find(parquet(tmp_path)).list_shards())
    assert [row["label"] for row in rows["train"] + rows["test"]] == [None]
    assert broken == [Broken(1, "a.parquet#1", "no image")]


def test_columns_can_be_named(tmp_path):
    write_parquet(tmp_path / "a.parquet", [1, 0], image="photo", label="kind")
    rows, _ = ingested(find(parquet(tmp_path, image_column="photo", label_column="kind")).list_shards())
    assert sorted(row["label"] for row in rows["train"] + rows["test"]) == [0, 1]
    with pytest.raises(InputError, match="photo"):
        find(parquet(tmp_path)).list_shards()
    with pytest.raises(InputError, match="foto"):
        find(parquet(tmp_path, image_column="foto")).list_shards()
    with pytest.raises(InputError, match="knd"):
        find(parquet(tmp_path, image_column="photo", label_column="knd")).list_shards()


def test_wrong_columns_and_files_are_named(tmp_path):
    (tmp_path / "bad.parquet").write_bytes(b"PAR1 but not really")
    with pytest.raises(InputError, match=r"bad\.parquet: not a readable Parquet file"):
        find(parquet(tmp_path)).list_shards()
    pq.write_table(pa.table({"image": [1.5], "label": [1]}), tmp_path / "bad.parquet")
    with pytest.raises(InputError, match="'image' is double"):
        find(parquet(tmp_path)).list_shards()
    pq.write_table(pa.table({"image": [encoded()], "label": [[1]]}), tmp_path / "bad.parquet")
    with pytest.raises(InputError, match="whole numbers or text"):
        find(parquet(tmp_path)).list_shards()
    write_parquet(tmp_path / "bad.parquet", [1])
    write_parquet(tmp_path / "other.parquet", ["one"])
    with pytest.raises(InputError, match="one kind"):
        find(parquet(tmp_path)).list_shards()


@pytest.mark.parametrize("groups", [[10_000], [100] * 100, [3000, 3000, 9000, 50, 4096, 1]])
def test_shards_cover_every_row_once(tmp_path, groups):
    ranges = parquet_set._ranges(groups)
    assert [start for start, _ in ranges] == [0, *(stop for _, stop in ranges[:-1])] and ranges[-1][1] == sum(groups)
    assert all(0 < stop - start <= 4096 for start, stop in ranges)


@pytest.mark.parametrize("row_group", [7, 100, 1000])
def test_a_shard_reads_its_own_rows_only(tmp_path, monkeypatch, row_group):
    monkeypatch.setattr(parquet_set, "SHARD_ROWS", 64)
    monkeypatch.setattr(parquet_set, "BATCH_ROWS", 10)
    write_parquet(tmp_path / "a.parquet", list(range(300)), row_group_size=row_group)
    shards, _ = find(parquet(tmp_path)).list_shards()
    assert len(shards) > 3
    for shard in shards:
        rows = list(shard.read())
        assert [row.label for row in rows] == list(range(shard.first_id, shard.first_id + shard.rows))
        assert rows[0].key == f"a.parquet#{shard.first_id}"


def test_channels_follow_the_readable_images(tmp_path):
    write(tmp_path, a__0_png=b"broken", a__1_png=encoded(7, mode="L"), a__2_png=encoded(9, mode="L"))
    shards, classes = find(folder(tmp_path)).list_shards()
    assert source_channels(shards) == 1
    rows, _ = ingested((shards, classes), channels=1)
    assert {Image.open(io.BytesIO(row["image"]["bytes"])).mode for row in rows["train"] + rows["test"]} == {"L"}
    write(tmp_path, a__1_png=b"", a__2_png=b"")
    with pytest.raises(InputError, match="no image"):
        source_channels(find(folder(tmp_path)).list_shards()[0])


def test_ingest_gives_the_same_bytes_twice(tmp_path):
    data = DataConfig(name="digits", channels=1, limit=50)
    shards, classes = find(data).list_shards()
    first, second = (ingest_shard(shards[0], dataclasses.replace(data), classes).tables for _ in range(2))
    assert first["train"].equals(second["train"]) and np.all(np.diff(first["train"]["id"].to_numpy()) > 0)
