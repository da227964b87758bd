"""Search spaces of plain convolutional networks."""

from dsopt.models.child_convnet import convnet
from dsopt.registry import SPACES
from dsopt.search.spaces.contract import Space


@SPACES.register
def dc720(
    *,
    width: tuple[int, ...] = (32, 64, 128, 256),
    depth: tuple[int, ...] = (1, 2, 3, 4),
    norm: tuple[str, ...] = ("none", "batch", "layer", "instance", "group"),
    act: tuple[str, ...] = ("sigmoid", "relu", "leaky_relu"),
    pool: tuple[str, ...] = ("none", "max", "avg"),
) -> Space:
    """The 720 ConvNets of the dataset condensation papers (DC, arXiv:2006.05929, section 4.2); fields may have fewer values."""
    return Space("dc720", {"width": width, "depth": depth, "norm": norm, "act": act, "pool": pool}, convnet)


@SPACES.register
def mini216(
    *,
    width: tuple[int, ...] = (4, 8, 16, 32),
    depth: tuple[int, ...] = (1, 2, 3),
    norm: tuple[str, ...] = ("none", "batch", "group"),
    act: tuple[str, ...] = ("sigmoid", "relu"),
    pool: tuple[str, ...] = ("none", "max", "avg"),
) -> Space:
    """216 small networks of the same kind: each trains on 8x8 digits in about a second."""
    return Space("mini216", {"width": width, "depth": depth, "norm": norm, "act": act, "pool": pool}, convnet)
