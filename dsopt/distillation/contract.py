"""What a distillation method is given and what it gives back.

A method is made by `(problem, *, options) -> Distiller`, entered with `@distiller(...)`, which says what callers must know before.
A distiller is a learner of the training loop, whose `update` takes one batch of real images and makes one step on the synthetic
ones. What it draws at random it takes from torch's global generator, which the loop seeds at every step, differently on every
worker, or from `derive(batch.seed, ...)` where all workers must draw the same: so a resumed run goes on exactly.
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
from dsopt.registry import DISTILLERS


def distiller(*, learns: bool = True, unrolls: bool = False, balanced: bool = False) -> Callable[..., Any]:
    """Enter a function as a distillation method.

    Args:
        learns: makes steps; otherwise its images are final from the start.
        unrolls: differentiates through steps of training, which a network with batch normalisation does not allow.
        balanced: wants equally many images of every class in its batches.
    """
    return DISTILLERS.register(learns=learns, unrolls=unrolls, balanced=balanced)


class Synthetic(NamedTuple):
    """A synthetic set, in blocks of one image of every class: image i is of class `i % classes`.

    Images are what a network takes, on the scale of normalised real ones. `soft` are learned labels; see the recipe.
    """

    images: Float[Tensor, "m c h w"]
    labels: Int64[Tensor, " m"]
    soft: Float[Tensor, "m k"] | None = None


@dataclass(frozen=True)
class Stored:
    """What a synthetic set is learned as.

    Args:
        leaf: what is learned; requires a gradient.
        labels: of the images made from it.
        make: the leaf -> images on the scale of normalised real ones, with a graph.
        settle: brings the leaf, in place, to where it may lie; called after every step.
    """

    leaf: Tensor
    labels: Int64[Tensor, " m"]
    make: Callable[[Tensor], Tensor]
    settle: Callable[[Tensor], None]

    def images(self) -> Float[Tensor, "m c h w"]:
        """The images as they are, to be differentiated by themselves; see `pull`."""
        with torch.no_grad():
            made = self.make(self.leaf)
        return made.detach().requires_grad_()

    def pull(self, gradient: Float[Tensor, "m c h w"]) -> Tensor:
        """The gradient of the leaf from that of the images: so no graph of a method goes through what makes them."""
        return torch.autograd.grad(self.make(self.leaf), self.leaf, gradient)[0]

    def settled(self) -> None:
        with torch.no_grad():
            self.settle(self.leaf)


class Generator(NamedTuple):
    """A trained network that makes images of noise [b, d] and labels [b]; `inputs` makes them what a network takes."""

    network: nn.Module
    noise: Callable[[int, torch.Generator], Tensor]
    length: float  # that noise has, root mean square
    inputs: Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class Problem:
    """What is to be condensed, and for whom.

    Args:
        images: all real images on the device, as bytes or numbers; `inputs` makes them what a network takes.
        per_class: synthetic images of each class.
        network: a fresh network on the device, drawn from torch's global generator.
        augment: transforms that the synthetic images will be trained with.
        steps: that there will be.
        seed: of what is drawn once: the first images, fixed weights.
        stored: name and options of what the synthetic images are made from; see `dsopt.distillation.stored`.
        generator: for those that need one.
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
        """The initial weights that belong to the images, by parameter; empty where these serve any."""
        ...

    def state_dict(self) -> dict[str, Any]: ...
    def load_state_dict(self, state: dict[str, Any]) -> None: ...


def check_repeatable(network: nn.Module, name: str) -> None:
    """Refuse what is another network whenever a step is done again, or by another worker. Raises InputError."""
    for module in network.modules():
        if isinstance(module, nn.modules.dropout._DropoutNd) and module.p > 0:
            raise InputError(
                f"distill.network.name={name}: has dropout, which is drawn anew where a step is done again; take one without, such "
                "as lenet, or distill.network.options.dropout=0 where there is that."
            )


def check_unrollable(network: nn.Module, name: str) -> None:
    """Refuse what training cannot be differentiated through. Raises InputError."""
    for module in network.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            raise InputError(
                f"distill.network.name={name}: has batch normalisation, whose running statistics no unrolled step updates, so that "
                "tests would use those of no network; take one without, such as convnet (instance normalisation) or lenet."
            )
        if isinstance(module, nn.ReLU) and module.inplace:
            raise InputError(f"distill.network.name={name}: overwrites what second derivatives need; take convnet.")
