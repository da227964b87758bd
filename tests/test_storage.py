import json
import logging
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pyarrow as pa
import pyarrow.fs as pf
import pyarrow.parquet as pq
import pytest
import yaml
from s3_server import READER, S3Server

from dsopt import storage as st
from dsopt.errors import InputError, JobError

ROWS = pa.table({"id": pa.array(range(1000), pa.int64()), "label": pa.array([0, 1] * 500, pa.int64())})


def one_line(error: pytest.ExceptionInfo[InputError]) -> str:
    message = str(error.value)
    assert message
    assert "\n" not in message
    return message


# --- URIs ----------------------------------------------------------------------------------------------------------


def test_local_paths_become_absolute(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    here = str(tmp_path)
    assert st.absolute("runs/") == f"{here}/runs"
    assert st.absolute("~/runs") == f"{here}/home/runs"
    assert st.absolute(f"file://{here}/runs") == f"{here}/runs"
    assert st.absolute("s3://bucket/prefix/") == "s3://bucket/prefix"
    assert st.join("s3://bucket/", "a", "b") == "s3://bucket/a/b"
    assert [st.is_remote(uri) for uri in ("s3://b/x", "file:///x", "x", "/x")] == [True, False, False, False]


@pytest.mark.parametrize("uri", ["s3://KEY:SECRET@bucket/x", "s3://KEY:SEC/RET@bucket/x", "s3://bucket/x?secret_key=SECRET"])
def test_credentials_in_a_uri_are_refused_and_not_repeated(uri: str) -> None:
    for function in (st.absolute, st.exists, st.read_bytes, st.check_writable, st.list_files):
        with pytest.raises(InputError, match="AWS_ACCESS_KEY_ID") as error:
            function(uri)
        assert not any(word in one_line(error) for word in ("KEY:", "SEC", "RET@"))


@pytest.mark.parametrize("uri", ["gopher://x/y", "s3://", "s3:///x", "s4://bucket"])
def test_a_uri_that_is_none_is_told(uri: str) -> None:
    with pytest.raises(InputError) as error:
        st.exists(uri)
    assert uri.partition("://")[0] in one_line(error)


# --- files ---------------------------------------------------------------------------------------------------------


def test_files(storage: str) -> None:
    uri = st.join(storage, "a", "b.bin")
    assert not st.exists(uri)
    assert st.list_files(storage) == {}
    with pytest.raises(FileNotFoundError):
        st.read_bytes(uri)
    st.delete(uri)  # nothing there, nothing wrong
    st.write_bytes(uri, b"one")
    st.write_bytes(uri, memoryview(b"three"))
    st.write_bytes(st.join(storage, "c"), b"")
    st.write_bytes(st.join(storage, "a", ".hidden"), b"x")
    assert st.exists(uri)
    assert st.exists(st.join(storage, "a"))
    assert st.read_bytes(uri) == b"three"
    assert st.list_files(storage) == {"a/b.bin": 5, "c": 0}
    assert st.list_files(storage + "/") == {"a/b.bin": 5, "c": 0}
    st.delete(uri)
    assert not st.exists(uri)
    assert st.list_files(storage) == {"c": 0}


def test_tables(storage: str) -> None:
    uri = st.join(storage, "t.parquet")
    size = st.write_table(uri, ROWS)
    first = st.read_bytes(uri)
    assert size == len(first)
    st.write_table(uri, ROWS)
    assert st.read_bytes(uri) == first  # a retried write replaces a part by itself
    assert st.read_table(uri).equals(ROWS)
    assert st.read_table(uri, ["label"]).column_names == ["label"]
    assert st.row_count(uri) == 1000


def test_tensors_come_back_as_written(storage: str) -> None:
    schema = st.embeddings_schema(3)
    column = pa.ExtensionArray.from_storage(
        schema.field("embedding").type, pa.FixedSizeListArray.from_arrays(pa.array(range(6), pa.float32()), 3)
    )
    table = pa.table([pa.array([7, 8]), pa.array([0, 1]), column], schema=schema)
    st.write_table(st.join(storage, "e.parquet"), table)
    back = st.read_table(st.join(storage, "e.parquet"))
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


WRITER = """
import sys
from dsopt import storage
uri, size = sys.argv[1], int(sys.argv[2])
print("ready", flush=True)
while True:
    for letter in b"ab":
        storage.write_bytes(uri, bytes([letter]) * (size + letter))
"""


def python(code: str, *arguments: str, **options: Any) -> subprocess.Popen[str]:
    return subprocess.Popen([sys.executable, "-c", code, *arguments], text=True, **options)


def assert_whole(data: bytes, size: int) -> None:
    letter = data[:1]
    assert letter in (b"a", b"b")
    assert data == letter * (size + letter[0])  # each is of its own length


def test_a_reader_never_sees_half_a_file(storage: str) -> None:
    """While a writer replaces a file over and over, longer and shorter, and after it was killed at any moment."""
    size = 12 * 2**20  # on S3 more than one part of an upload
    uri = st.join(storage, "big")
    st.write_bytes(uri, b"a" * (size + ord("a")))
    for pause in (0.0, 0.05, 0.15, 0.3):
        writer = python(WRITER, uri, str(size), stdout=subprocess.PIPE)
        assert writer.stdout
        writer.stdout.readline()
        for _ in range(3):
            assert_whole(st.read_bytes(uri), size)
        time.sleep(pause)
        writer.send_signal(signal.SIGKILL)
        writer.wait()
        writer.stdout.close()
        assert_whole(st.read_bytes(uri), size)
        assert list(st.list_files(storage)) == ["big"]  # what a killed writer leaves behind is hidden


TWIN = """
import sys
import pyarrow as pa
from dsopt import storage
for _ in range(15):
    storage.write_table(sys.argv[1], pa.table({"id": range(20_000)}))
"""


def test_two_processes_may_write_the_same_part(storage: str) -> None:
    uri = st.join(storage, "part.parquet")
    twins = [python(TWIN, uri) for _ in range(2)]
    while any(twin.poll() is None for twin in twins):
        if st.exists(uri):
            assert st.row_count(uri) == 20_000
    assert [twin.returncode for twin in twins] == [0, 0]
    assert st.read_table(uri)["id"].to_pylist() == list(range(20_000))
    assert list(st.list_files(storage)) == ["part.parquet"]


# --- faults of the local disk --------------------------------------------------------------------------------------


def test_a_file_in_place_of_the_folder_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for uri in (tmp_path / "file", tmp_path / "file" / "below"):
        with pytest.raises(InputError) as error:
            st.check_writable(str(uri))
        assert f"storage={uri}" in one_line(error)


def test_a_place_that_takes_no_files_is_told() -> None:
    with pytest.raises(InputError, match="storage=/proc/dsopt: cannot be written") as error:
        st.check_writable("/proc/dsopt")  # not even root can write there
    one_line(error)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(disk)], capture_output=True)
    if mounted.returncode:
        pytest.skip("a small disk to fill cannot be mounted here (needs root and the right to mount)")
    yield disk
    subprocess.run(["umount", str(disk)], check=True)


