"""Files of weights: safetensors, or what torch saved, of which nothing is executed; from any URI."""

import io
import logging
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load, save
from torch import Tensor, nn

from dsopt.errors import InputError
from dsopt.files import first_line, is_remote, read_bytes
from dsopt.models.libraries.contract import LIBRARY


def read_weights(uri: str) -> dict[str, Tensor]:
    """The tensors of a file by name, on the CPU. Raises InputError if there is no such file, or it holds anything else."""
    data = content(uri)
    try:
        found: Any = load(data) if is_safetensors(data) else torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)
    except Exception as error:  # torch has no common base class for what a wrong file raises
        raise InputError(f"{uri}: is no file of weights, safetensors or saved by torch: {first_line(error)}") from None
    for key in ("state_dict", "model"):  # how training scripts often nest them
        found = found.get(key, found) if isinstance(found, dict) else found
    if not isinstance(found, dict) or not all(isinstance(value, Tensor) for value in found.values()):
        raise InputError(f"{uri}: is no state dictionary of tensors.")
    return found


def content(uri: str) -> bytes:
    """The bytes of a file of weights. Raises InputError if it is not there."""
    try:
        return read_bytes(uri)
    except (FileNotFoundError, IsADirectoryError):
        raise InputError(f"weights {uri}: there is no such file.") from None


def is_safetensors(data: bytes) -> bool:
    """Whether bytes begin as a safetensors file: the length of its header, and the header's brace."""
    return data[8:9] == b"{"


def load_into(network: nn.Module, weights: dict[str, Tensor], name: str, optional: tuple[str, ...] = ()) -> None:
    """Load weights into a network.

    Args:
        name: of the network, for errors.
        optional: beginnings of the names of those, such as of the last layer, that may be there and are not of the network.

    Raises:
        InputError: they are not those of this network.
    """
    own = network.state_dict()
    kept = {key: value for key, value in weights.items() if key in own or not key.startswith(optional or ("\0",))}
    try:
        network.load_state_dict(kept)
    except RuntimeError as error:
        lines = [line.strip() for line in str(error).splitlines()]
        raise InputError(f"the weights are not those of {name}: {' '.join(lines[1:2])[:160]}") from None


@contextmanager
def local_copy(uri: str) -> Iterator[str | None]:
    """A path of a file of weights as safetensors, for libraries that read files themselves; None for their own."""
    if uri == LIBRARY:
        yield None
        return
    if not is_remote(uri) and is_safetensors(content(uri)):
        yield uri
        return
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "weights.safetensors")
        # Each tensor by itself: safetensors has no two names for one memory.
        file.write_bytes(save({key: value.clone().contiguous() for key, value in read_weights(uri).items()}))
        yield str(file)


@contextmanager
def fetched(name: str, weights: str | None = LIBRARY) -> Iterator[None]:
    """Around the making of a network by a library: whatever it raises becomes one line, and a hub's retries are not logged.

    Raises:
        InputError: the weights are not those of the network, or cannot be downloaded.
    """
    logs = [logging.getLogger(each) for each in ("", "huggingface_hub")]
    levels = [log.level for log in logs]
    for log in logs:
        log.setLevel(logging.CRITICAL)
    try:
        yield
    except InputError:
        raise
    except Exception as error:  # libraries, and what they download with, raise errors of many types
        why = " ".join(line.strip() for line in str(error).splitlines()[:2])[:200]
        if weights is None:
            raise InputError(f"{name}: cannot be made: {why}") from None
        if weights == LIBRARY:
            raise InputError(f"{name}: cannot be had from its library: {why}; a file of weights can be named instead.") from None
        raise InputError(f"the weights {weights} are not those of {name}: {why}") from None
    finally:
        for log, level in zip(logs, levels, strict=True):
            log.setLevel(level)
