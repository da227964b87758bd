"""Selected real images: the baselines of every synthetic set."""

from typing import Any

import torch
from torch import Tensor

from dsopt.data.batches import Batch
from dsopt.distillation.contract import Problem, Synthetic, distiller
from dsopt.distillation.recipe import Recipe
from dsopt.distillation.stored import create_stored
from dsopt.distillation.synthetic import select_real


class RealImages:
    """A set that is final from the start, with the same recipe as learned sets."""

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
def random(problem: Problem) -> RealImages:
    """Random real images, equally many of every class: the first baseline of any distillation.

    If images are stored in a generator's latent space, random generated images instead: the baseline of a search in that space.
    """
    stored = create_stored(problem, "random")
    return RealImages(Synthetic(stored.images().detach(), stored.labels), problem)


@distiller(learns=False)
def kmeans(problem: Problem) -> RealImages:
    """Real images nearest to the centroids of k-means in every class: hard to beat on other networks (arXiv:2207.09639)."""
    return RealImages(select_real(problem, "kmeans"), problem)
