import functools
import posixpath
import re
from collections.abc import Iterable
from urllib.parse import quote

import pyarrow as pa
import pyarrow.types as pt

from dsopt import schemes
from dsopt.config import DataConfig
from dsopt.data.sets.folder import Files, ImageFile, list_files, located, named_files
from dsopt.data.sets.parquet import find_files
from dsopt.data.sources.labels import SPLIT_COLUMNS, kind_of, label_column, plainly
from dsopt.data.sources.layout import check_named, decide_splits, named_split, split_word, told
from dsopt.data.sources.listing import File, digest, list_data, needed_root, passed_over
from dsopt.data.sources.source import Findings, Source
from dsopt.data.sources.tables import SUFFIXES, contents, labels_of, read_rows
from dsopt.errors import InputError, unknown
from dsopt.files import is_remote, join
from dsopt.registry import DATASETS

IMAGE_COLUMNS = (
    *("file_name", "filename", "image_path", "filepath", "file_path", "path", "uri", "url", "file", "image", "img"),
    *("image_file", "image_name", "image_url"),
)
MOST_SPLITS = 20  # distinct names of splits in a column


@DATASETS.register
def table(
    data: DataConfig,
    *,
    image_column: str | None = None,
    image_path: str = "{}",
    label_column: str | None = None,
    split_column: str | None = None,
) -> Source:
    """A CSV, JSON lines or Parquet file with a column of paths or URIs of images and, where there is one, a column of labels.

    `image_path` completes names that are no paths, such as train/{}.jpg; {name} is what follows the last slash.
    """
    root = needed_root(data)
    base, tables, skipped = find_files(root, SUFFIXES)
    if not tables:
        raise InputError(f"data.root={root}: no table there; expected a file {', '.join('*' + end for end in SUFFIXES)}.")
    splits: Files = {}
    hints: dict[str, None] = {}
    by_name: dict[str | None, str] = {}  # split -> one of the tables that name it
    for file in tables:
        uri = join(base, file.name)
        rows = read_rows(uri, (*IMAGE_COLUMNS, *([image_column] if image_column else ())), label_column)
        image = _image_column(uri, rows, image_column)
        label, some = _label_column(rows, label_column, image)
        hints |= dict.fromkeys(some)
        named, some = _named_splits(uri, rows, split_column, {image, label})
        hints |= dict.fromkeys(some)
        if named is None:
            named = [named_split(file.name)] * len(rows)
            by_name.setdefault(named[0], file.name)
        labels = labels_of(uri, rows, label) if label else [None] * len(rows)
        folder = file.name.rpartition("/")[0]
        names = [_completed(image_path, name) for name in rows[image].to_pylist()]
        for name, value, split in zip(names, labels, named, strict=True):
            splits.setdefault(split, []).append(ImageFile(_relative(base, folder, name), value, 0))
    check_named(root, by_name)
    unlabelled = {split for split, files in splits.items() if all(file.label is None for file in files)}
    uses = decide_splits(set(splits), unlabelled)
    used = {use: _sorted(splits, uses, use) for use in sorted(set(uses.values()), key=lambda use: use == "test")}
    images = named_files(base, sorted({file.name for files in splits.values() for file in files}))
    hints |= dict.fromkeys(_not_there(base, tables[0].name, images))
    look = functools.partial(Findings, passed_over(skipped), (*hints, *told(set(splits), unlabelled)))
    fingerprint = digest(tables) | {"contents": contents(base, tables), "images": digest(images)}
    return Source(fingerprint, is_remote(base), functools.partial(list_files, base, used), look)


def _completed(pattern: str, name: str | None) -> str | None:
    return pattern.replace("{name}", re.split(r"[/\\]", name)[-1]).replace("{}", name) if name else name


