"""Where stages meet: stage folders with their manifests, and the schemas of the tables between them.

A stage folder is `<storage>/<kind>/<name>-<hash>/`. It holds the parts of a table under `data/`, `config.yaml`,
`manifest.json` and `_DONE`, written last. Three rules make it safe on object stores, which have no rename and no locks:

- every write is atomic (see `dsopt.files`);
- a part's name and bytes follow from the stage's inputs alone, so a retried or doubled write replaces it with itself;
- readers read only the files that the manifest lists, and nobody writes into a folder that has its `_DONE`.
"""

import functools
import hashlib
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from dsopt.errors import InputError, JobError
from dsopt.files import absolute, delete, exists, first_line, join, missing, read_bytes, read_table, write_bytes
from dsopt.version import versions

LAYOUT = 2  # of every stage folder, and part of every hash: raised when readers could not read what older code wrote

IMAGE = pa.struct([("bytes", pa.binary()), ("path", pa.string())])  # the convention of Hugging Face `datasets`
# Where the original of an image lies: a whole file, `length` bytes of a file (such as a tar shard) from `offset`, or a row of a
# Parquet file. Null for images that have no original, such as generated ones. `digest`: BLAKE2b of its bytes, 128 bits.
ORIGIN = pa.schema(
    [
        ("uri", pa.string()),
        ("offset", pa.int64()),
        ("length", pa.int64()),
        ("row", pa.int64()),
        ("width", pa.int32()),
        ("height", pa.int32()),
        ("format", pa.string()),
        ("digest", pa.string()),
    ]
)
IMAGES = pa.schema([("id", pa.int64()), ("image", IMAGE), ("label", pa.int64()), ("key", pa.string()), *ORIGIN])
SUBSET = pa.schema([*IMAGES, ("label_name", pa.string()), ("rank", pa.int32()), ("score", pa.float32()), ("reason", pa.string())])
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


def content_digest(data: bytes) -> str:
    """What the column `digest` holds of an original's bytes."""
    return hashlib.blake2b(data, digest_size=16).hexdigest()


def embeddings_schema(size: int, dtype: str = "fp32") -> pa.Schema:
    """The embeddings table: a standard Arrow tensor column, in fp32 or fp16, that Ray, pyarrow, pandas, DuckDB and Polars read."""
    value = {"fp32": pa.float32(), "fp16": pa.float16()}[dtype]
    return pa.schema([("id", pa.int64()), ("label", pa.int64()), ("embedding", pa.fixed_shape_tensor(value, [size]))])


def with_image_feature(schema: pa.Schema, classes: Sequence[str] | None = None) -> pa.Schema:
    """The schema with the note that makes Hugging Face `datasets` decode images, and show labels by the names of `classes`."""
    kinds = {"int64": "int64", "int32": "int32", "float": "float32", "string": "string"}

    def feature(type: pa.DataType) -> dict[str, Any]:
        if pa.types.is_fixed_size_list(type):
            return {"feature": feature(type.value_type), "length": type.list_size, "_type": "List"}
        return {"dtype": kinds[str(type)], "_type": "Value"}

    features: dict[str, Any] = {f.name: {"_type": "Image"} if f.name == "image" else feature(f.type) for f in schema}
    if classes and "label" in features:
        features["label"] = {"names": list(classes), "_type": "ClassLabel"}
    return schema.with_metadata({"huggingface": json.dumps({"info": {"features": features}})})


@dataclass(frozen=True)
class Kind:
    """A kind of stage.

    Args:
        name: the folder below the storage in which its stages lie.
        version: part of the hash of its stages. Raise it when the code of the kind, or a default that it reads, changes what it
            writes: then these stages, and those made from them, are made anew.
    """

    name: str
    version: int = 1


