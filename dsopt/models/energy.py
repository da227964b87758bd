"""EBGAN's discriminator: an autoencoder whose reconstruction error is the energy of an image."""

import itertools
from typing import Literal

from torch import Tensor, nn

from dsopt.losses.adversarial import DiscriminatorOutput
from dsopt.models.conditions import HALVED_TWICE, halvings, with_planes
from dsopt.models.initial import small_normal
from dsopt.registry import MODELS


class EnergyDiscriminator(nn.Module):
    def __init__(self, channels: int, size: int, classes: int, conditional: bool, width: int, norm: bool) -> None:
        super().__init__()
        self.classes, self.conditional = classes, conditional
        widths = [width << level for level in range(halvings(size)[1])]
        down: list[nn.Module] = [nn.Conv2d(channels + classes * conditional, width, 4, stride=2, padding=1)]
        for inputs, outputs in itertools.pairwise(widths):
            down += [nn.LeakyReLU(0.2), nn.Conv2d(inputs, outputs, 4, stride=2, padding=1)]
            down += [nn.BatchNorm2d(outputs)] if norm else []
        up: list[nn.Module] = []
        for inputs, outputs in itertools.pairwise(reversed(widths)):
            up += [nn.LeakyReLU(0.2), nn.ConvTranspose2d(inputs, outputs, 4, stride=2, padding=1)]
            up += [nn.BatchNorm2d(outputs)] if norm else []
        up += [nn.LeakyReLU(0.2), nn.ConvTranspose2d(width, channels, 4, stride=2, padding=1), nn.Tanh()]
        self.encoder, self.decoder = nn.Sequential(*down), nn.Sequential(*up)

    def forward(self, images: Tensor, labels: Tensor | None) -> DiscriminatorOutput:
        inputs = images
        if self.conditional:
            assert labels is not None
            inputs = with_planes(images, labels, self.classes)
        code = self.encoder(inputs)
        reconstruction = self.decoder(code)
        energy = (reconstruction - images).float().square().flatten(1).mean(1)
        return DiscriminatorOutput(-energy, reconstruction, code.flatten(1))


@MODELS.register(kind="discriminator", input_size=None, low=-1.0, sizes=HALVED_TWICE, energy=True)
def energy_discriminator(
    channels: int,
    size: int,
    classes: int,
    *,
    condition: Literal["none", "concat"] = "none",
    width: int = 64,
    norm: Literal["batch", "none"] = "batch",
) -> nn.Module:
    """An autoencoder whose energy is its mean squared error on an image (EBGAN, Zhao et al. 2017, arXiv:1609.03126, section 2.3).

    It has 4x4 convolutions of stride 2, with sizes as in the colorization study's code. Its features are the code of the image. The
    study's code takes the root of half the sum over the batch, divided by its size: another scale, hence another margin.
    """
    return small_normal(EnergyDiscriminator(channels, size, classes, condition == "concat", width, norm == "batch"))
