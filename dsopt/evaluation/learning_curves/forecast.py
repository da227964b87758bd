"""Forecasts with intervals: samples over forms, parameters, seeds, and what the forms themselves miss."""

from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Float

from dsopt.evaluation.learning_curves.fit import Runs, between_seeds, deviations, fit, held_out_error, predicted
from dsopt.evaluation.learning_curves.forms import FORMS, Form, Values

DRAWS = 600  # with 200, medians of when choosing pays differ by a factor of 1.8 between two seeds
WORST = 2.0  # forms whose held-out error is more than this times the smallest one are left out
LEAST_ERROR = 0.03  # of a form, relative to the share of wrong answers: a smaller one on a few held-out runs may be chance
LEAST_WRONG = 0.002  # share of wrong answers whose logarithm is taken
UNKNOWN = 0.15  # the error of forms where pilots are too few to tell
# Prior means and deviations of a `Change`: at all, for each factor e of images, for each doubling of images seen. What choosing
# gains fades with training: of 6 choices on 4 data sets the slope over doublings was 0.02 on average, from 0 to 0.08.
CHANGES = ((0.0, 0.0, 0.02), (0.5, 0.1, 0.04))
LOSS_STAYS = 0.25  # power of the share left out: what methods leave out to the last, such as the hardest images, costs the most


@dataclass(frozen=True)
class Weighed:
    """A form with its weight in a forecast, its error on held-out runs (`held_out_error`) and its `_misfit`, 1 or more."""

    form: Form
    weight: float
    error: float
    misfit: float = 1.0


@dataclass(frozen=True)
class Change:
    """By what factor choosing changes the share of wrong answers, in every draw: a power of the images and of the images seen.

    Args:
        powers: of every draw: the logarithm of the factor at `centre`, and its slopes, as in CHANGES.
        centre: (images, images seen).
        largest: the most images that a run on chosen ones had.
        everything: all images, where a factor is 1, as they are the same however they are chosen: between `largest` and these it
            fades: a gain as what is left out, a loss later. None: it does not.
    """

    powers: Float[np.ndarray, "draws 3"]
    centre: tuple[float, float]
    largest: float
    everything: float | None

    def __call__(self, images: Values, seen: Values) -> Float[np.ndarray, "draws m"]:
        """The logarithms of the factors."""
        found = self.powers @ powers(images, seen, self.centre).T
        if self.everything is None:
            return found
        left_out = np.clip((self.everything - images) / (self.everything - self.largest), 0.0, 1.0)
        return found * np.where(found > 0, left_out**LOSS_STAYS, left_out)


def powers(images: Values, seen: Values, centre: tuple[float, float]) -> Float[np.ndarray, "m 3"]:
    """What the logarithm of a factor is linear in, see `Change`."""
    return np.stack([np.ones(len(images)), np.log(images / centre[0]), np.log2(seen / centre[1])], 1)


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
        change: what choosing changes of it; None for random images.
    """

    forms: list[Weighed]
    samples: list[tuple[Weighed, Float[np.ndarray, " _"], Float[np.ndarray, "2"]]]
    noise: float
    unit: float
    sizes: Values
    longest: Values
    change: Change | None = None

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
        wrong = 1 - np.stack(drawn)
        return np.clip(1 - (wrong * np.exp(self.change(images, seen)) if self.change else wrong), 0.0, 1.0)

    def unchanged(self) -> "Forecast":
        """That of random images, draw for draw beside this one."""
        return replace(self, change=None)

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
    forms = [replace(one, misfit=max(1.0, _misfit(one.form, runs, noise, unit))) for one in weigh(runs, noise, unit)]
    picked = generator.choice(len(forms), draws, p=[one.weight for one in forms])
    samples = [
        (forms[i], fit(forms[i].form, runs, noise * forms[i].misfit, unit, generator), generator.standard_normal(2))
        for i in picked.tolist()
    ]
    sizes = np.unique(runs.images)
    longest = np.array([runs.seen[runs.images == size].max() for size in sizes])
    return Forecast(forms, samples, between, unit, sizes, longest)


def beside(plain: Forecast, runs: Runs, generator: np.random.Generator, everything: float | None) -> Forecast:
    """The forecast of images chosen otherwise than those of `plain`: by what factor fewer answers are wrong, draw for draw.

    So what many pilots on random images tell of steps serves for chosen ones, which may be better than all images, as where others
    have wrong labels; and the difference between the two has less error than either. The factor of a draw is a sample of the
    posterior, as in `fit`, with a prior by which choosing changes nothing at first, and costs accuracy the longer a training is.

    Args:
        runs: on images chosen so, not on all images.
        everything: see `Change`.
    """
    centre = (float(np.exp(np.log(runs.images).mean())), float(np.exp(np.log(runs.seen).mean())))
    wrong, (mean, spread) = np.maximum(1 - runs.accuracy, LEAST_WRONG), np.array(CHANGES)
    at, noise = powers(runs.images, runs.seen, centre), deviations(plain.noise, runs.seen, plain.unit) / wrong
    ratios = np.log(wrong) - np.log(np.maximum(1 - plain(runs.images, runs.seen), LEAST_WRONG))
    found = []
    for (weighed, *_), ratio in zip(plain.samples, ratios, strict=True):
        each = noise * weighed.misfit
        left = np.concatenate([at / each[:, None], np.diag(1 / spread)])
        right = np.concatenate([ratio / each, mean / spread]) + generator.standard_normal(len(runs.images) + 3)
        found.append(np.linalg.lstsq(left, right)[0])
    return replace(plain, change=Change(np.stack(found), centre, float(runs.images.max()), everything))


def _misfit(form: Form, runs: Runs, noise: Values, unit: float) -> float:
    """The deviation of residuals in units of the noise; parameters take degrees of freedom, but no more than half of them."""
    found = (predicted(form, fit(form, runs, noise, unit), runs.images, runs.seen, unit) - runs.accuracy) / noise
    return float(np.sqrt((found**2).sum() / max(len(found) - len(form.means), len(found) / 2)))
