"""Tables of paths, Parquet files with paths only, and tar shards."""

import functools
import http.server
import io
import json
import shutil
import tarfile
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import fsspec
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from reading import IMAGE, found, picture, write, write_parquet

from dsopt.config import DataConfig
from dsopt.data.sets.folder import located
from dsopt.data.sets.webdataset import spans
from dsopt.data.sources import tars
from dsopt.data.sources.source import find
from dsopt.data.sources.tars import Sample, read_index
from dsopt.errors import InputError
from dsopt.files import join, read_range, write_bytes

# --- tables ----------------------------------------------------------------------------------------------------------

ROWS = [{"path": f"images/{i}.png", "species": ("oak", "fir")[i % 2], "split": ("train", "test")[i >= 4]} for i in range(6)]


def as_csv(rows: list[dict[str, Any]], separator: str = ",") -> bytes:
    return "\n".join(separator.join(map(str, line)) for line in [list(rows[0]), *(row.values() for row in rows)]).encode()


def as_parquet(rows: list[dict[str, Any]]) -> bytes:
    sink = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(rows), sink)
    return sink.getvalue()


KINDS: dict[str, Callable[[list[dict[str, Any]]], bytes]] = {
    "all.csv": as_csv,
    "all.tsv": lambda rows: as_csv(rows, "\t"),
    "all.jsonl": lambda rows: "\n".join(map(json.dumps, rows)).encode(),
    "all.json": lambda rows: json.dumps(rows).encode(),
    "all.parquet": as_parquet,
}


@pytest.mark.parametrize("name", KINDS)
def test_a_table_of_paths_labels_and_splits(storage: str, name: str) -> None:
    for row in ROWS:
        write_bytes(join(storage, row["path"]), picture())
    write_bytes(join(storage, name), KINDS[name](ROWS))
    read = found("table", join(storage, name), label_column="species")
    assert read.classes == ["fir", "oak"] and read.sizes() == {"train": 4, "test": 2} and read.broken == []
    assert read.rows["test"] == {"images/4.png": "oak", "images/5.png": "fir"}
    assert read.findings.counts == {"train": {"oak": 2, "fir": 2}, "test": {"oak": 1, "fir": 1}}
    unlabelled = found("table", join(storage, name))
    assert unlabelled.classes is None and "species" in unlabelled.findings.hints[0]


def test_paths_may_be_uris_and_absolute(tmp_path: Path, s3_storage: str) -> None:
    memory = fsspec.filesystem("memory")
    memory.pipe("/dsopt-table/1.png", picture(1))
    write_bytes(f"{s3_storage}/2 #?.png", picture(2))
    write(tmp_path, "photos/3.png", "lists/4.png")
    uris = ["memory://dsopt-table/1.png", f"{s3_storage}/2 #?.png"]
    names = [*uris, f"{tmp_path}/photos/3.png", "../photos/3.png", "./4.png", "gone.png"]
    (tmp_path / "lists/all.csv").write_text("url,y\n" + "\n".join(f"{name},{i}" for i, name in enumerate(names)))
    read = found("table", tmp_path / "lists/all.csv")
    assert read.labels() == [0, 1, 2, 3, 4] and [row.key for row in read.broken] == ["gone.png"]
    rows = [row for shard in read.source.list_shards()[0] for row in shard.read()]
    assert [row.place and row.place.uri for row in rows[:2]] == uris
    memory.rm("/dsopt-table", recursive=True)


def test_a_table_on_a_web_server(tmp_path: Path) -> None:
    write(tmp_path, "img/1 #.png", "img/2.png")
    (tmp_path / "all.csv").write_text("path,label\nimg/1 #.png,1\nimg/2.png,0\nimg/3.png,0\n")
    handler = functools.partial(http.server.SimpleHTTPRequestHandler, directory=str(tmp_path))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        read = found("table", f"http://127.0.0.1:{server.server_port}/all.csv")
        server.shutdown()
    assert read.labels() == [1, 0] and [row.key for row in read.broken] == ["img/3.png"]


