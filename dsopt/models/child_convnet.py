"""The ConvNets of the architecture search in the dataset condensation papers."""

import functools

from torch import nn

from dsopt.errors import InputError

GROUPS = 4


def convnet(channels: int, classes: int, size: int, *, width: int, depth: int, norm: str, act: str, pool: str) -> nn.Sequential:
    """`depth` blocks of 3x3 convolution, normalization, activation, pooling, then a linear layer (arXiv:2006.05929, section 4.2).

    Images [b, channels, size, size] -> logits [b, classes]. As in the authors' code, leaky ReLU has a slope of 0.01, group
    normalization has 4 groups, pooling halves the side, and images of 28 pixels are padded to 32 by the first convolution.

    Raises:
        InputError: the images are too small to be halved `depth` times.
    """
    side, layers, inputs = (32 if size == 28 else size), [], channels
    if pool != "none" and side >> depth == 0:
        raise InputError(
            f"search.space: {depth} poolings need images of {2**depth} pixels, these have {size}; set data.image_size."
        )
    for block in range(depth):
        layers += [nn.Conv2d(inputs, width, 3, padding=3 if size == 28 and block == 0 else 1)]
        layers += [_NORMS[norm](width, side)] if norm != "none" else []
        layers += [_ACTIVATIONS[act]()]
        if pool != "none":
            layers.append(_POOLINGS[pool](2))
            side //= 2
        inputs = width
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(width * side * side, classes))


_NORMS = {
    "batch": lambda width, side: nn.BatchNorm2d(width),
    "layer": lambda width, side: nn.LayerNorm([width, side, side]),
    "instance": lambda width, side: nn.GroupNorm(width, width),
    "group": lambda width, side: nn.GroupNorm(GROUPS, width),
}
_ACTIVATIONS = {"sigmoid": nn.Sigmoid, "relu": nn.ReLU, "leaky_relu": functools.partial(nn.LeakyReLU, 0.01)}
_POOLINGS = {"max": nn.MaxPool2d, "avg": nn.AvgPool2d}
