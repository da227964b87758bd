"""DCGAN: a generator and a discriminator of strided convolutions, for images of any size that can be halved twice."""

import itertools
from typing import Literal

from torch import Tensor, nn

from dsopt.losses.adversarial import DiscriminatorOutput
from dsopt.models.conditions import (
    HALVED_TWICE,
    DiscriminatorCondition,
    GeneratorCondition,
    GeneratorNorm,
    Head,
    halvings,
    with_labels,
    with_planes,
)
from dsopt.models.initial import small_normal
from dsopt.models.spectral import spectral
from dsopt.registry import MODELS


class DcganGenerator(nn.Module):
    def __init__(self, channels: int, size: int, classes: int, latent: int, condition: GeneratorCondition, width: int) -> None:
        super().__init__()
        self.side, levels = halvings(size)
        self.classes, self.condition, self.conditional = classes, condition, condition != "none"
        widths = [width << level for level in reversed(range(levels + 1))]
        norm_classes = classes if condition == "batch_norm" else None
        self.first = nn.Linear(latent + classes * (condition == "concat"), widths[0] * self.side**2, bias=False)
        self.norms = nn.ModuleList(GeneratorNorm(maps, norm_classes) for maps in widths)
        pairs = itertools.pairwise(widths)
        self.ups = nn.ModuleList(nn.ConvTranspose2d(a, b, 4, stride=2, padding=1, bias=False) for a, b in pairs)
        self.last = nn.Conv2d(width, channels, 3, padding=1)

    def forward(self, noise: Tensor, labels: Tensor | None) -> Tensor:
        if self.condition == "concat":
            assert labels is not None
            noise = with_labels(noise, labels, self.classes)
        images = self.first(noise).view(len(noise), -1, self.side, self.side)
        for up, norm in zip(self.ups, self.norms, strict=False):
            images = up(norm(images, labels).relu())
        return self.last(self.norms[-1](images, labels).relu()).tanh()


@MODELS.register(kind="generator", input_size=None, low=-1.0, sizes=HALVED_TWICE)
def dcgan_generator(
    channels: int, size: int, classes: int, latent: int, *, condition: GeneratorCondition = "none", width: int = 64
) -> nn.Module:
    """DCGAN's generator: a linear layer, then transposed convolutions (Radford et al. 2016, arXiv:1511.06434, section 3).

    The convolutions are 4x4 with stride 2 and halve the width; all layers have batch normalization and ReLU. `width` is that of the
    last of them; a 3x3 convolution and tanh follow. For 32 pixels the widths are the usual 512 (at 4x4), 256, 128 and 64. Weights
    start from N(0, 0.02).
    """
    return small_normal(DcganGenerator(channels, size, classes, latent, condition, width))


class DcganDiscriminator(nn.Module):
    def __init__(
        self, channels: int, size: int, classes: int, condition: DiscriminatorCondition, width: int, norm: str, codes: int
    ) -> None:
        super().__init__()
        self.classes, self.condition, self.conditional = classes, condition, condition != "none"
        side, levels = halvings(size)
        layers, inputs = [], channels + classes * (condition == "concat")
        for level in range(levels):
            normed = norm == "batch" and level > 0
            layers.append(nn.Conv2d(inputs, width << level, 4, stride=2, padding=1, bias=not normed))
            layers += [nn.BatchNorm2d(width << level)] if normed else []
            layers.append(nn.LeakyReLU(0.2))
            inputs = width << level
        self.body = nn.Sequential(*layers, nn.Flatten())
        self.head = Head(inputs * side**2, classes, condition, codes)

    def forward(self, images: Tensor, labels: Tensor | None) -> DiscriminatorOutput:
        if self.condition == "concat":
            assert labels is not None
            images = with_planes(images, labels, self.classes)
        return self.head(self.body(images), labels)


@MODELS.register(kind="discriminator", input_size=None, low=None, sizes=HALVED_TWICE, energy=False)
def dcgan_discriminator(
    channels: int,
    size: int,
    classes: int,
    *,
    condition: DiscriminatorCondition = "none",
    width: int = 64,
    norm: Literal["batch", "spectral", "none"] = "batch",
    codes: int = 0,
) -> nn.Module:
    """DCGAN's discriminator: strided convolutions and one linear layer (Radford et al. 2016, arXiv:1511.06434, section 3).

    The convolutions are 4x4 with stride 2 and double the width, with leaky ReLU 0.2 and, except in the first, batch normalization.
    A gradient penalty requires norm=none or spectral; `codes` are for the term information. Weights start from N(0, 0.02).
    """
    network = small_normal(DcganDiscriminator(channels, size, classes, condition, width, norm, codes))
    return spectral(network) if norm == "spectral" else network
