"""What was understood of a data set: the table that is shown, the warnings, and what is refused.

A split is "train", "test", "validation", or None where the source has none.
"""

import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from dsopt.data.sources.labels import MISSING, loosely
from dsopt.data.sources.source import Findings
from dsopt.files import read_table
from dsopt.progress import size
from dsopt.storage import Part

Counts = Mapping[str | None, Mapping[str, int] | int]

SHOWN = 20  # classes that the table lists
NAMED = 3  # examples in a warning
BROKEN = 0.1  # share of the rows above which broken ones are warned of
POINTERS = "pointers of git-lfs or git-annex: get what they stand for (git lfs pull, git annex get)"
READERS = 16  # parts read at once: on an object store each is a wait
_COPY = re.compile(r" \(1\)$|[ -]+copy( \d+| \(\d+\))?$", re.IGNORECASE)
_SPLITS = re.compile(r"train|training|test|testing|val|valid|validation|dev|eval|evaluation")


@dataclass
class Understood:
    """Lines of the table, warnings in one line each, and what is wrong beyond doubt."""

    lines: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    refused: list[str] = field(default_factory=list)


# --- before ingest --------------------------------------------------------------------------------------------------


def found(findings: Findings) -> Understood:
    """What a look at the source tells before any image is read."""
    lines, warnings = [], list(findings.hints)
    for passed in findings.passed_over:
        files = "file" if passed.count == 1 else "files"
        lines.append(f"  {'passed over':<14} {passed.count:,} {files}: {passed.reason}{_such_as(passed.examples)}")
        warnings += [f"class {name}: all of its files were passed over ({passed.reason})" for name in passed.lost_classes]
    if findings.counts is None:
        return Understood([*lines, "  images are counted as they are read"] if lines else [], warnings)
    judged = of_counts(findings.counts)
    return Understood([*judged.lines, *lines], [*warnings, *judged.warnings], judged.refused)


def of_counts(counts: Counts) -> Understood:
    """Splits and classes, and what looks wrong with them."""
    warnings, refused = _judged({split: of for split, of in counts.items() if isinstance(of, Mapping)})
    return Understood([*_splits(counts), *_classes(counts)], warnings, refused)


def _splits(counts: Counts) -> list[str]:
    def line(split: str | None, of: Mapping[str, int] | int) -> str:
        labelled = isinstance(of, Mapping)
        total = sum(of.values()) if isinstance(of, Mapping) else of
        about = "labelled" if labelled else "without labels"
        return f"  {split or 'images':<14} {total:>11,}  {about}" + ("" if split else ", not split")

    return [line(split, of) for split, of in counts.items()]


def _classes(counts: Counts) -> list[str]:
    labelled = {split: of for split, of in counts.items() if isinstance(of, Mapping)}
    names = list(dict.fromkeys(name for of in labelled.values() for name in of))
    if not names:
        return []
    heads = [split or "images" for split in labelled]
    lines = [f"  {f'{len(names):,} class' + 'es' * (len(names) > 1):<30} " + " ".join(f"{head:>11}" for head in heads)]
    for name in names[:SHOWN]:
        lines.append(f"    {shown(name):<28} " + " ".join(f"{of.get(name, 0):>11,}" for of in labelled.values()))
    return lines + [f"    and {len(names) - SHOWN:,} more"] * (len(names) > SHOWN)


def _judged(counts: Mapping[str | None, Mapping[str, int]]) -> tuple[list[str], list[str]]:
    warnings, refused = [], []
    present = {split: {name for name, count in of.items() if count} for split, of in counts.items()}
    names = sorted(set().union(*present.values())) if present else []
    if len(names) == 1:
        warnings.append(f"there is one class only, {shown(names[0])}; expected folders or labels that tell images apart")
    like_splits = [name for name in names if _SPLITS.fullmatch(name.strip().casefold())]
    if like_splits and not (like_splits == ["train"] and len(names) > 3):  # which is a vehicle
        warnings.append(f"classes that are named like splits: {_listed(like_splits)}")
    train, test = (present.get(split) for split in ("train", "test"))
    if unknown := [name for name in names if name.strip().casefold() in MISSING - {""}]:
        warnings.append(f"classes that are named like missing labels: {_listed(unknown)}")
    if joined := [name for name in names if _joins(name, set(names))]:
        warnings.append(f"labels that join several, each a class of its own, as an image has one label: {_listed(joined)}")
    if copies := [name for name in names if (start := _COPY.sub("", name)) != name and start in names]:
        warnings.append(f"classes that are named like copies of others: {_listed(copies)}")
    alike = [group for group in _alike(names) if len(group) > 1]
    for group in alike:
        text = f"classes whose names differ by case, blanks or Unicode form only: {_listed(group, ascii)}"
        only = [{name for name in group if name in some and name not in other} for some, other in _pairs(train, test)]
        different = bool(only) and all(only)
        (refused if different else warnings).append(text + "; training and test use different ones" * different)
    if train is not None and test is not None:
        for some, other, where in ((test, train, "test, and never trained on"), (train, test, "training, and never tested")):
            if alone := sorted(some - other):
                warnings.append(f"{len(alone):,} of {len(names):,} classes are only in {where}: {_listed(alone)}")
    return warnings, refused