def test_columns_of_a_table_can_be_named_and_wrong_ones_are_told(tmp_path: Path) -> None:
    write(tmp_path, "1.png")
    (tmp_path / "all.csv").write_text("picture,kind,fold\n1.png,cat,train\n")
    assert found("table", tmp_path / "all.csv", image_column="picture", label_column="kind").labels() == ["cat"]
    for options, message in (
        ({}, r"column of paths \(options.image_column\)"),
        ({"image_column": "pictur"}, "Did you mean 'picture'"),
        ({"image_column": "picture", "label_column": "knd"}, "knd"),
        ({"image_column": "picture", "split_column": "flod"}, "flod"),
    ):
        with pytest.raises(InputError, match=message):
            found("table", tmp_path / "all.csv", **options)
    (tmp_path / "all.csv").write_text('a,b\n"x')
    with pytest.raises(InputError, match=r"all\.csv: "):
        found("table", tmp_path / "all.csv")


def test_tables_of_splits(tmp_path: Path) -> None:
    write(tmp_path, "1.png", "2.png")
    (tmp_path / "train.csv").write_text("file_name,label\n1.png,0\n")
    (tmp_path / "test.csv").write_text("file_name,label\n2.png,0\n")
    assert found("table", tmp_path).sizes() == {"train": 1, "test": 1}


@pytest.mark.parametrize("absolute", [True, False])
@pytest.mark.parametrize("struct", [True, False])
def test_parquet_with_paths_only(tmp_path: Path, absolute: bool, struct: bool) -> None:
    write(tmp_path, "data/pictures/1.png", "data/pictures/2.png")
    paths = [f"{tmp_path}/data/" * absolute + f"pictures/{i}.png" for i in (1, 2, 3)]
    images = pa.array([{"bytes": None, "path": path} for path in paths], IMAGE) if struct else pa.array(paths)
    pq.write_table(pa.table({"image": images, "label": [5, 6, 7]}), tmp_path / "data/train.parquet")
    read = found("parquet", tmp_path)
    assert read.labels() == [5, 6] and [row.reason for row in read.broken] == ["no image"]
    place = next(iter(read.source.list_shards()[0][0].read())).place
    assert place and place.uri == f"{tmp_path}/data/pictures/1.png" and place.row is None


# --- tar shards ------------------------------------------------------------------------------------------------------


def tar(members: dict[str, bytes], mode: str = "w") -> bytes:
    sink = io.BytesIO()
    with tarfile.open(fileobj=sink, mode=mode) as file:  # type: ignore[call-overload]
        for name, data in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            file.addfile(info, io.BytesIO(data))
    return sink.getvalue()


def samples(count: int, start: int = 0, label: str = "cls", image: str = "jpg") -> dict[str, bytes]:
    """Members of `count` samples of the classes 0 and 1."""
    made = {}
    for i in range(start, start + count):
        made[f"dir/{i:05}.{image}"] = picture(i, {"jpg": "JPEG", "png": "PNG"}[image])
        value = i % 2
        made[f"dir/{i:05}.{label}"] = json.dumps({"caption": "x", "label": value}).encode() if label == "json" else b"%d" % value
    return made


@pytest.mark.parametrize("label", ["cls", "json"])
def test_shards_local_and_on_s3(storage: str, label: str) -> None:
    for name, start in (("train-000000", 0), ("train-000001", 10), ("test-000000", 20)):
        write_bytes(join(storage, f"{name}.tar"), tar(samples(10, start, label)))
    for root in (storage, f"{storage}/*.tar"):
        read = found("webdataset", root)
        assert read.sizes() == {"train": 20, "test": 10} and read.labels("train") == [0, 1] * 10
        assert read.findings.counts == {"train": {"0": 10, "1": 10}, "test": {"0": 5, "1": 5}}
    assert found("webdataset", storage + "/train-{000000..000001}.tar").sizes() == {"": 20}
    assert next(iter(read.rows["test"])) == "test-000000.tar/dir/00020.jpg"
    for shard in read.source.list_shards()[0]:
        for row in shard.read():
            assert row.place and row.place.offset is not None and row.place.length is not None
            assert read_range(row.place.uri, row.place.offset, row.place.length) == row.image
            assert row.image == picture(int(row.key[-9:-4]), "JPEG")


