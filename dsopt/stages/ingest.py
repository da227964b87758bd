"""ingest: any data set -> the images table, every image decoded once, checked, and of one size."""

import dataclasses
import json
from collections import Counter
from collections.abc import Iterator
from functools import partial
from typing import Any

from dsopt.config import Config, DataConfig, differing, plain
from dsopt.data import understood
from dsopt.data.ingest import single, source_channels
from dsopt.data.sources.source import Findings, Shard, Source, find
from dsopt.data.understood import Understood
from dsopt.errors import InputError
from dsopt.pipeline import processes
from dsopt.pipeline.parts import item_by_item
from dsopt.pipeline.plan import Plan
from dsopt.pipeline.shards import POINTERS, write_shard
from dsopt.progress import say, tell
from dsopt.storage import IMAGES, Kind, Part, Stage
from dsopt.training.worker import Worker

INGEST = Kind("ingest", version=2)
FEW = 256  # rows that are read before a second process has started
LISTED = 1000  # broken rows named in the manifest; all are counted


def images(plan: Plan) -> Stage:
    """The images table of the configured data set; a plan lists the data once, however many planners ask."""
    return plan.data_set(json.dumps(plain(plan.config.data), sort_keys=True), lambda: _found(plan))


def _found(plan: Plan) -> Stage:
    source, config = find(plan.config.data), plan.config
    made_of = differing(config, "data", without=("data.root", "data.check")) | {"source": source.fingerprint}
    look = partial(_look, source=source, data=config.data)
    return plan.add(INGEST, config.data.name, made_of, {}, partial(_ingest, source=source), preview=look)


def _look(source: Source, data: DataConfig) -> Findings:
    """Tell what the source is, before any image is read. Raises InputError for what is wrong beyond doubt."""
    findings = source.look()
    seen = understood.found(findings)
    where = f" in {understood.shown(data.root)}" if data.root else ""
    _tell(dataclasses.replace(seen, lines=[f"what was found{where}", *seen.lines] if seen.lines else []), data)
    return findings


def _tell(seen: Understood, data: DataConfig) -> None:
    tell(seen.lines)
    if data.check:
        tell([f"  warning        {warning}" for warning in seen.warnings])
        if seen.refused:
            raise InputError(f"data: {'; '.join(seen.refused)} (data.check=off takes the data as they are).")


def _ingest(worker: Worker, stage: Stage, config: Config, source: Source) -> None:
    findings = _look(source, config.data)
    shards, classes = source.list_shards()
    if not shards:
        raise InputError(f"data.root={config.data.root}: has no images.")
    data = dataclasses.replace(config.data, channels=config.data.channels or _channels(shards))
    one = partial(write_shard, stage=stage, data=data, classes=classes, alone=single(findings))
    stream = partial(_stream, shards=shards, one=one, config=config)
    label, rows = f"ingest {stage.name}", [shard.rows for shard in shards]
    entries, seconds = item_by_item(label, stage, rows, "images", partial(stream, remote=source.remote))
    parts = [part for entry in entries for part in entry["parts"]]
    broken = [row for entry in entries for row in entry["broken"]]
    splits = {split: sum(p["rows"] for p in parts if p["split"] == split) for split in ("train", "test")}
    totals = Counter[str]()
    for entry in entries:
        totals.update({key: entry.get(key, 0) for key in ("read", "pointers", "uniform")})
    reasons = [row["reason"] for row in broken]
    if not splits["train"]:
        why = understood.broken(reasons, sum(rows), totals["pointers"]) if broken else "all are for testing"
        raise InputError(f"data.root={config.data.root}: not one usable training image ({why}; first: {broken[:1]}).")
    if broken:
        say(label, f"left out {len(broken)} broken rows, listed in {stage.folder}/manifest.json")
    labels = [entry["labels"] for entry in entries if entry["labels"] is not None]
    num_classes = len(classes) if classes else max(labels, default=-1) + 1
    if num_classes > max(10_000, sum(splits.values())):
        raise InputError(f"data.root={config.data.root}: labels go up to {num_classes - 1}; number the classes from 0.")
    facts = understood.facts([Part(stage.path(p["path"]), p["rows"], p["split"]) for p in parts], classes)
    facts |= {"bytes": totals["read"], "pointers": totals["pointers"], "uniform": totals["uniform"], "hints": list(findings.hints)}
    declared = any(shard.split for shard in shards)
    seen = understood.rest(facts | {"broken": reasons, "rows": sum(rows)}, findings.counts is not None, declared, classes)
    _tell(dataclasses.replace(seen, lines=["what was read", *seen.lines]), config.data)
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
        splits=splits,
        understood=facts,
    )


def _channels(shards: list[Shard]) -> int:
    try:
        return source_channels(shards)
    except InputError as error:  # there is no image at all
        for row in shards[0].read():
            if isinstance(row.image, bytes) and row.image.startswith(POINTERS):
                raise InputError(f"{error} Its files, such as {row.key}, are {understood.POINTERS}.") from None
            break
        raise


def _stream(
    indices: list[int], shards: list[Shard], one: partial[dict[str, Any]], config: Config, remote: bool
) -> Iterator[dict[str, Any]]:
    items = [(index, shards[index]) for index in indices]
    if config.cluster.workers and remote:
        from dsopt.cluster.data import stream

        return stream(items, config.cluster, one)
    # Only this machine is sure to see a local folder, and it needs no Ray to use its own cores.
    few = sum(shard.rows for _, shard in items) < FEW
    return processes.unordered(one, items, 1 if few else config.cluster.cpus_per_worker or processes.cores())
