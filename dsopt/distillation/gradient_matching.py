"""Gradient matching: dataset condensation (DC), and with transforms differentiable siamese augmentation (DSA)."""

from collections.abc import Sequence
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.func import functional_call

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
from dsopt.learners.compiled import Fastest, Traced, known
from dsopt.learners.placement import average_gradients
from dsopt.seeds import derive


def distance(one: Sequence[Tensor], other: Sequence[Tensor]) -> Tensor:
    """One minus the cosine between gradients of weights, summed over layers and their output units, without biases.

    Zhao et al. 2021 (arXiv:2006.05929, equation 10 and appendix).
    """
    pairs = [(a.flatten(1), b.flatten(1)) for a, b in zip(one, other, strict=True) if a.ndim > 1]
    return torch.stack([(1 - F.cosine_similarity(a, b, dim=1, eps=1e-6)).sum() for a, b in pairs]).sum()


class _Eager:
    """Gradients of a network by torch's own graphs."""

    def loss(self, network: nn.Sequential, images: Tensor, labels: Tensor) -> Tensor:
        """The mean cross-entropy, to be differentiated with respect to the weights."""
        return F.cross_entropy(network(images), labels)

    def gradients(self, network: nn.Sequential, images: Tensor, labels: Tensor, create_graph: bool = False) -> Sequence[Tensor]:
        """Its gradients with respect to the weights."""
        return torch.autograd.grad(self.loss(network, images, labels), list(network.parameters()), create_graph=create_graph)

    def distance(self, network: nn.Sequential, images: Tensor, labels: Tensor, others: Sequence[Tensor]) -> Tensor:
        """The distance of these from other gradients, to be differentiated with respect to the images."""
        return distance(self.gradients(network, images, labels, True), others)


class _Compiled(_Eager):
    """The same by two compiled graphs, with first and with second derivatives, for networks with any weights."""

    def __init__(self, device: torch.device) -> None:
        self.first, self.second = Traced(self._first, device), Traced(self._second, device)

    def loss(self, network: nn.Sequential, images: Tensor, labels: Tensor) -> Tensor:
        weights = self._weights_of(network)
        value, *gradients = self.first(images, labels, *weights)
        return known(value, gradients, weights)

    def gradients(self, network: nn.Sequential, images: Tensor, labels: Tensor, create_graph: bool = False) -> Sequence[Tensor]:
        return self.first(images, labels, *self._weights_of(network))[1:]

    def distance(self, network: nn.Sequential, images: Tensor, labels: Tensor, others: Sequence[Tensor]) -> Tensor:
        value, gradient = self.second(images, labels, *self._weights_of(network), *others)
        return known(value, [gradient], [images])

    def _weights_of(self, network: nn.Sequential) -> list[Tensor]:
        self.network = network  # whose operations are traced, whatever its weights
        return list(network.parameters())

    def _first(self, images: Tensor, labels: Tensor, *weights: Tensor) -> list[Tensor]:
        leaves = [value.detach().requires_grad_() for value in weights]
        value = self._loss(images, labels, leaves)
        return [value, *torch.autograd.grad(value, leaves)]

    def _second(self, images: Tensor, labels: Tensor, *given: Tensor) -> list[Tensor]:
        count, leaf = len(given) // 2, images.detach().requires_grad_()
        leaves = [value.detach().requires_grad_() for value in given[:count]]
        value = distance(torch.autograd.grad(self._loss(leaf, labels, leaves), leaves, create_graph=True), given[count:])
        return [value, *torch.autograd.grad(value, [leaf])]

    def _loss(self, images: Tensor, labels: Tensor, weights: Sequence[Tensor]) -> Tensor:
        named = dict(zip(dict(self.network.named_parameters()), weights, strict=True))
        return F.cross_entropy(functional_call(self.network, named, (images,)), labels)


class GradientMatching(Matching):
    """Matching of gradients; after every step on the images, the network takes `inner` steps on them."""

    def __init__(self, problem: Problem, stored: Stored, pool: Pool, inner: int, learning_rate: float) -> None:
        loss = partial(self._distance, _Eager())
        super().__init__(problem, stored, lambda leaf: torch.optim.SGD(leaf, learning_rate, momentum=0.5), loss)
        self.pool, self.inner = pool, inner
        ways = partial(self._step, _Eager()), lambda: partial(self._step, _Compiled(self.device))
        self.passes = Fastest("distill.compile", problem.compile, *ways, self.device, problem.world)

    def update(self, batch: Batch) -> dict[str, Tensor]:
        return self.passes(batch)

    def _step(self, way: _Eager, batch: Batch) -> dict[str, Tensor]:
        metrics = self._descend(partial(self._distance, way), batch)
        for turn in range(self.inner):
            self.pool.train(0, partial(self._loss, way, derive(batch.seed, "inner", turn)))
        return metrics

    def _distance(self, way: _Eager, images: Tensor, labels: Tensor, batch: Batch) -> dict[str, Tensor]:
        (network,), classes, names = self.pool.networks, self.problem.classes, self.problem.augment
        rows = rows_of_classes(batch.labels, classes)
        real, images = (siamese(some, names, batch.seed) for some in (batch.images, images))
        of_real = [gradient for own in rows for gradient in way.gradients(network, real[own], batch.labels[own])]
        of_all = average_gradients(of_real, self.problem.world)
        count, distances = len(of_all) // classes, []
        for label in range(classes):  # image i of the set is of class i % classes
            others = of_all[label * count : (label + 1) * count]
            distances.append(way.distance(network, images[label::classes], labels[label::classes], others))
        return {"loss": torch.stack(distances).sum()}

    def _loss(self, way: _Eager, seed: int, network: nn.Sequential) -> Tensor:
        images = self.stored.images().detach()
        images = augmented(images, self.problem.augment, draws(seed, len(images), 0, len(images), self.device))
        return way.loss(network, images, self.labels)

    def state_dict(self) -> dict[str, Any]:
        return super().state_dict() | {"pool": self.pool.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        super().load_state_dict(state)
        self.pool.load_state_dict(state["pool"])


@distiller(unrolls=True, balanced=True, compiles=True)
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