def test_a_full_disk_is_an_error_and_leaves_nothing(small_disk: Path) -> None:
    uri = str(small_disk / "x" / "part")
    st.check_writable(str(small_disk))
    with pytest.raises(OSError, match="No space left"):
        st.write_bytes(uri, b"x" * 2**21)
    assert os.listdir(small_disk / "x") == []
    st.write_bytes(uri, b"fits")
    with pytest.raises(OSError, match="No space left"):
        st.write_bytes(uri, b"x" * 2**21)
    assert os.listdir(small_disk / "x") == ["part"]
    assert st.read_bytes(uri) == b"fits"


# --- faults of the object store ------------------------------------------------------------------------------------


@pytest.fixture
def as_client(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., None]]:
    """Go on with other AWS_* variables, and with clients that were made with them."""

    def change(**variables: str | None) -> None:
        for name, value in variables.items():
            if value is None:
                monkeypatch.delenv(name)
            else:
                monkeypatch.setenv(name, value)
        st._remote.cache_clear()

    yield change
    st._remote.cache_clear()


WRONG_CLIENTS: dict[str, dict[str, str | None]] = {
    "wrong key": {"AWS_ACCESS_KEY_ID": "nobodyknowsthis"},
    "wrong secret": {"AWS_SECRET_ACCESS_KEY": "thisisnotthesecret"},
    "may not write": dict(READER),
    "no credentials": {
        "AWS_ACCESS_KEY_ID": None,
        "AWS_SECRET_ACCESS_KEY": None,
        "AWS_SHARED_CREDENTIALS_FILE": "/nowhere",
        "AWS_CONFIG_FILE": "/nowhere",
    },
    "nobody there": {"AWS_ENDPOINT_URL": "http://127.0.0.1:9"},
}


