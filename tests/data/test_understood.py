"""What was understood of a data set: the table, the warnings, and what is refused."""

import hashlib
import unicodedata
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from dsopt.data import understood
from dsopt.data.sources.source import Findings, PassedOver
from dsopt.data.understood import Counts, of_counts
from dsopt.files import write_table
from dsopt.storage import Part


def test_the_table_before_any_work() -> None:
    counts = {"train": {f"class{i:02d}": 1000 + i for i in range(25)}, "test": {f"class{i:02d}": 10 for i in range(25)}, "more": 7}
    passed = PassedOver("suffix .txt", 3, ("a.txt", "b\n.txt"))
    seen = understood.found(Findings((passed,), ("labels.csv may hold labels",), counts))
    assert seen.lines[:5] == [
        "  train               25,300  labelled",
        "  test                   250  labelled",
        "  more                     7  without labels",
        "  25 classes                           train        test",
        "    class00                            1,000          10",
    ]
    assert seen.lines[-2:] == ["    and 5 more", "  passed over    3 files: suffix .txt (such as a.txt, b\\n.txt)"]
    assert seen.warnings == ["labels.csv may hold labels"] and not seen.refused


def test_without_counts_only_what_is_known() -> None:
    assert understood.found(Findings()) == understood.Understood()
    lost = understood.found(Findings((PassedOver("suffix .heic", 1, (), ("cats",)),)))
    assert lost.warnings == ["class cats: all of its files were passed over (suffix .heic)"]
    assert lost.lines[-1].strip() == "images are counted as they are read"


def test_one_split_is_none() -> None:
    assert of_counts({None: {"a": 3, "b": 4}}).lines[0] == "  images                   7  labelled, not split"
    assert of_counts({None: 7}).lines == ["  images                   7  without labels, not split"]


NFC, NFD = (unicodedata.normalize(form, "café") for form in ("NFC", "NFD"))


@pytest.mark.parametrize(
    ("counts", "warned", "refused"),
    [
        ({None: {"a": 5, "b": 5}}, [], []),
        ({None: 9}, [], []),
        ({None: {"cats": 5}}, ["one class only, cats"], []),
        ({"train": {"a": 5, "b": 5}, "test": {"a": 1}}, ["1 of 2 classes are only in training, and never tested: b"], []),
        ({"train": {"a": 5, "b": 0}, "test": {"a": 1, "b": 1}}, ["only in test, and never trained on: b"], []),
        ({None: {"train": 5, "test": 5}}, ["named like splits: test, train"], []),
        ({None: {"a": 5, "b": 4, "Validation": 5}}, ["named like splits: Validation"], []),
        ({None: {"train": 5, "car": 5, "ship": 3, "dog": 3}}, [], []),  # a vehicle
        ({None: {"Cat": 5, "cat ": 5, "dog": 3}}, ["differ by case, blanks or Unicode form only: 'Cat', 'cat '"], []),
        ({"train": {"Cat": 5, "cat": 5}, "test": {"cat": 3}}, ["'Cat', 'cat'", "only in training"], []),
        (
            {"train": {"Cat": 5, "dog": 5}, "test": {"cat": 3, "dog": 3}},
            ["only in test", "only in training"],
            ["'Cat', 'cat'; training"],
        ),
        (
            {"train": {NFC: 5, "dog": 5}, "test": {NFD: 3, "dog": 3}},
            ["only in test", "only in training"],
            [r"'cafe\u0301', 'caf\xe9'; training"],
        ),
        ({"train": {"a": 5, "b": 5}, "test": 9}, [], []),
        ({None: {"Mass": 5, "Nodule": 5, "Mass|Nodule": 2}}, ["labels that join several, each a class of its own"], []),
        ({None: {"x": 5, "x - Copy": 5, "nan": 2}}, ["copies of others: x - Copy", "like missing labels: nan"], []),
    ],
)
def test_classes_that_look_wrong(counts: Counts, warned: list[str], refused: list[str]) -> None:
    seen = of_counts(counts)
    for found, expected in ((seen.warnings, warned), (seen.refused, refused)):
        assert len(found) == len(expected), found
        assert all("\n" not in line for line in found)
        assert all(any(text in line for line in found) for text in expected), found


