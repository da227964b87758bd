"""Pilot trainings: which ones tell the most for their steps, and which of them are run."""

import bisect
import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import NamedTuple

import numpy as np

from dsopt.config import Config, SelectConfig
from dsopt.errors import InputError
from dsopt.jobs.optimize.target import HELD_OUT
from dsopt.jobs.sweep.kinds.contract import PlannedTrial, Trial, kind_of
from dsopt.jobs.sweep.status import SweepStatus, TrialStatus
from dsopt.pipeline.plan import Plan
from dsopt.storage import Table

LENGTHS = 4  # numbers of steps of pilots, each twice the one before
FEWEST = 8  # steps of a pilot
FLAT = 0.003  # of accuracy: a gain from twice the steps that is no larger tells that twice as many again tell nothing


class Way(NamedTuple):
    """How the images of a subset are chosen and labelled."""

    title: str
    select: SelectConfig

    @property
    def soft(self) -> bool:
        return self.select.soft_labels != "none"


@dataclass(frozen=True)
class Pilot:
    """A pilot training.

    Args:
        way: how its images are chosen; None: it has all.
        share: of the training images.
    """

    way: Way | None
    share: float
    steps: int
    seed: int

    @property
    def words(self) -> tuple[str, ...]:
        """What it is, as overrides, for people."""
        chosen = (f"select.name={self.way.title}", f"select.budget={self.share:g}") if self.way else ("train.split=0",)
        return (*chosen, f"train.steps={self.steps}")


def ways(config: Config) -> list[Way]:
    """At random, nested, and as configured; with soft labels, both with and without."""
    plain = replace(config.select, name="stratified", options={}, per_class=False, ids=None, soft_labels="none")
    hard = [Way("random", plain)]
    if config.select.name not in ("random", "stratified"):
        hard.append(Way(config.select.name, replace(config.select, ids=None, soft_labels="none")))
    if config.select.soft_labels == "none":
        return hard
    return [*hard, *(Way(f"{way.title}+soft", replace(way.select, soft_labels=config.select.soft_labels)) for way in hard)]


def whole_steps(config: Config, images: int) -> int:
    """The steps of a full training. Raises InputError for a budget that is not known in steps."""
    train = config.train
    if train.seconds or train.phases:
        key = "train.seconds" if train.seconds else "train.phases"
        raise InputError(
            f"{key}: advise needs to know the steps of a full training; give train.steps, train.epochs or train.passes."
        )
    epochs = train.epochs or train.passes
    return max(1, round(epochs * images / train.batch_size)) if epochs else train.steps


def design(config: Config, images: int, classes: int) -> list[Pilot]:
    """The pilots, shortest first: as long ones as `advise.share` allows.

    A step costs the same whatever the number of images, so everything has pilots of all lengths. Few images are seen often within
    few steps: subsets have none of the longest, and of the second longest only every other size. The shortest ones are of random
    images alone, and repeated with more seeds. A run that sees each of its random images at most once would be no other with more
    of them: it is run with all of them alone. Chosen ones are other images from the first step on.

    Raises:
        InputError: so few steps are too few for any pilot.
    """
    whole, known = whole_steps(config, images), ways(config)

    def of(shortest: int) -> list[Pilot]:
        return [pilot for rung in range(LENGTHS) for pilot in _rung(config, known, rung, shortest << rung, images, classes)]

    lengths = range(FEWEST, whole + 1)  # longer ones take more steps: there are as many pilots, or more
    fitting = bisect.bisect_right(lengths, config.advise.share * whole, key=lambda length: sum(pilot.steps for pilot in of(length)))
    if fitting:
        return of(lengths[fitting - 1])
    least = sum(pilot.steps for pilot in of(FEWEST))
    raise InputError(
        f"advise.share={config.advise.share:g}: {whole:,} steps of a full training leave {config.advise.share * whole:.0f} to "
        f"pilots, which take at least {least:,}; expected {math.ceil(least / config.advise.share):,} steps or more (train.steps), "
        "a larger advise.share or fewer advise.sizes."
    )


