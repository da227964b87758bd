"""Gradient matching: dataset condensation (DC), and with transforms differentiable siamese augmentation (DSA)."""

from collections.abc import Sequence
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dsopt.augment import draws
from dsopt.data.batches import Batch
from dsopt.distillation.contract import Problem, Stored, distiller
from dsopt.distillation.dm import siamese
from dsopt.distillation.matching import Matching
from dsopt.distillation.pool import Pool
from dsopt.distillation.recipe import augmented
from dsopt.distillation.stored import create_stored
from dsopt.distillation.synthetic import Init, rows_of_classes
from dsopt.errors import InputError
from dsopt.learners.placement import average_gradients
from dsopt.seeds import derive


def distance(one: Sequence[Tensor], other: Sequence[Tensor]) -> Tensor:
    """One minus the cosine between gradients of weights, summed over layers and their output units, without biases.

    Zhao et al. 2021 (arXiv:2006.05929, equation 10 and appendix).
    """
    pairs = [(a.flatten(1), b.flatten(1)) for a, b in zip(one, other, strict=True) if a.ndim > 1]
    return torch.stack([(1 - F.cosine_similarity(a, b, dim=1, eps=1e-6)).sum() for a, b in pairs]).sum()


class GradientMatching(Matching):
    """Matching of gradients; after every step on the images, the network takes `inner` steps on them."""

    def __init__(self, problem: Problem, stored: Stored, pool: Pool, inner: int, learning_rate: float) -> None:
        super().__init__(problem, stored, lambda leaf: torch.optim.SGD(leaf, learning_rate, momentum=0.5), self._distance)
        self.pool, self.inner = pool, inner

    def update(self, batch: Batch) -> dict[str, Tensor]:
        metrics = super().update(batch)
        for turn in range(self.inner):
            self.pool.train(0, partial(self._loss, derive(batch.seed, "inner", turn)))
        return metrics

    def _distance(self, images: Tensor, labels: Tensor, batch: Batch) -> dict[str, Tensor]:
        (network,) = self.pool.networks
        weights, classes = list(network.parameters()), self.problem.classes

        def gradients(images: Tensor, labels: Tensor, create_graph: bool) -> tuple[Tensor, ...]:
            """Of the weights, on images of one class."""
            logits = network(siamese(images, self.problem.augment, batch.seed))
            return torch.autograd.grad(F.cross_entropy(logits, labels), weights, create_graph=create_graph)

        rows = rows_of_classes(batch.labels, classes)
        of_real = [gradient for own in rows for gradient in gradients(batch.images[own], batch.labels[own], False)]
        of_all, count = average_gradients(of_real, self.problem.world), len(weights)
        distances = []
        for label in range(classes):  # image i of the set is of class i % classes
            of_set = gradients(images[label::classes], labels[label::classes], True)
            distances.append(distance(of_set, of_all[label * count : (label + 1) * count]))
        return {"loss": torch.stack(distances).sum()}

    def _loss(self, seed: int, network: nn.Sequential) -> Tensor:
        images = self.stored.images().detach()
        images = augmented(images, self.problem.augment, draws(seed, len(images), 0, len(images), self.device))
        return F.cross_entropy(network(images), self.labels)

    def state_dict(self) -> dict[str, Any]:
        return super().state_dict() | {"pool": self.pool.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        super().load_state_dict(state)
        self.pool.load_state_dict(state["pool"])


@distiller(unrolls=True, balanced=True)
def gradient_matching(
    problem: Problem,
    *,
    outer: int = 10,
    inner: int = 10,
    init: Init = "random",
    learning_rate: float = 0.1,
    network_rate: float = 0.01,
) -> GradientMatching:
    """Match the gradients on real and synthetic images of every class (DC, Zhao et al. 2021, arXiv:2006.05929, algorithm 1).

    After every step on the images, the network takes `inner` steps on them; after `outer` such rounds a new network replaces it.
    The authors' (outer, inner) are (1, 1) for one image a class, (10, 50) for ten, (50, 10) for fifty.

    With `distill.augment` it is DSA (Zhao & Bilen 2021, arXiv:2102.08259): for matching, real and synthetic images are transformed
    with the same parameters; for the network's steps, each image with its own. These steps have a momentum of 0.5 as in DC's code;
    DSA's code has none. Workers share the network, and the gradients on all real images.

    Raises:
        InputError: `outer` or `inner` is below 1.
    """
    if outer < 1 or inner < 1:
        raise InputError("distill gradient_matching: options.outer and options.inner must be at least 1.")

    def sgd(parameters: list[nn.Parameter]) -> torch.optim.Optimizer:
        return torch.optim.SGD(parameters, network_rate, momentum=0.5)

    # The call that replaces a network takes no step, hence the - 1.
    pool = Pool(problem, 1, outer * inner - 1, sgd)
    return GradientMatching(problem, create_stored(problem, init), pool, inner, learning_rate)
