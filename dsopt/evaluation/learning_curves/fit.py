"""Fits of a form to the accuracies of pilot runs."""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float

from dsopt.evaluation.learning_curves.forms import Array, Form, Values

LEAST_NOISE = 0.003  # of an accuracy: pilots cannot tell of less


class Runs(NamedTuple):
    """Finished runs: their images, the images that they saw (steps x batch), and their accuracies in 0..1."""

    images: Values
    seen: Values
    accuracy: Values

    def where(self, chosen: Bool[np.ndarray, " m"]) -> "Runs":
        return Runs(*(values[chosen] for values in self))


def between_seeds(runs: Runs, unit: float) -> float:
    """The standard deviation of runs of `unit` images seen that differ in their seeds alone, pooled; 0 if there are none such.

    It is taken to fall with the root of the images seen (`deviations`), as the first steps depend most on chance.
    """
    squares, freedom = 0.0, 0
    for images, seen in {(n, s) for n, s in zip(runs.images.tolist(), runs.seen.tolist(), strict=True)}:
        same = runs.accuracy[(runs.images == images) & (runs.seen == seen)]
        squares, freedom = squares + float(((same - same.mean()) ** 2).sum()) * seen / unit, freedom + len(same) - 1
    return (squares / freedom) ** 0.5 if freedom else 0.0


def deviations(noise: float, seen: Values, unit: float) -> Values:
    """The standard deviation between seeds of runs that see so many images, given that of `unit`; never below LEAST_NOISE."""
    return np.sqrt(LEAST_NOISE**2 + noise**2 * unit / seen)


def fit(
    form: Form, runs: Runs, noise: Values, unit: float, generator: np.random.Generator | None = None
) -> Float[np.ndarray, " p"]:
    """The parameters of a form that fit runs best, given its prior; with a generator, a sample of them.

    The sample is the best fit to accuracies and prior means to which their own noise is added: for a linear form this is a sample
    of the posterior ("randomize, then optimize", Bardsley et al. 2014, doi:10.1137/140964023).

    Args:
        noise: the standard deviation of each accuracy around the form.
        unit: the images seen that count as 1 in the form, such as those of the shortest run.
    """
    from scipy.optimize import least_squares

    means, spread, low, high = (np.array(part) for part in (form.means, form.deviations, form.low, form.high))
    images, seen, aim = runs.images / unit, runs.seen / unit, runs.accuracy
    if generator is not None:
        aim = aim + noise * generator.standard_normal(len(aim))
        means = means + spread * generator.standard_normal(len(means))

    def residuals(p: Array) -> Array:
        return np.concatenate([(form.predict(p, images, seen) - aim) / noise, (p - means) / spread])

    inside = 1e-6 * (high - low)
    return least_squares(residuals, np.clip(means, low + inside, high - inside), bounds=(low, high), max_nfev=60).x


def predicted(form: Form, parameters: Float[np.ndarray, " p"], images: Values, seen: Values, unit: float) -> Values:
    """The accuracies that a fitted form gives, in 0..1."""
    return np.clip(form.predict(parameters, images / unit, seen / unit), 0.0, 1.0)


def extrapolations(runs: Runs) -> Iterator[Bool[np.ndarray, " m"]]:
    """Which runs are held out: the longest, and then those of the two longest lengths.

    At least two lengths and four runs must be left: with fewer there is nothing to extrapolate from.
    """
    lengths = np.unique(runs.seen)
    for count in (1, 2):
        held = runs.seen > lengths[-count - 1] if len(lengths) - count >= 2 else runs.seen > 0
        if (~held).sum() >= 4:
            yield held


def held_out_error(form: Form, runs: Runs, noise: Values, unit: float) -> float | None:
    """How far a form is off on held-out longer runs; None if there are too few runs to hold any out.

    The root mean square of the logarithm of the foretold share of wrong answers over the true one, for each root of a doubling
    beyond the longest run that the form was fitted to.
    """
    squares: list[float] = []
    for held in extrapolations(runs):
        parameters = fit(form, runs.where(~held), noise[~held], unit)
        wrong = 1 - predicted(form, parameters, runs.images[held], runs.seen[held], unit)
        ratio = np.log(np.maximum(wrong, 0.002) / np.maximum(1 - runs.accuracy[held], 0.002))
        squares += (ratio**2 / np.log2(runs.seen[held] / runs.seen[~held].max())).tolist()
    return float(np.mean(squares)) ** 0.5 if squares else None