def _not_there(base: str, table: str, images: list[File]) -> tuple[str, ...]:
    """A hint on local images that are named and not there.

    Raises:
        InputError: none is there; the message says which `image_path` would find one.
    """
    local = [image for image in images if image.name and not is_remote(located(base, image.name))]
    missing = [image.name for image in local if not image.version]
    if missing and len(missing) == len(images):
        last = re.split(r"[/\\]", missing[0])[-1]
        name = "{}" if missing[0] == last else "{name}"
        ends = ((folder, end) for folder, _, end in (file.name.rpartition("/") for file in list_data(base).files) if end)
        found = next((join(folder, name + end[len(last) :]) for folder, end in ends if last in (end, end.rpartition(".")[0])), None)
        advice = (
            f'data.options.image_path="{found.lstrip("/")}" finds it' if found else "expected paths relative to the table, or URIs"
        )
        raise InputError(f"{join(base, table)}: none of its {len(images):,} images is there, such as {missing[0][:200]}; {advice}.")
    return (f"not there: {len(missing):,} of {len(images):,} images, such as {missing[0][:200]}.",) if missing else ()


def _sorted(splits: Files, uses: dict[str | None, str | None], use: str | None) -> list[ImageFile]:
    """The rows of one use in their order."""
    return [file for split, files in splits.items() if split in uses and uses[split] == use for file in files]


def _column(rows: pa.Table, wanted: Iterable[str]) -> str | None:
    """The first of the wanted columns that is there, in whatever case."""
    known = {plainly(name): name for name in reversed(rows.column_names)}
    return next((name if name in rows.column_names else known[plainly(name)] for name in wanted if plainly(name) in known), None)


def _named_splits(
    uri: str, rows: pa.Table, wanted: str | None, others: set[str | None]
) -> tuple[list[str | None] | None, tuple[str, ...]]:
    """The split of each row, by a column; None if there is none, or its values name no splits, which is said.

    Raises:
        InputError: there is no column `wanted`, or not all of its values name splits.
    """
    column = _column(rows, (wanted,) if wanted else SPLIT_COLUMNS)
    if column is None and wanted:
        raise unknown(f"{uri}: options.split_column", wanted, rows.column_names)
    column = column or next((name for name in rows.column_names if name not in others and _names_splits(rows[name])), None)
    if column is None:
        flags = [name for name in rows.column_names if name not in others and plainly(name)[:2] == "is" and split_word(name)]
        return None, tuple(f"column {name} is not used; a column split with train and test would be." for name in flags)
    values = rows[column].to_pylist()
    words = {value: split_word(str(value)) for value in dict.fromkeys(values)}
    strange = [value for value, word in words.items() if word is None]
    if not strange:
        return [words[value] for value in values], ()
    if wanted or any(words.values()):
        raise InputError(f"{uri}: column {column!r} holds {strange[0]!r}, which is no split; expected train, test or validation.")
    return None, (f"column {column} is not used: its values, such as {strange[0]}, are no splits.",)


def _names_splits(values: pa.ChunkedArray) -> bool:
    """Whether a column holds nothing but the names of two or three splits, whatever it is called."""
    if kind_of(values.type) != "text":
        return False
    found = values.unique()
    words = {split_word(value or "") for value in found.to_pylist()} if len(found) <= MOST_SPLITS else {None}
    return None not in words and len(words) > 1


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
    label, hints = label_column(columns, wanted, (), others)
    flags = [name for name in others if len(values := rows[name].unique()) == 2 and set(values.to_pylist()) == {0, 1}]
    if label is None and len(flags) > 1:
        some = ", ".join(flags[:5]) + f" and {len(flags) - 5:,} more" * (len(flags) > 5)
        return None, (f"columns {some} hold 0 and 1, as of several labels for an image; expected one column of labels.",)
    return label, hints


def _relative(base: str, folder: str, name: str | None) -> str:
    """A name below the root `base`; paths are relative to the table, which lies in `folder` below it."""
    if not name:
        return ""
    if schemes.scheme(name) or name.startswith("/"):
        return name
    path = posixpath.normpath(posixpath.join(folder, name.replace("\\", "/")))
    return quote(path) if schemes.scheme(base) in ("http", "https") else path
