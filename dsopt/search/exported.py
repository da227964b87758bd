"""A child network in one file, with its weights and all that is needed to rebuild it without the search."""

import io
import pickle
from typing import Any, NamedTuple

import torch
from torch import nn

from dsopt.errors import InputError
from dsopt.files import first_line, read_bytes
from dsopt.registry import SPACES


class ChildSpec(NamedTuple):
    """The arguments from which a child's network is built, and how its images are standardized."""

    space: str
    options: dict[str, Any]
    child: str  # encoded by `Space.encode`
    channels: int
    classes: int
    size: int  # pixels per side
    standardise: str


def network_of(spec: ChildSpec) -> nn.Module:
    """The child's network, with new weights."""
    space = SPACES.build(spec.space, spec.options)()
    return space.build(space.decode(spec.child), spec.channels, spec.classes, spec.size)


def dump(spec: ChildSpec, network: nn.Module) -> bytes:
    """The file of a child: `spec` and the network's weights."""
    buffer = io.BytesIO()
    torch.save({"about": spec._asdict(), "weights": network.state_dict()}, buffer)
    return buffer.getvalue()


def restore(data: bytes) -> tuple[nn.Module, ChildSpec]:
    """The network, in evaluation mode, and the spec of a child: the inverse of `dump`."""
    saved = torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)
    spec = ChildSpec(**saved["about"])
    network = network_of(spec)
    network.load_state_dict(saved["weights"])
    return network.eval(), spec


def load_child(uri: str) -> tuple[nn.Module, ChildSpec]:
    """The network of an exported file: images [b, c, size, size] in 0..1, each standardized as `spec` says, to logits.

    Raises:
        InputError: there is no such file, or it is not an exported child.
    """
    try:
        return restore(read_bytes(uri))
    except FileNotFoundError:
        raise InputError(f"{uri}: there is no such file; expected the child.pt that a search exported.") from None
    except (RuntimeError, KeyError, TypeError, ValueError, EOFError, pickle.UnpicklingError) as error:
        raise InputError(f"{uri}: is not an exported child: {first_line(error)}") from None
