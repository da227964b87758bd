import functools
import posixpath
from collections.abc import Iterable
from urllib.parse import quote

import pyarrow as pa
import pyarrow.types as pt

from dsopt import schemes
from dsopt.config import DataConfig
from dsopt.data.sets.folder import Files, ImageFile, list_files, named_files
from dsopt.data.sets.parquet import find_files
from dsopt.data.sources.labels import kind_of, label_column
from dsopt.data.sources.layout import check_named, decide_splits, named_split, split_word, told
from dsopt.data.sources.listing import digest, needed_root, passed_over
from dsopt.data.sources.source import Findings, Source
from dsopt.data.sources.tables import SUFFIXES, contents, labels_of, read_rows
from dsopt.errors import InputError, unknown
from dsopt.files import is_remote, join
from dsopt.registry import DATASETS

IMAGE_COLUMNS = (
    *("file_name", "filename", "image_path", "filepath", "file_path", "path", "uri", "url", "file", "image", "img"),
    *("image_file", "image_name", "image_url"),
)
SPLIT_COLUMNS = ("split", "subset", "partition", "fold_name")


@DATASETS.register
def table(
    data: DataConfig, *, image_column: str | None = None, label_column: str | None = None, split_column: str | None = None
) -> Source:
    """A CSV, JSON lines or Parquet file with a column of paths or URIs of images and, where there is one, a column of labels."""
    root = needed_root(data)
    base, tables, skipped = find_files(root, SUFFIXES)
    if not tables:
        raise InputError(f"data.root={root}: no table there; expected a file {', '.join('*' + end for end in SUFFIXES)}.")
    splits: Files = {}
    hints: dict[str, None] = {}
    by_name: dict[str | None, str] = {}  # split -> one of the tables that name it
    for file in tables:
        uri = join(base, file.name)
        rows = read_rows(uri, (*IMAGE_COLUMNS, *([image_column] if image_column else ())))
        image = _image_column(uri, rows, image_column)
        label, some = _label_column(rows, label_column, image)
        hints |= dict.fromkeys(some)
        named, some = _named_splits(uri, rows, split_column)
        hints |= dict.fromkeys(some)
        if named is None:
            named = [named_split(file.name)] * len(rows)
            by_name.setdefault(named[0], file.name)
        labels = labels_of(uri, rows, label) if label else [None] * len(rows)
        folder = file.name.rpartition("/")[0]
        for name, value, split in zip(rows[image].to_pylist(), labels, named, strict=True):
            splits.setdefault(split, []).append(ImageFile(_relative(base, folder, name), value, 0))
    check_named(root, by_name)
    unlabelled = {split for split, files in splits.items() if all(file.label is None for file in files)}
    uses = decide_splits(set(splits), unlabelled)
    used = {use: _sorted(splits, uses, use) for use in sorted(set(uses.values()), key=lambda use: use == "test")}
    look = functools.partial(Findings, passed_over(skipped), (*hints, *told(set(splits), unlabelled)))
    remote = is_remote(base)
    images = named_files(base, sorted({file.name for files in splits.values() for file in files}))
    fingerprint = digest(tables) | {"contents": contents(base, tables), "images": images}
    return Source(fingerprint, remote, functools.partial(list_files, base, used), look)


def _sorted(splits: Files, uses: dict[str | None, str | None], use: str | None) -> list[ImageFile]:
    """The rows of one use in their order."""
    return [file for split, files in splits.items() if split in uses and uses[split] == use for file in files]


def _column(rows: pa.Table, wanted: Iterable[str]) -> str | None:
    """The first of the wanted columns that is there, in whatever case."""
    lower = {name.lower(): name for name in reversed(rows.column_names)}
    return next((name if name in rows.column_names else lower[name.lower()] for name in wanted if name.lower() in lower), None)


def _named_splits(uri: str, rows: pa.Table, wanted: str | None) -> tuple[list[str | None] | None, tuple[str, ...]]:
    """The split of each row, by a column; None if there is none, or its values name no splits, which is said.

    Raises:
        InputError: there is no column `wanted`, or not all of its values name splits.
    """
    column = _column(rows, (wanted,) if wanted else SPLIT_COLUMNS)
    if column is None:
        if wanted:
            raise unknown(f"{uri}: options.split_column", wanted, rows.column_names)
        return None, ()
    values = rows[column].to_pylist()
    words = {value: split_word(str(value)) for value in dict.fromkeys(values)}
    strange = next((value for value, word in words.items() if word is None), None) if None in words.values() else ...
    if strange is ...:
        return [words[value] for value in values], ()
    if wanted or any(words.values()):
        raise InputError(f"{uri}: column {column!r} holds {strange!r}, which is no split; expected train, test or validation.")
    return None, (f"column {column} is not used: its values, such as {strange}, are no splits.",)


def _image_column(uri: str, rows: pa.Table, wanted: str | None) -> str:
    image = _column(rows, (wanted,) if wanted else IMAGE_COLUMNS)
    if image is None:
        raise unknown(f"{uri}: column of paths (options.image_column)", wanted or "file_name", rows.column_names)
    kind = rows.schema.field(image).type
    if not (pt.is_string(kind) or pt.is_large_string(kind)):
        raise InputError(f"{uri}: column {image!r} is {kind}; expected paths or URIs (data.name=parquet reads images in columns).")
    return image


def _label_column(rows: pa.Table, wanted: str | None, image: str) -> tuple[str | None, tuple[str, ...]]:
    columns = [name for name in rows.column_names if name != image]
    others = [name for name in columns if kind_of(rows.schema.field(name).type) and name.lower() not in SPLIT_COLUMNS]
    return label_column(columns, wanted, (), others)


def _relative(base: str, folder: str, name: str | None) -> str:
    """A name below the root `base`; paths are relative to the table, which lies in `folder` below it."""
    if not name:
        return ""
    if schemes.scheme(name) or name.startswith("/"):
        return name
    path = posixpath.normpath(posixpath.join(folder, name.replace("\\", "/")))
    return quote(path) if schemes.scheme(base) in ("http", "https") else path
