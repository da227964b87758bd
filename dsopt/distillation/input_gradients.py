"""The thesis's search for images by the slopes of a network's loss at them."""

import torch
from jaxtyping import Int64
from torch import Tensor

from dsopt.data.batches import Batch
from dsopt.distillation.contract import Problem, distiller
from dsopt.distillation.matching import Matching
from dsopt.distillation.stored import begin
from dsopt.distillation.synthetic import Init
from dsopt.errors import InputError
from dsopt.losses.input_gradients import loss_gradients


def partners(labels: Int64[Tensor, " m"], real: Int64[Tensor, " b"]) -> Int64[Tensor, " m"]:
    """For every label the index of a real image of that class, each of them in turn."""
    taken: dict[int, int] = {}
    found = []
    for label in labels.tolist():
        mine = (real == label).nonzero().squeeze(1)
        found.append(mine[taken.get(label, 0) % len(mine)])
        taken[label] = taken.get(label, 0) + 1
    return torch.stack(found)


@distiller(balanced=True)
def slope_matching(
    problem: Problem, *, alpha: float = 1.0, beta: float = 0.0, init: Init = "noise", learning_rate: float = 0.01
) -> Matching:
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

    def loss(images: Tensor, labels: Tensor, batch: Batch) -> dict[str, Tensor]:
        network = problem.network()
        slopes = loss_gradients(network, images, labels)
        real = batch.images[partners(labels, batch.labels)]
        difference = (slopes - loss_gradients(network, real, labels)).norm(dim=1).mean()
        return {"loss": alpha * difference + beta * slopes.norm(dim=1).mean(), "difference": difference}

    return Matching(problem, begin(problem, init), lambda leaf: torch.optim.Adam(leaf, learning_rate), loss)
