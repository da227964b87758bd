"""What follows from forecasts: the smallest subset that is enough, when more images pay, when choosing has paid for itself."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from dsopt.evaluation.learning_curves.fit import LEAST_NOISE
from dsopt.evaluation.learning_curves.forecast import Forecast
from dsopt.evaluation.learning_curves.forms import Values

SURE = 0.8  # the share of draws in which a subset must be good enough
SHORTEST = 1 / 64  # of the steps of a training: no shorter ones are looked at for as good a result


class Interval(NamedTuple):
    """The middle of draws, and the ends of their 80 % interval."""

    low: float
    middle: float
    high: float

    @classmethod
    def of(cls, draws: Values) -> "Interval":
        return cls(*(float(value) for value in np.quantile(draws, [0.1, 0.5, 0.9])))


def smallest(draws: Float[np.ndarray, "draws sizes"], everything: Values, within: float) -> int | None:
    """The first of ascending sizes from which on all are within so much of everything, in SURE of the draws; None if none is.

    Args:
        draws: accuracies of these sizes.
        everything: those of all images.
    """
    enough = ((everything[:, None] - draws) <= within).mean(0) >= SURE
    found = None
    for index in reversed(range(len(enough))):
        if not enough[index]:
            break
        found = index
    return found


def steps_that_pay(few: Forecast, many: Forecast, images: float, most: float, seen: Values, within: float) -> int | None:
    """The first of ascending numbers of images seen at which all images are better than some by more than `within`.

    In more than half of the draws; None if it is so at none of them.
    """
    ahead = many(np.full(len(seen), most), seen) - few(np.full(len(seen), images), seen)
    found = np.flatnonzero((ahead > within).mean(0) > 0.5)
    return int(found[0]) if len(found) else None


class BreakEven(NamedTuple):
    """After how many trainings choosing has cost no more than it saved: infinite in the share `never` of the draws."""

    trainings: Interval
    never: float

    @property
    def order(self) -> tuple[float, float]:
        """What is smaller where choosing pays sooner."""
        return self.trainings.middle, self.never


def break_even(
    chosen: Forecast, other: Forecast, images: float, others: float, seen: float, choosing: float, seconds: float
) -> BreakEven:
    """When a chosen subset has paid for itself, beside other images: both trained until they are as good as these are in the end.

    As good is what pilots cannot tell apart: near a perfect score, all of it may be. It is asked for of both, so images that are no
    better save nothing.

    Args:
        images: of the chosen subset.
        others: the images to train on instead, until so many are `seen`, in so many `seconds`.
        choosing: seconds that choosing takes, once.
    """
    times = np.geomspace(SHORTEST, 1.0, 97)
    instead = np.maximum.accumulate(other(np.full(len(times), others), seen * times), axis=1)
    target = instead[:, -1:] - LEAST_NOISE
    as_good = np.maximum.accumulate(chosen(np.full(len(times), images), seen * times), axis=1) >= target
    took = np.where(as_good.any(1), times[as_good.argmax(1)], np.inf)
    saved = times[(instead >= target).argmax(1)] - took
    with np.errstate(divide="ignore"):
        trainings = np.where(saved > 0, np.maximum(1.0, choosing / (seconds * saved)), np.inf)
    never = float((saved <= 0).mean())
    low, middle, high = (float(np.sort(trainings)[round(q * (len(trainings) - 1))]) for q in (0.1, 0.5, 0.9))
    return BreakEven(Interval(low, middle, high), never)
