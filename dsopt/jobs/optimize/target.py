"""Time to accuracy in comparisons and sweeps: what is held out for it, and what is shown of it (`compare.target`)."""

import textwrap

import pyarrow as pa

from dsopt.config import Config, variant
from dsopt.reporting import page as pages
from dsopt.reporting import targets
from dsopt.reporting.page import Section
from dsopt.reporting.tables import RunInfo, aligned

HELD_OUT = 0.1  # of the training images, unless `train.validation` says otherwise
EVALUATIONS = 25  # of a run whose steps are known; otherwise there is one every `EVERY` steps
EVERY = 50


def with_target(config: Config) -> Config:
    """The configuration, with images held out and evaluated on now and then if rows are to reach a target.

    Raises:
        InputError: this configuration cannot hold out images.
    """
    train = config.train
    if config.compare.target is None:
        return config
    timed = train.seconds or train.epochs or train.passes or train.phases
    every = EVERY if timed else max(1, train.steps // EVALUATIONS)
    overrides = [] if train.validation else [f"train.validation={HELD_OUT}"]
    return variant(config, [*overrides, *([] if train.validate_every else [f"train.validate_every={every}"])])


def sections(config: Config, metrics: pa.Table, runs: list[RunInfo]) -> list[Section]:
    """The table of times and the curves, if there is a target and a run."""
    target = config.compare.target
    if target is None or not runs:
        return []
    title, html = f"Time to {100 * target:g} %", pages.table(*targets.table(metrics, runs, target))
    return [Section(title, targets.NOTE, png=targets.accuracy_curves(metrics, runs, target), html=html)]


def print_times(config: Config, metrics: pa.Table, runs: list[RunInfo]) -> None:
    """Print the table of times, if there is a target and a run."""
    if config.compare.target is not None and runs:
        print(f"time to {100 * config.compare.target:g} %\n\n{aligned(*targets.table(metrics, runs, config.compare.target))}")
        print(textwrap.fill(targets.NOTE, 80) + "\n")
