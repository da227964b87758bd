"""The discriminator of a colorizer: it sees lightness and colors, and scores overlapping patches of the image."""

import itertools
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn

from dsopt.losses.adversarial import DiscriminatorOutput
from dsopt.models.initial import small_normal
from dsopt.models.spectral import spectral
from dsopt.models.unet import SIZES
from dsopt.registry import MODELS

Norm = Literal["batch", "spectral", "none"]


class Patch(nn.Module):
    """Every element of the last feature map scores the patch in its receptive field (Isola et al. 2017, arXiv:1611.07004, section
    3.2.2)."""

    conditional = True  # on the lightness

    def __init__(self, channels: int, width: int, halvings: int, norm: Norm) -> None:
        super().__init__()
        widths = [width * min(2**i, 8) for i in range(halvings + 1)]
        modules: list[nn.Module] = [nn.Conv2d(channels + 1, width, 4, stride=2, padding=1), nn.LeakyReLU(0.2)]
        for i, (inputs, outputs) in enumerate(itertools.pairwise(widths), 1):
            stride = 2 if i < halvings else 1
            modules.append(nn.Conv2d(inputs, outputs, 4, stride=stride, padding=1, bias=norm != "batch"))
            modules += [*([nn.BatchNorm2d(outputs)] if norm == "batch" else []), nn.LeakyReLU(0.2)]
        self.body = nn.Sequential(*modules)
        self.score = nn.Conv2d(widths[-1], 1, 4, padding=1)

    def forward(self, images: Float[Tensor, "b c h w"], lightness: Float[Tensor, "b 1 h w"]) -> DiscriminatorOutput:
        features = self.body(torch.cat([lightness, images], 1))
        return DiscriminatorOutput(self.score(features).flatten(1), features=features.flatten(1))


@MODELS.register(kind="discriminator", input_size=None, low=-1.0, sizes=SIZES, energy=False, conditioned_on="lightness")
def patch_discriminator(
    channels: int,
    size: int,
    classes: int,
    *,
    width: int = 64,
    halvings: int | None = None,
    norm: Literal["batch", "spectral", "none"] = "batch",
) -> nn.Module:
    """The discriminator of pix2pix (Isola et al. 2017, arXiv:1611.07004, appendix 6.1.2), for 32 to 256 pixels.

    The side of a patch is 16, 34 or 70 pixels with 1, 2 or 3 `halvings`; the default is 34 for images of 32 pixels, and 70 for
    larger ones. A gradient penalty requires norm=none or spectral.
    """
    network = small_normal(Patch(channels, width, halvings or (2 if size == 32 else 3), norm))
    return spectral(network) if norm == "spectral" else network
