"""Fits of a form to the accuracies of pilot runs."""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float

from dsopt.evaluation.learning_curves.forms import Array, Form, Values

LEAST_NOISE = 0.003  # of an accuracy: no pilots tell of less


class Runs(NamedTuple):
    """Finished runs: their images, the images that they saw (steps x batch), and their accuracies in 0..1."""

    images: Values
    seen: Values
    accuracy: Values

    def where(self, chosen: Bool[np.ndarray, " m"]) -> "Runs":
        return Runs(*(values[chosen] for values in self))


def between_seeds(runs: Runs) -> float:
    """The standard deviation of runs that differ in their seeds alone, pooled; at least LEAST_NOISE, also if there are none."""
    squares, freedom = 0.0, 0
    for images, seen in {(n, s) for n, s in zip(runs.images.tolist(), runs.seen.tolist(), strict=True)}:
        same = runs.accuracy[(runs.images == images) & (runs.seen == seen)]
        squares, freedom = squares + float(((same - same.mean()) ** 2).sum()), freedom + len(same) - 1
    return max(LEAST_NOISE, (squares / freedom) ** 0.5 if freedom else 0.0)


def fit(form: Form, runs: Runs, noise: float, unit: float, generator: np.random.Generator | None = None) -> Float[np.ndarray, " p"]:
    """The parameters of a form that fit runs best, given its prior; with a generator, a sample of them.

    The sample is the best fit to accuracies and prior means to which their own noise is added: for a linear form this is a sample
    of the posterior ("randomize, then optimize", Bardsley et al. 2014, doi:10.1137/140964023).

    Args:
        noise: the standard deviation of an accuracy around the form.
        unit: the images seen that count as 1 in the form, such as those of the shortest run.
    """
    from scipy.optimize import least_squares

    means, deviations, low, high = (np.array(part) for part in (form.means, form.deviations, form.low, form.high))
    images, seen, aim = runs.images / unit, runs.seen / unit, runs.accuracy
    if generator is not None:
        aim = aim + noise * generator.standard_normal(len(aim))
        means = means + deviations * generator.standard_normal(len(means))

    def residuals(p: Array) -> Array:
        return np.concatenate([(form.predict(p, images, seen) - aim) / noise, (p - means) / deviations])

    inside = 1e-6 * (high - low)
    return least_squares(residuals, np.clip(means, low + inside, high - inside), bounds=(low, high), max_nfev=60).x


def predicted(form: Form, parameters: Float[np.ndarray, " p"], images: Values, seen: Values, unit: float) -> Values:
    """The accuracies that a fitted form gives, in 0..1."""
    return np.clip(form.predict(parameters, images / unit, seen / unit), 0.0, 1.0)


def extrapolations(runs: Runs) -> Iterator[tuple[Bool[np.ndarray, " m"], float]]:
    """Which runs are held out, the longest and then those of the two longest lengths; how many doublings of the others they are.

    At least two lengths and four runs must be left: with fewer there is nothing to extrapolate from.
    """
    lengths = np.unique(runs.seen)
    for count in (1, 2):
        if len(lengths) - count >= 2:
            held = runs.seen > lengths[-count - 1]
            if (~held).sum() >= 4:
                yield held, float(np.log2(lengths[-1] / lengths[-count - 1]))


def held_out_error(form: Form, runs: Runs, noise: float, unit: float) -> float | None:
    """The root mean square error of a form on held-out longer runs, for each doubling; None if too few runs are there for that."""
    squares: list[float] = []
    for held, ahead in extrapolations(runs):
        parameters = fit(form, runs.where(~held), noise, unit)
        errors = predicted(form, parameters, runs.images[held], runs.seen[held], unit) - runs.accuracy[held]
        squares += (errors**2 / ahead).tolist()
    return float(np.mean(squares)) ** 0.5 if squares else None
