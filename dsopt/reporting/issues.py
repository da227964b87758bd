"""What an audit found, as the first section of a page."""

from collections.abc import Mapping, Sequence

from dsopt.registry import CHECKS
from dsopt.reporting.page import Section, table

HEAD = ["kind", "training", "test", "groups"]
Counts = Mapping[str, Mapping[str, int]]  # of each kind that was found: images of each split, not counting ones to keep, and groups


def lines(found: Counts, kinds: Sequence[str]) -> list[list[str]]:
    """A line for each kind: how many images of each split, and in how many groups."""
    none = {"train": 0, "test": 0, "groups": 0}
    return [[kind, *(f"{count:,}" if count else "–" for count in found.get(kind, none).values())] for kind in kinds]


def summary(found: Counts, looked_for: Sequence[str], more: str) -> Section:
    """How many of what was found, and what was looked for besides.

    Args:
        more: a sentence at the end.
    """
    kinds = [kind for kind in looked_for if kind in found]
    none = ", ".join(kind for kind in looked_for if kind not in found)
    said = ["Nothing was changed or deleted; images to keep are not counted." if kinds else "Nothing was found."]
    said += [f"Looked for{' and not found' if kinds else ''}: {none}."] * bool(none)
    return Section("Audit of the data", " ".join([*said, more]), html=table(HEAD, lines(found, kinds)) if kinds else None)


def about(kind: str) -> str:
    """What a check looks for, in a sentence for people."""
    return CHECKS.summary(kind).replace("`", "")
