"""What the ended pilots say: accuracies to expect, the smallest subset that is enough, when choosing pays."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from dsopt.evaluation.learning_curves.advice import SURE, BreakEven, Interval, break_even, smallest, steps_that_pay
from dsopt.evaluation.learning_curves.fit import Runs
from dsopt.evaluation.learning_curves.forecast import DRAWS, Forecast, beside, forecast
from dsopt.jobs.advise.pilots import Pilot, Way

SHOWN = (0.01, 0.03, 0.1, 0.3, 1.0)  # shares of the training images
FEWEST = 4  # pilots of a way; with fewer nothing can be said about it


@dataclass(frozen=True)
class Facts:
    """What the forecasts are about.

    Args:
        images, batch, steps: of a full training.
        seconds: of a full training.
        choosing: seconds that choosing takes, by the title of its way.
        within: how much less accuracy than with everything is enough.
    """

    images: int
    batch: int
    steps: int
    seconds: float
    choosing: dict[str, float]
    within: float


@dataclass(frozen=True)
class Found:
    """What was found of a way to choose.

    Args:
        expected: the accuracy of a single run after all steps, by share; all images only with hard labels.
        smallest: the smallest share that is enough; None if only everything is.
        pays_at: the steps from which on everything is better than the smallest shown share.
        saves: when choosing has paid for itself beside everything; None for a way that costs nothing.
        saving: the share of the images for which that is soonest, of those that pilots had.
    """

    way: Way
    forecast: Forecast
    expected: dict[float, Interval]
    smallest: float | None
    pays_at: dict[float, int | None]
    saves: BreakEven | None
    saving: float


def find(
    pilots: Sequence[Pilot], accuracies: Sequence[float], ways: Sequence[Way], facts: Facts, seed: int, draws: int = DRAWS
) -> list[Found]:
    """What pilots and their accuracies say of every way that has enough of them."""
    found: list[Found] = []
    everything: Forecast | None = None
    for way in ways:
        own = [i for i, pilot in enumerate(pilots) if pilot.way == way or (pilot.way is None and everything is None)]
        if len(own) < FEWEST and everything is None:
            return []
        if len(own) < FEWEST:
            continue
        images = np.array([pilots[i].share * facts.images for i in own])
        seen = np.array([float(pilots[i].steps * facts.batch) for i in own])
        runs = Runs(images, seen, np.array([accuracies[i] for i in own]))
        generator = np.random.default_rng(seed)
        if everything is None:
            made = everything = forecast(runs, generator, draws)
        else:
            made = beside(everything, runs, generator, everything=None if way.soft else float(facts.images))
        found.append(_found(way, made, np.unique(images).tolist(), facts, seed))
    return found


def _found(way: Way, made: Forecast, sizes: list[float], facts: Facts, seed: int) -> Found:
    whole, seen, everything = float(facts.images), float(facts.steps * facts.batch), made.unchanged()
    shown = [share for share in SHOWN if share < 1 or not way.soft]
    at = np.array(shown) * whole, np.full(len(shown), seen)
    draws = made.runs(*at, np.random.default_rng(seed))
    expected = {share: Interval.of(draws[:, i]) for i, share in enumerate(shown)}
    shares = np.geomspace(SHOWN[0], 1.0, 25)[:-1]
    all_images = everything(np.array([whole]), np.array([seen]))[:, 0]
    enough = smallest(made(shares * whole, np.full(len(shares), seen)), all_images, facts.within)
    share = None if enough is None else float(f"{shares[enough]:.2g}")
    steps = np.unique(np.geomspace(min(100, facts.steps), 4 * facts.steps, 40).round())
    pays = {
        few: None if at is None else int(steps[at])
        for few in shown
        if few < 1
        for at in [steps_that_pay(made, everything, few * whole, whole, steps * facts.batch, facts.within)]
    }
    cost = facts.choosing.get(way.title, 0.0)
    saves, saving = None, 0.0
    if cost and way.title != "random":
        each = {size: break_even(made, everything, size, whole, seen, cost, facts.seconds) for size in sizes}
        best = min(each, key=lambda size: each[size].order)
        saves, saving = each[best], float(f"{best / whole:.2g}")
    return Found(way, made, expected, share, pays, saves, saving)


def verdict(found: Sequence[Found], facts: Facts, chosen: str) -> tuple[float, list[str]]:
    """The share of the images to train on by the configured way to choose, and what is said of it."""
    points = f"{100 * facts.within:g} point" + "s" * (facts.within != 0.01)
    own = next((one for one in found if one.way.title == chosen), None)
    lines = []
    if own is None or own.smallest is None:
        lines.append(f"Train on everything: no smaller subset by {chosen} is within {points} of it after {facts.steps:,} steps.")
    else:
        lines.append(
            f"{100 * own.smallest:g} % of the images, chosen by {chosen}, are within {points} of everything after "
            f"{facts.steps:,} steps, in 80 % of the forecasts."
        )
    for one in found:
        if one.saves is not None:
            lines.append(_told(one, facts))
    return (own.smallest if own and own.smallest else 1.0), lines


def _told(one: Found, facts: Facts) -> str:
    """Whether choosing pays is said only where most forecasts agree: short pilots often cannot tell."""
    share, cost = 100 * one.saving, facts.choosing[one.way.title]
    assert one.saves is not None
    low, middle, high = (f"{value:,.0f}" if np.isfinite(value) else "never" for value in one.saves.trainings)
    if one.saves.never >= SURE:
        return (
            f"Choosing by {one.way.title} ({cost:,.0f} s) never pays for itself: in {100 * one.saves.never:.0f} % of the forecasts "
            f"even the best size, {share:g} % of the images, takes as long as everything to be as good."
        )
    if one.saves.never > 1 - SURE:
        return (
            f"These pilots cannot tell whether choosing by {one.way.title} ({cost:,.0f} s) pays for itself: with the best size, "
            f"{share:g} % of the images, it does in {100 * (1 - one.saves.never):.0f} % of the forecasts, after {_trainings(low)} "
            "or more. In the others it never does. Longer pilots tell more: advise.share."
        )
    return (
        f"Choosing {share:g} % by {one.way.title} ({cost:,.0f} s) has paid for itself after {_trainings(middle)} "
        f"(80 %: {low} to {high}): it reaches sooner what everything reaches in the end."
    )


def _trainings(count: str) -> str:
    return f"{count} training" + "s" * (count != "1")