@pytest.mark.parametrize("client", WRONG_CLIENTS)
def test_a_store_that_cannot_be_used_is_told_at_once(s3_storage: str, as_client: Callable, client: str) -> None:
    as_client(**WRONG_CLIENTS[client])
    start = time.monotonic()
    with pytest.raises(InputError, match="cannot be written") as error:
        st.check_writable(s3_storage)
    assert time.monotonic() - start < 60
    message = one_line(error)
    assert f"storage={s3_storage}" in message
    for name in ("AWS_SECRET_ACCESS_KEY", "AWS_ACCESS_KEY_ID"):
        assert os.environ.get(name, "none") not in message


def test_a_missing_bucket_is_told_at_once(s3: S3Server) -> None:
    with pytest.raises(InputError, match="NO_SUCH_BUCKET") as error:
        st.check_writable("s3://dsopt-is-not-here/x")
    one_line(error)
    assert not st.exists("s3://dsopt-is-not-here/x")
    assert st.list_files("s3://dsopt-is-not-here/x") == {}


def test_check_writable_leaves_nothing(storage: str) -> None:
    st.check_writable(storage)
    system, path = st.filesystem(storage)
    assert [info.path for info in system.get_file_info(pf.FileSelector(path, recursive=True)) if info.is_file] == []


def test_a_wrong_key_is_not_a_missing_file(s3_storage: str, as_client: Callable) -> None:
    st.write_bytes(s3_storage + "/here", b"x")
    as_client(AWS_SECRET_ACCESS_KEY="thisisnotthesecret")
    for function in (st.exists, st.read_bytes, st.list_files, st.read_table, st.delete):
        start = time.monotonic()
        with pytest.raises(OSError, match=r"ACCESS_DENIED|SIGNATURE_DOES_NOT_MATCH"):
            function(s3_storage + "/here")
        assert time.monotonic() - start < 60
    with pytest.raises(InputError, match="cannot be read") as error:
        st.Table(s3_storage)
    one_line(error)


