"""Forecasts of accuracy on synthetic curves whose truth is known, and what is advised from them."""

from dataclasses import replace

import numpy as np
import pytest

from dsopt.evaluation.learning_curves.advice import Interval, break_even, smallest, steps_that_pay
from dsopt.evaluation.learning_curves.fit import Runs, between_seeds, extrapolations, fit, predicted
from dsopt.evaluation.learning_curves.forecast import Forecast, beside, forecast
from dsopt.evaluation.learning_curves.forms import FORMS

ALL, NOISE = 50_000.0, 0.006
SIZES = ALL * np.array([0.01, 0.03, 0.1, 0.3, 1.0])


def repeated(images: np.ndarray, seen: np.ndarray) -> np.ndarray:
    passes, different = np.maximum(seen / images, 1), np.minimum(images, seen)
    return 0.93 - 0.45 * (different * (1 + 12 * (1 - np.exp(-(passes - 1) / 12))) / 4000) ** -0.45


def saturating(images: np.ndarray, seen: np.ndarray) -> np.ndarray:
    x = (np.minimum(images, seen) * np.maximum(seen / images, 1) ** 0.5 / 8000) ** 0.8
    return (0.1 + 0.88 * x) / (1 + x)


def overfitting(images: np.ndarray, seen: np.ndarray) -> np.ndarray:
    """None of the forms: accuracy falls again after many passes."""
    passes, different = np.maximum(seen / images, 1), np.minimum(images, seen)
    return 0.97 - 0.8 * np.exp(-((different * (7 - 6 * np.exp(-(passes - 1) / 6)) / 9000) ** 0.35)) - 0.002 * np.log(passes)


def separate(images: np.ndarray, seen: np.ndarray) -> np.ndarray:
    """None of the forms: few images cost accuracy the more often they are seen, and steps gain it by a law of their own."""
    passes = np.maximum(seen / images, 1)
    return 0.9 - 0.35 * (images / 1000) ** -0.3 * (1 - np.exp(-((passes / 8) ** 0.7))) - 0.5 * (1 + seen / 6000) ** -0.8


def pilots(truth, lengths: list[float], seed: int) -> Runs:
    points = [(n, s) for s in lengths for n in SIZES if n == ALL or n < s]
    images, seen = (np.array(values) for values in zip(*points, strict=True))
    return Runs(images, seen, truth(images, seen) + NOISE * np.random.default_rng(seed).standard_normal(len(points)))


LENGTHS = [12_000.0, 24_000.0, 48_000.0]


@pytest.mark.slow
def test_intervals_of_80_percent_hold_at_least_75_percent_of_unseen_runs() -> None:
    """Of runs 4 and 16 times as long as the longest pilot, all sizes, over four truths."""
    images, seen = (values.ravel() for values in np.meshgrid(SIZES, [4 * LENGTHS[-1], 16 * LENGTHS[-1]]))
    held, errors = [], []
    for seed, truth in enumerate((repeated, saturating, overfitting, separate)):
        found, random = (
            forecast(pilots(truth, LENGTHS, seed), np.random.default_rng(seed), draws=40),
            np.random.default_rng(9 + seed),
        )
        low, middle, high = np.quantile(found.runs(images, seen, random), [0.1, 0.5, 0.9], axis=0)
        new = truth(images, seen) + NOISE * random.standard_normal(len(images))
        held += ((low <= new) & (new <= high)).tolist()
        errors += np.abs(middle - new).tolist()
    assert np.mean(held) >= 0.75
    assert np.mean(errors) < 0.05  # and not because they hold everything


@pytest.mark.parametrize("form", FORMS, ids=lambda form: form.name)
def test_a_form_fits_its_own_curve_and_never_leaves_its_bounds(form) -> None:
    images, seen = (values.ravel() for values in np.meshgrid(SIZES, LENGTHS))
    true = np.clip(np.array(form.means) + 0.3 * np.array(form.deviations), form.low, form.high)
    runs = Runs(images, seen, form.predict(true, images / LENGTHS[0], seen / LENGTHS[0]))
    found = fit(form, runs, np.full(len(images), 0.001), LENGTHS[0])
    assert (found >= form.low).all() and (found <= form.high).all()
    np.testing.assert_allclose(predicted(form, found, images, seen, LENGTHS[0]), np.clip(runs.accuracy, 0, 1), atol=0.01)


def test_the_same_seed_gives_the_same_forecast_and_runs_vary_more_than_their_means() -> None:
    runs = pilots(saturating, LENGTHS[:2], 0)
    one, other = (forecast(runs, np.random.default_rng(3), draws=4) for _ in range(2))
    at = (np.array([ALL]), np.array([96_000.0]))
    np.testing.assert_array_equal(one(*at), other(*at))
    assert (one.runs(*at, np.random.default_rng(0)) != one(*at)).any()


def test_intervals_grow_with_the_doublings_beyond_the_longest_run_on_as_many_images() -> None:
    made = forecast(pilots(saturating, LENGTHS[:2], 0), np.random.default_rng(3), draws=30)
    shorter = replace(made, longest=np.where(made.sizes == ALL, made.longest, made.longest / 16))
    few, everything = (np.array([images, images]) for images in (SIZES[0], ALL))
    seen = np.array([LENGTHS[1], 16 * LENGTHS[1]])
    assert (shorter(few, seen).std(0) > made(few, seen).std(0)).all()
    np.testing.assert_array_equal(shorter(everything, seen), made(everything, seen))


def test_two_lengths_are_too_few_to_hold_any_out_so_all_forms_count() -> None:
    runs = pilots(saturating, LENGTHS[:1], 0)
    assert list(extrapolations(runs)) == []
    assert len(forecast(runs, np.random.default_rng(0), draws=2).forms) == len(FORMS)


