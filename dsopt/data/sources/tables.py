"""Small tables as people write them: CSV, tab-separated, JSON lines, Parquet."""

import codecs
import csv
import io
import json
import re
from collections.abc import Iterable, Sequence

import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq

from dsopt.data.sources.labels import LABEL_COLUMNS, clean, is_whole, kind_of, plainly, written
from dsopt.data.sources.listing import File
from dsopt.errors import InputError, first_line
from dsopt.files import join, read_bytes
from dsopt.storage import content_digest

SUFFIXES = (".csv", ".tsv", ".jsonl", ".ndjson", ".json", ".parquet", ".pq")


def read_rows(uri: str, text: Sequence[str] = (), labels: str | None = None) -> pa.Table:
    """All rows of a table. Raises InputError if it is not of the kind that its suffix says, or empty.

    Args:
        text: columns of a CSV file that are text, whatever they look like and however they are spelled.
        labels: a column of labels besides those that are known.
    """
    data = read_bytes(uri)
    try:
        table = _parsed(uri.lower(), data, text, (*LABEL_COLUMNS, *([labels] if labels else ())))
    except (pa.ArrowInvalid, TypeError, ValueError, AttributeError, RecursionError) as error:
        raise InputError(f"{uri}: not a readable table: {first_line(error)}") from None
    if twice := next((name for name in table.column_names if table.column_names.count(name) > 1), None):
        raise InputError(f"{uri}: has two columns {twice!r}.")
    if not len(table):
        raise InputError(f"{uri}: has no rows.")
    return table


def contents(root: str, tables: Iterable[File]) -> dict[str, str]:
    """The digest of each table: a copy with other labels may have the same size and time."""
    return {file.name: content_digest(read_bytes(join(root, file.name))) for file in tables}


def labels_of(uri: str, table: pa.Table, column: str) -> list[int | str | None]:
    """The labels of a column: whole numbers or text; empty texts, missing and negative numbers are none.

    Raises:
        InputError: it is a column of something else.
    """
    kind = table.schema.field(column).type
    if kind_of(kind) is None and not pa.types.is_null(kind):
        raise InputError(f"{uri}: label column {column!r} is {kind}; expected whole numbers or text.")
    try:
        return [_label(value) for value in table[column].to_pylist()]
    except ValueError as error:
        raise InputError(f"{uri}: label column {column!r} {error}.") from None


def _label(value: int | float | str | None) -> int | str | None:
    value = clean(value)
    if isinstance(value, float):  # a column of whole numbers with gaps
        if value != value:
            return None
        if not is_whole(value):
            raise ValueError(f"holds {value}; expected whole numbers or text")
        value = int(value)
    return None if isinstance(value, int) and value < 0 else value


def _parsed(name: str, data: bytes, text: Sequence[str], labels: Sequence[str]) -> pa.Table:
    if name.endswith((".parquet", ".pq")):
        return pq.read_table(io.BytesIO(data))
    if name.endswith((".csv", ".tsv")):
        return _separated(decoded(data), "\t,;|" if name.endswith(".tsv") else ",;\t|", text, labels)
    if not name.endswith(SUFFIXES):
        raise ValueError(f"expected a file *{', *'.join(SUFFIXES)}")
    lines = decoded(data)
    whole = lines.lstrip().startswith("[")
    if name.endswith(".json") and not whole and isinstance(one := _document(lines), dict) and _nested(one):
        raise ValueError(f"one object, of {', '.join(map(str, [*one][:3]))}; expected a list of objects, one for each image")
    rows = json.loads(lines) if whole else [json.loads(line) for line in lines.split("\n") if line.strip()]
    names = list(dict.fromkeys(key for row in rows for key in row))
    return pa.table({name: _column([row.get(name) for row in rows]) for name in names})


def _nested(one: dict[str, object]) -> bool:
    return all(isinstance(value, list | dict) for value in one.values())


def _document(lines: str) -> object:
    """What a text of several lines is as one JSON document; None if each line is one."""
    try:
        return json.loads(lines)
    except ValueError:
        return None


def decoded(data: bytes) -> str:
    """Text in UTF-8, or in UTF-16 as spreadsheets export it."""
    return data.decode("utf-16" if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)) else "utf-8-sig")


def _separated(lines: str, separators: str, text: Sequence[str], labels: Sequence[str]) -> pa.Table:
    """A table whose columns are separated by that of some characters that is most frequent in its first line."""
    lines = re.sub(r"\Asep=.\r?\n", "", lines)  # which spreadsheets put above it
    header = lines.lstrip("\r\n").partition("\n")[0].rstrip("\r")
    separator = max(separators, key=re.sub('"[^"]*"', "", header).count)
    names = next(csv.reader([header], delimiter=separator), [])
    wanted, numbered = {plainly(name) for name in text}, {plainly(name) for name in labels}
    types = {name: pa.string() for name in names if plainly(name) in wanted | numbered}
    parse = pyarrow.csv.ParseOptions(delimiter=separator, newlines_in_values=True)
    convert = pyarrow.csv.ConvertOptions(strings_can_be_null=False, column_types=types)
    table = pyarrow.csv.read_csv(io.BytesIO(lines.encode()), parse_options=parse, convert_options=convert)
    for i, name in enumerate(table.column_names):
        if name != name.strip() and pa.types.is_string(table.schema.field(i).type):  # "a, b": a blank after every separator
            table = table.set_column(i, name, pa.array([text.strip() for text in table.column(i).to_pylist()], pa.string()))
    table = table.rename_columns([name.strip() for name in table.column_names])
    table = table.select([i for i, name in enumerate(table.column_names) if name])  # pandas' index has no name
    for i, name in enumerate(table.column_names):
        if plainly(name) in numbered - wanted:
            table = table.set_column(i, name, written(table.column(i).to_pylist()))
    return table


def _column(values: list[object]) -> pa.Array:
    """A column of JSON values; where they are of several types, as text."""
    try:
        return pa.array(values)
    except (pa.ArrowInvalid, pa.ArrowTypeError):
        texts = [None if value is None else str(value) for value in values]
        if any(isinstance(value, list | dict) for value in values):
            return pa.array([[text] for text in texts])  # still a column of lists, which are no labels
        return pa.array(texts, pa.string())
