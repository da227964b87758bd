"""ingest: any data set -> the images table, every image decoded once, checked, and of one size."""

import dataclasses
import json
from collections.abc import Iterator
from functools import partial
from typing import Any

from dsopt.config import Config, DataConfig, differing, plain
from dsopt.data.ingest import ingest_shard, single, source_channels
from dsopt.data.source import Shard, Source, find
from dsopt.errors import InputError
from dsopt.pipeline.parts import item_by_item, write_part
from dsopt.pipeline.plan import Plan
from dsopt.progress import say
from dsopt.storage import IMAGES, Kind, Stage, with_image_feature
from dsopt.training.worker import Worker

INGEST = Kind("ingest")
LISTED = 1000  # broken rows named in the manifest; all are counted


def images(plan: Plan) -> Stage:
    """The images table of the configured data set; a plan lists the data once, however many planners ask."""
    return plan.data_set(json.dumps(plain(plan.config.data), sort_keys=True), lambda: _found(plan))


def _found(plan: Plan) -> Stage:
    source = find(plan.config.data)
    made_of = differing(plan.config, "data", without=("data.root",)) | {"source": source.fingerprint}
    return plan.add(INGEST, plan.config.data.name, made_of, {}, partial(_ingest, source=source))


def _ingest(worker: Worker, stage: Stage, config: Config, source: Source) -> None:
    shards, classes = source.list_shards()
    if not shards:
        raise InputError(f"data.root={config.data.root}: has no images.")
    data = dataclasses.replace(config.data, channels=config.data.channels or source_channels(shards))
    alone = single(source.look())
    one = partial(_shard, stage=stage, shards=shards, data=data, classes=classes, alone=alone)
    stream = partial(_stream, ingest=one, config=config, remote=source.remote)
    entries, seconds = item_by_item(f"ingest {stage.name}", stage, [1] * len(shards), "shards", stream)
    parts = [part for entry in entries for part in entry["parts"]]
    broken = [row for entry in entries for row in entry["broken"]]
    rows = {split: sum(p["rows"] for p in parts if p["split"] == split) for split in ("train", "test")}
    if not rows["train"]:
        raise InputError(
            f"data.root={config.data.root}: not one usable training image ({len(broken)} broken; first: {broken[:1]})."
        )
    if broken:
        say(f"ingest {stage.name}", f"left out {len(broken)} broken rows, listed in {stage.folder}/manifest.json")
    labels = [entry["labels"] for entry in entries if entry["labels"] is not None]
    num_classes = len(classes) if classes else max(labels, default=-1) + 1
    if num_classes > max(10_000, sum(rows.values())):
        raise InputError(f"data.root={config.data.root}: labels go up to {num_classes - 1}; number the classes from 0.")
    stage.commit(
        parts,
        IMAGES,
        seconds=seconds,
        classes=classes,
        num_classes=num_classes,
        labelled=bool(labels),
        channels=data.channels,
        image_size=data.image_size,
        broken={"count": len(broken), "rows": broken[:LISTED]},
        splits=rows,
    )


def _stream(indices: list[int], ingest: partial[dict[str, Any]], config: Config, remote: bool) -> Iterator[dict[str, Any]]:
    from dsopt.cluster.data import stream

    # Only this machine is sure to see a local folder, and a single machine gains nothing by asking Ray for small sets.
    cluster = config.cluster if remote else dataclasses.replace(config.cluster, workers=0)
    return stream(indices, cluster, ingest)


def _shard(
    index: int, stage: Stage, shards: list[Shard], data: DataConfig, classes: list[str] | None, alone: frozenset[str]
) -> dict[str, Any]:
    """Write the parts of one shard, one of each split that it has rows of; gives its entry in the journal."""
    found = ingest_shard(shards[index], data, classes, alone)
    parts, highest = [], None
    for split, table in found.tables.items():
        if not len(table):
            continue
        table = table.replace_schema_metadata(with_image_feature(IMAGES).metadata)
        parts.append(write_part(stage, index, table, split))
        known = [label for label in table["label"].to_pylist() if label is not None]
        highest = max([*known, *([highest] if highest is not None else [])], default=None)
    broken = [row._asdict() for row in found.broken]
    pictures = {name: getattr(found, name) for name in ("uniform", "formats", "smallest", "largest")}
    return {"index": index, "parts": parts, "broken": broken, "labels": highest} | pictures