def test_members_of_all_kinds(tmp_path: Path) -> None:
    members = {
        "a.b/x.jpg": picture(1, "JPEG"),  # the key ends at the first dot of the file's name
        "a.b/x.cls": b"ice cream\n",
        "y.seg.png": picture(9),
        "y.PNG": picture(2),
        "y.json": b'{"class": "fir"}',
        "only.txt": b"no image",
        "z" * 150 + ".webp": picture(3, "WEBP"),  # a long name has a header of its own
        "z" * 150 + ".cls": "日本".encode(),
        "w.jpeg": picture(4, "JPEG"),
        "w.json": b"not json",
        ".hidden": b"",
    }
    (tmp_path / "a.tar").write_bytes(tar(members))
    read = found("webdataset", tmp_path)
    assert read.labels() == ["ice cream", "fir", "日本"] and [row.reason for row in read.broken] == ["no label"]
    assert list(read.rows[""])[:2] == ["a.tar/a.b/x.jpg", "a.tar/y.png"]
    (over,) = read.findings.passed_over
    assert (over.reason, over.examples) == ("a sample without an image", ("a.tar/only",))
    assert found("webdataset", tmp_path, image_column="seg.png", label_column="class").labels() == ["fir"]


def test_shards_without_known_labels_name_what_is_there(tmp_path: Path) -> None:
    (tmp_path / "a.tar").write_bytes(tar({"1.jpg": picture(kind="JPEG"), "1.json": b'{"species": "oak"}', "1.txt": b"an oak"}))
    read = found("webdataset", tmp_path)
    assert read.classes is None
    assert read.findings.hints == (
        "no member is known to hold labels; these are there: json, json:species, txt (options.label_column).",
    )
    assert found("webdataset", tmp_path, label_column="species").labels() == ["oak"]
    assert found("webdataset", tmp_path, label_column="txt").labels() == ["an oak"]


def test_class_folders_in_a_tar_are_told(tmp_path: Path) -> None:
    (tmp_path / "a.tar").write_bytes(tar({"cat/1.png": picture(1), "dog/1.png": picture(2)}))
    (hint,) = found("webdataset", tmp_path).findings.hints
    assert hint.startswith("no labels; members lie in folders, such as dog")


def test_what_is_no_plain_tar_is_told(tmp_path: Path) -> None:
    (tmp_path / "a.tar.gz").write_bytes(tar(samples(2), "w:gz"))
    with pytest.raises(InputError, match=r"no tar files there \(\*\.tar\)\. a\.tar\.gz is compressed"):
        found("webdataset", tmp_path)
    (tmp_path / "b.tar").write_bytes(tar(samples(2), "w:gz"))
    with pytest.raises(InputError, match=r"b\.tar: not a plain tar file"):
        found("webdataset", tmp_path)
    (tmp_path / "b.tar").write_bytes(tar(samples(20))[:9000])
    with pytest.raises(InputError, match=r"b\.tar: "):
        found("webdataset", tmp_path)


def test_a_test_shard_without_labels_does_not_judge(tmp_path: Path) -> None:
    for name, label in (("train-0", b"1"), ("val-0", b"0"), ("test-0", b"-1")):
        (tmp_path / f"{name}.tar").write_bytes(tar({"a.png": picture(), "a.cls": label}))
    read = found("webdataset", tmp_path)
    assert read.labels("train") == [1] and read.labels("test") == [0] and "validation serves as test" in read.findings.hints[0]


def test_the_index_lets_large_images_be(tmp_path: Path) -> None:
    big = {f"{i}.png": bytes(3 << 20) for i in range(4)} | {"4.png": picture()}
    (tmp_path / "a.tar").write_bytes(tar(big))
    index = read_index(str(tmp_path / "a.tar"))
    assert [sample.length for sample in index.samples] == [3 << 20] * 4 + [len(picture())]
    assert [len(some) for some in spans(index.samples)] == [2, 3]  # bounded by bytes
    far = (Sample("a", 0, 10, None), Sample("b", 1 << 20, 10, None))
    assert [len(some) for some in spans(far)] == [1, 1]


