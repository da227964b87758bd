"""What labels mean: which column holds them, and one numbering for files that number their classes differently."""

import math
import re
import unicodedata
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.types as pt

from dsopt.errors import InputError, unknown

# In the order in which they are preferred.
LABEL_COLUMNS = (
    *("label", "labels", "target", "class", "category", "y", "fine_label", "coarse_label"),
    *("class_name", "class_label", "class_id", "label_name", "label_id", "category_name", "category_id"),
)
SPLIT_COLUMNS = ("split", "subset", "partition", "fold_name")
_MAY_SPLIT = (*SPLIT_COLUMNS, "set", "phase", "usage", "is_test", "is_train")
MISSING = frozenset(("", "nan", "na", "n/a", "#n/a", "<na>", "null", "none"))  # in whatever case
_WHOLE = re.compile(r"-?(0|[1-9]\d{0,17})(\.0*)?")  # 007 is a name: a number would be another one's
_FRACTION = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?|[+-]?inf", re.IGNORECASE)


class FileLabels(NamedTuple):
    """The labels of one file.

    Args:
        kind: "number" or "text"; None: it has none.
        names: the names of the numbers, where the file has them.
    """

    file: str
    kind: str | None
    names: tuple[str, ...] | None = None


def label_column(
    columns: Iterable[str], wanted: str | None, named_classes: Iterable[str] = (), others: Iterable[str] = ()
) -> tuple[str | None, tuple[str, ...]]:
    """The column with the labels, and hints on columns that may hold labels and are not used.

    Args:
        wanted: `options.label_column`; it must be one of the columns.
        named_classes: columns that the file itself declares to be classes.
        others: columns that could be labels by their type.

    Raises:
        InputError: there is no column `wanted`.
    """
    columns = list(columns)
    if wanted is not None:
        if wanted not in columns:
            raise unknown("options.label_column", wanted, columns)
        return wanted, ()
    known = {plainly(column): column for column in reversed(columns)}
    found = [known[plainly(name)] for name in LABEL_COLUMNS if plainly(name) in known and not (name == "y" and "x" in known)]
    found += [column for column in named_classes if column not in found]
    if found:
        used, left = found[0], ", ".join(found[1:])
        return used, (f"labels are read from {used}; not from {left} (options.label_column).",) if left else ()
    others = ", ".join(others)
    return None, (f"no column is known to hold labels; these may: {others} (options.label_column).",) if others else ()


def kind_of(type: pa.DataType) -> str | None:
    """The kind of labels that a column of this type holds: "number", "text", or None: it holds no labels."""
    kind = type.value_type if pt.is_dictionary(type) else type
    if pt.is_integer(kind) or pt.is_floating(kind) or pt.is_boolean(kind):
        return "number"
    return "text" if pt.is_string(kind) or pt.is_large_string(kind) or pt.is_string_view(kind) else None


def plainly(column: str) -> str:
    """What the spellings of a column have in common: Class Name, class_name, className."""
    return re.sub(r"[\W_]", "", column.casefold())


def unused_splits(columns: Iterable[str], label: str | None) -> tuple[str, ...]:
    """Hints on columns that may name splits, where splits are read from names of files or folders."""
    known = set(map(plainly, _MAY_SPLIT))
    found = [column for column in columns if plainly(column) in known and column != label]
    return tuple(f"column {column} is not used: splits are read from the names of files and folders." for column in found)


def written(texts: Sequence[str | None]) -> pa.Array:
    """Labels as people wrote them: numbers if all are written as such, or missing; else text, as 007 or 1e5 are.

    Fractions stay numbers, as which they are refused.
    """
    known = [text for each in texts if (text := (each or "").strip()).casefold() not in MISSING]
    whole = known and all(map(_WHOLE.fullmatch, known))
    if not whole and not (known and all(map(_FRACTION.fullmatch, known)) and any(_is_fraction(text) for text in known)):
        return pa.array(texts, pa.string())
    number: Callable[[str], int | float] = (lambda text: int(text.partition(".")[0])) if whole else float
    found = [(each or "").strip() for each in texts]
    return pa.array([None if text.casefold() in MISSING else number(text) for text in found])


