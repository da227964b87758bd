"""Forecasts with intervals: samples over forms, parameters, seeds, and what the forms themselves miss."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from dsopt.evaluation.learning_curves.fit import Runs, between_seeds, deviations, fit, held_out_error, predicted
from dsopt.evaluation.learning_curves.forms import FORMS, Form, Values

DRAWS = 200
WORST = 2.0  # forms whose held-out error is more than this times the smallest one are left out
LEAST_ERROR = 0.03  # of a form, relative to the share of wrong answers: a smaller one on a few held-out runs may be chance
UNKNOWN = 0.15  # the error of forms where pilots are too few to tell


@dataclass(frozen=True)
class Weighed:
    """A form with the weight that it has in a forecast, and its error on held-out runs (`held_out_error`)."""

    form: Form
    weight: float
    error: float


@dataclass(frozen=True)
class Forecast:
    """What accuracy to expect of images and steps.

    Args:
        forms: by which it is made, the best first.
        samples: (form, its parameters, two standard normal numbers) of every draw.
        noise: the standard deviation between seeds of runs of `unit` images seen.
        unit: the images seen by the shortest run.
        sizes: the numbers of different images that runs have, ascending.
        longest: the most images seen by any run on so many.
    """

    forms: list[Weighed]
    samples: list[tuple[Weighed, Float[np.ndarray, " _"], Float[np.ndarray, "2"]]]
    noise: float
    unit: float
    sizes: Values
    longest: Values

    def __call__(self, images: Values, seen: Values) -> Float[np.ndarray, "draws m"]:
        """Draws of the mean accuracy over seeds of runs with so many images, of which so many are seen.

        Beyond the longest run on as many images (between sizes: interpolated), a draw's share of wrong answers is off by the error
        that its form had on held-out runs, times the root of the doublings: half of it the same for all numbers of images, half of
        opposite signs for few and for many.
        """
        images, seen = np.asarray(images, float), np.asarray(seen, float)
        longest = np.exp(np.interp(np.log(images), np.log(self.sizes), np.log(self.longest)))
        ahead = np.sqrt(np.log2(np.maximum(seen / longest, 1.0)))
        tilt = np.clip(2 * np.log(images / self.unit) / np.log(max(self.sizes[-1] / self.unit, 1.0001)) - 1, -1, 1)
        drawn = [
            1 - (1 - predicted(w.form, p, images, seen, self.unit)) * np.exp(w.error * ahead * (z[0] + tilt * z[1]) / np.sqrt(2))
            for w, p, z in self.samples
        ]
        return np.clip(np.stack(drawn), 0.0, 1.0)

    def runs(self, images: Values, seen: Values, generator: np.random.Generator) -> Float[np.ndarray, "draws m"]:
        """Draws of the accuracies of single runs: as the forecast, with the deviation between seeds."""
        means = self(images, seen)
        noise = deviations(self.noise, np.asarray(seen, float), self.unit)
        return np.clip(means + noise * generator.standard_normal(means.shape), 0.0, 1.0)


def weigh(runs: Runs, noise: Values, unit: float) -> list[Weighed]:
    """The forms by their error on held-out runs, the best first; weights go with its inverse square.

    Where runs are too few to hold any out, all forms count alike, with an error of UNKNOWN.
    """
    errors = [held_out_error(form, runs, noise, unit) for form in FORMS]
    known = [(form, max(LEAST_ERROR, error)) for form, error in zip(FORMS, errors, strict=True) if error is not None]
    if not known:
        return [Weighed(form, 1 / len(FORMS), UNKNOWN) for form in FORMS]
    best = min(error for _, error in known)
    kept = [(form, error) for form, error in known if error <= WORST * best]
    total = sum(error**-2 for _, error in kept)
    return sorted((Weighed(form, error**-2 / total, error) for form, error in kept), key=lambda one: one.error)


def forecast(runs: Runs, generator: np.random.Generator, draws: int = DRAWS) -> Forecast:
    """The forecast from pilot runs. Accuracies are resampled by their noise, forms by their weights."""
    unit = float(runs.seen.min())
    between = between_seeds(runs, unit)
    noise = deviations(between, runs.seen, unit)
    forms = weigh(runs, noise, unit)
    spread = [noise * max(1.0, _misfit(one.form, runs, noise, unit)) for one in forms]  # a form that fits badly knows less
    picked = generator.choice(len(forms), draws, p=[one.weight for one in forms])
    samples = [
        (forms[i], fit(forms[i].form, runs, spread[i], unit, generator), generator.standard_normal(2)) for i in picked.tolist()
    ]
    sizes = np.unique(runs.images)
    longest = np.array([runs.seen[runs.images == size].max() for size in sizes])
    return Forecast(forms, samples, between, unit, sizes, longest)


def _misfit(form: Form, runs: Runs, noise: Values, unit: float) -> float:
    """The deviation of residuals in units of the noise; parameters take degrees of freedom, but no more than half of them."""
    found = (predicted(form, fit(form, runs, noise, unit), runs.images, runs.seen, unit) - runs.accuracy) / noise
    return float(np.sqrt((found**2).sum() / max(len(found) - len(form.means), len(found) / 2)))
