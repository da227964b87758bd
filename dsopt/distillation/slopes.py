"""The thesis's search for images by the slopes of a network's loss at them."""

from typing import Any

import torch
from jaxtyping import Int64
from torch import Tensor

from dsopt.data.batches import Batch
from dsopt.distillation.contract import Problem, Synthetic, distiller
from dsopt.distillation.recipe import Recipe
from dsopt.distillation.stored import begin
from dsopt.distillation.synthetic import Init, descend
from dsopt.errors import InputError
from dsopt.losses.terms import loss_slopes


def partners(labels: Int64[Tensor, " m"], real: Int64[Tensor, " b"]) -> Int64[Tensor, " m"]:
    """For every label the index of a real image of that class, each of them in turn."""
    taken: dict[int, int] = {}
    found = []
    for label in labels.tolist():
        mine = (real == label).nonzero().squeeze(1)
        found.append(mine[taken.get(label, 0) % len(mine)])
        taken[label] = taken.get(label, 0) + 1
    return torch.stack(found)


class SlopeMatching:
    def __init__(self, problem: Problem, alpha: float, beta: float, init: Init, learning_rate: float) -> None:
        self.problem, self.device, self.alpha, self.beta = problem, problem.device, alpha, beta
        self.stored = begin(problem, init)
        self.labels = self.stored.labels
        self.networks: dict[str, Any] = {}
        self.optimizers: dict[str, torch.optim.Optimizer] = {"images": torch.optim.Adam([self.stored.leaf], learning_rate)}

    def update(self, batch: Batch) -> dict[str, Tensor]:
        network, images = self.problem.network(), self.stored.images()
        slopes = loss_slopes(network, images, self.labels)
        real = batch.images[partners(self.labels, batch.labels)]
        difference = (slopes - loss_slopes(network, real, self.labels)).norm(dim=1).mean()
        loss = self.alpha * difference + self.beta * slopes.norm(dim=1).mean()
        (gradient,) = torch.autograd.grad(loss, [images])
        descend(self.optimizers["images"], [self.stored.pull(gradient)], self.problem.world)
        self.stored.settled()
        return {"loss": loss.detach(), "difference": difference.detach()}

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


@distiller(balanced=True)
def slope_matching(
    problem: Problem, *, alpha: float = 1.0, beta: float = 0.0, init: Init = "noise", learning_rate: float = 0.01
) -> SlopeMatching:
    """Move images until a fresh network's loss rises at them as at real ones, or little (the thesis's equation 4.6).

    alpha |slope at a real image - slope at this one| + beta |slope at this one|, for a network drawn anew at every step. With
    `distill.stored.name=latent` it is the thesis's search in a generator's latent space, whose N is `distill.steps`. As written, a
    positive beta makes slopes small; a negative one makes them large, as in equation 4.5. All images move at once, each beside a
    real image of its class, by Adam; the thesis names neither optimiser nor rate.

    Raises:
        InputError: nothing would be minimised.
    """
    if alpha == beta == 0:
        raise InputError("distill slope_matching: options.alpha or options.beta must not be 0.")
    return SlopeMatching(problem, alpha, beta, init, learning_rate)
