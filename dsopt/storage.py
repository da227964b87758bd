"""Where stages meet: URIs, stage folders with their manifests, and the schemas of the tables between them.

A stage folder is `<storage>/<stage>/<name>-<hash>/`. It holds the parts of a table under `data/`, `config.yaml`,
`manifest.json` and `_DONE`, written last. Three rules make it safe on object stores, which have no rename and no locks:

- every write is atomic (S3: an object appears whole; local disk: a hidden temporary file is renamed);
- a part's name and bytes follow from the stage's inputs alone, so a retried or doubled write replaces it with itself;
- readers read only the files that the manifest lists, and nobody writes into a folder that has its `_DONE`.
"""

import contextlib
import functools
import hashlib
import io
import json
import logging
import os
import platform
import re
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version
from typing import Any, TypeVar

import pyarrow as pa
import pyarrow.fs as pf
import pyarrow.parquet as pq
import yaml

from dsopt.errors import InputError, JobError
from dsopt.version import __version__

FORMAT = 1  # part of every stage's hash: raise it when a stage's code changes what it writes
RETRY_SECONDS = 120.0  # how long an unreachable object store is waited for; outages of 40 s were seen in practice

T = TypeVar("T")

# The codes of pyarrow's S3 client for faults that no waiting mends; those not known to it come with their HTTP status.
_FINAL_S3_ERRORS = re.compile(
    r"ACCESS_DENIED|NO_SUCH_BUCKET|NO_SUCH_KEY|SIGNATURE_DOES_NOT_MATCH|REQUEST_TIME_TOO_SKEWED|UNRECOGNIZED_CLIENT"
    r"|(INVALID|MISSING)_\w+|UNKNOWN \(HTTP status (3\d\d|4(?!08|29)\d\d)\)"
)


# --- files ---------------------------------------------------------------------------------------------------------


def is_remote(uri: str) -> bool:
    return "://" in uri and not uri.startswith("file://")


def absolute(uri: str) -> str:
    """The URI without a trailing slash; local paths made absolute, so that they mean the same in every process."""
    if not is_remote(uri):
        return os.path.abspath(os.path.expanduser(uri.removeprefix("file://")))
    rest = uri.partition("://")[2]
    authority = rest.partition("/")[0]
    if not authority:
        raise InputError(f"{uri}: there is no bucket; right is s3://bucket/prefix.")
    if "@" in authority or "?" in rest or (":" in authority and "@" in rest):  # a secret may contain a slash
        raise InputError("storage URI: credentials and settings do not belong into it; use AWS_ACCESS_KEY_ID and the like.")
    return uri.rstrip("/")


def join(uri: str, *names: str) -> str:
    return "/".join([uri.rstrip("/"), *names])


def filesystem(uri: str) -> tuple[pf.FileSystem, str]:
    """The pyarrow file system of a URI and the path in it. S3 takes endpoint, region and keys from the environment."""
    uri = absolute(uri)
    if not is_remote(uri):
        return pf.LocalFileSystem(), uri
    scheme, _, path = uri.partition("://")
    return _remote(scheme, path.partition("/")[0]), path


@functools.cache
def _remote(scheme: str, bucket: str) -> pf.FileSystem:
    try:
        return pf.FileSystem.from_uri(f"{scheme}://{bucket}")[0]
    except (pa.ArrowInvalid, OSError) as error:
        if isinstance(error, OSError) and _passing(error):  # it asks the store for the bucket's region
            raise
        raise InputError(f"{scheme}://{bucket}: {_first_line(error)}") from None


def _first_line(error: BaseException) -> str:
    return (str(error).split("\n")[0] or type(error).__name__).strip()


def _passing(error: OSError) -> bool:
    """Whether an error may go away by itself: the object store is unreachable, half up or overloaded."""
    code = re.search(r"AWS Error (.*)", str(error))
    return code is not None and not _FINAL_S3_ERRORS.match(code[1])


