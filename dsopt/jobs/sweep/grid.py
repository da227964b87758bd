"""The trials of a sweep, each described by overrides on the base configuration."""

import itertools
import json
import math
import random
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import fields
from typing import Any

from dsopt.config import Config, differing, variant
from dsopt.errors import InputError
from dsopt.jobs.sweep.kinds.contract import PlannedTrial, Trial, kind_of
from dsopt.pipeline.plan import Plan

# What all trials of a sweep share, or the sweep itself sets.
_FIXED = ("sweep", "compare", "cluster", "storage", "seed")


def plans(plan: Plan, trials: Sequence[Trial]) -> list[PlannedTrial]:
    """The trials with their configurations and steps. Raises InputError if any override is wrong."""
    distinct = dict.fromkeys(trial.all for trial in trials)  # trials that differ only in their seeds share a plan
    own = {overrides: plan.having(variant(plan.config, overrides)) for overrides in distinct}
    return [kind_of(plan.config).plan(own[trial.all], trial) for trial in trials]


def expand(config: Config) -> list[Trial]:
    """The trials that are known in advance: rows beside the grid, then the grid or random samples of the space.

    Raises:
        InputError: an empty grid, a key that a sweep cannot vary, or values that are not a list.
    """
    sweep = config.sweep
    grid = dict(leaves("sweep.grid", sweep.grid)) if sweep.searcher == "grid" else {}
    points = [tuple(map(override, grid, values)) for values in itertools.product(*grid.values())] if grid or sweep.rows else []
    named = {name: tuple(row) for name, row in sweep.rows.items()} or {"": ()}
    also = [tuple(row) for row in sweep.also]
    for where, row in [("sweep.also", row) for row in also] + [(f"sweep.rows.{name}", row) for name, row in named.items()]:
        for text in row:
            _check_key(f"{where}: {text}", text.partition("=")[0])
    seeds = range(config.seed, config.seed + sweep.seeds)
    if sweep.equal_cost and ("train.split=0",) not in also:
        also = [("train.split=0",), *also]  # its speed converts the seconds of selection to steps
    trials = [Trial(row, seed) for row in also for seed in seeds]
    trials += [Trial(point, seed, row=row, given=given) for row, given in named.items() for point in points for seed in seeds]
    trials += [Trial(("train.split=0",), seed, equal_cost=True) for seed in seeds if sweep.equal_cost]
    if sweep.searcher == "random":
        ranges, drawn = space(config), random.Random(config.seed)
        trials += [_sample(config, _draw(ranges, drawn)) for _ in range(sweep.samples)]
    if not trials and sweep.searcher == "grid":
        raise InputError("sweep.grid: is empty; expected for example 'sweep.grid.train.split=[0,0.5,1]'.")
    return trials


def override(key: str, value: Any) -> str:
    """A key and a value in the syntax of the command line."""
    word = isinstance(value, str) and re.fullmatch(r"[\w./:+-]+", value)
    return f"{key}={value if word else json.dumps(value)}"


def sampled(plan: Plan, values: Mapping[str, Any]) -> PlannedTrial:
    """The trial of a search's sample, planned."""
    return plans(plan, [_sample(plan.config, values)])[0]


def _sample(config: Config, values: Mapping[str, Any]) -> Trial:
    return Trial(tuple(override(key, value) for key, value in values.items()), config.seed)


Range = tuple[str, Any]  # ("log" | "uniform", (low, high)) or ("choice", values)


def space(config: Config) -> dict[str, Range]:
    """The search space, a range by key. Raises InputError for a wrong key or range, or values that the configuration refuses."""
    found: dict[str, Range] = {}
    for key, given in leaves("sweep.space", config.sweep.space):
        if isinstance(given, list):
            found[key] = ("choice", given)
            continue
        ((kind, bounds),) = given.items()
        numbers = isinstance(bounds, list) and len(bounds) == 2 and all(isinstance(bound, int | float) for bound in bounds)
        if not numbers or not bounds[0] < bounds[1] or (kind == "log" and bounds[0] <= 0):
            raise InputError(f"sweep.space.{key}: {kind} needs [low, high]{' above 0' * (kind == 'log')}; given {bounds}.")
        found[key] = (kind, tuple(map(float, bounds)))
    if not found:
        raise InputError("sweep.space: is empty; expected for example 'sweep.space.train.learning_rate={log: [0.001, 0.5]}'.")
    for key, (_, values) in found.items():
        for value in values:
            variant(config, [override(key, value)])
    return found


def _draw(ranges: Mapping[str, Range], drawn: random.Random) -> dict[str, Any]:
    """A random point of the space, by key."""

    def one(kind: str, values: Any) -> Any:
        if kind == "choice":
            return drawn.choice(values)
        value = math.exp(drawn.uniform(*map(math.log, values))) if kind == "log" else drawn.uniform(*values)
        return float(f"{value:.4g}")  # short enough to type

    return {key: one(*range_) for key, range_ in ranges.items()}


def leaves(section: str, tree: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """The keys of a section with their lists (or ranges); null removes a key that a preset set."""
    for name, below in tree.items():
        key = f"{prefix}{name}"
        if below is None:
            continue
        ranged = section == "sweep.space" and isinstance(below, dict) and set(below) in ({"log"}, {"uniform"})
        if isinstance(below, dict) and not ranged:
            yield from leaves(section, below, f"{key}.")
            continue
        _check_key(section, key)
        if not ranged and (not isinstance(below, list) or not below):
            raise InputError(f"{section}.{key}={below}: must be a list of values; expected {section}.{key}=[{below}].")
        yield key, below


def _check_key(where: str, key: str) -> None:
    if key.partition(".")[0] in _FIXED:
        reason = "sweep.seeds sets the seeds of every row" if key == "seed" else "it is the same for the whole sweep"
        raise InputError(f"{where}: {key} cannot be swept: {reason}.")


def made_of(config: Config) -> dict[str, Any]:
    """The part of the base configuration that determines a sweep: neither where the data lie nor the hardware is in it."""
    sections = [item.name for item in fields(config) if item.name not in ("compare", "cluster", "storage", "track", "track_to")]
    return differing(config, *sections, "compare.target", without=("data.root", "sweep.gpus"))
