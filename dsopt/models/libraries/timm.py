"""Networks of timm, with its own preparation of their inputs."""

import sys
from collections.abc import Mapping
from typing import Any

import timm as library
from PIL import Image
from timm.data.config import resolve_model_data_config
from torch import nn

from dsopt.errors import InputError, unknown
from dsopt.models.libraries.contract import IMAGENET, LIBRARY, Encoder, Preparation, Statistics, prepared
from dsopt.models.libraries.heads import with_head
from dsopt.models.libraries.weights import fetched, load_into, read_weights


def encoder(name: str, weights: str, size: int | None) -> Encoder:
    """timm: any of its networks without its last layer, such as timm:convnext_tiny.fb_in22k."""
    network = _network(name, weights, size)
    return prepared(network, preparation(network, size))


def classifier(name: str, weights: str | None, size: int, channels: int, classes: int, options: Mapping[str, Any]) -> nn.Sequential:
    """timm: any of its networks with a new last layer; `options` are those of `timm.create_model`, such as drop_path_rate."""
    return with_head(_network(name, weights, size, **options), classes, size, channels)


def statistics(name: str) -> Statistics:
    """Mean and standard deviation of the channels of a network's inputs."""
    _check(name)
    about = library.get_pretrained_cfg(name) if library.is_model_pretrained(name) else None
    return Statistics(about.mean, about.std) if about else IMAGENET


def preparation(network: nn.Module, size: int | None) -> Preparation:
    """The network's own data configuration, at another size if one is given."""
    about = resolve_model_data_config(network)
    if about["crop_mode"] not in ("center", "squash"):
        raise InputError(f"timm: inputs are cropped by {about['crop_mode']!r}, which is not supported; expected center or squash.")
    side = size or about["input_size"][1]
    resize = side if about["crop_mode"] == "squash" else int(side / about["crop_pct"])
    how = Image.Resampling[about["interpolation"].upper()] if about["interpolation"] != "random" else Image.Resampling.BICUBIC
    return Preparation(side, resize, tuple(about["mean"]), tuple(about["std"]), how, about["crop_mode"] == "squash")


def _check(name: str) -> None:
    if name.split(".")[0] not in library.list_models():
        raise unknown("network of timm", name, library.list_models())


def _network(name: str, weights: str | None, size: int | None, **options: Any) -> Any:
    """A network without its last layer.

    Args:
        weights: a file, or "library", its own; None: random ones.

    Raises:
        InputError: no such network; the weights are not its own, or cannot be had.
    """
    _check(name)
    about = library.get_pretrained_cfg(name) if library.is_model_pretrained(name) else None
    if size is not None and about is not None and about.fixed_input_size:
        options |= {"img_size": size}  # positions are interpolated; networks of convolutions take any size
    with fetched(f"timm:{name}", weights):
        network = library.create_model(name, pretrained=weights == LIBRARY, num_classes=0, **options)
    if weights not in (None, LIBRARY):
        _load(network, name, weights)
    return network


def _load(network: Any, name: str, weights: str) -> None:
    """Load a file. timm's own way would leave what the file lacks as it is, if the last layer is not wanted."""
    convert = getattr(sys.modules[library.models.model_entrypoint(name).__module__], "checkpoint_filter_fn", None)
    with fetched(f"timm:{name}", weights):
        found = read_weights(weights)
        found = convert(found, network) if convert else found  # from the names that the authors of a network gave
    last = network.pretrained_cfg.get("classifier") or ()
    load_into(network, found, f"timm:{name}", tuple(f"{layer}." for layer in ((last,) if isinstance(last, str) else last)))
