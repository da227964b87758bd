"""metadata.csv and metadata.jsonl in a folder of images, as the Hugging Face hub's imagefolder has them."""

import posixpath
from dataclasses import dataclass, field

import pyarrow as pa
import pyarrow.types as pt

from dsopt.data.sources.labels import kind_of, label_column, unused_splits
from dsopt.data.sources.layout import named_split, normal
from dsopt.data.sources.listing import File
from dsopt.data.sources.tables import labels_of, read_rows
from dsopt.errors import InputError
from dsopt.files import join

NAMES = ("metadata.csv", "metadata.jsonl", "metadata.parquet")
NAME_COLUMNS = ("file_name", "filename", "file", "image", "path")


@dataclass(frozen=True)
class Metadata:
    """What the metadata files of a folder say.

    Args:
        files: their names.
        labels: the label of each image, by its name below the root in NFC; None: no file has labels.
    """

    files: frozenset[str] = frozenset()
    labels: dict[str, int | str] | None = None
    hints: tuple[str, ...] = field(default=())


def read_metadata(root: str, files: list[File], wanted: str | None) -> Metadata:
    """The metadata of a folder. `file_name` is relative to the metadata file.

    Raises:
        InputError: a file cannot be read, or none has the column `wanted`.
    """
    tables = [file.name for file in files if file.name.rpartition("/")[2].lower() in NAMES]
    labels: dict[str, int | str] = {}
    used, hints, twice = set(), [], dict[str, str]()
    for name in tables:
        table = read_rows(join(root, name), NAME_COLUMNS, wanted)
        column = next((each for each in table.column_names if each.lower() in NAME_COLUMNS), None)
        if column is None or not _is_text(table.schema.field(column).type):
            hints.append(f"{name} is not used: it has no column file_name.")
            continue
        others = [each for each in table.column_names if each != column and kind_of(table.schema.field(each).type)]
        label, told = label_column([each for each in table.column_names if each != column], wanted, (), others)
        if not any(map(named_split, (file.name for file in files))):
            told += unused_splits(table.column_names, label)
        hints += [f"{name}: {line}" for line in told]
        if label is None:
            continue
        folder = name.rpartition("/")[0]
        for file, value in zip(table[column].to_pylist(), labels_of(join(root, name), table, label), strict=True):
            if file and value is not None:
                below = file.replace("\\", "/")  # as Windows writes it
                key = normal(posixpath.normpath(f"{folder}/{below}".lstrip("/")))
                if labels.setdefault(key, value) != value:
                    twice[key] = name
                labels[key] = value
        used.add(name)
    if twice:
        first, name = next(iter(twice.items()))
        hints.append(f"{name}: {len(twice):,} images have several labels, of which the last counts, such as {first}.")
    if wanted is not None and not tables:
        raise InputError(f"data.root={root}: options.label_column={wanted}: there is no metadata.csv or metadata.jsonl.")
    return Metadata(frozenset(used), labels if used else None, tuple(hints))


def _is_text(type: pa.DataType) -> bool:
    return pt.is_string(type) or pt.is_large_string(type)
