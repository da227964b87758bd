"""InfoGAN's networks, of which the augmentation paper's CDCGAN and CDCVAE consist."""

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dsopt.losses.adversarial import DiscriminatorOutput
from dsopt.models.conditions import HALVED_TWICE, DiscriminatorCondition, Head, with_labels, with_planes
from dsopt.models.initial import small_normal
from dsopt.registry import MODELS

Labels = Literal["none", "concat"]


class InfoganGenerator(nn.Module):
    def __init__(self, channels: int, size: int, classes: int, latent: int, conditional: bool, width: int) -> None:
        super().__init__()
        self.side, self.classes, self.conditional = size // 4, classes, conditional
        wide, small = 16 * width, 2 * width * self.side**2
        self.dense = nn.Sequential(
            nn.Linear(latent + classes * conditional, wide),
            nn.BatchNorm1d(wide),
            nn.ReLU(),
            nn.Linear(wide, small),
            nn.BatchNorm1d(small),
            nn.ReLU(),
        )
        self.ups = nn.Sequential(
            nn.ConvTranspose2d(2 * width, width, 4, stride=2, padding=1),
            nn.BatchNorm2d(width),
            nn.ReLU(),
            nn.ConvTranspose2d(width, channels, 4, stride=2, padding=1),
            nn.Sigmoid(),
        )

    def forward(self, noise: Tensor, labels: Tensor | None) -> Tensor:
        if self.conditional:
            assert labels is not None
            noise = with_labels(noise, labels, self.classes)
        return self.ups(self.dense(noise).view(len(noise), -1, self.side, self.side))


@MODELS.register(kind="generator", input_size=None, low=0.0, sizes=HALVED_TWICE)
def infogan_generator(
    channels: int, size: int, classes: int, latent: int, *, condition: Labels = "none", width: int = 64
) -> nn.Module:
    """InfoGAN's generator: linear layers, then transposed convolutions (Chen et al. 2016, arXiv:1606.03657, appendix C.1).

    Two of each; the convolutions are 4x4 with stride 2. With condition=concat it is the generator of CDCGAN and the decoder of
    CDCVAE (augmentation paper, section 2.4).
    """
    return small_normal(InfoganGenerator(channels, size, classes, latent, condition == "concat", width))


class InfoganBody(nn.Module):
    """(images, labels or None) -> features [b, 16 * width]; with `planes`, the labels are further channels of the images."""

    def __init__(self, channels: int, size: int, classes: int, planes: bool, width: int, norm: bool) -> None:
        super().__init__()
        self.classes, self.planes, wide = classes, planes, 16 * width
        self.layers = nn.Sequential(
            nn.Conv2d(channels + classes * planes, width, 4, stride=2, padding=1),
            nn.LeakyReLU(0.2),
            nn.Conv2d(width, 2 * width, 4, stride=2, padding=1),
            *([nn.BatchNorm2d(2 * width)] if norm else []),
            nn.LeakyReLU(0.2),
            nn.Flatten(),
            nn.Linear(2 * width * (size // 4) ** 2, wide),
            *([nn.BatchNorm1d(wide)] if norm else []),
            nn.LeakyReLU(0.2),
        )

    def forward(self, images: Tensor, labels: Tensor | None) -> Tensor:
        if self.planes:
            assert labels is not None
            images = with_planes(images, labels, self.classes)
        return self.layers(images)


class InfoganDiscriminator(nn.Module):
    def __init__(self, body: InfoganBody, head: Head, conditional: bool) -> None:
        super().__init__()
        self.body, self.head, self.conditional = body, head, conditional

    def forward(self, images: Tensor, labels: Tensor | None) -> DiscriminatorOutput:
        return self.head(self.body(images, labels), labels)


@MODELS.register(kind="discriminator", input_size=None, low=None, sizes=HALVED_TWICE, energy=False)
def infogan_discriminator(
    channels: int,
    size: int,
    classes: int,
    *,
    condition: DiscriminatorCondition = "none",
    width: int = 64,
    norm: Literal["batch", "none"] = "batch",
    codes: int = 0,
) -> nn.Module:
    """Two 4x4 convolutions of stride 2 and two linear layers (InfoGAN, Chen et al. 2016, arXiv:1606.03657, appendix C.1).

    With condition=auxiliary and `codes` (see the term information) class and codes have one linear layer each, as in the paper's
    section 5; its appendix has a hidden layer of 128 before them.
    """
    body = InfoganBody(channels, size, classes, condition == "concat", width, norm == "batch")
    return small_normal(InfoganDiscriminator(body, Head(16 * width, classes, condition, codes), condition != "none"))


class InfoganEncoder(nn.Module):
    def __init__(self, body: InfoganBody, width: int, latent: int, variance: bool) -> None:
        super().__init__()
        self.body, self.head, self.conditional, self.variance = body, nn.Linear(width, 2 * latent), body.planes, variance

    def forward(self, images: Tensor, labels: Tensor | None) -> tuple[Tensor, Tensor]:
        mean, wide = self.head(self.body(images, labels)).chunk(2, dim=1)
        positive = F.softplus(wide.to(torch.float32))  # bfloat16 would lose the 1e-6
        return mean, (1e-12 + positive).sqrt() if self.variance else 1e-6 + positive


@MODELS.register(kind="encoder", input_size=None, low=0.0, sizes=HALVED_TWICE)
def infogan_encoder(
    channels: int,
    size: int,
    classes: int,
    latent: int,
    *,
    condition: Labels = "none",
    width: int = 64,
    softplus: Literal["deviation", "variance"] = "deviation",
) -> nn.Module:
    """CDCVAE's encoder: the discriminator's body with two outputs a dimension of the code (augmentation paper, section 2.4.2).

    The outputs are its mean and standard deviation, at least 1e-6.

    Args:
        softplus: of what it is the last function: of the variance, as in the paper's text, or of the deviation, as in the code
            that it names.
    """
    body = InfoganBody(channels, size, classes, condition == "concat", width, norm=True)
    return small_normal(InfoganEncoder(body, 16 * width, latent, softplus == "variance"))
