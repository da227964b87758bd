"""A paper's numbers beside ours, as columns of a table of results."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from dsopt.config.references import PERCENT, Published, scaled

if TYPE_CHECKING:
    from dsopt.reporting.tables import ResultRow


def columns(rows: Sequence["ResultRow"]) -> list[tuple[str, list[str]]]:
    """Titles and cells of the columns of a paper's numbers, two for each measure that it gives; none without such numbers.

    A difference is ours minus the paper's, in the unit shown, and only where both are of one data set.
    """
    main = rows[0].measure.name if rows else ""
    names = list(dict.fromkeys(name for row in rows for name in row.published))
    found = []
    for name in sorted(names, key=lambda name: name != main):
        of = "" if name == main else f" {name}"
        found.append((f"paper{of}", [str(row.published.get(name, "")) for row in rows]))
        differences = [difference(row.published.get(name), _ours(row, name), name) for row in rows]
        if any(differences):
            found.append((f"difference{of}", differences))
    return found


def mark(row: "ResultRow") -> float | None:
    """The paper's number of a row's own measure, in this package's unit, if it is comparable."""
    found = row.published.get(row.measure.name)
    return scaled(row.measure.name, found.value) if found and found.compared and found.value is not None else None


def difference(published: Published | None, ours: float | None, name: str) -> str:
    """Ours minus the paper's as text; "" where they cannot be compared."""
    if published is None or not published.compared or published.value is None or ours is None:
        return ""
    return f"{ours * (100 if name in PERCENT else 1) - published.value:+.2f}"


def _ours(row: "ResultRow", name: str) -> float | None:
    if name == row.measure.name:
        return row.mean if row.seeds else None
    return row.others[name].mean if name in row.others else None
