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
from dsopt.jobs.sweep.kinds.contract import Planned, Trial, kind_of
from dsopt.pipeline.plan import Plan

# What the trials of one sweep share, or the sweep itself decides.
_FIXED = ("sweep", "compare", "cluster", "storage", "seed")


def plans(plan: Plan, trials: Sequence[Trial]) -> list[Planned]:
    """What every trial takes. Raises InputError if any override is wrong."""
    own = {overrides: plan.having(variant(plan.config, overrides)) for overrides in dict.fromkeys(trial.all for trial in trials)}
    return [kind_of(plan.config).plan(own[trial.all], trial) for trial in trials]


def expand(config: Config) -> list[Trial]:
    """The trials that are known before any ran: rows beside the grid, then the grid or random samples of the space.

    Raises:
        InputError: nothing to sweep over, a key that a sweep cannot vary, or values that are not a list.
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
        also = [("train.split=0",), *also]  # its speed tells how many steps the seconds of choosing are
    trials = [Trial(row, seed) for row in also for seed in seeds]
    trials += [Trial(point, seed, row=row, given=given) for row, given in named.items() for point in points for seed in seeds]
    trials += [Trial(("train.split=0",), seed, equal_cost=True) for seed in seeds if sweep.equal_cost]
    if sweep.searcher == "random":
        ranges, drawn = space(config), random.Random(config.seed)
        trials += [_sample(config, _draw(ranges, drawn)) for _ in range(sweep.samples)]
    if not trials and sweep.searcher == "grid":
        raise InputError("sweep.grid: is empty; right is for example 'sweep.grid.train.split=[0,0.5,1]'.")
    return trials


def override(key: str, value: Any) -> str:
    """A key and a value as the command line has them."""
    word = isinstance(value, str) and re.fullmatch(r"[\w./:+-]+", value)
    return f"{key}={value if word else json.dumps(value)}"


def sampled(plan: Plan, values: Mapping[str, Any]) -> Planned:
    """What a search's sample takes."""
    return plans(plan, [_sample(plan.config, values)])[0]


def _sample(config: Config, values: Mapping[str, Any]) -> Trial:
    return Trial(tuple(override(key, value) for key, value in values.items()), config.seed)


Range = tuple[str, Any]  # ("log" | "uniform", (low, high)) or ("choice", values)


def space(config: Config) -> dict[str, Range]:
    """What a search tries, by key. Raises InputError for a wrong key or range, or values that the configuration refuses."""
    found: dict[str, Range] = {}
    for key, given in leaves("sweep.space", config.sweep.space):
        if isinstance(given, list):
            found[key] = ("choice", given)
            continue
        ((kind, ends),) = given.items()
        numbers = isinstance(ends, list) and len(ends) == 2 and all(isinstance(end, int | float) for end in ends)
        if not numbers or not ends[0] < ends[1] or (kind == "log" and ends[0] <= 0):
            raise InputError(f"sweep.space.{key}: {kind} needs [low, high]{' above 0' * (kind == 'log')}; given {ends}.")
        found[key] = (kind, tuple(map(float, ends)))
    if not found:
        raise InputError("sweep.space: is empty; right is for example 'sweep.space.train.learning_rate={log: [0.001, 0.5]}'.")
    for key, (_, values) in found.items():
        for value in values:
            variant(config, [override(key, value)])
    return found


def _draw(ranges: Mapping[str, Range], drawn: random.Random) -> dict[str, Any]:
    def one(kind: str, values: Any) -> Any:
        if kind == "choice":
            return drawn.choice(values)
        value = math.exp(drawn.uniform(*map(math.log, values))) if kind == "log" else drawn.uniform(*values)
        return float(f"{value:.4g}")  # as a person would write it

    return {key: one(*range_) for key, range_ in ranges.items()}


def leaves(section: str, tree: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """The keys below a section with their lists (or ranges); null takes out what a preset put in."""
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
            raise InputError(f"{section}.{key}={below}: must be a list of values; right is {section}.{key}=[{below}].")
        yield key, below


def _check_key(where: str, key: str) -> None:
    if key.partition(".")[0] in _FIXED:
        right = "sweep.seeds gives every row its seeds" if key == "seed" else "it is the same for the whole sweep"
        raise InputError(f"{where}: {key} cannot be swept: {right}.")


def made_of(config: Config) -> dict[str, Any]:
    """What of the base configuration decides a sweep; where the data lie does not, nor what it runs on."""
    sections = [item.name for item in fields(config) if item.name not in ("compare", "cluster", "storage")]
    return differing(config, *sections, without=("data.root", "sweep.gpus"))