def _rung(config: Config, known: Sequence[Way], rung: int, steps: int, images: int, classes: int) -> list[Pilot]:
    """The pilots of one length, of which `rung` are shorter."""
    sizes = [size for size in sorted(config.advise.sizes) if classes <= size * images]
    if rung >= LENGTHS - 2:
        sizes = sizes[1::2] if rung == LENGTHS - 2 else []
    again = [size for size in sizes if size * images < steps * config.train.batch_size]
    chosen = [(way, size) for way in known for size in (sizes if way.title != "random" else again) if rung or way.title == "random"]
    seeds = range(config.seed, config.seed + (1 if rung else config.advise.seeds))
    return [Pilot(way, size, steps, seed) for seed in seeds for way, size in [(None, 1.0), *chosen]]


def planned(plan: Plan, pilot: Pilot) -> PlannedTrial:
    """A pilot as a trial of a sweep: the trainings of both are the same stages."""
    config = plan.config
    budget = {"steps": pilot.steps, "epochs": None, "passes": None, "seconds": None}
    split = {"split": float(pilot.way is not None), "overlap": False, "validate_every": 0}
    train = replace(config.train, **budget, **split, validation=config.train.validation or HELD_OUT)
    select = replace(pilot.way.select, budget=pilot.share) if pilot.way else config.select
    own = plan.having(replace(config, train=train, select=select))
    return kind_of(own.config).plan(own, Trial(pilot.words, pilot.seed))


def pace(steps: Sequence[int], seconds: Sequence[float]) -> tuple[float, float]:
    """(seconds that a run takes besides its steps, seconds of a step): the first steps take longer, and short runs have few others.

    A line, to which runs count by the inverse of their steps; the mean alone if all have as many steps, or if the line falls.
    """
    if not steps:
        return 0.0, 0.0
    if len(set(steps)) > 1:
        each, start = np.polyfit(steps, seconds, 1, w=np.asarray(steps, float) ** -0.5).tolist()
        if each > 0 and start > 0:
            return start, each
    return 0.0, math.fsum(seconds) / sum(steps)


@dataclass
class Queue:
    """The pilots that are still to be run, one after another: the source of a sweep's points.

    A pilot is left out if its time would be more than is left, or if it would tell nothing: at half its steps the same images
    gained next to nothing over a quarter of them, after ten passes or more.
    """

    pilots: Sequence[Pilot]
    trials: Sequence[PlannedTrial]
    statuses: SweepStatus
    seconds: float
    passes: float  # of a run of one step over all images
    asked: set[int] = field(default_factory=set)
    left_out: dict[int, str] = field(default_factory=dict)
    ended: bool = False

    def ask(self) -> dict[str, int] | None:
        for number, pilot in enumerate(self.pilots):
            if number in self.asked or self._status(number).state != "left":
                continue
            self.asked.add(number)
            if self._flat(pilot):
                self.left_out[number] = "more steps gained nothing"
            elif self.spent() + self.expected(pilot.steps) > self.seconds:
                self.left_out[number] = "no time left"
            else:
                return self._status(number).point
        self.ended = True
        return None

    def over(self) -> bool:
        return self.ended

    def done(self) -> list[int]:
        """The numbers of the pilots that have ended well."""
        return [number for number in range(len(self.pilots)) if self._status(number).state == "done"]

    def accuracy(self, number: int) -> float:
        return self._status(number).outcome[self.statuses.measure.name]

    def spent(self) -> float:
        """The seconds that the ended pilots trained."""
        return math.fsum(self._seconds(number) for number in self.done())

    def expected(self, steps: int) -> float:
        """Seconds that a training of so many steps will take, by those of the ended pilots; 0 before any has ended."""
        done = self.done()
        start, each = pace([self.pilots[number].steps for number in done], [self._seconds(number) for number in done])
        return start + each * steps

    def _status(self, number: int) -> TrialStatus:
        return self.statuses.runs[self.trials[number].evaluated.hash]

    def _seconds(self, number: int) -> float:
        return Table(self.trials[number].trained.uri).manifest["seconds"]

    def _flat(self, pilot: Pilot) -> bool:
        if pilot.way is None or self.passes * pilot.steps / 4 / pilot.share < 10:
            return False
        shorter: dict[int, list[float]] = {}
        for number in self.done():
            other = self.pilots[number]
            if (other.way, other.share) == (pilot.way, pilot.share):
                shorter.setdefault(other.steps, []).append(self.accuracy(number))
        means = [sum(values) / len(values) for steps, values in sorted(shorter.items()) if steps < pilot.steps]
        return len(means) >= 2 and means[-1] - means[-2] <= FLAT
