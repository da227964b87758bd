import json
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml

from dsopt import files
from dsopt import storage as st
from dsopt.errors import InputError, JobError

ROWS = pa.table({"id": pa.array(range(1000), pa.int64()), "label": pa.array([0, 1] * 500, pa.int64())})


def stage(storage: str = "runs", **changes: Any) -> st.Stage:
    made = {
        "storage": storage,
        "kind": st.Kind("embed"),
        "name": "digits",
        "made_of": {"a": 1, "b": [1, 2], "c": None},
        **changes,
    }
    return st.Stage(**made)


def written(storage: str, **changes: Any) -> st.Stage:
    """A finished stage of two parts: 600 rows to train, 400 to test."""
    made = stage(storage, **changes)
    made.begin("a: 1\n")
    parts = []
    for path, split, rows in (
        ("data/b.parquet", "test", ROWS.slice(600)),
        ("data/a.parquet", "train", ROWS.slice(0, 600)),
    ):
        size = files.write_table(made.path(path), rows)
        parts.append({"path": path, "rows": len(rows), "bytes": size, "split": split})
    made.commit(parts, ROWS.schema, seconds=1.23456, seed=7, classes=["cat", "dog"])
    return made


def test_a_hash_never_changes() -> None:
    """Folders named so are on people's disks: if they change, finished work is done again.

    Raise LAYOUT, or the version of a kind, only on purpose.
    """
    assert stage().hash == "5ab8bfd3f437"
    assert stage(inputs={"images": stage(kind=st.Kind("ingest"))}).hash == "28656a0bc899"
    assert stage().folder == "embed/digits-5ab8bfd3f437"
    assert stage(name="copies-blur(high=3)").folder.startswith("embed/copies-blur_high_3_-")
    assert stage("s3://b/p/").uri == "s3://b/p/embed/digits-5ab8bfd3f437"


def test_a_hash_tells_what_a_stage_is_made_of() -> None:
    same = [
        stage(),
        stage("elsewhere"),
        stage(name="other"),
        stage(made_of={"c": None, "b": [1, 2], "a": 1}),
        stage(made_of={"a": 1, "b": (1, 2), "c": None}),
    ]
    assert len({one.hash for one in same}) == 1
    images, others = stage(kind=st.Kind("ingest")), stage(kind=st.Kind("ingest"), made_of={"a": 2})
    different = [
        *(stage(), stage(kind=st.Kind("select")), stage(kind=st.Kind("embed", 2)), stage(made_of={"a": 2, "b": [1, 2], "c": None})),
        *(stage(made_of={"a": 1, "b": [2, 1], "c": None}), stage(made_of={})),
        *(stage(inputs={"images": images}), stage(inputs={"images": others}), stage(inputs={"subset": images})),
        stage(inputs={"images": stage(kind=st.Kind("ingest"), inputs={"more": images})}),
    ]
    assert len({one.hash for one in different}) == len(different)


def test_a_stage(storage: str) -> None:
    one = stage(storage)
    assert not one.done()
    one.begin("a: 1\nb: [1, 2]\n")
    assert not one.done()
    assert yaml.safe_load(files.read_bytes(one.path("config.yaml"))) == {"a": 1, "b": [1, 2]}
    one = written(storage, inputs={"images": stage(storage, kind=st.Kind("ingest"))})
    assert one.done()
    manifest = json.loads(files.read_bytes(one.path("manifest.json")))
    assert manifest["schema"] == {"id": "int64", "label": "int64"}
    assert manifest["rows"] == 1000
    assert [part["path"] for part in manifest["parts"]] == ["data/a.parquet", "data/b.parquet"]
    assert [part["bytes"] for part in manifest["parts"]] == [
        files.list_files(one.uri)[path] for path in ("data/a.parquet", "data/b.parquet")
    ]
    assert manifest["inputs"] == {"images": stage(kind=st.Kind("ingest")).folder}
    assert (manifest["seconds"], manifest["seed"], manifest["classes"]) == (1.235, 7, ["cat", "dog"])
    assert manifest["versions"]["pyarrow"] == pa.__version__
    assert manifest["hash"] == one.hash and manifest["made_of"] == dict(one.made_of)
    assert (manifest["stage"], manifest["version"]) == ("embed", 1)
    again = st.Stage.existing(one.uri)
    assert (again.hash, again.uri, again.kind, again.done()) == (one.hash, one.uri, one.kind, True)


