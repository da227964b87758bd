"""Real images, chosen: what no synthetic set may be reported without."""

from typing import Any

import torch
from torch import Tensor

from dsopt.data.batches import Batch
from dsopt.distillation.contract import Problem, Synthetic, distiller
from dsopt.distillation.recipe import Recipe
from dsopt.distillation.stored import begin
from dsopt.distillation.synthetic import chosen


class Chosen:
    """Final from the start; trained on as what is learned beside it."""

    def __init__(self, images: Synthetic, problem: Problem) -> None:
        self.images, self.device, self.augment = images, problem.device, list(problem.augment)
        self.networks: dict[str, Any] = {}
        self.optimizers: dict[str, torch.optim.Optimizer] = {}

    def update(self, batch: Batch) -> dict[str, Tensor]:
        raise ValueError("real images are not learned")

    def synthetic(self) -> Synthetic:
        return self.images

    def recipe(self) -> Recipe:
        return Recipe(augment=self.augment)

    def weights(self) -> dict[str, Tensor]:
        return {}

    def state_dict(self) -> dict[str, Any]:
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None: ...


@distiller(learns=False)
def random(problem: Problem) -> Chosen:
    """Real images by chance, equally many of every class: the first baseline of any distillation.

    Where images are made by a generator: by chance too, what it makes of noise, the control of every search among these.
    """
    made = begin(problem, "random")
    return Chosen(Synthetic(made.images().detach(), made.labels), problem)


@distiller(learns=False)
def kmeans(problem: Problem) -> Chosen:
    """Real images nearest to the centroids of k-means in every class: hard to beat on other networks (arXiv:2207.09639)."""
    return Chosen(chosen(problem, "kmeans"), problem)
