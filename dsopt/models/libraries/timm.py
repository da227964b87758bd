"""Networks of timm, with its own preparation of their inputs."""

import sys
from typing import Any

import timm as library
from PIL import Image
from timm.data.config import resolve_model_data_config
from torch import nn

from dsopt.errors import InputError, unknown
from dsopt.models.libraries.contract import Encoder, Preparation, prepared
from dsopt.models.libraries.weights import fetched, load_into, read_weights


def encoder(name: str, weights: str | None, size: int | None) -> Encoder:
    """timm: any of its networks without its last layer, such as timm:convnext_tiny.fb_in22k."""
    network = network_of(name, weights, size, classes=0)
    return prepared(network, preparation(network, size))


def network_of(name: str, weights: str | None, size: int | None, classes: int, **options: Any) -> nn.Module:
    """A network with weights of the user's file or of the library; a last layer for other classes has none.

    Raises:
        InputError: no such network; the weights are not its own, or cannot be had.
    """
    if name.split(".")[0] not in library.list_models():
        raise unknown("network of timm", name, library.list_models())
    about = library.get_pretrained_cfg(name) if library.is_model_pretrained(name) else None
    if size is not None and about is not None and about.fixed_input_size:
        options |= {"img_size": size}  # positions are interpolated; networks of convolutions take any size
    with fetched(f"timm:{name}", weights):
        network = library.create_model(name, pretrained=weights is None, num_classes=classes, **options)
    if weights is not None:
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


def preparation(network: nn.Module, size: int | None) -> Preparation:
    """The network's own data configuration, at another size if one is given."""
    about = resolve_model_data_config(network)
    if about["crop_mode"] not in ("center", "squash"):
        raise InputError(f"timm: inputs are cropped by {about['crop_mode']!r}, which is not supported; expected center or squash.")
    side = size or about["input_size"][1]
    resize = side if about["crop_mode"] == "squash" else int(side / about["crop_pct"])
    how = Image.Resampling[about["interpolation"].upper()] if about["interpolation"] != "random" else Image.Resampling.BICUBIC
    return Preparation(side, resize, tuple(about["mean"]), tuple(about["std"]), how, about["crop_mode"] == "squash")
