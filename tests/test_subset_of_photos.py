"""A subset of somebody's photographs gives them back byte for byte: in every reader, in every export, wherever they lie."""

import io
import json
import re
import tarfile
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pandas
import pyarrow as pa
import pytest
from PIL import Image
from running import SMALL, here, one_line, read

import dsopt
from dsopt.data.loading import load
from dsopt.errors import InputError
from dsopt.files import delete, list_files, read_bytes, write_bytes, write_table
from dsopt.pipeline.plan import Plan
from dsopt.stages import select
from dsopt.storage import Table

PHOTOS, BUDGET = 24, 10
LARGER = ("data.image_size=16", "select.name=random", f"select.budget={BUDGET}", "cluster.workers=0")


def photo(i: int) -> bytes:
    """A JPEG of its own size, with a label's worth of content."""
    pixels = np.random.default_rng(i).integers(0, 255, (30 + i, 50, 3), dtype=np.uint8)
    sink = io.BytesIO()
    Image.fromarray(pixels).save(sink, "JPEG", quality=95)
    return sink.getvalue()


def write_folder(root: str) -> str:
    for i in range(PHOTOS):
        write_bytes(f"{root}/{('cat', 'großer hund')[i % 2]}/no {i}.jpg", photo(i))
    return root


def write_parquet(root: str) -> str:
    rows = [{"image": {"bytes": photo(i), "path": None}, "label": ("cat", "großer hund")[i % 2]} for i in range(PHOTOS)]
    write_table(f"{root}/photos.parquet", pa.Table.from_pylist(rows), group_rows=5)
    return root


def write_shards(root: str) -> str:
    for shard in range(3):
        sink = io.BytesIO()
        with tarfile.open(fileobj=sink, mode="w") as tar:
            for i in range(shard, PHOTOS, 3):
                for suffix, data in (("jpg", photo(i)), ("cls", ("cat", "großer hund")[i % 2].encode())):
                    info = tarfile.TarInfo(f"{i:05}.{suffix}")
                    info.size = len(data)
                    tar.addfile(info, io.BytesIO(data))
        write_bytes(f"{root}/{shard:06}.tar", sink.getvalue())
    return root


def chosen(root: str, *overrides: str, name: str = "folder") -> str:
    plan = Plan(read(f"storage={root}/runs", f"data.name={name}", f"data.root={root}/photos", *LARGER, *overrides))
    stage = select.subset(plan, plan.config.select, plan.config.seed)
    plan.run(stage)
    return stage.uri


def originals(uri: str) -> dict[int, bytes]:
    """What the chosen photographs must be, by id."""
    rows = pandas.read_parquet(f"{uri}/data", columns=["id", "key", "height"])
    return {row.id: photo(row.height - 30) for row in rows.itertuples()}


def downloaded(uri: str, folder: Path) -> str:
    """The folder itself, or a copy of it on this machine for readers that know none other."""
    if not uri.startswith("s3://"):
        return uri
    for name in list_files(uri):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(read_bytes(f"{uri}/{name}"))
    return str(folder)


@pytest.fixture(params=["folder", "parquet", "webdataset"])
def subset(request: pytest.FixtureRequest, storage: str) -> str:
    {"folder": write_folder, "parquet": write_parquet, "webdataset": write_shards}[request.param](f"{storage}/photos")
    return chosen(storage, name=request.param)


def test_every_reader_gives_the_original_bytes(subset: str, tmp_path: Path) -> None:
    import datasets  # here: every process of the tests reads this file, and one runs it

    expected = originals(subset)
    assert len(expected) == BUDGET
    frame = pandas.read_parquet(f"{subset}/data")
    assert {row.id: row.image["bytes"] for row in frame.itertuples()} == expected
    assert set(frame.label_name) == {"cat", "großer hund"} and not frame.reason.isna().any()
    files = f"{downloaded(subset, tmp_path / 'copy')}/data/*.parquet"
    assert dict(duckdb.sql(f"SELECT id, image.bytes FROM '{files}'").fetchall()) == expected
    loaded = datasets.load_dataset("parquet", data_files=files, split="train", cache_dir=str(tmp_path / "cache"))
    assert loaded.features["label"].names == ["cat", "großer hund"] and isinstance(loaded[0]["image"], Image.Image)
    undecoded = loaded.cast_column("image", datasets.Image(decode=False))
    assert {row["id"]: row["image"]["bytes"] for row in undecoded} == expected
    mine = dsopt.load_subset(subset)
    for id, (picture, label) in zip(mine.ids.tolist(), mine, strict=True):
        assert picture.fp.getvalue() == expected[id] and picture.format == "JPEG" and label in (0, 1)
    assert sorted(mine.ranks.tolist()) == list(range(BUDGET)) and len(mine.keys) == BUDGET and mine.classes[0] == "cat"
    listed = pandas.read_csv(io.BytesIO(read_bytes(f"{subset}/{Table(subset).manifest['csv']}")))
    assert list(listed.columns) == ["key", "label", "label_name", "rank"] and listed.key.tolist() == mine.keys