def test_the_noise_between_seeds_is_that_of_equal_runs_alone() -> None:
    runs = Runs(np.array([1.0, 1, 2, 2, 3]), np.ones(5), np.array([0.5, 0.54, 0.7, 0.74, 0.9]))
    assert between_seeds(runs, 1.0) == pytest.approx(np.std([0.5, 0.54], ddof=1))
    assert between_seeds(runs, 4.0) == pytest.approx(np.std([0.5, 0.54], ddof=1) / 2)  # of runs four times as long
    assert between_seeds(runs.where(runs.images == 3), 1.0) == 0


class Known(Forecast):
    """A forecast that knows the truth."""

    def __init__(self, truth) -> None:
        object.__setattr__(self, "truth", truth)

    def __call__(self, images: np.ndarray, seen: np.ndarray) -> np.ndarray:
        return np.tile(self.truth(np.asarray(images, float), np.asarray(seen, float)), (5, 1))


def test_the_smallest_subset_is_one_from_which_on_all_are_enough() -> None:
    draws = np.tile([0.5, 0.79, 0.7, 0.79, 0.8], (10, 1))
    assert smallest(draws, np.full(10, 0.8), 0.015) == 3  # not 1: a larger one is worse
    assert smallest(draws[:, :3], np.full(10, 0.8), 0.015) is None
    draws[:3, 3] = 0.7
    assert smallest(draws, np.full(10, 0.8), 0.015) == 4  # in 7 of 10 draws is not sure enough


def test_more_images_pay_from_where_their_curve_leaves_that_of_few() -> None:
    known, seen = Known(repeated), np.geomspace(1e3, 1e6, 40)
    at = steps_that_pay(known, known, 5000.0, ALL, seen, 0.01)
    assert at is not None and repeated(ALL, seen[at]) - repeated(5000.0, seen[at]) > 0.01
    assert repeated(ALL, seen[at - 1]) - repeated(5000.0, seen[at - 1]) <= 0.01
    assert steps_that_pay(known, known, ALL, ALL, seen, 0.01) is None


def test_choosing_pays_after_as_many_trainings_as_it_takes_to_save_its_cost() -> None:
    """The chosen images are worth training on twice as many, so they save half of a training of 100 s each time."""
    better, plain = Known(lambda n, s: np.log(2 * s) / 10), Known(lambda n, s: np.log(s) / 10)
    found = break_even(better, plain, 500.0, ALL, 1e4, choosing=350.0, seconds=100.0)
    assert found.never == 0 and found.trainings == pytest.approx(Interval(7, 7, 7), rel=0.1)
    assert break_even(plain, better, 500.0, ALL, 1e4, 350.0, 100.0) == (Interval(np.inf, np.inf, np.inf), 1.0)


def test_images_that_are_no_better_save_nothing_and_a_longer_training_than_needed_counts_as_the_needed_one() -> None:
    flat = Known(lambda n, s: np.minimum(s / 1e4, 0.25))
    assert break_even(flat, flat, 500.0, ALL, 1e4, 350.0, 100.0) == (Interval(np.inf, np.inf, np.inf), 1.0)
    better = Known(lambda n, s: np.minimum(s / 5e3, 0.25))
    assert break_even(better, flat, 500.0, ALL, 1e4, 350.0, 100.0).trainings == pytest.approx(Interval(28, 28, 28), rel=0.1)


def clean(images: np.ndarray, seen: np.ndarray) -> np.ndarray:
    """Of images worth three times as many others, as where these have wrong labels: 30 % are better than everything."""
    return saturating(3 * images, 3 * seen)


@pytest.fixture(scope="module")
def two() -> tuple[Forecast, Forecast]:
    """Forecasts of random images and, draw for draw beside them, of better ones."""
    plain = forecast(pilots(saturating, LENGTHS, 0), np.random.default_rng(0), draws=24)
    images, seen = (values.ravel() for values in np.meshgrid(SIZES[:-1], LENGTHS[:2]))
    accuracy = clean(images, seen) + NOISE * np.random.default_rng(9).standard_normal(len(images))
    better = beside(plain, Runs(images, seen, accuracy), np.random.default_rng(0), ALL)
    return better.unchanged(), better


@pytest.mark.slow
def test_a_chosen_subset_may_be_better_than_all_images_and_its_lead_is_known_better_than_either(two) -> None:
    plain, better = two
    at = np.array([SIZES[3]]), np.array([4 * LENGTHS[-1]])
    lead = (better(*at) - plain(np.array([ALL]), at[1]))[:, 0]
    true = clean(*at)[0] - saturating(np.array([ALL]), at[1])[0]
    assert true > 0.02 and abs(np.median(lead) - true) < 0.02
    assert np.std(better(*at) - plain(*at)) < np.hypot(better(*at).std(), plain(*at).std()) / 1.5
    found = break_even(better, plain, SIZES[3], ALL, 4 * LENGTHS[-1], 350.0, 100.0)
    known = break_even(Known(clean), Known(saturating), SIZES[3], ALL, 4 * LENGTHS[-1], 350.0, 100.0)
    assert 1 / 1.5 < found.trainings.middle / known.trainings.middle < 1.5


@pytest.mark.slow
def test_beyond_the_sizes_of_pilots_a_chosen_subset_becomes_all_images(two) -> None:
    plain, better = two
    everything, half, seen = np.array([ALL]), np.array([(SIZES[3] + ALL) / 2]), np.array([LENGTHS[-1]])
    assert better.change
    np.testing.assert_allclose(better(everything, seen), plain(everything, seen))
    unbounded = replace(better.change, everything=None)
    np.testing.assert_allclose(better.change(half, seen), unbounded(half, seen) / 2)
