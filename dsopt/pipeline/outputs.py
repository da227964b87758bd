"""What a stage leaves besides images: metrics, other tables of one part, pages.

Every file has a name of its own: a second run of the same command that ends later cannot touch what the first declared.
"""

import uuid
from collections.abc import Iterable, Mapping
from typing import Any

import pyarrow as pa

from dsopt.files import write_table
from dsopt.storage import METRICS, Kind, Stage, Table

REPORT = Kind("report")  # pages, of whatever job

MetricsRow = tuple[str, int, int, float, str, str, float]  # run, seed, step, seconds, split, name, value


def metrics(rows: Iterable[MetricsRow]) -> pa.Table:
    """Rows as a metrics table."""
    columns = [list(column) for column in zip(*rows, strict=True)]
    return pa.table(columns, schema=METRICS) if columns else METRICS.empty_table()


def measured(stage: Stage, seed: int, found: Mapping[str, float]) -> pa.Table:
    """Numbers that a stage found against the test images; at no seconds, which are those of training."""
    return metrics((stage.folder, seed, 0, 0.0, "test", name, value) for name, value in found.items())


def spent(stages: Iterable[Stage]) -> float:
    """The seconds that finished stages took."""
    return sum(Table(stage.uri).manifest["seconds"] for stage in stages)


def unique_name(name: str, suffix: str) -> str:
    """A file's name that no other run of the same command gives."""
    return f"{name}-{uuid.uuid4().hex[:8]}.{suffix}"


def commit(stage: Stage, table: pa.Table, *, name: str = "metrics", **about: Any) -> None:
    """Write a table of one part and declare the stage done. `about` goes into the manifest."""
    path = f"data/{unique_name(name, 'parquet')}"
    part = {"path": path, "rows": len(table), "bytes": write_table(stage.path(path), table)}
    stage.commit([part], table.schema, **about)