def test_the_index_of_a_remote_tar_is_made_once(s3_storage: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    read: list[str] = []
    monkeypatch.setattr(tars, "read_index", lambda uri, *more: read.append(uri) or read_index(uri, *more))
    uri, other = f"{s3_storage}/a.tar", {"a.png": picture(), "a.cls": b"2"}
    write_bytes(uri, tar({"b.json": b'{"cls": 1}', "b.png": picture()}))
    first = tars.kept_index(uri, 1, 5)
    assert tars.kept_index(uri, 1, 5) == first and first.samples[0].label == 1 and len(read) == 1
    assert "json:cls" in first.fields
    write_bytes(uri, tar(other))
    assert tars.kept_index(uri, 1, 6).samples[0].label == 2 and len(read) == 2  # another version
    for file in tmp_path.rglob("*.json"):
        file.write_text("{")
    assert tars.kept_index(uri, 1, 6).samples[0].label == 2 and len(read) == 3  # what cannot be read is made anew
    assert tars.kept_index(uri, 1, 0) == tars.kept_index(uri, 1, 0) and len(read) == 5  # not known when it changed


# --- other schemes ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["folder", "parquet", "webdataset", "table"])
def test_every_source_reads_other_schemes(tmp_path: Path, name: str) -> None:
    write(tmp_path, *(f"set/{s}/{c}/{i} #?.png" for s in ("train", "test") for c in ("cat", "dog") for i in range(2)))
    if name == "parquet":
        shutil.rmtree(tmp_path / "set")
        for split in ("train", "test"):
            write_parquet(tmp_path / f"set/{split}.parquet", ["cat", "cat", "dog", "dog"])
    if name == "webdataset":
        for split in ("train", "test"):
            members = {
                f"{i}.{end}": data for i in range(4) for end, data in (("cls", [b"cat", b"dog"][i % 2]), ("png", picture(i)))
            }
            (tmp_path / f"set/{split}.tar").write_bytes(tar(members))
    if name == "table":
        pictures = sorted((tmp_path / "set").rglob("*.png"))
        lines = [f"{path.relative_to(tmp_path / 'set')},{path.parts[-2]},{path.parts[-3]}" for path in pictures]
        (tmp_path / "set/all.csv").write_text("\n".join(["path,label,split", *lines]))
    root = f"memory://dsopt-{name}"
    memory = fsspec.filesystem("memory")
    memory.put(f"{tmp_path}/set/", f"/dsopt-{name}/", recursive=True)
    root += "/all.csv" if name == "table" else ""
    here = found(name, tmp_path / "set" / ("all.csv" if name == "table" else ""))
    there = found(name, root)
    assert there.rows == here.rows and there.classes == ["cat", "dog"] and there.sizes() == {"train": 4, "test": 4}
    assert there.source.remote and there.source.fingerprint == find(DataConfig(name=name, root=root)).fingerprint
    memory.rm(f"/dsopt-{name}", recursive=True)


# --- as people write them --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "content",
    [
        b"\xef\xbb\xbfpath,label\r\n01,x\r\n02,y\r\n",
        "path\tlabel\n01\tx\n02\ty\n".encode("utf-16"),
        b"path;label\n01;x\n02;y\n",
        b'"path","a;b;c","label"\n01,0,x\n02,0,y\n',
        b"path, label\n01, x\n02, y\n",
    ],
)
def test_tables_of_spreadsheets(tmp_path: Path, content: bytes) -> None:
    write(tmp_path, "01", "02")
    (tmp_path / "all.csv").write_bytes(content)
    assert found("table", tmp_path / "all.csv").rows[""] == {"01": "x", "02": "y"}


def test_paths_that_name_no_file(tmp_path: Path) -> None:
    write(tmp_path, "1.png", "folder/2.png", "a b.png")
    names = ["", "folder", "x" * 5000, "a\0b", "1.png", f"file://{tmp_path}/a%20b.png"]
    (tmp_path / "all.jsonl").write_text(
        "\n".join(json.dumps({"path": name, "label": "x\u2028"}, ensure_ascii=False) for name in names)
    )
    read = found("table", tmp_path / "all.jsonl")
    assert list(read.rows[""]) == names[4:] and [(row.key, row.reason) for row in read.broken] == [
        (n, "no image") for n in names[:4]
    ]
    for name in (names[5], f"file://{tmp_path}/a b.png"):  # where it is read again: by its path
        assert located(str(tmp_path), name) == f"{tmp_path}/a b.png"


def test_what_a_table_cannot_be_is_told(tmp_path: Path) -> None:
    for name, content, message in (
        ("a.csv", b"path,label,label\n1,0,0\n", "has two columns 'label'"),
        ("a.csv", b"path,label\n1,caf\xe9\n", "'utf-8' codec can't decode"),
        ("a.csv.gz", b"\x1f\x8b", r"expected a file \*\.csv"),
        ("a.json", b"[" * 100_000, "not a readable table"),
    ):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(InputError, match=rf"{name}: .*{message}") as error:
            found("table", tmp_path / name)
        assert "\n" not in str(error.value)


