"""The first GAN: two multilayer perceptrons."""

from typing import Literal

from torch import Tensor, nn

from dsopt.losses.adversarial import DiscriminatorOutput
from dsopt.models.conditions import ANY, DiscriminatorCondition, Head, with_labels
from dsopt.registry import MODELS


class MlpGenerator(nn.Module):
    def __init__(self, channels: int, size: int, classes: int, latent: int, conditional: bool, width: int) -> None:
        super().__init__()
        self.shape, self.classes, self.conditional = (channels, size, size), classes, conditional
        self.body = nn.Sequential(
            nn.Linear(latent + classes * conditional, width),
            nn.ReLU(),
            nn.Linear(width, width),
            nn.ReLU(),
            nn.Linear(width, channels * size * size),
            nn.Sigmoid(),
        )

    def forward(self, noise: Tensor, labels: Tensor | None) -> Tensor:
        if self.conditional:
            assert labels is not None
            noise = with_labels(noise, labels, self.classes)
        return self.body(noise).view(-1, *self.shape)


@MODELS.register(kind="generator", input_size=None, low=0.0, sizes=ANY)
def mlp_generator(
    channels: int, size: int, classes: int, latent: int, *, condition: Literal["none", "concat"] = "none", width: int = 1200
) -> nn.Module:
    """Two hidden layers of `width` with ReLU, then a sigmoid (Goodfellow et al. 2014, arXiv:1406.2661).

    Sizes are as in the colorization study's own code.
    """
    return MlpGenerator(channels, size, classes, latent, condition == "concat", width)


class MlpDiscriminator(nn.Module):
    def __init__(
        self, channels: int, size: int, classes: int, condition: DiscriminatorCondition, widths: list[int], codes: int
    ) -> None:
        super().__init__()
        self.classes, self.condition, self.conditional = classes, condition, condition != "none"
        pixels = channels * size * size + classes * (condition == "concat")
        layers = [nn.Linear(pixels, widths[0]), nn.LeakyReLU(0.2), nn.Linear(widths[0], widths[1]), nn.LeakyReLU(0.2)]
        self.body, self.head = nn.Sequential(*layers), Head(widths[1], classes, condition, codes)

    def forward(self, images: Tensor, labels: Tensor | None) -> DiscriminatorOutput:
        pixels = images.flatten(1)
        if self.condition == "concat":
            assert labels is not None
            pixels = with_labels(pixels, labels, self.classes)
        return self.head(self.body(pixels), labels)


@MODELS.register(kind="discriminator", input_size=None, low=None, sizes=ANY, energy=False)
def mlp_discriminator(
    channels: int, size: int, classes: int, *, condition: DiscriminatorCondition = "none", width: int = 1200, codes: int = 0
) -> nn.Module:
    """Hidden layers of `width` and `width` / 5 with leaky ReLU 0.2: 1200 and 240, as in the colorization study's code.

    Goodfellow et al. 2014 (arXiv:1406.2661) had maxout units. `codes` are for the term information.
    """
    return MlpDiscriminator(channels, size, classes, condition, [width, width // 5], codes)
