"""The pictures of an audit: groups of images that are alike, and the worst of every other kind."""

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import torch
from jaxtyping import UInt8

from dsopt.audit.issues import LABEL, counts
from dsopt.data.images import decode
from dsopt.registry import CHECKS
from dsopt.reporting import figures
from dsopt.reporting.issues import about
from dsopt.reporting.page import Section
from dsopt.storage import Table

GROUPS, ACROSS, ROWS = 12, 12, 3  # groups shown; images of a group or a row; rows of single images
THUMBNAIL = 64  # pixels a side of shown images, at most

Lines = list[tuple[str, list[int]]]  # names of rows of pictures, with the ids of images


def sections(issues: Table, images: Table) -> list[Section]:
    """A section for each kind that was found."""
    table = issues.read()
    by_kind = {kind: table.filter(pc.equal(table["kind"], kind)) for kind in pc.unique(table["kind"]).to_pylist()}  # pyright: ignore[reportAttributeAccessIssue]
    labels = _labels(images, by_kind)
    lines = {kind: _lines(own, labels) for kind, own in by_kind.items()}
    shown = _found(images, [i for own in lines.values() for _, ids in own for i in ids])
    return [_section(kind, own, lines[kind], shown, images.manifest["image_size"]) for kind, own in by_kind.items()]


def _lines(own: pa.Table, labels: dict[int, str]) -> Lines:
    ids, groups = own["id"].to_pylist(), own["group"].to_pylist()
    suggestions, splits = own["suggestion"].to_pylist(), own["split"].to_pylist()
    if suggestions and suggestions[0].startswith(LABEL):
        return _confused(ids, [text.removeprefix(LABEL) for text in suggestions], labels)
    if groups[0] is None:
        return [(f"{start + 1} to {min(start + ACROSS, len(ids))}", ids[start : start + ACROSS]) for start in _starts(len(ids))]
    found: dict[int, list[int]] = {}
    for row, group in enumerate(groups):
        if group in found or len(found) < GROUPS:
            found.setdefault(group, []).append(row)
    titles = [_titled([(splits[row], labels.get(ids[row], "")) for row in members]) for members in found.values()]
    return list(zip(titles, ([ids[row] for row in members[:ACROSS]] for members in found.values()), strict=True))


def _starts(count: int) -> range:
    return range(0, min(count, ROWS * ACROSS), ACROSS)


def _titled(members: list[tuple[str, str]]) -> str:
    """Which splits and labels the images of a group have."""
    splits = " + ".join(dict.fromkeys(split for split, _ in members))
    names = list(dict.fromkeys(label for _, label in members if label))
    return f"{splits}: {len(members)}" + (f" {' / '.join(names)}" if names else "")


def _confused(ids: list[int], guesses: list[str], labels: dict[int, str]) -> Lines:
    """Images by their label and the likelier one, in the order of the worst of each."""
    found: dict[str, list[int]] = {}
    for id, guess in zip(ids, guesses, strict=True):
        found.setdefault(f"{labels.get(id, '')} → {guess}", []).append(id)
    return [(name, those[:ACROSS]) for name, those in list(found.items())[:GROUPS]]


def _labels(images: Table, by_kind: dict[str, pa.Table]) -> dict[int, str]:
    """The names of the labels of the images in question."""
    if not images.manifest["labelled"] or not by_kind:
        return {}
    classes = images.manifest["classes"] or [str(i) for i in range(images.manifest["num_classes"])]
    wanted = pc.unique(pa.concat_tables(by_kind.values())["id"])  # pyright: ignore[reportAttributeAccessIssue]
    found: dict[int, str] = {}
    for block in images.blocks(columns=["id", "label"]):
        some = block.filter(pc.is_in(block["id"], wanted))  # pyright: ignore[reportAttributeAccessIssue]
        known = some.filter(some["label"].is_valid())
        found |= {i: classes[label] for i, label in zip(known["id"].to_pylist(), known["label"].to_pylist(), strict=True)}
    return found


def _found(images: Table, ids: list[int]) -> pa.Table:
    """The images with these ids, read part by part."""
    wanted = pa.array(sorted(set(ids)), pa.int64())
    return pa.concat_tables([block.filter(pc.is_in(block["id"], wanted)) for block in images.blocks(columns=["id", "image"])])  # pyright: ignore[reportAttributeAccessIssue]


def _section(kind: str, own: pa.Table, lines: Lines, shown: pa.Table, side: int) -> Section:
    train, test, groups = counts(own)[kind]
    said = [about(kind), "The worst first."]
    if groups:
        said[1] = f"The worst {min(GROUPS, groups):,} of {groups:,} groups; in each first what would be kept."
    if own["suggestion"][0].as_py().startswith(LABEL):
        said.append("What is found is no better than its judge, whose accuracy stands above: look before labels are changed.")
    names: dict[str, int] = {}
    rows = [(_once(name, names), _decoded(shown, ids, min(THUMBNAIL, side))) for name, ids in lines]
    text = " ".join(said) + f"\n\nScore: {CHECKS.traits(kind).unit}."
    return Section(f"{kind}: {train + test:,}", text, png=figures.image_grid([("", rows)]))


def _once(name: str, names: dict[str, int]) -> str:
    """A name of its own for each row: figures know rows by them."""
    names[name] = names.get(name, 0) + 1
    return name + "\u200b" * (names[name] - 1)


def _decoded(shown: pa.Table, ids: list[int], size: int) -> UInt8[np.ndarray, "n h w c"]:
    rows = shown.take(pc.index_in(pa.array(ids), shown["id"].combine_chunks()))  # pyright: ignore[reportAttributeAccessIssue]
    images: torch.Tensor = decode(rows, size=size).images
    return images.permute(0, 2, 3, 1).numpy()
