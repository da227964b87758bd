"""What choosing will take, told before it starts; what does not fit into memory is refused, with what would."""

import math
from dataclasses import replace

from dsopt.config import Config
from dsopt.data import room
from dsopt.errors import InputError
from dsopt.progress import duration, say
from dsopt.registry import SELECTORS
from dsopt.selection.reading import embedding_size
from dsopt.selection.streams import costs
from dsopt.storage import Part, Stage, Table

LEAST_SHARD = 10_000  # rows


def looked_at(stage: Stage) -> list[Part]:
    """The table that a method chooses from."""
    embedded = stage.inputs.get("embeddings")
    return Table(embedded.uri).parts() if embedded else Table(stage.inputs["images"].uri).parts("train")


def expected(stage: Stage, config: Config) -> costs.Way:
    """How the choice is made, and what it takes; of a list, which needs ids alone, that of a random choice."""
    select = config.select
    name, options = ("random", {}) if select.ids else (select.name, select.options)
    return _way(stage, config, name, options, select.shard_rows)


def tell(stage: Stage, config: Config) -> None:
    """Say what the choice takes, before it is made.

    Raises:
        InputError: it does not fit into this process's memory.
    """
    way, most = expected(stage, config), room.memory()
    say(f"select {config.select.name}", _line(way, config))
    if way.memory > most:
        raise InputError(
            f"select.name={config.select.name}: needs about {_gb(way.memory)} and this process may have {_gb(most)}; expected "
            f"{_alternatives(stage, config, most)}."
        )


def preview(stage: Stage, config: Config) -> None:
    """Say it in a dry run, if what is chosen from is there; the calibration is of this process, not of the cluster's."""
    if not stage.done() and all(needed.done() for needed in stage.inputs.values()):
        tell(stage, config)


def _way(stage: Stage, config: Config, name: str, options: dict, shard_rows: int) -> costs.Way:
    select, parts = config.select, looked_at(stage)
    rows = sum(part.rows for part in parts)
    size = embedding_size(next(part for part in parts if part.rows)) if SELECTORS.traits(name).embeddings else 0
    budget = min(select.budget, rows) if isinstance(select.budget, int) else max(round(select.budget * rows), 1)
    classes = Table(stage.inputs["images"].uri).manifest["num_classes"] if select.per_class else 1
    at = costs.Size(rows, size, budget, classes=classes)
    return costs.way(name, options, at, pca=select.pca, shard_rows=shard_rows, rounds=select.rounds)


def _line(way: costs.Way, config: Config) -> str:
    on_gpu = config.select.device == "gpu" and SELECTORS.traits(config.select.name).gpu
    workers = 1 if on_gpu else max(config.cluster.workers, 1)
    seconds = costs.measured("cuda" if on_gpu else "cpu").seconds(way.cost, way.at, workers)
    times = f", {way.cost.passes:.0f} times read" if way.at.size and way.cost.passes >= 2 else ""
    per_class = "at most " if config.select.per_class else ""
    rows = f"{way.at.rows:,} x {way.at.size}" if way.at.size else f"{way.at.rows:,} images"
    return f"{way.at.budget:,} of {rows} {way.how}: {per_class}about {duration(math.ceil(seconds))}, {_gb(way.memory)}{times}"


def _alternatives(stage: Stage, config: Config, most: int) -> str:
    """Passes or shards that would fit, and methods that do."""
    select, fits = config.select, []
    once = replace(config, select=replace(select, rounds=1))
    if select.rounds > 1 and _way(stage, once, select.name, select.options, select.shard_rows).memory <= most:
        fits.append("select.rounds=1")
    shard_rows = sum(part.rows for part in looked_at(stage))
    while shard_rows > LEAST_SHARD:
        shard_rows //= 2
        if _way(stage, config, select.name, select.options, shard_rows).memory <= most:
            fits.append(f"select.shard_rows={shard_rows}")
            break
    others = [name for name in SELECTORS.names() if SELECTORS.traits(name).embeddings and not SELECTORS.traits(name).scores]
    others = [name for name in others if _way(stage, config, name, {}, select.shard_rows).memory <= most]
    fits += [f"select.name={'|'.join(others[:4])}"] if others else ["fewer images, or a machine with more memory"]
    return " or ".join(fits)


def _gb(size: int) -> str:
    return f"{size / 1e9:.1f} GB"
