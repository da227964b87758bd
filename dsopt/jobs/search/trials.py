"""Tables of children: which children are trained on what, the columns, and the ranking."""

import math
import random
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from dsopt.config import Choice, Config
from dsopt.errors import InputError, JobError
from dsopt.jobs.search.child import MaterialSource, material_source
from dsopt.pipeline import outputs
from dsopt.registry import SPACES, STRATEGIES
from dsopt.search.proxies import Proxy
from dsopt.search.queue import Strategy
from dsopt.search.spaces.contract import Space
from dsopt.search.strategies.fixed import Listed
from dsopt.seeds import derive
from dsopt.selection.choose import resolve
from dsopt.storage import Stage, Table

SCHEMA = pa.schema(
    [
        ("child", pa.string()),
        ("order", pa.int64()),
        ("steps", pa.int64()),
        ("accuracy", pa.float64()),  # mean over seeds, on held-out images; null if it failed
        ("accuracies", pa.list_(pa.float64())),
        ("seconds", pa.float64()),  # on the device, over all seeds
        ("parameters", pa.int64()),
        ("multiply_adds", pa.int64()),
        ("reason", pa.string()),
    ]
)
FULL = Proxy("full")


@dataclass(frozen=True)
class Trials:
    """Which children are trained, and how.

    Args:
        title: human-readable label: "search", "truth", the proxy's.
        children: how many; 0: those that a controller of shared weights samples.
        finalists: if above 0, this many of the best children of the input "search" instead of the strategy's.
        draw: the number of the proxy's random subset.
    """

    title: str
    proxy: Proxy
    strategy: Choice
    children: int
    seeds: int = 1
    finalists: int = 0
    draw: int = 0


def space_of(config: Config) -> Space:
    return SPACES.build(config.search.space.name, config.search.space.options)()


def strategy_of(config: Config, wanted: Trials, space: Space) -> Strategy:
    steps = wanted.proxy.steps or config.search.train.steps
    drawn = random.Random(derive(config.seed, "children"))
    return STRATEGIES.build(wanted.strategy.name, wanted.strategy.options)(space, drawn, wanted.children, steps)


def finalists(stage: Stage, config: Config, wanted: Trials, space: Space) -> Strategy:
    """The best children of the search, to be trained in full."""
    best = ranked(stage.inputs["search"])[: wanted.finalists]
    return Listed([space.decode(row["child"]) for row in best], config.search.train.steps)


def limit(proxy: Proxy, images: Stage) -> int | None:
    """The number of images that a proxy takes; None: all. Raises InputError if there are fewer."""
    if proxy.images is None:
        return None
    table = Table(images.uri if proxy.selects else proxy.data)
    rows = table.rows(table.training())
    if proxy.images > rows:
        given = f"search: {{data: {proxy.data}, images: {proxy.images}}}"
        raise InputError(f"{given}: images: there are {rows}; give 1 to {rows}, or a share.")
    return resolve(proxy.images, rows)


def source(stage: Stage, config: Config, proxy: Proxy) -> MaterialSource:
    """Where the training data of a stage's children come from. Raises InputError if there are fewer images than the proxy takes."""
    images, subset, search = stage.inputs["images"], stage.inputs.get("subset"), config.search
    given = (images.uri, subset.uri if subset else None, limit(proxy, images))
    return material_source(proxy, *given, search.train, search.validation, config.seed)


def ranked(stage: Stage) -> list[dict[str, Any]]:
    """The children of a finished stage, the longest trained first and among these the most accurate first; without failed ones."""
    rows = [row for row in Table(stage.uri).read().to_pylist() if row["accuracy"] is not None]
    if not rows:
        raise JobError(f"{stage.uri}: every child failed; see the reasons in its table.")
    return sorted(rows, key=lambda row: (-row["steps"], -row["accuracy"], row["order"]))


def commit(stage: Stage, config: Config, rows: list[dict[str, Any]], devices: set[str], **notes: Any) -> None:
    """Write a table of children and declare the stage done."""
    table, seconds = pa.Table.from_pylist(rows, schema=SCHEMA), math.fsum(row["seconds"] for row in rows)
    notes |= {"failed": sum(row["accuracy"] is None for row in rows), "device": ", ".join(sorted(devices))}
    outputs.commit(stage, table, name="children", seconds=seconds, seed=config.seed, **notes)
