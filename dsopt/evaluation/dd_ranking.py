"""Scores of a distilled set compared with real images: DD-Ranking (Li et al. 2025, arXiv:2505.13300)."""

import math
from collections.abc import Mapping

WEIGHT = 0.5  # of both parts of a score, from the paper


def normalised(difference: float) -> float:
    """Map a difference of accuracies in -1..1 to a score in 0..1, exponentially; a difference of 0 gives 1 / (e + 1) = 0.269."""
    return (math.exp(difference) - math.exp(-1)) / (math.e - math.exp(-1))


def label_robust(recovery: float, improvement: float, weight: float = WEIGHT) -> float:
    """The label-robust score (LRS): the improvement over random images minus the hard-label gap to all real images."""
    return normalised(weight * improvement - (1 - weight) * recovery)


def augmentation_robust(augmented: float, plain: float, weight: float = WEIGHT) -> float:
    """The augmentation-robust score (ARS): the improvements over random images with augmentation and without."""
    return normalised(weight * augmented + (1 - weight) * plain)


def scores(found: Mapping[str, float]) -> dict[str, float]:
    """HLR (hard-label recovery), IOR (improvement over random), LRS, and ARS if there are trainings with and without augmentation.

    Args:
        found: accuracies in 0..1, by what was trained on: `all` real images; the set's images with `hard` labels; the `set`, and as
            many `random` images, with one recipe; both with augmentation (`set_augmented`, `random_augmented`) and without
            (`set_plain`, `random_plain`).
    """
    recovery, improvement = found["all"] - found["hard"], found["set"] - found["random"]
    results = {"HLR": recovery, "IOR": improvement, "LRS": label_robust(recovery, improvement)}
    if "set_augmented" in found:
        gains = (found[f"set_{kind}"] - found[f"random_{kind}"] for kind in ("augmented", "plain"))
        results["ARS"] = augmentation_robust(*gains)
    return results
