"""Selected real images: the baselines of every synthetic set."""

from typing import Any

import torch
from torch import Tensor

from dsopt.data.batches import Batch
from dsopt.distillation.contract import Problem, Synthetic, distiller
from dsopt.distillation.recipe import Recipe
from dsopt.distillation.stored import create_stored
from dsopt.distillation.synthetic import select_real
from dsopt.errors import InputError


class RealImages:
    """A set that is final from the start, with the same recipe as learned sets, or another one."""

    def __init__(self, images: Synthetic, problem: Problem, recipe: Recipe | None = None) -> None:
        self.images, self.device, self.how = images, problem.device, recipe or Recipe(augment=list(problem.augment))
        self.networks: dict[str, Any] = {}
        self.optimizers: dict[str, torch.optim.Optimizer] = {}

    def update(self, batch: Batch) -> dict[str, Tensor]:
        raise ValueError("real images are not learned")

    def synthetic(self) -> Synthetic:
        return self.images

    def recipe(self) -> Recipe:
        return self.how

    def weights(self) -> dict[str, Tensor]:
        return {}

    def state_dict(self) -> dict[str, Any]:
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None: ...


@distiller(learns=False)
def random(problem: Problem, *, epochs: int = 0, rate: float = 0.02) -> RealImages:
    """Random real images, equally many of every class: the first baseline of any distillation.

    If images are stored in a generator's latent space, random generated images instead: the baseline of a search in that space.

    Args:
        epochs: so many passes over them by gradient descent, one image of every class a step, as `dd` trains on its own and the
            thesis on its subsets (figure 3.1); 0: by the common recipe.
        rate: learning rate of these steps.

    Raises:
        InputError: `epochs` is below 0, `rate` is not above 0, or there are passes and transforms.
    """
    if epochs < 0 or rate <= 0 or (epochs and problem.augment):
        raise InputError(
            f"distill random: options.epochs={epochs} must be 0 or more, options.rate={rate} above 0; passes have no transforms."
        )
    stored = create_stored(problem, "random")
    recipe = Recipe(rates=[[rate] * problem.per_class] * epochs) if epochs else None
    return RealImages(Synthetic(stored.images().detach(), stored.labels), problem, recipe)


@distiller(learns=False)
def kmeans(problem: Problem) -> RealImages:
    """Real images nearest to the centroids of k-means in every class: hard to beat on other networks (arXiv:2207.09639)."""
    return RealImages(select_real(problem, "kmeans"), problem)
