"""Distribution matching."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from dsopt.augment import draws
from dsopt.data.batches import Batch
from dsopt.distillation.contract import Problem, Synthetic, distiller
from dsopt.distillation.recipe import Recipe, augmented
from dsopt.distillation.stored import begin
from dsopt.distillation.synthetic import Init, descend
from dsopt.seeds import derive


def class_means(features: Tensor, labels: Tensor, classes: int) -> Tensor:
    """The mean of the features [b, d] of every class: [classes, d]; 0 where there is none."""
    sums = features.new_zeros(classes, features.shape[1]).index_add(0, labels, features)
    return sums / labels.bincount(minlength=classes).clamp_min(1)[:, None]


class DistributionMatching:
    def __init__(self, problem: Problem, init: Init, learning_rate: float, momentum: float) -> None:
        self.problem, self.device = problem, problem.device
        self.stored = begin(problem, init)
        self.labels = self.stored.labels
        self.networks: dict[str, Any] = {}
        self.optimizers: dict[str, torch.optim.Optimizer] = {
            "images": torch.optim.SGD([self.stored.leaf], learning_rate, momentum=momentum)
        }

    def update(self, batch: Batch) -> dict[str, Tensor]:
        classes, features, images = self.problem.classes, self.problem.network()[:-1], self.stored.images()
        with torch.no_grad():
            real = class_means(features(siamese(batch.images, self.problem.augment, batch.seed)), batch.labels, classes)
        synthetic = class_means(features(siamese(images, self.problem.augment, batch.seed)), self.labels, classes)
        loss = (real - synthetic).square().sum()
        (gradient,) = torch.autograd.grad(loss, [images])
        descend(self.optimizers["images"], [self.stored.pull(gradient)], self.problem.world)
        self.stored.settled()
        return {"loss": loss.detach()}

    def synthetic(self) -> Synthetic:
        return Synthetic(self.stored.images().detach(), self.labels)

    def recipe(self) -> Recipe:
        return Recipe(augment=list(self.problem.augment))

    def weights(self) -> dict[str, Tensor]:
        return {}

    def state_dict(self) -> dict[str, Any]:
        return {"stored": self.stored.leaf.detach(), "optimizer": self.optimizers["images"].state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.stored.leaf.data.copy_(state["stored"])
        self.optimizers["images"].load_state_dict(state["optimizer"])


def siamese(images: Tensor, names: Sequence[str], seed: int) -> Tensor:
    """Images transformed all alike, so that real and synthetic ones can be compared (DSA, Zhao & Bilen 2021, arXiv:2102.08259)."""
    one = draws(derive(seed, "siamese"), 1, 0, 1, images.device)
    return augmented(images, names, lambda: one().expand(len(images)))


@distiller(balanced=True)
def dm(problem: Problem, *, init: Init = "real", learning_rate: float = 1.0, momentum: float = 0.5) -> DistributionMatching:
    """Match the mean features of every class under fresh random networks (DM, Zhao & Bilen 2023, arXiv:2110.04181, equation 5).

    The authors' steps: SGD of rate 1 and momentum 0.5 from real images; every worker draws a network of its own.
    """
    return DistributionMatching(problem, init, learning_rate, momentum)