# As pyarrow words them, collected from SeaweedFS while the whole of it, its volumes or its filer were killed and came
# back, from servers that break off in the middle of an answer, and from Amazon.
PASSING = [
    "When getting information for key 'p/a' in bucket 'b': AWS Error NETWORK_CONNECTION during HeadObject operation: "
    "curlCode: 7, Could not connect to server; Details: Failed to connect to 127.0.0.1:1 after 0 ms",
    "AWS Error NETWORK_CONNECTION during GetObject operation: curlCode: 18, Transferred a partial file",
    "AWS Error INTERNAL_FAILURE during GetObject operation: We encountered an internal error, please try again.",
    "When reading information for key 'p' in bucket 'b': AWS Error UNKNOWN (HTTP status 500) during HeadObject operation",
    "AWS Error UNKNOWN (HTTP status 503) during PutObject operation: No response body.",
    "AWS Error UNKNOWN (HTTP status 429) during PutObject operation: No response body.",
    "AWS Error SLOW_DOWN during PutObject operation: Please reduce your request rate.",
    "AWS Error SERVICE_UNAVAILABLE during HeadObject operation",
    "AWS Error NO_SUCH_UPLOAD during UploadPart operation: the store forgot the upload when it was started again",
    "When reading key 'ACCESS_DENIED/INVALID_' in bucket 'b': AWS Error NETWORK_CONNECTION during HeadObject operation",
]
FINAL = [
    "When initiating multiple part upload for key 'x' in bucket 'b': AWS Error ACCESS_DENIED during PutObject operation",
    "AWS Error NO_SUCH_BUCKET during CreateMultipartUpload operation: The specified bucket does not exist",
    "AWS Error INVALID_ACCESS_KEY_ID during CreateMultipartUpload operation: The access key ID you provided does not",
    "AWS Error SIGNATURE_DOES_NOT_MATCH during CreateMultipartUpload operation",
    "AWS Error UNKNOWN (HTTP status 301) during HeadObject operation: No response body.",
    "AWS Error UNKNOWN (HTTP status 400) during HeadObject operation: No response body.",
    "[Errno 28] No space left on device",
    "[Errno 13] Permission denied: 'x'",
]


