"""Scores of DD-Ranking by hand, and what holds for all accuracies."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dsopt.evaluation.dd_ranking import augmentation_robust, label_robust, normalised, scores

shares, differences = st.floats(0, 1), st.floats(-1, 1)
FOUND = {"all": 0.9, "hard": 0.5, "set": 0.7, "random": 0.4}
AUGMENTED = {"set_augmented": 0.7, "random_augmented": 0.4, "set_plain": 0.6, "random_plain": 0.5}


def test_scores_by_hand() -> None:
    # alpha = 0.5 * 0.3 - 0.5 * 0.4 = -0.05; beta = 0.5 * 0.3 + 0.5 * 0.1 = 0.2
    assert scores(FOUND) == pytest.approx({"HLR": 0.4, "IOR": 0.3, "LRS": 0.248191}, abs=1e-6)
    assert scores(FOUND | AUGMENTED)["ARS"] == pytest.approx(0.363139, abs=1e-6)
    assert label_robust(0.4, 0.3, weight=1.0) == pytest.approx(normalised(0.3))
    assert augmentation_robust(0.3, 0.1, weight=0.0) == pytest.approx(normalised(0.1))


def test_the_ends_of_the_scale() -> None:
    assert normalised(-1.0) == 0 and normalised(1.0) == pytest.approx(1)
    assert normalised(0.0) == pytest.approx(1 / (math.e + 1))  # (1 - 1/e) / (e - 1/e)
    assert label_robust(-1.0, 1.0) == pytest.approx(1) and label_robust(1.0, -1.0) == pytest.approx(0)
    assert augmentation_robust(1.0, 1.0) == pytest.approx(1) and augmentation_robust(-1.0, -1.0) == pytest.approx(0)


@given(differences, differences, shares)
def test_scores_stay_in_range(one: float, other: float, weight: float) -> None:
    for score in (label_robust(one, other, weight), augmentation_robust(one, other, weight)):
        assert -1e-12 <= score <= 1 + 1e-12


@given(shares, shares, shares, shares, st.floats(0.001, 1))
def test_a_better_set_scores_higher(all_real: float, hard: float, own: float, random: float, more: float) -> None:
    found = {"all": all_real, "hard": hard, "set": own, "random": random}
    before = scores(found)["LRS"]
    assert scores(found | {"set": own + more})["LRS"] > before
    assert scores(found | {"hard": hard + more})["LRS"] > before
    assert scores(found | {"random": random + more})["LRS"] < before
    assert scores(found | {"all": all_real + more})["LRS"] < before


@given(shares, shares)
def test_random_images_with_nothing_lost_are_in_the_middle(accuracy: float, plain: float) -> None:
    alike = {"set_augmented": accuracy, "random_augmented": accuracy, "set_plain": plain, "random_plain": plain}
    found = scores({"all": accuracy, "hard": accuracy, "set": accuracy, "random": accuracy} | alike)
    assert found == {"HLR": 0, "IOR": 0, "LRS": normalised(0.0), "ARS": normalised(0.0)}
