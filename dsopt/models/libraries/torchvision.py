"""Networks of torchvision, with its own preparation of their inputs."""

from collections.abc import Mapping
from typing import Any

import torchvision as library
from PIL import Image
from torch import nn

from dsopt.errors import InputError, unknown
from dsopt.models.libraries.contract import LIBRARY, Encoder, Preparation, Statistics, prepared
from dsopt.models.libraries.heads import with_head
from dsopt.models.libraries.weights import fetched, load_into, read_weights


def encoder(name: str, weights: str, size: int | None) -> Encoder:
    """torchvision: any of its classifiers without the last layer, such as torchvision:resnet50."""
    return prepared(_network(name, weights), preparation(name, size))


def classifier(name: str, weights: str | None, size: int, channels: int, classes: int, options: Mapping[str, Any]) -> nn.Sequential:
    """torchvision: any of its classifiers with a new last layer; `options` are those of its function."""
    sized = {"image_size": size} if name.startswith("vit_") else {}
    return with_head(_network(name, weights, **sized, **options), classes, size, channels)


def statistics(name: str) -> Statistics:
    """Mean and standard deviation of the channels of a network's inputs."""
    found = preparation(name, None)
    return Statistics(found.mean, found.deviation)


def preparation(name: str, size: int | None) -> Preparation:
    """What the network's default weights are used with, at another size if one is given. Raises InputError: no such network."""
    names = library.models.list_models(module=library.models)
    if name not in names:
        raise unknown("network of torchvision", name, names)
    about = library.models.get_model_weights(name).DEFAULT.transforms()  # type: ignore[attr-defined]
    side, resize = about.crop_size[0], about.resize_size[0]
    scaled = (size, round(resize * size / side)) if size else (side, resize)
    how = Image.Resampling[about.interpolation.name]
    return Preparation(*scaled, tuple(about.mean), tuple(about.std), how)


def _network(name: str, weights: str | None, **options: Any) -> nn.Module:
    """A network without its last layer. `weights`: a file, or "library", its own; None: random ones."""
    preparation(name, None)
    with fetched(f"torchvision:{name}", weights):
        network = library.models.get_model(name, weights="DEFAULT" if weights == LIBRARY else None, **options)
    path = _last_layer(network, name)
    network.set_submodule(path, nn.Identity())
    for auxiliary in ("AuxLogits", "aux1", "aux2"):  # of the Inception networks, which then give one result also in training
        if hasattr(network, auxiliary):
            setattr(network, auxiliary, None)
            network.aux_logits = False  # type: ignore[assignment]
    if weights not in (None, LIBRARY):
        load_into(network, read_weights(weights), f"torchvision:{name}", (f"{path}.", "AuxLogits.", "aux"))
    return network


def _last_layer(network: nn.Module, name: str) -> str:
    """The path of the last fully connected layer. Raises InputError if there is none."""
    layers = [path for path, module in network.named_modules() if isinstance(module, nn.Linear)]
    if not layers:
        raise InputError(f"torchvision:{name}: has no fully connected last layer that could be removed.")
    return layers[-1]