@pytest.mark.long
@pytest.mark.slow
def test_the_main_job_gives_large_photographs_back(storage: str, unrendered: None) -> None:
    """`dsopt optimize` with working copies of 224 pixels, data and results in one place."""
    files = {}
    for i in range(40):
        pixels, sink = np.random.default_rng(i).integers(0, 255, (300 + i, 320, 3), dtype=np.uint8), io.BytesIO()
        Image.fromarray(pixels).save(sink, "JPEG")
        files[f"{('cat', 'dog')[i % 2]}/{i}.jpg"] = sink.getvalue()
    for key, data in files.items():
        write_bytes(f"{storage}/photos/{key}", data)
    few = ("autoencoder.steps=2", "train.steps=4", "autoencoder.batch_size=8", "train.batch_size=8", f"select.budget={BUDGET}")
    place = ("data.name=folder", f"data.root={storage}/photos", f"storage={storage}/runs", "cluster.workers=0")
    here(*place, *SMALL, *few, "data.image_size=224")
    names = list_files(f"{storage}/runs")
    assert any(name.endswith("/report.html") for name in names)
    (folder,) = (name.rpartition("/")[0] for name in names if re.fullmatch(r"select/folder-top_activation-\w+/_DONE", name))
    mine = dsopt.load_subset(f"{storage}/runs/{folder}")
    assert len(mine) == BUDGET and load(f"{storage}/runs/{folder}").images.shape == (BUDGET, 3, 224, 224)
    for key, (picture, label) in zip(mine.keys, mine, strict=True):
        assert key and picture.fp.getvalue() == files[key] and mine.classes and mine.classes[label] == key.split("/")[0]


def test_streamed_pictures_are_the_originals(subset: str) -> None:
    expected, mine = originals(subset), dsopt.load_subset(subset)
    found = [picture.fp.getvalue() for picture, _ in dsopt.stream_subset(subset)]
    assert sorted(found) == sorted(expected[id] for id in mine.ids.tolist())


def test_training_reads_working_copies_of_one_size(subset: str) -> None:
    copies = load(subset)
    assert copies.images.shape == (BUDGET, 3, 16, 16)
    table = Table(subset)
    images = load(table.uri.rpartition("/select/")[0] + "/" + table.manifest["inputs"]["images"], "train")
    rows = {int(id): i for i, id in enumerate(images.ids)}
    assert all((image == images.images[rows[int(id)]]).all() for id, image in zip(copies.ids, copies.images, strict=True))


