"""The thesis's search for images by the gradients of a network's loss with respect to them."""

import torch
from jaxtyping import Int64
from torch import Tensor

from dsopt.data.batches import Batch
from dsopt.distillation.contract import Problem, distiller
from dsopt.distillation.matching import Matching
from dsopt.distillation.stored import create_stored
from dsopt.distillation.synthetic import Init
from dsopt.errors import InputError
from dsopt.learners.placement import whole
from dsopt.losses.input_gradients import loss_gradients


def partners(classes: int, per_class: int, real: Int64[Tensor, " b"]) -> Int64[Tensor, " m"]:
    """For every image of a synthetic set (see `Synthetic`) the index of a real image of its class, cycling through these images.

    Args:
        real: the labels of a batch with equally many images of every class.
    """
    of_class = real.argsort(stable=True).view(classes, -1)
    turns = torch.arange(per_class, device=real.device) % of_class.shape[1]
    return of_class[:, turns].T.flatten()


@distiller(balanced=True)
def slope_matching(
    problem: Problem, *, alpha: float = 1.0, beta: float = 0.0, init: Init = "noise", learning_rate: float = 0.01
) -> Matching:
    """Match the gradients of a new network's loss at synthetic and at real images (the thesis's equation 4.6).

    With g the gradient of the loss with respect to an image, it minimizes alpha |g(real) - g(synthetic)| + beta |g(synthetic)|, for
    a network drawn anew at every step. As written, a positive beta makes gradients small; a negative one makes them large, as in
    equation 4.5. With `distill.stored.name=latent` it is the thesis's search in a generator's latent space, whose N is
    `distill.steps`. All images move at once, each paired with a real image of its class, by Adam; the thesis names neither
    optimizer nor rate.

    Raises:
        InputError: alpha and beta are both 0.
    """
    if alpha == beta == 0:
        raise InputError("distill slope_matching: options.alpha or options.beta must not be 0.")

    def loss(images: Tensor, labels: Tensor, batch: Batch) -> dict[str, Tensor]:
        network = problem.drawn_for(batch)
        gradients = loss_gradients(network, images, labels)
        images_of_all, labels_of_all = (whole(part, problem.world) for part in (batch.images, batch.labels))
        real = images_of_all[partners(problem.classes, len(labels) // problem.classes, labels_of_all)]
        difference = (gradients - loss_gradients(network, real, labels)).norm(dim=1).mean()
        return {"loss": alpha * difference + beta * gradients.norm(dim=1).mean(), "difference": difference}

    return Matching(problem, create_stored(problem, init), lambda leaf: torch.optim.Adam(leaf, learning_rate), loss)
