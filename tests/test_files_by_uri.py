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

import fsspec
import pyarrow as pa
import pyarrow.fs as pf
import pytest
from s3_server import READER, S3Server

from dsopt import files
from dsopt.errors import InputError
from dsopt.storage import Table

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
    assert files.absolute("runs/") == f"{here}/runs"
    assert files.absolute("~/runs") == f"{here}/home/runs"
    assert files.absolute(f"file://{here}/runs") == f"{here}/runs"
    assert files.absolute("s3://bucket/prefix/") == "s3://bucket/prefix"
    assert files.join("s3://bucket/", "a", "b") == "s3://bucket/a/b"
    assert [files.is_remote(uri) for uri in ("s3://b/x", "file:///x", "x", "/x")] == [True, False, False, False]


@pytest.mark.parametrize(
    "uri",
    [
        "s3://KEY:SECRET@bucket/x",
        "gs://KEY:SECRET@bucket",
        "s3:/KEY:SECRET@bucket",
        "s3://KEY:SEC/RET@bucket/x",
        "s3://bucket/x?secret_key=SECRET",
    ],
)
def test_credentials_in_a_uri_are_refused_and_not_repeated(uri: str) -> None:
    for function in (files.absolute, files.exists, files.read_bytes, files.check_writable, files.list_files):
        with pytest.raises(InputError, match="AWS_ACCESS_KEY_ID") as error:
            function(uri)
        assert not any(word in one_line(error) for word in ("KEY:", "SEC", "RET@"))


@pytest.mark.parametrize("uri", ["gopher://x/y", "s3://", "s3:///x", "s4://bucket"])
def test_a_uri_that_is_none_is_told(uri: str) -> None:
    with pytest.raises(InputError) as error:
        files.exists(uri)
    assert uri.partition("://")[0] in one_line(error)


@pytest.mark.parametrize("uri", ["nowhere://host/x", "s3:/bucket/x", "S3://bucket/x", "file:/x"])
def test_what_is_neither_a_folder_nor_of_a_known_scheme_is_refused_at_once(uri: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files.pf, "FileSystem", SimpleNamespace(from_uri=lambda uri: pytest.fail("it was asked for")))
    for function in (files.absolute, files.exists, files.check_readable):
        with pytest.raises(InputError) as error:
            function(uri)
        assert one_line(error).startswith(f"{uri}: is neither a folder nor a URI of a known scheme; expected a folder, s3://bucket")


