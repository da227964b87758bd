"""The table of issues: what all checks point at, one row for each image and kind; and what is left out by it."""

from collections.abc import Mapping, Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from jaxtyping import Int64

from dsopt.audit.contract import Found, Seen

ISSUES = pa.schema(
    [
        ("id", pa.int64()),
        ("kind", pa.string()),
        ("score", pa.float32()),
        ("group", pa.int64()),
        ("suggestion", pa.string()),
        ("split", pa.string()),
    ]
)
KEEP, LEAVE_OUT, LOOK = "keep", "leave out", "look"
LABEL = "label: "  # before the likelier label


def rows(kind: str, found: Found, seen: Seen, classes: Sequence[str] | None) -> pa.Table:
    """What a check points at as rows of the table of issues, worst first.

    The suggestion: of a group one image to keep and others to leave out, a likelier label, or to look at the image.
    """
    count = len(found.rows)
    suggestions = np.full(count, LOOK, object)
    if found.kept is not None:
        suggestions = np.where(found.kept.numpy(), KEEP, LEAVE_OUT).astype(object)
    if found.labels is not None:
        suggestions = np.array([f"{LABEL}{classes[i] if classes else i}" for i in found.labels.tolist()], object)
    columns = {
        "id": pa.array(seen.ids[found.rows].numpy()),
        "kind": pa.array([kind] * count, pa.string()),
        "score": pa.array(found.scores.float().numpy()),
        "group": pa.nulls(count, pa.int64()) if found.groups is None else pa.array(found.groups.numpy()),
        "suggestion": pa.array(suggestions.tolist(), pa.string()),
        "split": pa.array(np.where(seen.test[found.rows].numpy(), "test", "train").tolist(), pa.string()),
    }
    return pa.table(columns, schema=ISSUES)


def left_out(issues: pa.Table, kinds: Sequence[str]) -> dict[str, Int64[np.ndarray, " m"]]:
    """The ids of training images that leaving out these kinds takes away, by kind; an image counts for the first of its kinds.

    Of a group that has an image to keep, one training image stays: that one, or if another kind takes it away, the next in order.
    Groups with test images lose all their training images.
    """
    train = issues.filter(pc.equal(issues["split"], "train"))  # pyright: ignore[reportAttributeAccessIssue]
    tables = {kind: train.filter(pc.equal(train["kind"], kind)) for kind in kinds}  # pyright: ignore[reportAttributeAccessIssue]
    found: dict[str, np.ndarray] = {}
    gone = np.empty(0, np.int64)

    def take(kind: str, ids: np.ndarray) -> None:
        nonlocal gone
        found[kind] = np.setdiff1d(ids, gone)
        gone = np.union1d(gone, ids)

    with_keeper = {kind for kind, table in tables.items() if pc.any(pc.equal(table["suggestion"], KEEP)).as_py()}  # pyright: ignore[reportAttributeAccessIssue]
    for kind, table in tables.items():
        if kind not in with_keeper:
            take(kind, table["id"].to_numpy())
    for kind in kinds:
        if kind in with_keeper:
            take(kind, _all_but_one(tables[kind], gone))
    return {kind: found[kind] for kind in kinds}


def _all_but_one(table: pa.Table, gone: Int64[np.ndarray, " g"]) -> Int64[np.ndarray, " m"]:
    """The ids of groups, without the first of each that is not gone already; the ones to keep come first in their groups."""
    ids, groups = table["id"].to_numpy(), table["group"].to_numpy()
    there = ~np.isin(ids, gone)
    kept = np.unique(groups[there], return_index=True)[1]
    return np.delete(ids[there], kept)


def counts(issues: pa.Table) -> Mapping[str, tuple[int, int, int]]:
    """Of each kind the training and the test images that are not to be kept, and the groups."""
    found: dict[str, tuple[int, int, int]] = {}
    for kind in pc.unique(issues["kind"]).to_pylist():  # pyright: ignore[reportAttributeAccessIssue]
        own = issues.filter(pc.equal(issues["kind"], kind))  # pyright: ignore[reportAttributeAccessIssue]
        split = own["split"].to_numpy(zero_copy_only=False)
        at_fault = own["suggestion"].to_numpy(zero_copy_only=False) != KEEP
        groups = pc.count_distinct(own["group"]).as_py()  # pyright: ignore[reportAttributeAccessIssue]
        found[kind] = (int((at_fault & (split == "train")).sum()), int((at_fault & (split == "test")).sum()), groups)
    return found