def test_a_column_of_splits_must_name_splits(tmp_path: Path) -> None:
    write(tmp_path, "1.png", "2.png", "3.png")
    (tmp_path / "all.csv").write_text("path,label,split\n1.png,0,train\n2.png,0,test\n3.png,0,holdout\n")
    with pytest.raises(InputError, match="column 'split' holds 'holdout', which is no split"):
        found("table", tmp_path / "all.csv")
    (tmp_path / "all.csv").write_text("path,label,split\n1.png,0,1\n2.png,0,2\n")
    read = found("table", tmp_path / "all.csv")
    assert read.sizes() == {"": 2} and read.findings.hints == ("column split is not used: its values, such as 1, are no splits.",)
    with pytest.raises(InputError, match="column 'split' holds 1"):
        found("table", tmp_path / "all.csv", split_column="split")


def test_members_of_a_key_may_lie_apart_and_the_last_of_a_name_counts(tmp_path: Path) -> None:
    (tmp_path / "a.tar").write_bytes(tar({"1.jpg": picture(1, "JPEG"), "2.jpg": picture(2, "JPEG"), "1.cls": b"x", "2.cls": b"y"}))
    with tarfile.open(tmp_path / "a.tar", "a") as file:
        info = tarfile.TarInfo("1.cls")
        info.size = 1
        file.addfile(info, io.BytesIO(b"z"))
    assert found("webdataset", tmp_path).rows[""] == {"a.tar/1.jpg": "z", "a.tar/2.jpg": "y"}


@pytest.mark.parametrize("name", ["cls", "json"])
def test_odd_labels_in_a_tar(tmp_path: Path, name: str) -> None:
    odd = {
        "cls": [b"--5", b"9" * 5000, "\ufeffcat\r\n".encode()],
        "json": [b"[" * 60_000, b'{"label": Infinity}', b'{"label": "cat"}'],
    }
    members = {}
    for i, content in enumerate(odd[name]):
        members |= {f"{i}.jpg": picture(i, "JPEG"), f"{i}.{name}": content}
    (tmp_path / "a.tar").write_bytes(tar(members))
    assert found("webdataset", tmp_path).labels()[-1] == "cat"


def test_the_end_of_a_tar_and_names_that_are_not_utf8_are_told(tmp_path: Path) -> None:
    whole = tar({**samples(3), "\udcff.jpg": picture(1, "JPEG")})
    for content, hint in (
        (whole, None),
        (whole.rstrip(b"\0") + bytes(-len(whole.rstrip(b"\0")) % 512), "a.tar has no mark at its end: it may have been cut off."),
        (whole + tar(samples(2)), r"a.tar is damaged, or several joined: nothing is read from byte"),
    ):
        (tmp_path / "a.tar").write_bytes(content)
        read = found("webdataset", tmp_path)
        assert len(read.labels()) == 3 and [one.reason for one in read.findings.passed_over] == ["a name that is not UTF-8"]
        assert [told.startswith(hint or "") for told in read.findings.hints] == [True] * (hint is not None)


def test_several_images_of_a_sample_are_told(tmp_path: Path) -> None:
    (tmp_path / "a.tar").write_bytes(tar({"1.in.jpg": picture(1, "JPEG"), "1.out.jpg": picture(2, "JPEG"), "1.cls": b"0"}))
    hints = found("webdataset", tmp_path).findings.hints
    assert hints == ("samples have several images; not used: out.jpg (options.image_column).",)


# --- as collections are handed out -----------------------------------------------------------------------------------


@pytest.mark.parametrize("column, values", [("phase", "train val"), ("Usage", "Training PublicTest"), ("is_test", "0 1")])
def test_splits_in_a_column_of_another_name(tmp_path: Path, column: str, values: str) -> None:
    write(tmp_path, *(f"{i}.png" for i in range(4)))
    lines = [f"{i}.png,{i % 2},{values.split()[i // 3]}" for i in range(4)]
    (tmp_path / "all.csv").write_text("\n".join([f"path,label,{column}", *lines]))
    read = found("table", tmp_path / "all.csv")
    hints = ("column is_test is not used; a column split with train and test would be.",)
    assert (read.sizes(), read.findings.hints) == (({"": 4}, hints) if column == "is_test" else ({"train": 3, "test": 1}, ()))


