"""Seeds derived from names and numbers alone, so that any batch can be recreated without replaying those before it."""

import contextlib
import hashlib
from collections.abc import Iterator
from typing import Any

_64_BITS = 2**64 - 1


def derive(*parts: int | str) -> int:
    """A 63-bit seed from any names and numbers; the same in every process and on every machine."""
    return int.from_bytes(hashlib.sha256(repr(parts).encode()).digest()[:8], "big") >> 1


@contextlib.contextmanager
def seeded(seed: int, device: Any = None) -> Iterator[None]:
    """torch's global generators, of the CPU and of a GPU if `device` is one, at a seed; afterwards they are as they were."""
    import torch  # not above: who only derives seeds needs no torch

    with torch.random.fork_rng([device] if device is not None and device.type == "cuda" else []):
        torch.manual_seed(seed)
        yield


def mix64(z: Any) -> Any:
    """The finalizer of SplitMix64: neighboring numbers become independent 64-bit ones (Steele et al. 2014, figure 17).

    doi:10.1145/2714064.2660195. For an int in 0 to 2^64 - 1, or an array of uint64.
    """
    z = (z ^ z >> 30) * 0xBF58476D1CE4E5B9 & _64_BITS
    z = (z ^ z >> 27) * 0x94D049BB133111EB & _64_BITS
    return z ^ z >> 31


def splitmix64(index: int) -> int:
    """The output number `index` (from 0) of SplitMix64 with seed 0, without those before it."""
    return mix64((index + 1) * 0x9E3779B97F4A7C15 & _64_BITS)
