"""Networks of torchvision, with its own preparation of their inputs."""

import torchvision as library
from PIL import Image
from torch import nn

from dsopt.errors import InputError, unknown
from dsopt.models.libraries.contract import Encoder, Preparation, prepared
from dsopt.models.libraries.weights import fetched, load_into, read_weights


def encoder(name: str, weights: str | None, size: int | None) -> Encoder:
    """torchvision: any of its classifiers without the last layer, such as torchvision:resnet50."""
    found = preparation(name, size)
    if weights is None:
        with fetched(f"torchvision:{name}"):
            network = library.models.get_model(name, weights="DEFAULT")
    else:
        network = library.models.get_model(name, weights=None)
    path = last_layer(network, name)[0]
    network.set_submodule(path, nn.Identity())
    if weights is not None:
        load_into(network, read_weights(weights), f"torchvision:{name}", (f"{path}.", "AuxLogits.", "aux"))
    return prepared(network, found)


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


def last_layer(network: nn.Module, name: str) -> tuple[str, nn.Linear]:
    """The last fully connected layer and its path. Raises InputError if there is none."""
    layers = [(path, module) for path, module in network.named_modules() if isinstance(module, nn.Linear)]
    if not layers:
        raise InputError(f"torchvision:{name}: has no fully connected last layer that could be removed.")
    return layers[-1]
