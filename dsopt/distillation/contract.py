"""The inputs and results of a distillation method.

A method is built by `(problem, *, options) -> Distiller`, registered with `@distiller(...)`, whose arguments are the traits that
callers need beforehand. A distiller is a learner of the training loop; its `update` takes one batch of real images and makes one
step on the synthetic ones.

Its random numbers come from `Problem.drawn` and `derive(batch.seed, ...)`: all workers draw the same, and a resumed run repeats
them exactly. Any number of workers make the same step: they differ in their real images alone, and what is no mean over these is
computed of all of them (`dsopt.learners.placement.whole`).
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol, runtime_checkable

import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn

from dsopt.data.batches import Batch
from dsopt.distillation.recipe import Recipe
from dsopt.errors import InputError
from dsopt.learners.compiled import How
from dsopt.registry import DISTILLERS
from dsopt.seeds import derive, seeded


def distiller(*, learns: bool = True, unrolls: bool = False, balanced: bool = False, compiles: bool = False) -> Callable[..., Any]:
    """Register a function as a distillation method.

    Args:
        learns: it makes steps; otherwise its images are final from the start.
        unrolls: it differentiates through training steps, which excludes networks with batch normalization.
        balanced: it requires equally many images of every class in its batches.
        compiles: its steps can be compiled (`Problem.compile`); what they ran as is in its `passes`.
    """
    return DISTILLERS.register(learns=learns, unrolls=unrolls, balanced=balanced, compiles=compiles)


class Synthetic(NamedTuple):
    """A synthetic set, in blocks of one image of every class: image i is of class `i % classes`.

    Images are network inputs, on the scale of normalized real images. `soft` are learned labels; see `Recipe`.
    """

    images: Float[Tensor, "m c h w"]
    labels: Int64[Tensor, " m"]
    soft: Float[Tensor, "m k"] | None = None


@dataclass(frozen=True)
class Stored:
    """The parametrization of a synthetic set: the tensor that is learned, and how images are decoded from it.

    Args:
        leaf: the learned tensor; requires a gradient.
        labels: of the decoded images.
        decode: leaf -> images on the scale of normalized real images, differentiable.
        project: moves the leaf, in place, back into its feasible set; called after every step.
    """

    leaf: Tensor
    labels: Int64[Tensor, " m"]
    decode: Callable[[Tensor], Tensor]
    project: Callable[[Tensor], None]

    def images(self) -> Float[Tensor, "m c h w"]:
        """The current images, detached from the leaf, as a new leaf of the graph; see `leaf_gradient`."""
        with torch.no_grad():
            images = self.decode(self.leaf)
        return images.detach().requires_grad_()

    def leaf_gradient(self, of_images: Float[Tensor, "m c h w"]) -> Tensor:
        """The gradient with respect to the leaf, given that with respect to the images.

        A method's own graph, of which it may keep many, thus never contains the decoder.
        """
        return torch.autograd.grad(self.decode(self.leaf), self.leaf, of_images)[0]

    def project_leaf(self) -> None:
        with torch.no_grad():
            self.project(self.leaf)


class Generator(NamedTuple):
    """A trained generator network: (noise [b, d], labels [b]) -> images."""

    network: nn.Module
    noise: Callable[[int, torch.Generator], Tensor]
    noise_norm: float  # root mean square of the Euclidean norm of its noise
    inputs: Callable[[Tensor], Tensor]  # generated images -> network inputs


@dataclass(frozen=True)
class Problem:
    """The data to distil, and the networks that the result is for.

    Args:
        images: all real images, as bytes or floats; on the device, or in memory if they are too many for it.
        labels: theirs, on the device.
        inputs: real images -> network inputs.
        per_class: the number of synthetic images of each class.
        network: builds a network with new weights on the device, from torch's global generator.
        augment: transforms with which networks will be trained on the synthetic images.
        seed: for everything that is drawn once: initial images, fixed weights.
        world: the number of workers.
        stored: name and options of the parametrization of the synthetic images; see `dsopt.distillation.stored`.
        generator: for parametrizations that need one.
        steps: the number of steps that there will be.
        compile: whether steps are compiled, for methods that can; see `dsopt.learners.compiled.Fastest`.
    """

    images: Tensor
    labels: Int64[Tensor, " n"]
    inputs: Callable[[Tensor], Tensor]
    classes: int
    per_class: int
    network: Callable[[], nn.Sequential]
    augment: Sequence[str] = ()
    seed: int = 0
    device: torch.device = torch.device("cpu")
    world: int = 1
    stored: tuple[str, dict[str, Any]] = ("pixels", {})
    generator: Generator | None = None
    steps: int = 1000
    compile: How = "off"

    def drawn(self, *of: int | str) -> nn.Sequential:
        """A network with the new weights that belong to these names and numbers, on all workers."""
        with seeded(derive(*of)):
            return self.network()

    def drawn_for(self, batch: Batch) -> nn.Sequential:
        """The network with new weights for the step on a batch."""
        return self.drawn(batch.seed, 0)


@runtime_checkable
class Distiller(Protocol):
    """A learner (`dsopt.training.loop.Learner`) whose result is a synthetic set."""

    networks: dict[str, Any]
    optimizers: dict[str, torch.optim.Optimizer]
    device: torch.device

    def update(self, batch: Batch) -> dict[str, Tensor]: ...
    def synthetic(self) -> Synthetic: ...
    def recipe(self) -> Recipe: ...
    def weights(self) -> dict[str, Tensor]:
        """The initial weights that the images require, by parameter; empty if the images are for any weights."""
        ...

    def state_dict(self) -> dict[str, Any]: ...
    def load_state_dict(self, state: dict[str, Any]) -> None: ...


def check_repeatable(network: nn.Module, name: str) -> None:
    """Raises InputError for a network that gives other results when a step is recomputed, or on another worker."""
    for module in network.modules():
        if isinstance(module, nn.modules.dropout._DropoutNd) and module.p > 0:
            raise InputError(
                f"distill.network.name={name}: has dropout, which differs when a step is recomputed; expected a network without, "
                "such as lenet, or distill.network.options.dropout=0 if it has that option."
            )


def check_unrollable(network: nn.Module, name: str) -> None:
    """Raises InputError for a network through whose training one cannot differentiate."""
    for module in network.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            raise InputError(
                f"distill.network.name={name}: has batch normalization, whose running statistics unrolled steps do not update, so "
                "that evaluation would use the initial ones; expected a network without it, such as convnet or lenet."
            )
        if isinstance(module, nn.ReLU) and module.inplace:
            raise InputError(
                f"distill.network.name={name}: has in-place activations, which overwrite what second derivatives need; expected a "
                "network without them, such as convnet or lenet."
            )
