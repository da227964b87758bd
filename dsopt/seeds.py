"""Seeds that follow from names and numbers alone, so that any batch can be made again without replaying those before it."""

import hashlib


def derive(*parts: int | str) -> int:
    """A 63-bit seed from any names and numbers; the same in every process and on every machine."""
    return int.from_bytes(hashlib.sha256(repr(parts).encode()).digest()[:8], "big") >> 1