@pytest.mark.parametrize("message", PASSING)
def test_passing_faults_are_waited_for(message: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    pauses: list[float] = []
    monkeypatch.setattr(time, "sleep", pauses.append)
    answers: list[Any] = [OSError(message), OSError(message), "done"]

    def call() -> str:
        answer = answers.pop(0)
        if isinstance(answer, OSError):
            raise answer
        return answer

    with caplog.at_level(logging.WARNING):
        assert st.retried(call)() == "done"
    assert pauses == [0.5, 1.0]
    assert "storage is away" in caplog.text


@pytest.mark.parametrize("message", FINAL)
def test_final_faults_are_raised_at_once(message: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(time, "sleep", lambda _: pytest.fail("waited"))

    @st.retried
    def call() -> None:
        raise OSError(message)

    with pytest.raises(OSError, match=re.escape(message)) as error:
        call()
    assert str(error.value) == message


def test_waiting_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    monkeypatch.setattr(time, "sleep", lambda pause: now.__setitem__(0, now[0] + pause))

    def call() -> None:
        raise OSError(PASSING[0])

    for function, seconds in ((st.retried(call), st.RETRY_SECONDS), (st.retried(call, seconds=5.0), 5.0)):
        start = now[0]
        with pytest.raises(OSError, match="NETWORK_CONNECTION"):
            function()
        assert seconds - 8 <= now[0] - start <= seconds


def test_an_unreachable_store_is_waited_for_when_its_client_is_made(monkeypatch: pytest.MonkeyPatch) -> None:
    """On Amazon the first contact, for the region of the bucket, is made when the client is made."""
    calls: list[str] = []

    def from_uri(uri: str) -> tuple[pf.FileSystem, str]:
        calls.append(uri)
        if len(calls) < 3:
            raise OSError("When resolving region for bucket 'b': AWS Error NETWORK_CONNECTION during HeadBucket operation")
        if len(calls) == 3:
            return pf.LocalFileSystem(), ""
        raise FileNotFoundError("Bucket 'b' not found")

    monkeypatch.setattr(st.pf, "FileSystem", SimpleNamespace(from_uri=from_uri))  # the real one takes no changes
    monkeypatch.setattr(time, "sleep", lambda _: None)
    st._remote.cache_clear()
    try:
        assert not st.exists("s3://b/nothing/here")
        assert len(calls) == 3
        with pytest.raises(InputError, match="Bucket 'b' not found"):
            st.exists("s3://other/x")
    finally:
        st._remote.cache_clear()


@pytest.mark.slow
def test_nothing_is_lost_or_invented_while_the_store_is_away(s3: S3Server, s3_storage: str) -> None:
    there, table, written = (st.join(s3_storage, name) for name in ("there", "t.parquet", "written"))
    st.write_bytes(there, b"x" * 1000)
    st.write_bytes(st.join(s3_storage, "old"), b"")
    st.write_table(table, ROWS)
    client = st.filesystem(there)[0]
    big = os.urandom(12 * 2**20)
    calls: dict[str, tuple[Callable[[], Any], Any]] = {
        "exists": (lambda: st.exists(there), True),
        "not exists": (lambda: st.exists(there + "-not"), False),
        "read_bytes": (lambda: st.read_bytes(there), b"x" * 1000),
        "write_bytes": (lambda: st.write_bytes(written, big), None),
        "list_files": (lambda: {"there", "t.parquet"} <= set(st.list_files(s3_storage)), True),
        "read_table": (lambda: st.read_table(table).equals(ROWS), True),
        "row_count": (lambda: st.row_count(table), 1000),
        "delete": (lambda: st.delete(st.join(s3_storage, "old")), None),
        "write_table": (lambda: st.write_table(written + ".parquet", ROWS) > 0, True),
    }
    answers: dict[str, list[Any]] = {name: [] for name in calls}
    back = threading.Event()

    def ask(name: str) -> None:
        call, _ = calls[name]
        while not back.is_set():
            answers[name].append(call())
            time.sleep(0.05)
        answers[name].append(call())

    with ThreadPoolExecutor(len(calls)) as pool:
        asked = [pool.submit(ask, name) for name in calls]
        time.sleep(1.0)  # in the middle of everything
        start = time.monotonic()
        with s3.outage(10.0):
            time.sleep(0.2)
            assert not s3.answers()
        assert time.monotonic() - start > 10
        back.set()
        for future in asked:
            future.result(timeout=300)
    for name, (_, right) in calls.items():
        assert len(answers[name]) > 1
        assert all(answer == right for answer in answers[name]), name
    assert st.filesystem(there)[0] is client  # the client of before works on
    assert st.read_bytes(written) == big
    assert set(st.list_files(s3_storage)) == {"there", "t.parquet", "written", "written.parquet"}


# --- stages and their tables ---------------------------------------------------------------------------------------


def stage(storage: str = "runs", **changes: Any) -> st.Stage:
    made = {
        "storage": storage,
        "kind": "embed",
        "name": "digits",
        "config": {"a": 1, "b": [1, 2], "c": None},
        **changes,
    }
    return st.Stage(**made)


def written(storage: str, **changes: Any) -> st.Stage:
    """A finished stage of two parts: 600 rows to train, 400 to test."""
    made = stage(storage, **changes)
    made.begin()
    parts = []
    for path, split, rows in (
        ("data/b.parquet", "test", ROWS.slice(600)),
        ("data/a.parquet", "train", ROWS.slice(0, 600)),
    ):
        size = st.write_table(made.path(path), rows)
        parts.append({"path": path, "rows": len(rows), "bytes": size, "split": split})
    made.commit(parts, ROWS.schema, seconds=1.23456, seed=7, classes=["cat", "dog"])
    return made


def test_a_hash_never_changes() -> None:
    """Folders named so are on people's disks: if they change, finished work is done again. Raise FORMAT only on purpose."""
    assert stage().hash == "df7e7ec2e9f5"
    assert stage(inputs={"images": stage(kind="ingest")}).hash == "7d406141afba"
    assert stage().folder == "embed/digits-df7e7ec2e9f5"
    assert stage(name="copies-blur(high=3)").folder.startswith("embed/copies-blur_high_3_-")
    assert stage("s3://b/p/").uri == "s3://b/p/embed/digits-df7e7ec2e9f5"


def test_a_hash_tells_what_a_stage_is_made_of() -> None:
    same = [
        stage(),
        stage("elsewhere"),
        stage(name="other"),
        stage(config={"c": None, "b": [1, 2], "a": 1}),
        stage(config={"a": 1, "b": (1, 2), "c": None}),
    ]
    assert len({one.hash for one in same}) == 1
    images, others = stage(kind="ingest"), stage(kind="ingest", config={"a": 2})
    different = [
        *(stage(), stage(kind="select"), stage(config={"a": 2, "b": [1, 2], "c": None})),
        *(stage(config={"a": 1, "b": [2, 1], "c": None}), stage(config={})),
        *(stage(inputs={"images": images}), stage(inputs={"images": others}), stage(inputs={"subset": images})),
        stage(inputs={"images": stage(kind="ingest", inputs={"more": images})}),
    ]
    assert len({one.hash for one in different}) == len(different)


def test_a_stage(storage: str) -> None:
    one = stage(storage)
    assert not one.done()
    one.begin()
    assert not one.done()
    assert yaml.safe_load(st.read_bytes(one.path("config.yaml"))) == dict(one.config)
    one = written(storage, inputs={"images": stage(storage, kind="ingest")})
    assert one.done()
    manifest = json.loads(st.read_bytes(one.path("manifest.json")))
    assert manifest["schema"] == {"id": "int64", "label": "int64"}
    assert manifest["rows"] == 1000
    assert [part["path"] for part in manifest["parts"]] == ["data/a.parquet", "data/b.parquet"]
    assert [part["bytes"] for part in manifest["parts"]] == [
        st.list_files(one.uri)[path] for path in ("data/a.parquet", "data/b.parquet")
    ]
    assert manifest["inputs"] == {"images": stage(kind="ingest").folder}
    assert (manifest["seconds"], manifest["seed"], manifest["classes"]) == (1.235, 7, ["cat", "dog"])
    assert manifest["versions"]["pyarrow"] == pa.__version__
    assert manifest["hash"] == one.hash


def test_the_first_commit_stays(storage: str) -> None:
    one = written(storage)
    first = st.read_bytes(one.path("manifest.json"))
    one.commit([], ROWS.schema, seconds=9.0)
    assert st.read_bytes(one.path("manifest.json")) == first


def test_a_table_is_what_its_manifest_lists(storage: str) -> None:
    one = written(storage)
    st.write_table(one.path("data", "orphan.parquet"), ROWS)  # of a write that was retried
    table = st.Table(one.uri)
    assert table.rows() == 1000
    assert (table.rows("train"), table.rows("test"), table.rows("none")) == (600, 400, 0)
    assert table.read().equals(ROWS)
    assert table.read("test", ["id"])["id"].to_pylist() == list(range(600, 1000))
    assert [len(block) for block in table.blocks()] == [600, 400]
    assert table.parts("test") == [st.Part(one.path("data/b.parquet"), 400, "test")]
    with pytest.raises(InputError, match="has no validation") as error:
        table.read("validation")
    one_line(error)


def test_an_unfinished_stage_is_told(storage: str) -> None:
    one = stage(storage)
    with pytest.raises(InputError, match="no finished stage") as error:
        st.Table(one.uri)
    assert one.uri in one_line(error)
    one.begin()
    st.write_table(one.path("data", "a.parquet"), ROWS)
    with pytest.raises(InputError, match="_DONE"):
        st.Table(one.uri)
    st.write_bytes(one.path("_DONE"), b"")
    with pytest.raises(InputError, match=r"no manifest\.json"):
        st.Table(one.uri)
    st.write_bytes(one.path("manifest.json"), b"{")
    with pytest.raises(InputError, match="not valid JSON"):
        st.Table(one.uri)


def test_a_part_that_is_not_as_listed_is_told(storage: str) -> None:
    one = written(storage)
    part = one.path("data", "a.parquet")
    st.write_table(part, ROWS)
    with pytest.raises(JobError, match="has 1000 rows, its manifest says 600") as error:
        st.Table(one.uri).read()
    assert part in str(error.value)
    st.write_bytes(part, b"PAR1 this is none PAR1")
    with pytest.raises(JobError, match="cannot be read"):
        st.Table(one.uri).read()
    st.delete(part)
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
    system, path = st.filesystem(one.path("data", "a.parquet"))
    assert pq.read_table(path, filesystem=system).equals(ROWS.slice(0, 600))