@dataclass(frozen=True)
class Stage:
    """One step's output: where it lies follows from what it is made of, so equal work is found and never done twice.

    Args:
        storage: the URI below which all stages lie.
        name: human-readable label: the data set, the method.
        made_of: everything besides the inputs that decides the content: settings that differ from their defaults, seeds,
            fingerprints; plain values. A new setting at its default changes no hash.
        inputs: the stages it reads, by role.
    """

    storage: str
    kind: Kind
    name: str
    made_of: Mapping[str, Any]
    inputs: Mapping[str, "Stage"] = field(default_factory=dict)

    @staticmethod
    def existing(uri: str) -> "Stage":
        """A finished stage by its folder, wherever and by whomever it was made. Raises InputError if there is none."""
        manifest = Table(uri).manifest
        kind = Kind(manifest["stage"], manifest.get("version", 1))
        stage = Stage(absolute(uri).rpartition("/")[0], kind, manifest["name"], {})
        stage.__dict__.update(hash=manifest["hash"], uri=absolute(uri))  # in place of the cached properties below
        return stage

    @functools.cached_property
    def hash(self) -> str:
        made_of = {
            "layout": LAYOUT,
            "kind": [self.kind.name, self.kind.version],
            "made_of": self.made_of,
            "inputs": {role: stage.hash for role, stage in self.inputs.items()},
        }
        return hashlib.sha256(json.dumps(made_of, sort_keys=True).encode()).hexdigest()[:12]

    @functools.cached_property
    def folder(self) -> str:
        """The folder relative to the storage."""
        name = re.sub(r"[^\w.+-]+", "_", self.name)
        return f"{self.kind.name}/{name}-{self.hash}"

    @functools.cached_property
    def uri(self) -> str:
        return join(self.storage, self.folder)

    def path(self, *names: str) -> str:
        return join(self.uri, *names)

    def done(self) -> bool:
        return exists(self.path("_DONE"))

    def begin(self, config: str) -> None:
        """Note the configuration, as YAML, before the first part is written; an earlier failure is forgotten."""
        write_bytes(self.path("config.yaml"), config.encode())
        delete(self.path("failed.txt"))

    def fail(self, reason: str) -> None:
        """Note why the work failed. The stage is not done: who needs it tries again."""
        write_bytes(self.path("failed.txt"), reason.encode())

    def failure(self) -> str | None:
        """Why the work failed when it was last tried; None if it did not."""
        try:
            return None if self.done() else read_bytes(self.path("failed.txt")).decode()
        except FileNotFoundError:
            return None

    def commit(
        self, parts: list[dict[str, Any]], schema: pa.Schema, *, seconds: float, seed: int | None = None, **notes: Any
    ) -> None:
        """Declare the stage finished: write the manifest, then `_DONE`. A finished stage is left as it is.

        Args:
            parts: for each file {"path": relative to the stage folder, "rows", "bytes"} and, where there are
                splits, "split".
            seconds: what the work took, over all attempts.
            notes: further facts worth keeping, such as class names or rows left out.

        Raises:
            JobError: parts are not where this machine sees them.
        """
        if self.done():
            return
        lost = missing([self.path(part["path"]) for part in parts])
        if lost:
            raise JobError(
                f"{self.uri}: {len(lost)} of {len(parts)} parts that workers wrote are not there, such as {lost[0]}; on several "
                "machines storage must be a place that all of them reach: s3://bucket/prefix or a shared folder."
            )
        parts = sorted(parts, key=lambda part: part["path"])
        manifest = {
            "stage": self.kind.name,
            "version": self.kind.version,
            "name": self.name,
            "hash": self.hash,
            "made_of": self.made_of,
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


@dataclass(frozen=True)
class Part:
    """One file of a table.

    Args:
        images: the part of another table that holds the images of these rows, by their ids; None: they are in this file.
    """

    uri: str
    rows: int
    split: str | None = None
    images: str | None = None

    def read(self, columns: list[str] | None = None) -> pa.Table:
        """Its rows, in order, with the images wherever they are."""
        if self.images is None or (columns is not None and "image" not in columns):
            return read_table(self.uri, columns)
        rows, images = read_table(self.uri), read_table(self.images, ["id", "image"])
        found = pc.index_in(rows["id"], images["id"].combine_chunks())  # pyright: ignore[reportAttributeAccessIssue]
        rows = rows.add_column(1, images.schema.field("image"), images["image"].take(found))
        return rows if columns is None else rows.select(columns)


class Table:
    """A finished stage, read through its manifest: only the files listed there exist.

    Raises:
        InputError: the folder is missing, or its stage did not finish.
    """

    def __init__(self, uri: str) -> None:
        self.uri = absolute(uri)
        self.storage = self.uri.rpartition("/")[0].rpartition("/")[0]
        try:
            if not exists(join(self.uri, "_DONE")):
                raise InputError(f"{self.uri}: no finished stage (there is no _DONE); run the job that makes it.")
            self.manifest: dict[str, Any] = json.loads(read_bytes(join(self.uri, "manifest.json")))
        except FileNotFoundError:
            raise InputError(f"{self.uri}: no finished stage (there is no manifest.json).") from None
        except ValueError:
            raise InputError(f"{self.uri}: manifest.json is not valid JSON.") from None
        except OSError as error:
            raise InputError(f"{self.uri}: cannot be read: {first_line(error)}") from None

    def parts(self, split: str | None = None) -> list[Part]:
        """What training reads: images of one size."""
        return [part for part in self._listed("parts") if split is None or part.split == split]

    def files(self) -> list[Part]:
        """What people take away: of a subset its files below `data/`, with originals; of any other table the parts to train on."""
        return self._listed("files") if "files" in self.manifest else self.parts(self.training())

    def _listed(self, key: str) -> list[Part]:
        return [
            Part(join(self.uri, p["path"]), p["rows"], p.get("split"), join(self.storage, p["images"]) if "images" in p else None)
            for p in self.manifest[key]
        ]

    def input(self, role: str) -> str | None:
        """The folder of the stage that it was made from in this role, whether that is still there or not."""
        return (folder := self.manifest["inputs"].get(role)) and join(self.storage, folder)

    def training(self) -> str | None:
        """The split to train on: "train", where there are splits; a subset has none."""
        return "train" if any(part.split == "train" for part in self.parts()) else None

    def about(self) -> dict[str, Any]:
        """What a table of images says of them all, for the manifest of a table of the same kind."""
        return {key: self.manifest[key] for key in ("classes", "num_classes", "channels", "image_size")}

    def rows(self, split: str | None = None) -> int:
        return sum(part.rows for part in self.parts(split))

    def blocks(self, split: str | None = None, columns: list[str] | None = None) -> Iterator[pa.Table]:
        """The parts one after another, in order."""
        for part in self.parts(split):
            try:
                table = part.read(columns)
            except (FileNotFoundError, pa.ArrowInvalid) as error:
                raise JobError(f"{part.uri}: is in the manifest but cannot be read: {first_line(error)}") from None
            if len(table) != part.rows:
                raise JobError(f"{part.uri}: has {len(table)} rows, its manifest says {part.rows}.")
            yield table

    def read(self, split: str | None = None, columns: list[str] | None = None) -> pa.Table:
        """All rows of a split (or of all). Raises InputError if there are none."""
        blocks = list(self.blocks(split, columns))
        if not blocks:
            raise InputError(f"{self.uri}: has no {split or 'parts'}.")
        return pa.concat_tables(blocks)
