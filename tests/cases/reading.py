"""What the tests of this folder share: small inputs, and what a source makes of them."""

import io
import json
import pickle
import zlib
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

from dsopt.config import DataConfig
from dsopt.data.ingest import Broken, ingest_shard
from dsopt.data.sources.source import Findings, Source, find

IMAGE = pa.struct([("bytes", pa.binary()), ("path", pa.string())])


def picture(value: int = 0, kind: str = "PNG", size: int = 8) -> bytes:
    """A picture of one color; every value gives another."""
    sink = io.BytesIO()
    Image.new("RGB", (size, size), (value % 256, value // 256 % 256, 90)).save(sink, kind)
    return sink.getvalue()


def write(root: Path, *names: str, kind: str = "PNG") -> None:
    """Write pictures of these names, each another."""
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(picture(zlib.crc32(name.encode()) % 65536, kind))


def write_parquet(path: Path, labels: Any, names: list[str] | None = None, column: str = "label", **others: Any) -> None:
    """A Parquet file as on the hub; `names` are the class names in its metadata."""
    path.parent.mkdir(parents=True, exist_ok=True)
    images = [{"bytes": picture(i), "path": None} for i in range(len(labels))]
    table = pa.table({"image": pa.array(images, IMAGE), column: labels} | others)
    if names:
        features = {"image": {"_type": "Image"}, column: {"names": names, "_type": "ClassLabel"}}
        table = table.replace_schema_metadata({"huggingface": json.dumps({"info": {"features": features}})})
    pq.write_table(table, path)


@dataclass
class Result:
    """What was read: the class of each key by split ("train" and "test" where the source has both, else "")."""

    source: Source
    classes: list[str] | None
    rows: dict[str, dict[str, Any]]
    broken: list[Broken]
    findings: Findings

    def labels(self, split: str = "") -> list[Any]:
        return list(self.rows[split].values())

    def sizes(self) -> dict[str, int]:
        return {split: len(rows) for split, rows in self.rows.items() if rows}


def found(name: str, root: Path | str, limit: int | None = None, **options: Any) -> Result:
    """Read a source as ingest does, by processes that get their shards pickled."""
    data = DataConfig(name=name, root=str(root), options=options, channels=3, image_size=8, limit=limit)
    source = find(data)
    shards, classes = source.list_shards()
    rows, broken, ids = defaultdict(dict), [], []
    for shard in pickle.loads(pickle.dumps(shards)):
        ingested = ingest_shard(shard, data, classes)
        tables, bad = ingested.tables, ingested.broken
        broken += bad
        listed = [row for table in tables.values() for row in table.to_pylist()]
        ids += [row["id"] for row in listed] + [row.id for row in bad]
        assert len(listed) + len([row for row in bad]) == shard.rows
        for row in sorted(listed, key=lambda row: row["id"]):
            label = row["label"]
            assert row["key"] not in rows[shard.split or ""]
            rows[shard.split or ""][row["key"]] = classes[label] if classes and label is not None else label
    assert len(set(ids)) == len(ids)
    return Result(source, classes, dict(rows), broken, source.look())
