"""What a distilled set is worth beside real images: the scores of DD-Ranking (Li et al. 2025, arXiv:2505.13300)."""

import math
from collections.abc import Mapping

WEIGHT = 0.5  # of both parts of a score, theirs


def normalised(difference: float) -> float:
    """A difference of accuracies in -1..1 as a score in 0..1, steeper the larger it is; none at all is 1 / (e + 1) = 0.269."""
    return (math.exp(difference) - math.exp(-1)) / (math.e - math.exp(-1))


def label_robust(recovery: float, improvement: float, weight: float = WEIGHT) -> float:
    """LRS: what is gained over random images, less what whole-number labels cost against all real ones."""
    return normalised(weight * improvement - (1 - weight) * recovery)


def augmentation_robust(augmented: float, plain: float, weight: float = WEIGHT) -> float:
    """ARS: what is gained over random images with augmentation, and without."""
    return normalised(weight * augmented + (1 - weight) * plain)


def scores(found: Mapping[str, float]) -> dict[str, float]:
    """HLR, IOR, LRS and, where there are trainings with and without augmentation, ARS.

    Args:
        found: accuracies in 0..1 after training on `all` real images and the set's with `hard` labels, on the `set` and on as many
            `random` images by one recipe, and on both with augmentation (`set_augmented`, `random_augmented`) and without
            (`set_plain`, `random_plain`).
    """
    recovery, improvement = found["all"] - found["hard"], found["set"] - found["random"]
    told = {"HLR": recovery, "IOR": improvement, "LRS": label_robust(recovery, improvement)}
    if "set_augmented" in found:
        gains = (found[f"set_{kind}"] - found[f"random_{kind}"] for kind in ("augmented", "plain"))
        told["ARS"] = augmentation_robust(*gains)
    return told
