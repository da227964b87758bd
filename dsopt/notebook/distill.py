"""Distillation of tensors."""

import functools
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
from jaxtyping import Float, Int64, UInt8
from torch import Tensor, nn

from dsopt.augment.geometry import resized
from dsopt.augment.inputs import View, view_of
from dsopt.data.batches import Batches
from dsopt.distillation import recipe
from dsopt.distillation.contract import Problem, check_repeatable, check_unrollable
from dsopt.distillation.normalisation import normalized_inputs, to_bytes
from dsopt.distillation.recipe import Recipe
from dsopt.errors import InputError, unknown
from dsopt.notebook.arrays import integers, tensor
from dsopt.registry import DISTILLERS, MODELS, NORMALISATIONS, SCHEDULES, call
from dsopt.seeds import derive, seeded
from dsopt.training.loop import Phase, fit
from dsopt.training.samplers.by_class import by_class
from dsopt.training.samplers.shuffle import shuffle


class Distilled(NamedTuple):
    """A synthetic set, with what training on it needs.

    `images` are on the scale of what a network takes: `inputs` brings others to that scale, such as the test images. `weights` are
    the initial weights that belong to the images, empty where these serve any.
    """

    images: Float[Tensor, "m c s s"]
    labels: Int64[Tensor, " m"]
    soft: Float[Tensor, "m k"] | None  # learned labels
    pictures: UInt8[Tensor, "m c s s"] | None  # to look at; None where the real images were floats
    recipe: Recipe
    weights: dict[str, Tensor]
    inputs: Callable[[Tensor], Tensor]
    network: Callable[[], nn.Sequential]  # a fresh one

    def train(self, seed: int = 0) -> nn.Sequential:
        """A fresh network, trained on the set by its recipe; `dsopt.distillation.recipe.accuracy` tests it."""
        with seeded(derive(seed, "weights"), self.images.device):
            network = self.network()
        network.load_state_dict(self.weights or network.state_dict(), strict=False)  # they may be of some layers only
        labels = self.labels if self.soft is None else self.soft
        return recipe.train(network, self.images, labels, self.recipe, derive(seed, "draws")).eval()


def distill(
    images: Any,
    labels: Any,
    name: str = "dm",
    per_class: int = 1,
    network: str | Callable[[], nn.Sequential] = "convnet",
    steps: int = 1000,
    seed: int = 0,
    *,
    batch_size: int = 256,
    augment: Sequence[str] = (),
    normalise: str = "channels",
    **options: Any,
) -> Distilled:
    """Condense real images into a few synthetic ones of each class.

    Args:
        images: [n, c, s, s] on the device to work on: uint8, which are normalised; or floats on the scale that networks take.
        labels: int [n], 0 to classes - 1.
        per_class: synthetic images of each class.
        network: a registered classifier, perhaps with options, "convnet(width=32)"; or what makes a fresh one of yours.
        steps: of the method, each on a batch of `batch_size` real images.
        augment: transforms that training on the images will use.
        normalise: what is done to uint8 images first: "channels" or "zca".
        options: of the method.

    Raises:
        InputError: an unknown name or option, or data or a network that does not fit the method.
        JobError: the loss is no longer a finite number.
    """
    traits, method = DISTILLERS.traits(name), DISTILLERS.build(name, options)
    real = tensor(images, "distill: images")
    classes_of = integers(labels, "distill: labels", len(real)).to(real.device)
    if real.ndim != 4 or real.shape[2] != real.shape[3]:
        raise InputError(f"distill: images of shape {tuple(real.shape)}: expected [n, c, s, s].")
    counts = classes_of.clamp_min(0).bincount()
    if (classes_of < 0).any() or not counts.all():
        raise InputError("distill: labels: expected every class from 0 to the last, and no image without.")
    make, (loaded, size) = _network(network, real, len(counts))
    if real.dtype == torch.uint8 and loaded < real.shape[3]:
        real = resized(real, loaded)
    normalisation = NORMALISATIONS.build(*call(normalise))(real.cpu(), size) if real.dtype == torch.uint8 else None
    inputs = normalized_inputs(normalisation, size, loaded).test if normalisation else Tensor.float
    problem = Problem(real, classes_of, inputs, len(counts), per_class, make, list(augment), seed, real.device, steps=steps)
    with seeded(derive(seed, "distill"), real.device):
        untrained, called = make(), network if isinstance(network, str) else "yours"
        if traits.learns:
            check_repeatable(untrained, called)
        if traits.unrolls:
            check_unrollable(untrained, called)
        found = method(problem)
        if traits.learns:
            order = derive(seed, "order")
            draw = by_class(classes_of.cpu(), batch_size, order) if traits.balanced else shuffle(len(real), batch_size, order)
            batches = Batches(
                real, classes_of, draw, functools.partial(derive, seed, "transform"), lambda part, *drawn: inputs(part)
            )
            fit(found, [Phase(batches, SCHEDULES.build("cosine"), steps)], name=f"distill {name}")
    made = found.synthetic()
    shown = to_bytes(normalisation, made.images) if normalisation else None
    return Distilled(made.images, made.labels, made.soft, shown, found.recipe(), found.weights(), inputs, make)


def _network(network: str | Callable[[], nn.Sequential], images: Tensor, classes: int) -> tuple[Callable[[], nn.Sequential], View]:
    """What makes fresh networks on the device of the images, and how they see these."""
    if not isinstance(network, str):
        return lambda: network().to(images.device), View(images.shape[3], images.shape[3])
    name, options = call(network)
    valid = [model for model in MODELS.names() if MODELS.traits(model).kind == "classifier"]
    if name not in valid:
        raise unknown("distill: network", name, valid)
    size, make = MODELS.traits(name).input_size, MODELS.build(name, options)
    if images.shape[3] < size or (images.shape[3] != size and images.dtype != torch.uint8):
        raise InputError(f"distill: images of {images.shape[3]} pixels: {name} takes {size}; resize them, or give a network.")
    return lambda: make(images.shape[1], classes).to(images.device), view_of(name, images.shape[3])
