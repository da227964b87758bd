"""Networks of other libraries, `LIBRARY:NAME`, and of the user, `module:function`.

A module for each library gives `encoder(name, weights, size)`. None is imported before it is asked for: they are extras.
"""

import importlib
import json
import os
import re
from collections.abc import Mapping
from types import ModuleType
from typing import Any

from torch import nn

from dsopt.errors import InputError, unknown
from dsopt.models.libraries.contract import IMAGENET, LIBRARY, Encoder, Statistics
from dsopt.storage import content_digest

EXTRAS = {"timm": "timm", "torchvision": "", "transformers": "transformers", "open_clip": "open-clip"}


def is_external(name: str) -> bool:
    """Whether a name is that of a library's or the user's network, and not of a registered one."""
    return ":" in name


def check(name: str, weights: str = LIBRARY, size: int | None = None) -> None:
    """Refuse what cannot be the name of such a network, or of an encoder with these weights and size, without importing anything.

    Raises:
        InputError: what is wrong.
    """
    source, _, rest = name.partition(":")
    if source not in EXTRAS and not re.fullmatch(r"[\w.]+:\w+", name):
        raise unknown("library", source, [*EXTRAS, "module:function"])
    if not rest:
        raise InputError(f"{name}: expected {source}:NAME.")
    if source not in EXTRAS and (weights != LIBRARY or size):
        raise InputError(f"{name}: a function of your own has weights and a size of its own; leave out .weights and .size.")


def library(source: str) -> ModuleType:
    """The module of a library. Raises InputError if the library is not installed."""
    try:
        return importlib.import_module(f"dsopt.models.libraries.{source}")
    except ModuleNotFoundError as error:
        raise InputError(f"{source}: is not installed ({error.name}); pip install 'dsopt[{EXTRAS[source]}]'.") from None


def encoder(name: str, weights: str = LIBRARY, size: int | None = None) -> Encoder:
    """The encoder of a name, in evaluation mode, on the CPU.

    Args:
        weights: a file of weights by any URI, or "library", its own.
        size: of its inputs, in pixels a side; None: as the library uses it.

    Raises:
        InputError: there is no such network, its library is missing, or its weights cannot be had.
    """
    source, _, rest = name.partition(":")
    found = library(source).encoder(rest, weights, size) if source in EXTRAS else library("own").encoder(name)
    found.network.eval().requires_grad_(False)
    return found


def classifier(
    name: str, channels: int, classes: int, *, size: int, weights: str | None = None, options: Mapping[str, Any] | None = None
) -> nn.Module:
    """A network to train: pictures [b, channels, size, size] -> logits [b, classes].

    Args:
        weights: a file of weights, without those of the last layer, or "library", its own; None: random ones.
        options: of the library's or the user's function.

    Raises:
        InputError: there is no such network, it does not take these, or its library is missing.
    """
    source, _, rest = name.partition(":")
    if source in EXTRAS and not hasattr(library(source), "classifier"):
        raise InputError(f"{name}: networks of {source} only embed; expected timm:NAME, torchvision:NAME or module:function.")
    if source in EXTRAS:
        return library(source).classifier(rest, weights, size, channels, classes, options or {})
    return library("own").classifier(name, weights, size, channels, classes, options or {})


def statistics(name: str) -> Statistics:
    """By what the pictures of a network are standardized: as its library does, ImageNet's for all others."""
    source, _, rest = name.partition(":")
    return library(source).statistics(rest) if source in ("timm", "torchvision") else IMAGENET


def fingerprint(name: str) -> str | None:
    """What changes with what a name stands for: the source of the user's function, the files of a folder; else None."""
    source, _, rest = name.partition(":")
    if source not in EXTRAS:
        return library("own").source_digest(name)
    if source == "transformers" and os.path.isdir(rest):
        files = [file for file in sorted(os.scandir(rest), key=lambda file: file.name) if file.is_file()]
        return content_digest(json.dumps([[file.name, file.stat().st_size, file.stat().st_mtime_ns] for file in files]).encode())
    return None
