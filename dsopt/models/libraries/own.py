"""The user's own networks: `module:function`."""

import importlib
import inspect
import os
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn

from dsopt.errors import InputError
from dsopt.files import first_line
from dsopt.models.libraries.contract import Encoder
from dsopt.models.libraries.weights import load_into, read_weights
from dsopt.storage import content_digest


def function_of(text: str) -> Callable[..., Any]:
    """The function of `module:function`; modules are also looked for in the working folder. Raises InputError if there is none."""
    module, _, name = text.partition(":")
    if os.getcwd() not in sys.path:
        sys.path.insert(0, os.getcwd())
    try:
        found = getattr(importlib.import_module(module), name, None)
    except Exception as error:  # the user's module may raise anything
        raise InputError(f"{text}: the module {module} cannot be imported: {type(error).__name__}: {first_line(error)}") from None
    if not callable(found):
        raise InputError(f"{text}: the module {module} has no function {name!r}.")
    return found


def source_digest(text: str) -> str:
    """A digest of the file that holds the function of `module:function`: a changed file is another network."""
    file = inspect.getsourcefile(inspect.unwrap(function_of(text)))
    return content_digest(Path(file).read_bytes()) if file else ""


def encoder(text: str) -> Encoder:
    """The encoder that the user's function returns: `() -> (network, transform)`.

    `transform` takes an RGB picture of PIL, of any size, and gives a tensor; `network` takes a batch of them, and gives [b, d].

    Raises:
        InputError: it returns something else.
    """
    found = function_of(text)()
    if not (isinstance(found, tuple) and len(found) == 2 and isinstance(found[0], nn.Module) and callable(found[1])):
        raise InputError(f"{text}: returned {type(found).__name__}; expected (network, transform): a torch module and a function.")
    network, transform = found
    return Encoder(network, transform, lambda batch: batch, None, lambda picture: None)


def classifier(text: str, weights: str | None, size: int, channels: int, classes: int, options: Mapping[str, Any]) -> nn.Module:
    """The network that the user's function returns: `(channels, classes, **options)` -> a torch module that gives logits.

    Raises:
        InputError: it returns something else, or fails.
    """
    function = function_of(text)
    try:
        network = function(channels, classes, **options)
        with torch.no_grad():
            found = network.eval()(torch.zeros(2, channels, size, size))
    except Exception as error:  # the user's code may raise anything
        raise InputError(f"{text}: failed: {type(error).__name__}: {first_line(error)}") from None
    if not isinstance(found, torch.Tensor) or found.shape != (2, classes):
        raise InputError(f"{text}: gave {list(getattr(found, 'shape', []))} for 2 pictures; expected logits [2, {classes}].")
    if weights is not None:
        load_into(network, read_weights(weights), text)
    return network.train()
