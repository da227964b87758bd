"""One shard of a data set into the images table, in any process; torch is not imported, which takes longer than many a shard."""

from collections.abc import Iterator, Set
from dataclasses import dataclass, replace
from typing import Any

from dsopt.config import DataConfig
from dsopt.data.ingest import ingest_shard
from dsopt.data.sources.source import Shard, SourceRow
from dsopt.pipeline.parts import write_part
from dsopt.storage import IMAGES, Stage, with_image_feature

POINTERS = (b"version https://git-lfs", b"/annex/objects/")  # what stands in a file whose content git has elsewhere


@dataclass
class Reading:
    """Reads a shard, and counts the bytes of its images and the pointers among them."""

    shard: Shard
    size: int = 0
    pointers: int = 0

    def __call__(self) -> Iterator[SourceRow]:
        self.size = self.pointers = 0  # a shard is read again when an object store was unreachable
        for row in self.shard.read():
            if isinstance(row.image, bytes):
                self.size += len(row.image)
                self.pointers += row.image.startswith(POINTERS)
            elif row.image is not None:
                self.size += row.image.nbytes
            yield row


def write_shard(
    item: tuple[int, Shard], stage: Stage, data: DataConfig, classes: list[str] | None, alone: Set[str] = frozenset()
) -> dict[str, Any]:
    """Write the parts of a shard, one of each split that it has rows of.

    Args:
        alone: classes with a single image, see `ingest_shard`.

    Returns:
        Its entry in the journal: its "index", "parts", "broken" rows, highest label ("labels"; None without any), bytes "read",
        and how many rows are "pointers" or "uniform" pictures.
    """
    index, shard = item
    reading = Reading(shard)
    found = ingest_shard(replace(shard, read=reading), data, classes, alone)
    feature = with_image_feature(IMAGES).metadata
    labels = [label for table in found.tables.values() for label in table["label"].to_pylist() if label is not None]
    return {
        "index": index,
        "parts": [write_part(stage, index, table.replace_schema_metadata(feature), split) for split, table in found.tables.items()],
        "broken": [row._asdict() for row in found.broken],
        "labels": max(labels, default=None),
        "read": reading.size,
        "pointers": reading.pointers,
        "uniform": found.uniform,
    }
