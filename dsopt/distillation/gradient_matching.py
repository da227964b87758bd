"""Gradient matching: dataset condensation, and with transforms its siamese augmentation."""

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
from dsopt.distillation.stored import begin
from dsopt.distillation.synthetic import Init
from dsopt.errors import InputError
from dsopt.seeds import derive


def distance(one: Sequence[Tensor], other: Sequence[Tensor]) -> Tensor:
    """One minus the cosine between gradients of weights, summed over layers and their output units; biases do not count.

    Zhao et al. 2021 (arXiv:2006.05929, equation 10 and appendix).
    """
    pairs = [(a.flatten(1), b.flatten(1)) for a, b in zip(one, other, strict=True) if a.ndim > 1]
    return torch.stack([(1 - F.cosine_similarity(a, b, dim=1, eps=1e-6)).sum() for a, b in pairs]).sum()


class GradientMatching(Matching):
    """After every match, the network takes `inner` steps on the images."""

    def __init__(self, problem: Problem, stored: Stored, pool: Pool, inner: int, learning_rate: float) -> None:
        super().__init__(problem, stored, lambda leaf: torch.optim.SGD(leaf, learning_rate, momentum=0.5), self._distance)
        self.pool, self.inner = pool, inner

    def update(self, batch: Batch) -> dict[str, Tensor]:
        told = super().update(batch)
        for turn in range(self.inner):
            self.pool.train(0, partial(self._loss, derive(batch.seed, "inner", turn)))
        return told

    def _distance(self, images: Tensor, labels: Tensor, batch: Batch) -> dict[str, Tensor]:
        (network,) = self.pool.networks
        return {"loss": torch.stack([self._of_class(network, images, batch, c) for c in range(self.problem.classes)]).sum()}

    def _of_class(self, network: nn.Sequential, images: Tensor, batch: Batch, label: int) -> Tensor:
        """The distance between the gradients that real and synthetic images of one class give."""

        def gradients(images: Tensor, labels: Tensor, create_graph: bool) -> tuple[Tensor, ...]:
            mine = labels == label
            logits = network(siamese(images[mine], self.problem.augment, batch.seed))
            return torch.autograd.grad(F.cross_entropy(logits, labels[mine]), list(network.parameters()), create_graph=create_graph)

        real = gradients(batch.images, batch.labels, False)
        return distance(gradients(images, self.labels, True), real)

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
    """Match the gradients that real and synthetic images of every class give (DC, Zhao et al. 2021, arXiv:2006.05929, algorithm 1).

    After every match, the network takes `inner` steps on the images; after `outer` matches a fresh one follows it. The authors'
    (outer, inner) are (1, 1) at one image a class, (10, 50) at ten, (50, 10) at fifty. With `distill.augment` it is DSA (Zhao &
    Bilen 2021, arXiv:2102.08259): real and synthetic images are transformed alike, and those that the network takes its steps on
    each for itself. These steps have a momentum of 0.5, as in DC's code; DSA's has none. Workers share the network, not the real
    images.

    Raises:
        InputError: a network would never be replaced.
    """
    if outer < 1 or inner < 1:
        raise InputError("distill gradient_matching: options.outer and options.inner must be at least 1.")

    def sgd(parameters: list[nn.Parameter]) -> torch.optim.Optimizer:
        return torch.optim.SGD(parameters, network_rate, momentum=0.5)

    return GradientMatching(problem, begin(problem, init), Pool(problem, 1, outer * inner - 1, sgd), inner, learning_rate)