def test_a_transform_gets_upright_rgb(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera was turned
    (tmp_path / "photos").mkdir()
    for i in range(PHOTOS):
        mode = "L" if i % 2 else "RGB"
        Image.new(mode, (60, 30 + i)).save(tmp_path / "photos" / f"{i}.jpg", exif=exif)
    subset = chosen(str(tmp_path), "data.channels=3")
    assert {dsopt.load_subset(subset, transform=lambda p: (p.mode, p.size[1]))[i][0] for i in range(BUDGET)} == {("RGB", 60)}
    assert {item for item, _ in dsopt.stream_subset(subset, transform=lambda p: (p.mode, p.size[1]))} == {("RGB", 60)}


def test_working_copies_or_an_index_alone(tmp_path: Path) -> None:
    write_folder(f"{tmp_path}/photos")
    whole, working, index = (chosen(str(tmp_path), f"select.content={content}") for content in ("originals", "working", "none"))
    assert dsopt.load_subset(working)[0][0].shape == (3, 16, 16) and not (Path(working) / "working").exists()
    frame = pandas.read_parquet(f"{index}/data")
    assert "image" not in frame.columns and {"id", "uri", "offset", "length", "row", "key", "label", "label_name"} <= set(frame)
    assert (load(index).images == load(whole).images).all() and (load(working).images == load(whole).images).all()
    one, other = dsopt.load_subset(index), dsopt.load_subset(whole)
    assert [picture.fp.getvalue() for picture, _ in one] == [picture.fp.getvalue() for picture, _ in other]
    for name in (whole, working, index):
        assert read_bytes(f"{name}/subset.csv") == read_bytes(f"{whole}/subset.csv")


@pytest.mark.slow
def test_an_index_of_images_without_originals_names_their_working_copies(tmp_path: Path) -> None:
    plan = Plan(read(f"storage={tmp_path}", "select.name=random", "select.budget=10", "cluster.workers=0", "select.content=none"))
    stage = select.subset(plan, plan.config.select, 0)
    plan.run(stage)
    for items in (dsopt.load_subset(stage.uri), dsopt.stream_subset(stage.uri)):
        assert {picture.size for picture, _ in items} == {(32, 32)}


def test_extra_images_and_training_on_an_index(tmp_path: Path) -> None:
    write_folder(f"{tmp_path}/photos")
    small = ("train.steps=4", "train.batch_size=4", "train.options.width=4", "extra.name=copies", "train.split=0.5")
    about = ("data.name=folder", f"data.root={tmp_path}/photos", f"storage={tmp_path}/runs", "data.image_size=32", *LARGER[1:])
    here(*about, *small, "select.content=none", job="train")


def test_a_changed_photograph_is_refused(tmp_path: Path) -> None:
    write_folder(f"{tmp_path}/photos")
    index = chosen(str(tmp_path), "select.content=none")
    frame = pandas.read_parquet(f"{index}/data")
    write_bytes(frame.uri[0], b"something else")
    with pytest.raises(InputError, match=f"{frame.key[0]}: .* has changed since it was ingested"):
        dsopt.load_subset(index)[0]
    with pytest.raises(InputError, match="has changed since it was ingested"):
        list(dsopt.stream_subset(index))


# --- exports -------------------------------------------------------------------------------------------------------


def export(subset: str, output: str, format: str) -> None:
    here(f"input={subset}", f"output={output}", f"format={format}", job="export")


def test_the_folder(subset: str, storage: str) -> None:
    output = f"{storage}/out/folder"
    export(subset, output, "folder")
    names = list_files(output)
    assert {name.partition("/")[0] for name in names} == {"cat", "großer_hund"} and all(name.endswith(".jpg") for name in names)
    assert sorted(read_bytes(f"{output}/{name}") for name in names) == sorted(originals(subset).values())
    with pytest.raises(InputError, match="is not empty"):
        export(subset, output, "folder")


def test_the_shards(subset: str, storage: str) -> None:
    output = f"{storage}/out/shards"
    export(subset, output, "webdataset")
    files: dict[str, dict[str, bytes]] = {}
    for name in list_files(output):
        with tarfile.open(fileobj=io.BytesIO(read_bytes(f"{output}/{name}"))) as tar:
            for member in tar:
                key, _, kind = member.name.partition(".")
                content: Any = tar.extractfile(member)
                files.setdefault(key, {})[kind] = content.read()
    about = {key: json.loads(sample["json"]) for key, sample in files.items()}
    assert {about[key]["id"]: sample["jpg"] for key, sample in files.items()} == originals(subset)
    assert all(int(files[key]["cls"]) == ["cat", "großer hund"].index(row["label_name"]) for key, row in about.items())


def test_the_parquet_files(subset: str, storage: str, tmp_path: Path) -> None:
    import datasets  # see above

    output = f"{storage}/out/parquet"
    export(subset, output, "parquet")
    loaded = datasets.load_dataset(downloaded(output, tmp_path / "copy"), split="train", cache_dir=str(tmp_path / "cache"))
    assert loaded.features["label"].names == ["cat", "großer hund"]
    undecoded = loaded.cast_column("image", datasets.Image(decode=False))
    assert {row["id"]: row["image"]["bytes"] for row in undecoded} == originals(subset)


def test_the_data_set_for_fiftyone(subset: str, storage: str) -> None:
    output = f"{storage}/out/fiftyone"
    export(subset, output, "fiftyone")
    samples = json.loads(read_bytes(f"{output}/samples.json"))["samples"]
    found = {sample["image_id"]: read_bytes(f"{output}/{sample['filepath']}") for sample in samples}
    assert found == originals(subset) and [sample["rank"] for sample in samples] == list(range(BUDGET))
    about = json.loads(read_bytes(f"{output}/metadata.json"))
    given = {field["db_field"] for field in about["sample_fields"]}
    assert all(set(sample) <= given for sample in samples) and about["classes"] == {"ground_truth": ["cat", "großer hund"]}
    frame = pandas.read_parquet(f"{subset}/data").set_index("id")
    for sample in samples:
        row = frame.loc[sample["image_id"]]
        assert (sample["key"], sample["reason"]) == (row.key, row.reason) and sample["score"] is None
        assert sample["ground_truth"]["label"] == row.label_name and sample["filepath"].endswith(".jpg")


@pytest.mark.slow
@pytest.mark.parametrize("format", ["folder", "webdataset", "parquet", "fiftyone"])
def test_an_interrupted_export_resumes(format: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_folder(f"{tmp_path}/photos")
    subset, output = chosen(str(tmp_path)), f"{tmp_path}/out"
    monkeypatch.setattr("dsopt.data.subsets.exports.SHARD_ROWS", 3)
    export(subset, f"{tmp_path}/undisturbed", format)
    written = list_files(f"{tmp_path}/undisturbed")
    plain, count = write_bytes, iter(range(100))

    def failing(uri: str, data: bytes) -> None:
        if next(count) == 2:
            raise OSError("the disk is gone")
        plain(uri, data)

    target = "dsopt.files.write_bytes" if format == "parquet" else "dsopt.data.subsets.exports.write_bytes"
    with monkeypatch.context() as patched:
        patched.setattr(target, failing)
        with pytest.raises(OSError, match="the disk is gone"):
            export(subset, output, format)
    with pytest.raises(InputError, match="a part of another export"):
        export(subset, output, "parquet" if format == "folder" else "folder")
    export(subset, output, format)
    assert list_files(output) == written
    assert all(read_bytes(f"{output}/{name}") == read_bytes(f"{tmp_path}/undisturbed/{name}") for name in written)
    assert not (Path(output) / ".export.json").exists()


def test_names_are_safe_and_never_alike(tmp_path: Path) -> None:
    names = ("a/b.png", "a_b.png", "A_B.png", "..", "x?y.png", "dir/.hidden.png", "l" * 300 + ".png")
    from dsopt.data.subsets.exports import _folders, _names, safe

    rows = pa.table({"key": names, "id": range(len(names))})
    found = _names(rows)
    assert len({name.casefold() for name in found}) == len(names)
    assert len({name.casefold() for name in _names(pa.table({"key": ["a.b", "a_b"], "id": [0, 1]}), dot="_")}) == 2
    assert all(name and not name.startswith(".") and len(name) <= 110 and "/" not in name for name in map(safe, names))
    assert len(set(_folders(["a/b", "a_b", "A b", None, ".."]).values())) == 4
    assert len(safe("猫" * 200).encode()) <= 160  # a file system counts bytes
    assert safe("\u1100\u1161") == safe("\uac00") == "\uac00"  # one name on macOS
    devices = ("con", "NUL.tar", "com1", "lpt9.x.y", "console", "a.con")
    assert [safe(name) for name in devices] == ["_con", "_NUL.tar", "_com1", "_lpt9.x.y", "console", "a.con"]


def test_wrong_arguments_are_one_line(job: Any, tmp_path: Path) -> None:
    assert job("export", f"input={tmp_path}")[0] == 2
    code, _, error = job("export", f"input={tmp_path}", f"output={tmp_path}/out")
    assert code == 2 and "no finished stage" in error
    write_folder(f"{tmp_path}/photos")
    code, _, error = job("export", f"input={chosen(str(tmp_path))}", "output=/proc/dsopt")  # not even root can write there
    assert code == 2 and one_line(error).startswith("error: output=/proc/dsopt: cannot be written")
    code, _, error = job("export", f"input={chosen(str(tmp_path))}", "output=gs://bucket/out")
    assert code == 2 and "output=gs://bucket/out: expected a folder or s3://" in one_line(error)


@pytest.fixture
def small_files(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dsopt.stages.taken.FILE_BYTES", 20_000)
    monkeypatch.setattr("dsopt.stages.taken.GROUP_BYTES", 5_000)


def test_large_subsets_are_several_files_in_small_row_groups(small_files: None, tmp_path: Path) -> None:
    write_folder(f"{tmp_path}/photos")
    subset = chosen(str(tmp_path))
    assert len(Table(subset).files()) > 1
    mine = dsopt.load_subset(subset)
    assert {id: picture.fp.getvalue() for id, (picture, _) in zip(mine.ids.tolist(), mine, strict=True)} == originals(subset)


def test_a_lost_original_says_what_to_do(tmp_path: Path) -> None:
    write_folder(f"{tmp_path}/photos")
    plan = Plan(read(f"storage={tmp_path}/runs", "data.name=folder", f"data.root={tmp_path}/photos", *LARGER))
    stage = select.subset(plan, plan.config.select, plan.config.seed)
    plan.run(stage.inputs["images"])
    for name in list_files(f"{tmp_path}/photos"):
        delete(f"{tmp_path}/photos/{name}")
    with pytest.raises(InputError, match=r"no longer at .*select\.content=working"):
        plan.run(stage)