def _is_fraction(text: str) -> bool:
    return not is_whole(float(text))


def is_whole(number: Any) -> bool:
    """Whether a number is a whole one; infinity and NaN are none."""
    return math.isfinite(number) and bool(number == int(number))


def clean(label: Any) -> Any:
    """A label in NFC; an empty text is none."""
    return (unicodedata.normalize("NFC", label) or None) if isinstance(label, str) else label


def loosely(name: str) -> str:
    """What two names have in common that differ by case, blanks or Unicode form only."""
    return "".join(unicodedata.normalize("NFKC", name).casefold().split())


def cleaned(labels: pa.Array | pa.ChunkedArray, names: Sequence[str] | None = None) -> pa.Array:
    """A column of labels as `clean` makes each; numbers become the `names`, where they are given."""
    array = labels.combine_chunks() if isinstance(labels, pa.ChunkedArray) else labels
    array = array.dictionary_decode() if pt.is_dictionary(array.type) else array
    if names is not None and kind_of(array.type) == "number":
        found = [named(value, names) for value in array.to_pylist()]
        return pa.array([value if value in names else None for value in found], pa.string())
    if kind_of(array.type) != "text":
        return array
    encoded = array.cast(pa.string()).dictionary_encode()
    texts = pa.array([clean(text) for text in encoded.dictionary.to_pylist()], pa.string())
    return texts.take(encoded.indices)


def named(label: Any, names: Sequence[str]) -> Any:
    """The name of a number, where there are names; a number that has none is given as text, which is no class."""
    if not names or isinstance(label, str) or label is None or not is_whole(label):
        return clean(label)
    return names[int(label)] if 0 <= label < len(names) else str(label)


def values(labels: pa.Array) -> dict[Any, int]:
    """How often each label occurs, without null, NaN and the hub's -1."""
    counted = labels.value_counts().to_pylist()
    pairs = [(one["values"], one["counts"]) for one in counted]
    return {v: n for v, n in pairs if v is not None and v == v and not (not isinstance(v, str) and v < 0)}


class Agreed(NamedTuple):
    """One numbering for all files.

    Args:
        classes: the names of the labels 0, 1, ...; None: the labels are numbers without names.
        names: for each file whose numbers must be replaced by names, these names.
    """

    classes: list[str] | None
    names: Mapping[str, tuple[str, ...]]


def agree(base: str, files: Sequence[FileLabels], known: Sequence[str] | None, texts: Callable[[], Iterable[str]]) -> Agreed:
    """Bring the labels of all files to one numbering: by name where their names differ, or some are text.

    Args:
        known: the names of the labels of a well-known set, for files without names of their own.
        texts: the distinct text labels of all files.

    Raises:
        InputError: some labels are text and others are numbers without names, or names differ and some file has none.
    """
    numbers = [file for file in files if file.kind == "number"]
    by_text = next((file for file in files if file.kind == "text"), None)
    own = list(dict.fromkeys(file.names for file in numbers if file.names))
    if by_text is None and len(own) < 2:
        names = own[0] if own else known
        return Agreed(None if names is None else list(names), {})
    bare = next((file for file in numbers if not file.names), None)
    if bare is not None and by_text is not None:
        raise InputError(f"{base}: labels are numbers in {bare.file} but text in {by_text.file}; they must be one kind.")
    if bare is not None:
        raise InputError(f"{base}: class names differ between files, and {bare.file} has none for its numbers.")
    listed = dict.fromkeys(name for names in own for name in names)
    listed |= dict.fromkeys(sorted(set(texts() if by_text else ()) - set(listed)))
    return Agreed(list(listed), {file.file: file.names for file in numbers if file.names})
