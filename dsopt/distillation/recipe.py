"""How a network is trained on a synthetic set: plain values that are stored with the set."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int64
from torch import Tensor, nn

from dsopt.augment import UniformDraw
from dsopt.learners.optim import minimize
from dsopt.registry import AUGMENTATIONS, call

LossName = Literal["cross_entropy", "squared_error"]


@dataclass(frozen=True)
class Recipe:
    """Training from initial weights; the weights after the last step are evaluated.

    Args:
        loss: cross-entropy with the labels (class indices, or soft labels as they are); or the squared error to soft labels, or
            without these to centered one-hot vectors.
        augment: transforms of every batch, see `dsopt.augment`; only those for floating-point images.
        rates: plain gradient descent with a learning rate for every epoch and block of images, in order, instead of `optimizer`,
            `learning_rate`, `momentum` and `steps`.
    """

    optimizer: Literal["adam", "sgd"] = "adam"
    learning_rate: float = 0.001
    momentum: float = 0.0
    steps: int = 500
    loss: LossName = "cross_entropy"
    augment: list[str] = field(default_factory=list)
    rates: list[list[float]] | None = None


def centered(labels: Int64[Tensor, " m"], classes: int) -> Float[Tensor, "m k"]:
    """One-hot vectors minus 1 / classes, the targets of kernel regression (Zhou et al. 2022, arXiv:2206.00719, section 4)."""
    return F.one_hot(labels, classes).to(torch.get_default_dtype()) - 1 / classes


def loss_of(name: LossName, logits: Tensor, labels: Tensor) -> Tensor:
    """The mean loss over a batch; labels are class indices [b] or vectors [b, classes]."""
    if name == "cross_entropy":
        return F.cross_entropy(logits, labels)
    targets = centered(labels, logits.shape[1]) if labels.ndim == 1 else labels
    return (logits - targets).square().sum(1).mean() / 2


def augmented(images: Tensor, names: Sequence[str], draw: UniformDraw) -> Tensor:
    """Images [b, c, h, w] after all transforms, in this order; differentiable."""
    for name in names:
        images = AUGMENTATIONS.build(*call(name))(images, draw)
    return images


def train(network: nn.Sequential, images: Tensor, labels: Tensor, recipe: Recipe, seed: int) -> nn.Sequential:
    """Train a network in place on images [m, c, h, w] with labels (class indices [m], or vectors [m, classes]) by a recipe."""
    parameters = list(network.parameters())
    if recipe.rates is not None:
        for epoch in recipe.rates:
            for rate, x, y in zip(epoch, images.chunk(len(epoch)), labels.chunk(len(epoch)), strict=True):
                gradients = torch.autograd.grad(loss_of(recipe.loss, network(x), y), parameters)
                torch._foreach_add_([p.data for p in parameters], gradients, alpha=-rate)  # pyright: ignore[reportPrivateImportUsage]
        return network

    generator = torch.Generator().manual_seed(seed)

    def draw() -> Tensor:
        return torch.rand(len(images), generator=generator).to(images.device)

    if recipe.optimizer == "adam":
        optimizer: torch.optim.Optimizer = torch.optim.Adam(parameters, recipe.learning_rate, fused=True)
    else:
        optimizer = torch.optim.SGD(parameters, recipe.learning_rate, momentum=recipe.momentum, fused=True)
    for _ in range(recipe.steps):
        minimize(loss_of(recipe.loss, network(augmented(images, recipe.augment, draw)), labels), optimizer)
    return network


@torch.inference_mode()
def accuracy(network: nn.Sequential, images: Tensor, labels: Tensor, size: int = 1000) -> float:
    """The fraction of images [n, c, h, w] that a network classifies correctly."""
    correct = sum(int((network(x).argmax(1) == y).sum()) for x, y in zip(images.split(size), labels.split(size), strict=True))
    return correct / len(labels)
