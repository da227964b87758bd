"""A child in one file: what it is and its weights, from which it is built again without the search."""

import io
import pickle
from typing import Any, NamedTuple

import torch
from torch import nn

from dsopt.errors import InputError
from dsopt.files import first_line, read_bytes
from dsopt.registry import SPACES


class About(NamedTuple):
    """What a child's network follows from, and how its images are prepared."""

    space: str
    options: dict[str, Any]
    child: str  # as the space encodes it
    channels: int
    classes: int
    size: int  # pixels a side
    standardise: str


def network_of(about: About) -> nn.Module:
    space = SPACES.build(about.space, about.options)()
    return space.build(space.decode(about.child), about.channels, about.classes, about.size)


def dump(about: About, network: nn.Module) -> bytes:
    buffer = io.BytesIO()
    torch.save({"about": about._asdict(), "weights": network.state_dict()}, buffer)
    return buffer.getvalue()


def restore(data: bytes) -> tuple[nn.Module, About]:
    """A child from what `dump` made of it."""
    saved = torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)
    about = About(**saved["about"])
    network = network_of(about)
    network.load_state_dict(saved["weights"])
    return network.eval(), about


def load_child(uri: str) -> tuple[nn.Module, About]:
    """The network of an exported file, ready for use: images of `about.size` pixels in 0..1, standardised each -> logits.

    Raises:
        InputError: there is no such file, or it is something else.
    """
    try:
        return restore(read_bytes(uri))
    except FileNotFoundError:
        raise InputError(f"{uri}: there is no such file; right is the child.pt that a search exported.") from None
    except (RuntimeError, KeyError, TypeError, ValueError, EOFError, pickle.UnpicklingError) as error:
        raise InputError(f"{uri}: is not an exported child: {first_line(error)}") from None
