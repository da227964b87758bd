"""Trained networks in stages: how one is described, its weights as safetensors, and how it is built again from its folder alone."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from safetensors.torch import load, save
from torch import Tensor, nn

from dsopt.augment.inputs import Inputs, Standardise, Statistics, View, make_inputs
from dsopt.config import Choice
from dsopt.errors import InputError
from dsopt.files import join, read_bytes, write_bytes
from dsopt.models import libraries
from dsopt.pipeline.outputs import unique_name
from dsopt.registry import MODELS
from dsopt.search.exported import ChildSpec, network_of
from dsopt.storage import Stage, Table


def described(choice: Choice, *arguments: int, **facts: Any) -> dict[str, Any]:
    """What builds a registered network again, for the manifest of the stage that trained it.

    Args:
        arguments: what the registered function takes: channels and what follows.
        facts: what else its users must know: how inputs are prepared, the precision; plain values.
    """
    return {"name": choice.name, "options": dict(choice.options), "arguments": list(arguments)} | facts


def described_inputs(view: View, augment: Sequence[str], standardise: Standardise | Statistics | None) -> dict[str, Any]:
    """What makes the inputs of a network again; goes into its description as `inputs`."""
    return {"augment": list(augment), "size": view.taken, "loaded": view.loaded, "standardise": standardise}


def save_weights(stage: Stage, weights: Mapping[str, Tensor], name: str = "model") -> str:
    """Write weights into a stage as safetensors, which other libraries read too; returns the file's name, for the manifest."""
    file = unique_name(name, "safetensors")
    write_bytes(stage.path(file), save({key: value.detach().cpu().contiguous() for key, value in weights.items()}))
    return file


def load_weights(table: Table, file: str) -> dict[str, Tensor]:
    """The weights in a file of a finished stage, on the CPU."""
    return load(read_bytes(join(table.uri, file)))


def description_of(table: Table) -> dict[str, Any]:
    """The description of the network that a finished stage trained. Raises InputError if it trained none."""
    found = table.manifest.get("model")
    if not isinstance(found, dict):
        raise InputError(f"{table.uri}: holds no trained network (stage {table.manifest['stage']}).")
    return found


def trained(table: Table, device: torch.device) -> nn.Module:
    """The network that a finished stage trained, in evaluation mode, from its folder alone. Raises InputError if there is none."""
    about = description_of(table)
    if "child" in about:  # of a search: built by its space
        network = network_of(ChildSpec(**{key: about[key] for key in ChildSpec._fields}))
    else:
        size = about["inputs"]["size"] if "inputs" in about else None
        network = untrained(about["name"], about["options"], *about["arguments"], size=size)
    network.load_state_dict(load_weights(table, about["weights"]))
    return network.to(device, memory_format=torch.channels_last).eval()  # type: ignore[call-overload]


def untrained(name: str, options: Mapping[str, Any], *arguments: int, size: int | None, weights: str | None = None) -> nn.Module:
    """A network by its name: a registered one, or for classifiers one of a library or the user.

    Args:
        arguments: what a registered function takes; of classifiers channels and classes.
        size: of the pictures, in pixels a side; registered networks have their own.
        weights: what a library's or the user's network starts from: a file, or "library"; None: random ones.
    """
    if not libraries.is_external(name):
        return MODELS.build(name, options)(*arguments)
    assert size is not None
    channels, classes = arguments
    return libraries.classifier(name, channels, classes, size=size, weights=weights, options=options)


def inputs_of(table: Table) -> Inputs:
    """How images become inputs of the network that a finished stage trained."""
    return described_transforms(description_of(table))


def described_transforms(about: Mapping[str, Any], classes: int | None = None) -> Inputs:
    """How images become inputs of a described network. `classes`: how many there are, needed if labels are mixed."""
    inputs = about["inputs"]
    return make_inputs(inputs["augment"], inputs["size"], inputs["standardise"], classes, inputs["loaded"])