def retried(function: Callable[..., T], seconds: float | None = None) -> Callable[..., T]:
    """Call again, with growing pauses, while an object store is away; any other error is raised at once.

    Args:
        seconds: how long it is waited for, RETRY_SECONDS when not given; a call itself tries for some 6 s.
    """

    @functools.wraps(function)
    def call(*args: Any, **kwargs: Any) -> T:
        deadline, pause = time.monotonic() + (RETRY_SECONDS if seconds is None else seconds), 0.5
        while True:
            try:
                return function(*args, **kwargs)
            except OSError as error:
                if not _passing(error) or time.monotonic() + pause > deadline:
                    raise
                logging.getLogger(__name__).warning("storage is away, trying again: %s", _first_line(error))
            time.sleep(pause)
            pause = min(2 * pause, 8.0)

    return call


@retried
def exists(uri: str) -> bool:
    return _exists_once(uri)


def _exists_once(uri: str) -> bool:
    system, path = filesystem(uri)
    return system.get_file_info(path).type != pf.FileType.NotFound


@retried
def read_bytes(uri: str) -> bytes:
    """The whole of a small file. Raises FileNotFoundError."""
    system, path = filesystem(uri)
    while True:
        with system.open_input_file(path) as file:  # one request for all; a stream asks for 256 KiB at a time
            data = file.read()
        if system.get_file_info(path).size == len(data):  # else it was replaced after its size was asked for
            return data


@retried
def write_bytes(uri: str, data: bytes | memoryview) -> None:
    """Write a file so that it is there whole or not at all."""
    _write_once(uri, data)


