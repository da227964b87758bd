"""A list of images that another tool or a person made, in place of a selection method: a file of ids or keys."""

from typing import Literal, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from dsopt.data.sources.tables import SUFFIXES, decoded, read_rows
from dsopt.errors import InputError
from dsopt.files import read_bytes, read_table
from dsopt.selection.choose import CHOSEN
from dsopt.storage import Part, content_digest

SHOWN = 3  # names in a message


class Listed(NamedTuple):
    """What a file lists: ids (int64) or keys (string) in the order of rank, and the digest of its content.

    Args:
        plain: it is a text of one name a line, so that numbers may be ids or keys.
    """

    uri: str
    by: Literal["id", "key"]
    names: pa.Array
    digest: str
    plain: bool


def read_list(uri: str) -> Listed:
    """Read `select.ids`: a text file with one id or key a line, or a table with a column `id` or `key`, perhaps with a `rank`.

    Raises:
        InputError: there is no such file, it is neither, it lists nothing, or something twice.
    """
    try:
        data = read_bytes(uri)
    except (FileNotFoundError, IsADirectoryError):
        raise InputError(f"select.ids={uri}: there is no such file.") from None
    plain = not uri.lower().endswith(SUFFIXES)
    names = _lines(uri, data) if plain else _column(uri)
    if not len(names) or names.null_count:
        raise InputError(f"select.ids={uri}: {'has rows without a name' if len(names) else 'lists no image'}.")
    by = "id" if pa.types.is_integer(names.type) else "key"
    _check_once(f"select.ids={uri}", by, names)
    return Listed(uri, by, names, content_digest(data), plain)


def choose_listed(listed: Listed, parts: list[Part]) -> pa.Table:
    """The listed images of an images table in the order of the list, as `dsopt.selection.choose.choose` gives them.

    Raises:
        InputError: an id or key is of no image, or does not say which image it means.
    """
    where, by = f"select.ids={listed.uri}", listed.by
    images = pa.concat_tables([read_table(part.uri, ["id", "key"]) for part in parts]).combine_chunks()
    names = _trimmed(listed.names, images[by]) if listed.plain and by == "key" else listed.names
    found = pc.index_in(names, images[by].combine_chunks())  # pyright: ignore[reportAttributeAccessIssue]
    if found.null_count:
        lost = names.filter(found.is_null())
        raise InputError(f"{where}: {len(lost):,} of {len(found):,} {by}s are of no training image, such as {_some(lost)}.")
    _check_once(where, by, names)
    named = images[by].filter(pc.is_in(images[by], names))  # pyright: ignore[reportAttributeAccessIssue]
    if len(named) > len(found):
        raise InputError(f"{where}: {len(named) - len(found):,} more images have the same keys; expected a list of ids.")
    if listed.plain and by == "id":
        as_keys = pc.index_in(names.cast(pa.string()), images["key"].combine_chunks())  # pyright: ignore[reportAttributeAccessIssue]
        if as_keys.null_count < len(found) and not as_keys.equals(found):
            raise InputError(f"{where}: its numbers are ids and keys of images; expected a table with a column `id` or `key`.")
    n = len(found)
    ids, ranks, scores = images["id"].take(found), np.arange(n, dtype=np.int32), np.full(n, np.nan, np.float32)
    return pa.table([ids, ranks, scores, ["listed"] * n], schema=CHOSEN)


def _check_once(where: str, by: str, names: pa.Array) -> None:
    counts = pc.value_counts(names)  # pyright: ignore[reportAttributeAccessIssue]
    twice = counts.field("values").filter(pc.greater(counts.field("counts"), 1))  # pyright: ignore[reportAttributeAccessIssue]
    if len(twice):
        raise InputError(f"{where}: {len(twice):,} {by}s come more than once, such as {_some(twice)}.")


def _trimmed(names: pa.Array, keys: pa.ChunkedArray) -> pa.Array:
    """Lines without the blanks around them, but for those that are keys with them: names of files may end in a blank."""
    trimmed = pa.array([name.strip() for name in names.to_pylist()], pa.string())
    return pc.if_else(pc.is_in(names, keys.combine_chunks()), names, trimmed)  # pyright: ignore[reportAttributeAccessIssue]


def _lines(uri: str, data: bytes) -> pa.Array:
    """Ids if every line is a whole number as we write it (007 is a key), else keys."""
    try:
        lines = [line.removesuffix("\r") for line in decoded(data).split("\n") if line.strip()]
    except UnicodeDecodeError:
        raise InputError(f"select.ids={uri}: is no text; expected one id or key a line, or *{', *'.join(SUFFIXES)}.") from None
    numbers = [line.strip() for line in lines]
    whole = all(len(one) < 19 and one.isdecimal() and one.isascii() and str(int(one)) == one for one in numbers)
    return pa.array(map(int, numbers), pa.int64()) if whole else pa.array(lines, pa.string())


def _column(uri: str) -> pa.Array:
    """The ids or, where there is no column of them, the keys of a table; by rank, where it has ranks."""
    rows = read_rows(uri, text=("key",))
    if "rank" in rows.column_names:
        kind = rows.schema.field("rank").type
        if not (pa.types.is_integer(kind) or pa.types.is_floating(kind)):  # as text, 10 comes before 2
            raise InputError(f"select.ids={uri}: column `rank` is {kind}; expected numbers.")
        rows = rows.sort_by("rank")
    if "id" in rows.column_names and pa.types.is_integer(rows.schema.field("id").type):
        return rows["id"].combine_chunks().cast(pa.int64())
    if "key" not in rows.column_names:
        columns = ", ".join(f"{field.name} ({field.type})" for field in rows.schema)
        raise InputError(f"select.ids={uri}: expected a column `id` of whole numbers or `key`; the columns are {columns}.")
    return rows["key"].combine_chunks().cast(pa.string())


def _some(names: pa.Array) -> str:
    return ", ".join(map(str, names.slice(0, SHOWN).to_pylist()))