def _joins(name: str, names: set[str]) -> bool:
    """Whether a name is made of several others: Mass|Nodule."""
    return any(mark in name and all(part.strip() in names for part in name.split(mark)) for mark in "|;,+ ")


def _pairs(train: set[str] | None, test: set[str] | None) -> list[tuple[set[str], set[str]]]:
    return [] if train is None or test is None else [(train, test), (test, train)]


def _alike(names: Sequence[str]) -> list[list[str]]:
    groups: dict[str, list[str]] = defaultdict(list)
    for name in names:
        groups[loosely(name)].append(name)
    return list(groups.values())


# --- after ingest ---------------------------------------------------------------------------------------------------


def facts(parts: Sequence[Part], classes: Sequence[str] | None) -> dict[str, Any]:
    """What the finished parts of an images table tell, for its manifest: read without the images, several parts at once.

    Returns:
        "counts": for each split the images of each class, or their number alone; "formats": their numbers; "smallest" and
        "largest": [width, height] by pixels; "duplicates": images whose bytes came before; "in_both": test images whose bytes are
        in training, too; "conflicting": images whose bytes have several labels (None where images are no encoded files).
    """
    counts: dict[str | None, Counter[int]] = defaultdict(Counter)
    unlabelled: Counter[str | None] = Counter()
    formats, sizes = Counter[str](), list[tuple[int, int]]()
    hashes, in_test, of_class = list[np.ndarray](), list[np.ndarray](), list[np.ndarray]()
    columns = ["label", "width", "height", "format", "digest"]
    with ThreadPoolExecutor(READERS) as pool:
        for part, table in zip(parts, pool.map(lambda part: read_table(part.uri, columns), parts), strict=True):
            labels = table["label"].drop_null()
            counts[part.split].update(_counted(labels))
            unlabelled[part.split] += len(table) - len(labels)
            formats.update(_counted(table["format"].drop_null()))
            about = table.select(["width", "height"]).drop_null()
            width, height = (about[name].to_numpy().astype(np.int64) for name in ("width", "height"))
            if len(about):
                ends = (width * height).argmin(), (width * height).argmax()
                sizes += [(int(width[i]), int(height[i])) for i in ends]
            known = table.filter(table["digest"].is_valid())
            digests = bytes.fromhex("".join(known["digest"].to_pylist()))
            of_class.append(known["label"].fill_null(-1).to_numpy().astype(np.int64))
            hashes.append(np.frombuffer(digests, np.uint64).reshape(-1, 2))
            in_test.append(np.full(len(hashes[-1]), part.split == "test"))
    total = {split: sum(of.values()) for split, of in counts.items()}
    names = {split: {_name(label, classes): n for label, n in sorted(of.items())} for split, of in counts.items()}
    every = [np.concatenate(some) for some in (hashes, in_test, of_class)] if any(map(len, hashes)) else None
    doubles = _doubles(*every) if every else (None, None, None)
    return {
        "counts": {split: names[split] if total[split] else unlabelled[split] for split in counts},
        "formats": dict(formats.most_common()),
        "smallest": list(min(sizes, key=_pixels)) if sizes else None,
        "largest": list(max(sizes, key=_pixels)) if sizes else None,
        "duplicates": doubles[0],
        "in_both": doubles[1],
        "conflicting": doubles[2],
    }