def _write_once(uri: str, data: bytes | memoryview) -> None:
    system, path = filesystem(uri)
    if is_remote(uri):
        with system.open_output_stream(path) as stream:
            stream.write(data)
        return
    folder, name = os.path.split(path)
    os.makedirs(folder, exist_ok=True)
    temporary = os.path.join(folder, f".{name}.{uuid.uuid4().hex}")
    try:
        with open(temporary, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        if os.path.exists(temporary):
            os.unlink(temporary)
        raise


@retried
def delete(uri: str) -> None:
    """Delete a file, if it is there."""
    system, path = filesystem(uri)
    with contextlib.suppress(FileNotFoundError):
        system.delete_file(path)


@retried
def list_files(uri: str) -> dict[str, int]:
    """The files below a folder, relative to it, with their bytes; hidden ones left out; none if it is missing."""
    system, path = filesystem(uri)
    found = system.get_file_info(pf.FileSelector(path, recursive=True, allow_not_found=True))
    files = {info.path[len(path) :].lstrip("/"): info.size for info in found if info.type == pf.FileType.File}
    return {name: size for name, size in sorted(files.items()) if not os.path.basename(name).startswith(".")}


@retried
def read_table(uri: str, columns: list[str] | None = None) -> pa.Table:
    """A Parquet file. Columns are read as they were written, tensors included."""
    system, path = filesystem(uri)
    with system.open_input_file(path) as file:
        return pq.read_table(file, columns=columns)


def write_table(uri: str, table: pa.Table, *, compression: str = "zstd") -> int:
    """Write a Parquet file whole or not at all; returns its bytes. The same table always gives the same file."""
    sink = io.BytesIO()
    pq.write_table(table, sink, compression=compression)
    write_bytes(uri, sink.getbuffer())
    return sink.tell()


@retried
def row_count(uri: str) -> int:
    """The rows of a Parquet file, from its footer."""
    system, path = filesystem(uri)
    with system.open_input_file(path) as file:
        return pq.read_metadata(file).num_rows


def check_readable(uri: str) -> None:
    """Fail now, in one line, if an object store does not answer or refuses. What is not there yet is fine.

    Raises:
        InputError: a wrong address, wrong keys, or no permission.
    """
    try:
        retried(_exists_once, seconds=5.0)(uri)  # a person waits
    except OSError as error:
        raise InputError(f"storage={uri}: cannot be read: {_first_line(error)}") from None


def check_writable(uri: str) -> None:
    """Fail now, in one line, if nothing can be written below a URI.

    Raises:
        InputError: no permission, no such bucket, a file where the folder should be, or a store that does not answer.
    """
    probe = join(uri, f".probe-{uuid.uuid4().hex}")
    try:
        retried(_write_once, seconds=5.0)(probe, b"dsopt")  # a person waits: a wrong address is told soon
        delete(probe)
    except OSError as error:
        raise InputError(f"storage={uri}: cannot be written: {_first_line(error)}") from None


# --- tables --------------------------------------------------------------------------------------------------------

IMAGE = pa.struct([("bytes", pa.binary()), ("path", pa.string())])  # the convention of Hugging Face `datasets`
IMAGES = pa.schema([("id", pa.int64()), ("image", IMAGE), ("label", pa.int64()), ("source", pa.string())])
SUBSET = pa.schema([*IMAGES, ("rank", pa.int32()), ("score", pa.float32()), ("reason", pa.string())])
METRICS = pa.schema(
    [
        ("run", pa.string()),
        ("seed", pa.int64()),
        ("step", pa.int64()),
        ("seconds", pa.float64()),
        ("split", pa.string()),
        ("name", pa.string()),
        ("value", pa.float64()),
    ]
)


def embeddings_schema(size: int) -> pa.Schema:
    """The embeddings table: a standard Arrow tensor column that Ray, pyarrow, pandas, DuckDB and Polars read."""
    return pa.schema([("id", pa.int64()), ("label", pa.int64()), ("embedding", pa.fixed_shape_tensor(pa.float32(), [size]))])


def with_image_feature(schema: pa.Schema) -> pa.Schema:
    """The schema with the note that makes Hugging Face `datasets` decode the image column to pictures."""
    kinds = {"int64": "int64", "int32": "int32", "float": "float32", "string": "string"}

    def feature(type: pa.DataType) -> dict[str, Any]:
        if pa.types.is_fixed_size_list(type):
            return {"feature": feature(type.value_type), "length": type.list_size, "_type": "List"}
        return {"dtype": kinds[str(type)], "_type": "Value"}

    features: dict[str, Any] = {f.name: {"_type": "Image"} if f.name == "image" else feature(f.type) for f in schema}
    return schema.with_metadata({"huggingface": json.dumps({"info": {"features": features}})})


# --- stages --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Stage:
    """One step's output: where it lies follows from what it is made of, so equal work is found and never done twice.

    Args:
        storage: the URI below which all stages lie.
        kind: the step: "ingest", "autoencoder", "embed", "select", "train", "report".
        name: a word for people: the data set, the method.
        config: everything besides the inputs that decides the content; plain values.
        inputs: the stages it reads, by role.
    """

    storage: str
    kind: str
    name: str
    config: Mapping[str, Any]
    inputs: Mapping[str, "Stage"] = field(default_factory=dict)

    @staticmethod
    def existing(uri: str) -> "Stage":
        """A finished stage by its folder, wherever and by whomever it was made. Raises InputError if there is none."""
        manifest = Table(uri).manifest
        stage = Stage(absolute(uri).rpartition("/")[0], manifest["stage"], manifest["name"], {})
        stage.__dict__.update(hash=manifest["hash"], uri=absolute(uri))  # what would else be computed: see below
        return stage

    @functools.cached_property
    def hash(self) -> str:
        made_of = {
            "format": FORMAT,
            "kind": self.kind,
            "config": self.config,
            "inputs": {role: stage.hash for role, stage in self.inputs.items()},
        }
        return hashlib.sha256(json.dumps(made_of, sort_keys=True).encode()).hexdigest()[:12]

    @functools.cached_property
    def folder(self) -> str:
        """The folder relative to the storage."""
        name = re.sub(r"[^\w.+-]+", "_", self.name)
        return f"{self.kind}/{name}-{self.hash}"

    @functools.cached_property
    def uri(self) -> str:
        return join(self.storage, self.folder)

    def path(self, *names: str) -> str:
        return join(self.uri, *names)

    def done(self) -> bool:
        return exists(self.path("_DONE"))

    def begin(self) -> None:
        """Note what the stage is made of, before its first part."""
        write_bytes(self.path("config.yaml"), yaml.safe_dump(dict(self.config), sort_keys=False).encode())

    def commit(
        self, parts: list[dict[str, Any]], schema: pa.Schema, *, seconds: float, seed: int | None = None, **notes: Any
    ) -> None:
        """Declare the stage finished: write the manifest, then `_DONE`. A finished stage is left as it is.

        Args:
            parts: for each file {"path": relative to the stage folder, "rows", "bytes"} and, where there are
                splits, "split".
            seconds: what the work took, over all attempts.
            notes: further facts worth keeping, such as class names or rows left out.
        """
        if self.done():
            return
        parts = sorted(parts, key=lambda part: part["path"])
        manifest = {
            "stage": self.kind,
            "name": self.name,
            "hash": self.hash,
            "schema": {f.name: str(f.type) for f in schema},
            "rows": sum(part["rows"] for part in parts),
            "parts": parts,
            "inputs": {role: stage.folder for role, stage in self.inputs.items()},
            "versions": versions(),
            "seconds": round(seconds, 3),
            "seed": seed,
            **notes,
        }
        write_bytes(self.path("manifest.json"), json.dumps(manifest, indent=1).encode())
        write_bytes(self.path("_DONE"), b"")


def versions() -> dict[str, str]:
    """What made a table: Python, this package, and those whose results may change with theirs."""

    def installed(name: str) -> str:
        try:
            return version(name)
        except PackageNotFoundError:  # the core does without Ray
            return "none"

    libraries = {name: installed(name) for name in ("torch", "ray", "pyarrow", "numpy")}
    return {"python": platform.python_version(), "dsopt": __version__} | libraries


@dataclass(frozen=True)
class Part:
    """One file of a table."""

    uri: str
    rows: int
    split: str | None


class Table:
    """A finished stage, read through its manifest: only the files listed there exist.

    Raises:
        InputError: the folder is missing, or its stage did not finish.
    """

    def __init__(self, uri: str) -> None:
        self.uri = absolute(uri)
        try:
            if not exists(join(self.uri, "_DONE")):
                raise InputError(f"{self.uri}: no finished stage (there is no _DONE); run the job that makes it.")
            self.manifest: dict[str, Any] = json.loads(read_bytes(join(self.uri, "manifest.json")))
        except FileNotFoundError:
            raise InputError(f"{self.uri}: no finished stage (there is no manifest.json).") from None
        except ValueError:
            raise InputError(f"{self.uri}: manifest.json is not valid JSON.") from None
        except OSError as error:
            raise InputError(f"{self.uri}: cannot be read: {_first_line(error)}") from None

    def parts(self, split: str | None = None) -> list[Part]:
        listed = [Part(join(self.uri, p["path"]), p["rows"], p.get("split")) for p in self.manifest["parts"]]
        return [part for part in listed if split is None or part.split == split]

    def about(self) -> dict[str, Any]:
        """What a table of images says of them all, for the manifest of a table of the same kind."""
        return {key: self.manifest[key] for key in ("classes", "num_classes", "channels", "image_size")}

    def rows(self, split: str | None = None) -> int:
        return sum(part.rows for part in self.parts(split))

    def blocks(self, split: str | None = None, columns: list[str] | None = None) -> Iterator[pa.Table]:
        """The parts one after another, in order."""
        for part in self.parts(split):
            try:
                table = read_table(part.uri, columns)
            except (FileNotFoundError, pa.ArrowInvalid) as error:
                raise JobError(f"{part.uri}: is in the manifest but cannot be read: {_first_line(error)}") from None
            if len(table) != part.rows:
                raise JobError(f"{part.uri}: has {len(table)} rows, its manifest says {part.rows}.")
            yield table

    def read(self, split: str | None = None, columns: list[str] | None = None) -> pa.Table:
        """All rows of a split (or of all). Raises InputError if there are none."""
        blocks = list(self.blocks(split, columns))
        if not blocks:
            raise InputError(f"{self.uri}: has no {split or 'parts'}.")
        return pa.concat_tables(blocks)
