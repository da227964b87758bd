"""Distribution matching."""

from collections.abc import Sequence

import torch
from torch import Tensor

from dsopt.augment import draws
from dsopt.data.batches import Batch
from dsopt.distillation.contract import Problem, distiller
from dsopt.distillation.matching import Matching
from dsopt.distillation.recipe import augmented
from dsopt.distillation.stored import create_stored
from dsopt.distillation.synthetic import Init
from dsopt.learners.placement import average_gradients
from dsopt.seeds import derive


def class_means(features: Tensor, labels: Tensor, classes: int) -> Tensor:
    """The mean of the features [b, d] of every class: [classes, d]; 0 for classes without images."""
    sums = features.new_zeros(classes, features.shape[1]).index_add(0, labels, features)
    counts = features.new_zeros(classes).index_add(0, labels, features.new_ones(len(labels)))  # bincount would wait for a GPU
    return sums / counts.clamp_min(1)[:, None]


def siamese(images: Tensor, names: Sequence[str], seed: int) -> Tensor:
    """All images transformed with the same random parameters, so that real and synthetic ones are comparable.

    DSA, Zhao & Bilen 2021, arXiv:2102.08259.
    """
    one = draws(derive(seed, "siamese"), 1, 0, 1, images.device)
    return augmented(images, names, lambda: one().expand(len(images)))


@distiller(balanced=True)
def dm(problem: Problem, *, init: Init = "random", learning_rate: float = 1.0, momentum: float = 0.5) -> Matching:
    """Match the mean features of every class under new random networks (DM, Zhao & Bilen 2023, arXiv:2110.04181, equation 5).

    As the authors do: SGD with a rate of 1 and momentum 0.5, starting from real images.
    """

    def loss(images: Tensor, labels: Tensor, batch: Batch) -> dict[str, Tensor]:
        features, names = problem.drawn_for(batch)[:-1], problem.augment
        with torch.no_grad():
            own = class_means(features(siamese(batch.images, names, batch.seed)), batch.labels, problem.classes)
            (real,) = average_gradients([own], problem.world)
        synthetic = class_means(features(siamese(images, names, batch.seed)), labels, problem.classes)
        return {"loss": (real - synthetic).square().sum()}

    return Matching(
        problem, create_stored(problem, init), lambda leaf: torch.optim.SGD(leaf, learning_rate, momentum=momentum), loss
    )