def rest(facts: Mapping[str, Any], told: bool, declared: bool, classes: Sequence[str] | None) -> Understood:
    """What only the images told, once they are read.

    Args:
        facts: of the function `facts`, with "bytes" (read), "rows" (usable and broken), "broken" (the reason of each broken row),
            "pointers" and "uniform" (numbers of rows).
        told: splits and classes were known, and told, before.
        declared: the source says what is for training and what for testing; else these were drawn.
        classes: names by label; None if labels are numbers.
    """
    understood = Understood() if told else of_counts(facts["counts"] if declared else {None: _together(facts["counts"])})
    lines, warnings = understood.lines, understood.warnings
    if not declared:
        held_out = facts["counts"].get("test", 0)
        held_out = held_out if isinstance(held_out, int) else sum(held_out.values())
        lines.append(f"  {'held out':<14} {held_out:>11,}  for testing (data.test_fraction)")
    formats = ", ".join(f"{count:,} {name}" for name, count in facts["formats"].items())
    lines.append(f"  {'read':<14} {size(facts['bytes']):>11}  {formats}".rstrip())
    if facts["smallest"]:
        ends = [f"{width}x{height}" for width, height in (facts["smallest"], facts["largest"])]
        lines.append(
            f"  {'pixels':<14} {ends[0]:>11}  " + (f"the smallest; the largest {ends[1]}" if ends[0] != ends[1] else "all")
        )
    if facts["duplicates"] is not None:
        lines.append(f"  {'duplicates':<14} {facts['duplicates']:>11,}  with the same bytes as another")
    if facts["duplicates"]:
        warnings.append(f"{_images(facts['duplicates'])} the same bytes as another one")
    if facts["in_both"]:
        warnings.append(f"{_images(facts['in_both'], 'test image')} the same bytes as a training image: the test would flatter")
    if facts.get("conflicting"):
        warnings.append(f"{_images(facts['conflicting'])} the same bytes as one with another label")
    if facts["uniform"]:
        lines.append(f"  {'uniform':<14} {facts['uniform']:>11,}  with one color in all pixels")
        warnings.append(f"{_images(facts['uniform'])} one color in all pixels")
    warnings += _gaps(facts["counts"], classes)
    if len(facts["broken"]) > BROKEN * facts["rows"]:
        warnings.append(broken(facts["broken"], facts["rows"], facts["pointers"]))
    return understood


def broken(reasons: Sequence[str], rows: int, pointers: int) -> str:
    """How many rows are broken, why most of them are, and what to do where they are pointers."""
    (reason, count), *_ = Counter(reasons).most_common(1)
    text = f"{len(reasons):,} of {rows:,} rows are broken, {count:,} of them: {reason}"
    if pointers:
        text += f"; {pointers:,} files are {POINTERS}"
    return text


def _gaps(counts: Counts, classes: Sequence[str] | None) -> list[str]:
    names = {name for of in counts.values() if isinstance(of, Mapping) for name in of}
    if not names:
        return []
    if classes is not None:
        empty = [name for name in classes if name not in names]
        return [f"{len(empty):,} of {len(classes):,} classes have no image: {_listed(empty)}"] if empty else []
    numbers = sorted(map(int, names))
    missing = numbers[-1] + 1 - len(numbers)
    if not missing:
        return []
    text = f"labels go from {numbers[0]} to {numbers[-1]}, but {missing:,} of the numbers from 0 are not used"
    return [f"{text}; a classifier gets {numbers[-1] + 1:,} outputs for {len(numbers):,} classes"]


def _together(counts: Counts) -> dict[str, int] | int:
    every = [of for of in counts.values() if isinstance(of, Mapping)]
    if not every:
        return sum(of for of in counts.values() if isinstance(of, int))
    names = dict.fromkeys(name for of in every for name in of)
    return {name: sum(of.get(name, 0) for of in every) for name in names}


def _doubles(hashes: np.ndarray, in_test: np.ndarray, labels: np.ndarray) -> tuple[int, int, int]:
    """How many images have bytes that came before, those of a training image while they test, and those of another label."""
    order = np.lexsort((hashes[:, 1], hashes[:, 0]))
    new = np.concatenate([[True], (hashes[order[1:]] != hashes[order[:-1]]).any(1)])
    group = new.cumsum() - 1
    tests, trains = np.bincount(group, in_test[order]), np.bincount(group, ~in_test[order])
    starts = np.flatnonzero(new)
    differ = np.minimum.reduceat(labels[order], starts) != np.maximum.reduceat(labels[order], starts)
    return int(len(hashes) - new.sum()), int(tests[trains > 0].sum()), int(differ[group].sum())


def _counted(column: Any) -> dict[Any, int]:
    return {each["values"]: each["counts"] for each in column.value_counts().to_pylist()}


def _name(label: int, classes: Sequence[str] | None) -> str:
    return str(label) if classes is None else classes[label]


def _pixels(size: tuple[int, int]) -> int:
    return size[0] * size[1]


def _images(count: int, what: str = "image") -> str:
    return f"{count:,} {what} has" if count == 1 else f"{count:,} {what}s have"


# --- names ----------------------------------------------------------------------------------------------------------


def shown(name: str) -> str:
    """A name as a terminal can show it, whatever it holds."""
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in name) or '""'


def _listed(names: Sequence[str], spell: Any = shown) -> str:
    return ", ".join(map(spell, names[:NAMED])) + (f" and {len(names) - NAMED:,} more" if len(names) > NAMED else "")


def _such_as(examples: Iterable[str]) -> str:
    some = list(examples)[:NAMED]
    return f" (such as {', '.join(map(shown, some))})" if some else ""