def test_parts_that_are_elsewhere_are_no_finished_stage(storage: str) -> None:
    """Workers with disks of their own, of which the driver sees nothing."""
    one = stage(storage)
    files.write_table(one.path("data/a.parquet"), ROWS)
    parts = [{"path": f"data/{name}.parquet", "rows": len(ROWS), "bytes": 1} for name in ("a", "b")]
    with pytest.raises(JobError, match=r"1 of 2 parts that workers wrote are not there, such as .*b\.parquet; .* all of"):
        one.commit(parts, ROWS.schema, seconds=1.0)
    assert not one.done()


def test_the_first_commit_stays(storage: str) -> None:
    one = written(storage)
    first = files.read_bytes(one.path("manifest.json"))
    one.commit([], ROWS.schema, seconds=9.0)
    assert files.read_bytes(one.path("manifest.json")) == first


def test_a_table_is_what_its_manifest_lists(storage: str) -> None:
    one = written(storage)
    files.write_table(one.path("data", "orphan.parquet"), ROWS)  # of a write that was retried
    table = st.Table(one.uri)
    assert table.rows() == 1000
    assert (table.rows("train"), table.rows("test"), table.rows("none")) == (600, 400, 0)
    assert table.read().equals(ROWS)
    assert table.read("test", ["id"])["id"].to_pylist() == list(range(600, 1000))
    assert [len(block) for block in table.blocks()] == [600, 400]
    assert table.parts("test") == [st.Part(one.path("data/b.parquet"), 400, "test")]
    with pytest.raises(InputError, match="has no validation") as error:
        table.read("validation")
    assert "\n" not in str(error.value)


def test_an_unfinished_stage_is_told(storage: str) -> None:
    one = stage(storage)
    with pytest.raises(InputError, match="no finished stage") as error:
        st.Table(one.uri)
    assert one.uri in str(error.value)
    one.begin("")
    files.write_table(one.path("data", "a.parquet"), ROWS)
    with pytest.raises(InputError, match="_DONE"):
        st.Table(one.uri)
    files.write_bytes(one.path("_DONE"), b"")
    with pytest.raises(InputError, match=r"no manifest\.json"):
        st.Table(one.uri)
    files.write_bytes(one.path("manifest.json"), b"{")
    with pytest.raises(InputError, match="not valid JSON"):
        st.Table(one.uri)


@pytest.mark.slow
def test_a_part_that_is_not_as_listed_is_told(storage: str) -> None:
    one = written(storage)
    part = one.path("data", "a.parquet")
    files.write_table(part, ROWS)
    with pytest.raises(JobError, match="has 1000 rows, its manifest says 600") as error:
        st.Table(one.uri).read()
    assert part in str(error.value)
    files.write_bytes(part, b"PAR1 this is none PAR1")
    with pytest.raises(JobError, match="cannot be read"):
        st.Table(one.uri).read()
    files.delete(part)
    with pytest.raises(JobError, match="cannot be read") as error:
        st.Table(one.uri).read()
    assert "\n" not in str(error.value)
    assert st.Table(one.uri).read("test").equals(ROWS.slice(600))


def test_versions() -> None:
    assert st.versions()["pyarrow"] == pa.__version__
    assert set(st.versions()) == {"python", "dsopt", "torch", "ray", "pyarrow", "numpy"}


def test_parts_are_read_with_any_reader(storage: str) -> None:
    """Nothing about the files is ours alone: pyarrow opens them without this package."""
    one = written(storage)
    system, path = files.filesystem(one.path("data", "a.parquet"))
    assert pq.read_table(path, filesystem=system).equals(ROWS.slice(0, 600))


# --- schemas -------------------------------------------------------------------------------------------------------


def test_tensors_come_back_as_written(storage: str) -> None:
    schema = st.embeddings_schema(3)
    column = pa.ExtensionArray.from_storage(
        schema.field("embedding").type, pa.FixedSizeListArray.from_arrays(pa.array(range(6), pa.float32()), 3)
    )
    table = pa.table([pa.array([7, 8]), pa.array([0, 1]), column], schema=schema)
    files.write_table(files.join(storage, "e.parquet"), table)
    back = files.read_table(files.join(storage, "e.parquet"))
    assert back.schema == schema
    assert back["embedding"].combine_chunks().to_numpy_ndarray().tolist() == [[0, 1, 2], [3, 4, 5]]


def test_image_feature_note_is_what_datasets_reads() -> None:
    datasets = pytest.importorskip("datasets")
    for schema in (st.IMAGES, st.SUBSET):
        noted = st.with_image_feature(schema)
        assert noted.names == schema.names
        features = datasets.Features.from_arrow_schema(noted)
        assert isinstance(features["image"], datasets.Image)
        assert set(features) == set(schema.names)
