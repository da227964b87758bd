"""What a stage writes besides images: metrics, other tables of one part, pages.

File names are unique: if the same command runs twice at once, the later run cannot overwrite files that the first one committed.
"""

import uuid
from collections.abc import Iterable, Mapping
from typing import Any

import pyarrow as pa

from dsopt.files import write_table
from dsopt.storage import METRICS, Kind, Stage, Table

REPORT = Kind("report", version=2)  # the page of any job

MetricsRow = tuple[str, int, int, float, str, str, float]  # run, seed, step, seconds, split, name, value


def metrics(rows: Iterable[MetricsRow]) -> pa.Table:
    """Rows as a metrics table."""
    columns = [list(column) for column in zip(*rows, strict=True)]
    return pa.table(columns, schema=METRICS) if columns else METRICS.empty_table()


def measured(stage: Stage, seed: int, values: Mapping[str, float]) -> pa.Table:
    """Measures on the test images, by name, as a metrics table; at 0 seconds, because that column counts training time."""
    return metrics((stage.folder, seed, 0, 0.0, "test", name, value) for name, value in values.items())


def spent(stages: Iterable[Stage]) -> float:
    """The total seconds that finished stages took."""
    return sum(Table(stage.uri).manifest["seconds"] for stage in stages)


def unique_name(name: str, suffix: str) -> str:
    """A file name that no other run of the same command uses."""
    return f"{name}-{uuid.uuid4().hex[:8]}.{suffix}"


def commit(stage: Stage, table: pa.Table, *, name: str = "metrics", **about: Any) -> None:
    """Write a table of one part and declare the stage done. `about` goes into the manifest."""
    path = f"data/{unique_name(name, 'parquet')}"
    part = {"path": path, "rows": len(table), "bytes": write_table(stage.path(path), table)}
    stage.commit([part], table.schema, **about)