@pytest.mark.parametrize("name, path", [("{}", "train/{}.jpg"), ("{}.jpg", "train/{}"), (r"C:\old\{}.jpg", "train/{name}")])
def test_names_that_are_no_paths_are_completed(tmp_path: Path, name: str, path: str) -> None:
    write(tmp_path, "train/0a.jpg", "train/0b.jpg", kind="JPEG")
    lines = [f"{name.format(id)},{breed}" for id, breed in (("0a", "pug"), ("0b", "borzoi"))]
    (tmp_path / "labels.csv").write_text("\n".join(["id,breed", *lines]))
    options = {"image_column": "id", "label_column": "breed"}
    with pytest.raises(InputError, match="none of its 2 images is there") as error:
        found("table", tmp_path / "labels.csv", **options)
    assert f'data.options.image_path="{path}" finds it' in str(error.value)
    read = found("table", tmp_path / "labels.csv", **options, image_path=path)
    assert read.rows[""] == {"train/0a.jpg": "pug", "train/0b.jpg": "borzoi"} and not read.findings.hints
    (tmp_path / "train/0b.jpg").unlink()
    hints = found("table", tmp_path / "labels.csv", **options, image_path=path).findings.hints
    assert hints == ("not there: 1 of 2 images, such as train/0b.jpg.",)


def test_labels_of_other_shapes_are_told(tmp_path: Path) -> None:
    write(tmp_path, "1.png", "2.png")
    (tmp_path / "all.csv").write_text(",,path,rust,scab\n0,0,1.png,0,1\n1,1,2.png,1,1\n2,2,2.png,1,0\n")
    read = find(DataConfig(name="table", root=str(tmp_path / "all.csv"))).look()
    assert read.hints == ("columns rust, scab hold 0 and 1, as of several labels for an image; expected one column of labels.",)
    for name, content, message in (
        (
            "a.json",
            '{"images": [{"id": 1}],\n "annotations": [], "categories": []}',
            "one object, of images, annotations, categories",
        ),
        ("a.jsonl", '{"path": "1.png", "label": "x"}\n{"path": "2.png", "label": ["x", "y"]}', "'label' is list<"),
    ):
        (tmp_path / name).write_text(content)
        with pytest.raises(InputError, match=message):
            found("table", tmp_path / name)


def test_a_separator_that_is_named_or_unusual(tmp_path: Path) -> None:
    write(tmp_path, "1.png")
    for content in ("sep=;\npath;label\n1.png;x\n", "path|label\n1.png|x\n"):
        (tmp_path / "all.csv").write_text(content)
        assert found("table", tmp_path / "all.csv").labels() == ["x"]


def test_what_names_in_tars_do_not_say_is_told(tmp_path: Path) -> None:
    pictures = {f"{i}.jpg": picture(i, "JPEG") for i in range(4)}
    for members, hint in (
        (
            {f"cat.{name}": data for name, data in pictures.items()},
            "1.jpg, 2.jpg, 3.jpg (options.image_column); a key ends at the first dot",
        ),
        ({f"{('train', 'test')[i % 2]}/{n}": d for i, (n, d) in enumerate(pictures.items())}, "name the splits test and train"),
        ({f"n01_{name}": data for name, data in pictures.items()}, "no labels; expected members such as 0001.cls"),
    ):
        (tmp_path / "a.tar").write_bytes(tar(members | {"README": b"x"}))
        findings = found("webdataset", tmp_path).findings
        assert hint in findings.hints[0] and findings.passed_over[0].reason == "a member without a suffix"


def test_labels_of_a_tar_stay_as_they_are_written(tmp_path: Path) -> None:
    for labels, classes in ((["007", "7", "010"], ["007", "010", "7"]), (["1.0", "0", "1"], None)):
        members = {}
        for i, label in enumerate(labels):
            members |= {f"{i}.jpg": picture(i, "JPEG"), f"{i}.cls": label.encode()}
        (tmp_path / "a.tar").write_bytes(tar(members))
        read = found("webdataset", tmp_path)
        assert read.classes == classes and read.labels() == (labels if classes else [1, 0, 1])
