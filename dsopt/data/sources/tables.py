"""Small tables as people write them: CSV, tab-separated, JSON lines, Parquet."""

import io
import json
from collections.abc import Sequence

import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq

from dsopt.data.sources.labels import clean, kind_of
from dsopt.errors import InputError, first_line
from dsopt.files import read_bytes

SUFFIXES = (".csv", ".tsv", ".jsonl", ".ndjson", ".json", ".parquet", ".pq")


def read_rows(uri: str, text: Sequence[str] = ()) -> pa.Table:
    """All rows of a table. Raises InputError if it is not of the kind that its suffix says, or empty.

    Args:
        text: columns of a CSV file that are text, whatever they look like.
    """
    data = read_bytes(uri)
    try:
        table = _parsed(uri.lower(), data, text)
    except (pa.ArrowInvalid, TypeError, ValueError, AttributeError) as error:
        raise InputError(f"{uri}: not a readable table: {first_line(error)}") from None
    if not len(table):
        raise InputError(f"{uri}: has no rows.")
    return table


def labels_of(uri: str, table: pa.Table, column: str) -> list[int | str | None]:
    """The labels of a column: whole numbers or text; empty texts, missing and negative numbers are none.

    Raises:
        InputError: it is a column of something else.
    """
    kind = table.schema.field(column).type
    if kind_of(kind) is None and not pa.types.is_null(kind):
        raise InputError(f"{uri}: label column {column!r} is {kind}; expected whole numbers or text.")
    return [_label(value) for value in table[column].to_pylist()]


def _label(value: int | float | str | None) -> int | str | None:
    value = clean(value)
    if isinstance(value, float):  # a column of whole numbers with gaps
        value = None if value != value else int(value) if value == int(value) else str(value)
    return None if isinstance(value, int) and value < 0 else value


def _parsed(name: str, data: bytes, text: Sequence[str]) -> pa.Table:
    if name.endswith((".parquet", ".pq")):
        return pq.read_table(io.BytesIO(data))
    if name.endswith((".csv", ".tsv")):
        parse = pyarrow.csv.ParseOptions(delimiter="\t" if name.endswith(".tsv") else ",", newlines_in_values=True)
        convert = pyarrow.csv.ConvertOptions(strings_can_be_null=False, column_types=dict.fromkeys(text, pa.string()))
        return pyarrow.csv.read_csv(io.BytesIO(data), parse_options=parse, convert_options=convert)
    lines = data.decode("utf-8-sig")
    whole = lines.lstrip().startswith("[")
    rows = json.loads(lines) if whole else [json.loads(line) for line in lines.splitlines() if line.strip()]
    names = list(dict.fromkeys(key for row in rows for key in row))
    return pa.table({name: _column([row.get(name) for row in rows]) for name in names})


def _column(values: list[object]) -> pa.Array:
    """A column of JSON values; where they are of several types, as text."""
    try:
        return pa.array(values)
    except (pa.ArrowInvalid, pa.ArrowTypeError):
        return pa.array([None if value is None else str(value) for value in values], pa.string())