def part(folder: Path, name: str, split: str, rows: list[tuple[Any, ...]]) -> Part:
    """Rows: (label, width, height, format, content)."""
    labels, widths, heights, formats, contents = zip(*rows, strict=True)
    digests = [c and hashlib.blake2b(c.encode(), digest_size=16).hexdigest() for c in contents]
    types = {"label": pa.int64(), "width": pa.int32(), "height": pa.int32(), "format": pa.string(), "digest": pa.string()}
    columns = dict(zip(types, (labels, widths, heights, formats, digests), strict=True))
    write_table(str(folder / name), pa.table({key: pa.array(columns[key], kind) for key, kind in types.items()}))
    return Part(str(folder / name), len(rows), split)


def test_facts_of_the_parts(tmp_path: Path) -> None:
    parts = [
        part(tmp_path, "a", "train", [(0, 10, 20, "PNG", "x"), (1, 30, 20, "JPEG", "y"), (0, 8, 8, "JPEG", "x")]),
        part(tmp_path, "b", "train", [(2, 9, 9, "PNG", "z")]),
        part(tmp_path, "c", "test", [(0, 50, 4, "PNG", "y"), (1, 5, 50, "PNG", "new"), (1, 5, 50, "PNG", "y")]),
    ]
    assert understood.facts(parts, ["a", "b", "c"]) == {
        "counts": {"train": {"a": 2, "b": 1, "c": 1}, "test": {"a": 1, "b": 2}},
        "formats": {"PNG": 5, "JPEG": 2},
        "smallest": [8, 8],
        "largest": [30, 20],
        "duplicates": 3,
        "in_both": 2,
        "conflicting": 3,
    }


def test_facts_of_arrays_without_labels(tmp_path: Path) -> None:
    parts = [part(tmp_path, "a", "train", [(None, 8, 8, None, None)] * 3), part(tmp_path, "b", "test", [(None, 8, 8, None, None)])]
    found = understood.facts(parts, None)
    assert found["counts"] == {"train": 3, "test": 1} and found["duplicates"] is None and found["formats"] == {}
    assert understood.facts([], None)["counts"] == {}


FACTS = {
    "counts": {"train": {"0": 8, "1": 8}, "test": {"0": 2, "1": 2}},
    "formats": {"JPEG": 20},
    "smallest": [10, 20],
    "largest": [300, 200],
    "duplicates": 0,
    "in_both": 0,
    "conflicting": 0,
    "bytes": 3_300_000,
    "rows": 20,
    "broken": [],
    "pointers": 0,
    "uniform": 0,
}


def test_the_rest_after_ingest() -> None:
    seen = understood.rest(FACTS, told=True, declared=True, classes=None)
    assert seen.lines == [
        "  read                3.3 MB  20 JPEG",
        "  pixels               10x20  the smallest; the largest 300x200",
        "  duplicates               0  with the same bytes as another",
    ]
    assert not seen.warnings and not seen.refused
    assert understood.rest(FACTS, told=False, declared=True, classes=None).lines[:2] == [
        "  train                   16  labelled",
        "  test                     4  labelled",
    ]
    drawn = understood.rest(FACTS, told=False, declared=False, classes=None).lines
    assert drawn[0] == "  images                  20  labelled, not split" and drawn[2].split() == ["0", "10"]
    assert "  held out                 4  for testing (data.test_fraction)" in drawn


@pytest.mark.parametrize(
    ("change", "warned"),
    [
        ({"duplicates": 1}, "1 image has the same bytes as another one"),
        ({"conflicting": 2}, "2 images have the same bytes as one with another label"),
        ({"in_both": 2}, "2 test images have the same bytes as a training image"),
        ({"uniform": 2}, "2 images have one color in all pixels"),
        ({"broken": ["not an image"] * 3 + ["no label"]}, "4 of 20 rows are broken, 3 of them: not an image"),
        ({"broken": ["not an image"] * 3, "pointers": 3}, "3 files are pointers of git-lfs or git-annex"),
        ({"counts": {"train": {"1": 3, "5": 4}}}, "labels go from 1 to 5, but 4 of the numbers from 0 are not used"),
    ],
)
def test_what_is_warned_of_after_ingest(change: dict[str, Any], warned: str) -> None:
    (found,) = understood.rest(FACTS | change, told=True, declared=True, classes=None).warnings
    assert warned in found and "\n" not in found


def test_few_broken_rows_are_not_warned_of() -> None:
    assert not understood.rest(FACTS | {"broken": ["no label"] * 2}, told=True, declared=True, classes=None).warnings


def test_classes_without_an_image() -> None:
    (found,) = understood.rest(FACTS, told=True, declared=True, classes=["0", "1", "cats"]).warnings
    assert found == "1 of 3 classes have no image: cats"