@pytest.mark.parametrize("uri, package", [("gs://bucket/x", "gcsfs"), ("az://container@account/x", "adlfs")])
def test_a_missing_package_is_named(uri: str, package: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    assert files.absolute(uri) == uri and files.is_remote(uri)
    for function in (files.exists, files.read_bytes):
        with pytest.raises(InputError, match=f"needs the package {package}, which is not installed") as error:
            function(uri)
        one_line(error)


def test_other_schemes_are_read_and_not_written() -> None:
    system = fsspec.filesystem("memory")
    system.pipe("/dsopt-files/a/x.bin", b"content")
    uri = "memory://dsopt-files/a/x.bin"
    assert files.exists(uri) and files.exists("memory://dsopt-files/a") and not files.exists(uri + "x")
    assert files.read_bytes(uri) == b"content" and files.read_range(uri, 2, 3) == b"nte" and files.stat(uri) is not None
    assert files.list_files("memory://dsopt-files") == {"a/x.bin": 7}
    with pytest.raises(FileNotFoundError):
        files.read_bytes(uri + "x")
    with pytest.raises(InputError, match="written to a folder or to s3:// only"):
        files.check_writable("memory://dsopt-files")
    system.rm("/dsopt-files", recursive=True)


@pytest.mark.parametrize("key", ["q?/x y.bin", "50% off/#1.bin", "a=b&c;d/%20.bin", "日本/x+y@z.bin"])
def test_keys_may_have_any_characters(storage: str, key: str) -> None:
    uri = files.join(storage, key)
    files.write_bytes(uri, b"x")
    assert files.read_bytes(uri) == b"x" and files.read_range(uri, 0, 9) == b"x" and list(files.list_files(storage)) == [key]


@pytest.mark.parametrize("name", ["x" * 255, "\u732b" * 85])
def test_a_name_may_be_as_long_as_the_system_takes(tmp_path: Path, name: str) -> None:
    files.write_bytes(f"{tmp_path}/{name}", b"x")
    assert [path.name for path in tmp_path.iterdir()] == [name]


def test_a_slash_too_many_is_no_part_of_a_key(s3_storage: str) -> None:
    bucket, _, prefix = s3_storage.removeprefix("s3://").partition("/")
    files.write_bytes(f"s3://{bucket}//{prefix}/x", b"x")
    assert files.read_bytes(f"{s3_storage}//x") == b"x"


@pytest.mark.parametrize("endpoint", ["127.0.0.1:9000", "user:secret@host:9000", "host"])
def test_an_endpoint_without_a_scheme_is_told_at_once(endpoint: str, as_client: Callable[..., None]) -> None:
    as_client(AWS_ENDPOINT_URL=endpoint)
    start = time.monotonic()
    with pytest.raises(InputError, match=r"AWS_ENDPOINT_URL=\S+: does not begin with http:// or https://") as error:
        files.exists("s3://dsopt/x")
    assert time.monotonic() - start < 5 and "secret" not in one_line(error)


def test_an_endpoint_may_end_with_a_slash(s3: S3Server, s3_storage: str, as_client: Callable[..., None]) -> None:
    as_client(AWS_ENDPOINT_URL=s3.env["AWS_ENDPOINT_URL"] + "/")
    files.write_bytes(s3_storage + "/x", b"x")
    assert files.read_bytes(s3_storage + "/x") == b"x"


# --- reading and writing ---------------------------------------------------------------------------------------------


def test_files(storage: str) -> None:
    uri = files.join(storage, "a", "b.bin")
    assert not files.exists(uri)
    assert files.list_files(storage) == {}
    with pytest.raises(FileNotFoundError):
        files.read_bytes(uri)
    files.delete(uri)  # nothing there, nothing wrong
    files.write_bytes(uri, b"one")
    files.write_bytes(uri, memoryview(b"three"))
    files.write_bytes(files.join(storage, "c"), b"")
    files.write_bytes(files.join(storage, "a", ".hidden"), b"x")
    assert files.exists(uri)
    assert files.exists(files.join(storage, "a"))
    assert files.read_bytes(uri) == b"three"
    assert files.list_files(storage) == {"a/b.bin": 5, "c": 0}
    assert files.list_files(storage + "/") == {"a/b.bin": 5, "c": 0}
    files.delete(uri)
    assert not files.exists(uri)
    assert files.list_files(storage) == {"c": 0}


def test_tables(storage: str) -> None:
    uri = files.join(storage, "t.parquet")
    size = files.write_table(uri, ROWS)
    first = files.read_bytes(uri)
    assert size == len(first)
    files.write_table(uri, ROWS)
    assert files.read_bytes(uri) == first  # a retried write replaces a part by itself
    assert files.read_table(uri).equals(ROWS)
    assert files.read_table(uri, ["label"]).column_names == ["label"]
    assert files.row_count(uri) == 1000


WRITER = """
import sys
from dsopt import files
uri, size = sys.argv[1], int(sys.argv[2])
print("ready", flush=True)
while True:
    for letter in b"ab":
        files.write_bytes(uri, bytes([letter]) * (size + letter))
"""


def python(code: str, *arguments: str, **options: Any) -> subprocess.Popen[str]:
    return subprocess.Popen([sys.executable, "-c", code, *arguments], text=True, **options)


def assert_whole(data: bytes, size: int) -> None:
    letter = data[:1]
    assert letter in (b"a", b"b")
    assert data == letter * (size + letter[0])  # each is of its own length


@pytest.mark.slow
def test_a_reader_never_sees_half_a_file(storage: str) -> None:
    """While a writer replaces a file over and over, longer and shorter, and after it was killed at any moment."""
    size = 12 * 2**20  # on S3 more than one part of an upload
    uri = files.join(storage, "big")
    files.write_bytes(uri, b"a" * (size + ord("a")))
    for pause in (0.0, 0.05, 0.15, 0.3):
        writer = python(WRITER, uri, str(size), stdout=subprocess.PIPE)
        assert writer.stdout
        writer.stdout.readline()
        for _ in range(3):
            assert_whole(files.read_bytes(uri), size)
        time.sleep(pause)
        writer.send_signal(signal.SIGKILL)
        writer.wait()
        writer.stdout.close()
        assert_whole(files.read_bytes(uri), size)
        assert list(files.list_files(storage)) == ["big"]  # what a killed writer leaves behind is hidden


TWIN = """
import sys
import pyarrow as pa
from dsopt import files
for _ in range(15):
    files.write_table(sys.argv[1], pa.table({"id": range(20_000)}))
"""


@pytest.mark.slow
def test_two_processes_may_write_the_same_part(storage: str) -> None:
    uri = files.join(storage, "part.parquet")
    twins = [python(TWIN, uri) for _ in range(2)]
    while any(twin.poll() is None for twin in twins):
        if files.exists(uri):
            assert files.row_count(uri) == 20_000
    assert [twin.returncode for twin in twins] == [0, 0]
    assert files.read_table(uri)["id"].to_pylist() == list(range(20_000))
    assert list(files.list_files(storage)) == ["part.parquet"]


# --- faults of the local disk --------------------------------------------------------------------------------------


def test_a_file_in_place_of_the_folder_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for uri in (tmp_path / "file", tmp_path / "file" / "below"):
        with pytest.raises(InputError) as error:
            files.check_writable(str(uri))
        assert f"storage={uri}" in one_line(error)


def test_a_place_that_takes_no_files_is_told() -> None:
    with pytest.raises(InputError, match="storage=/proc/dsopt: cannot be written") as error:
        files.check_writable("/proc/dsopt")  # not even root can write there
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
    files.check_writable(str(small_disk))
    with pytest.raises(OSError, match="No space left"):
        files.write_bytes(uri, b"x" * 2**21)
    assert os.listdir(small_disk / "x") == []
    files.write_bytes(uri, b"fits")
    with pytest.raises(OSError, match="No space left"):
        files.write_bytes(uri, b"x" * 2**21)
    assert os.listdir(small_disk / "x") == ["part"]
    assert files.read_bytes(uri) == b"fits"


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
        files._remote.cache_clear()

    yield change
    files._remote.cache_clear()


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


@pytest.mark.slow
@pytest.mark.parametrize("client", WRONG_CLIENTS)
def test_a_store_that_cannot_be_used_is_told_at_once(s3_storage: str, as_client: Callable, client: str) -> None:
    as_client(**WRONG_CLIENTS[client])
    start = time.monotonic()
    with pytest.raises(InputError, match="cannot be written") as error:
        files.check_writable(s3_storage)
    assert time.monotonic() - start < 60
    message = one_line(error)
    assert f"storage={s3_storage}" in message
    for name in ("AWS_SECRET_ACCESS_KEY", "AWS_ACCESS_KEY_ID"):
        assert os.environ.get(name, "none") not in message


def test_a_missing_bucket_is_told_at_once(s3: S3Server) -> None:
    with pytest.raises(InputError, match="NO_SUCH_BUCKET") as error:
        files.check_writable("s3://dsopt-is-not-here/x")
    one_line(error)
    assert not files.exists("s3://dsopt-is-not-here/x")
    assert files.list_files("s3://dsopt-is-not-here/x") == {}


def test_check_writable_leaves_nothing(storage: str) -> None:
    files.check_writable(storage)
    system, path = files.filesystem(storage)
    assert [info.path for info in system.get_file_info(pf.FileSelector(path, recursive=True)) if info.is_file] == []


def test_a_wrong_key_is_not_a_missing_file(s3_storage: str, as_client: Callable) -> None:
    files.write_bytes(s3_storage + "/here", b"x")
    as_client(AWS_SECRET_ACCESS_KEY="thisisnotthesecret")
    for function in (files.exists, files.read_bytes, files.list_files, files.read_table, files.delete):
        start = time.monotonic()
        with pytest.raises(OSError, match=r"ACCESS_DENIED|SIGNATURE_DOES_NOT_MATCH"):
            function(s3_storage + "/here")
        assert time.monotonic() - start < 60
    with pytest.raises(InputError, match="cannot be read") as error:
        Table(s3_storage)
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
def test_unreachable_stores_are_retried(message: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    pauses: list[float] = []
    monkeypatch.setattr(time, "sleep", pauses.append)
    answers: list[Any] = [OSError(message), OSError(message), "done"]

    def call() -> str:
        answer = answers.pop(0)
        if isinstance(answer, OSError):
            raise answer
        return answer

    with caplog.at_level(logging.WARNING):
        assert files.retried(call)() == "done"
    assert pauses == [0.5, 1.0]
    assert "storage is unreachable" in caplog.text


@pytest.mark.parametrize("message", FINAL)
def test_final_faults_are_raised_at_once(message: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(time, "sleep", lambda _: pytest.fail("waited"))

    @files.retried
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

    for function, seconds in ((files.retried(call), files.RETRY_SECONDS), (files.retried(call, seconds=5.0), 5.0)):
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

    monkeypatch.setattr(files.pf, "FileSystem", SimpleNamespace(from_uri=from_uri))  # the real one takes no changes
    monkeypatch.setattr(time, "sleep", lambda _: None)
    files._remote.cache_clear()
    try:
        assert not files.exists("s3://b/nothing/here")
        assert len(calls) == 3
        with pytest.raises(InputError, match="Bucket 'b' not found"):
            files.exists("s3://other/x")
    finally:
        files._remote.cache_clear()


@pytest.mark.long
@pytest.mark.slow
def test_nothing_is_lost_or_invented_while_the_store_is_away(s3: S3Server, s3_storage: str) -> None:
    there, table, written = (files.join(s3_storage, name) for name in ("there", "t.parquet", "written"))
    files.write_bytes(there, b"x" * 1000)
    files.write_bytes(files.join(s3_storage, "old"), b"")
    files.write_table(table, ROWS)
    client = files.filesystem(there)[0]
    big = os.urandom(12 * 2**20)
    calls: dict[str, tuple[Callable[[], Any], Any]] = {
        "exists": (lambda: files.exists(there), True),
        "not exists": (lambda: files.exists(there + "-not"), False),
        "read_bytes": (lambda: files.read_bytes(there), b"x" * 1000),
        "write_bytes": (lambda: files.write_bytes(written, big), None),
        "list_files": (lambda: {"there", "t.parquet"} <= set(files.list_files(s3_storage)), True),
        "read_table": (lambda: files.read_table(table).equals(ROWS), True),
        "row_count": (lambda: files.row_count(table), 1000),
        "delete": (lambda: files.delete(files.join(s3_storage, "old")), None),
        "write_table": (lambda: files.write_table(written + ".parquet", ROWS) > 0, True),
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
    assert files.filesystem(there)[0] is client  # the client of before works on
    assert files.read_bytes(written) == big
    assert set(files.list_files(s3_storage)) == {"there", "t.parquet", "written", "written.parquet"}
