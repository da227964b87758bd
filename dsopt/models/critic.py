"""The critic of the Wasserstein reconstruction loss."""

from torch import nn

from dsopt.registry import MODELS


@MODELS.register(kind="critic", input_size=24)
def critic(channels: int, *, width: int = 64) -> nn.Sequential:
    """Three 5x5 convolutions of stride 2 and a linear score [b, 1].

    Without batch normalization, with which a gradient penalty is not valid (Gulrajani et al. 2017, arXiv:1704.00028, section 4).
    """
    return nn.Sequential(
        nn.Conv2d(channels, width, 5, stride=2, padding=2),
        nn.LeakyReLU(0.2),
        nn.Conv2d(width, 2 * width, 5, stride=2, padding=2),
        nn.LeakyReLU(0.2),
        nn.Conv2d(2 * width, 4 * width, 5, stride=2, padding=2),
        nn.LeakyReLU(0.2),
        nn.Flatten(),
        nn.Linear(4 * width * 3 * 3, 1),
    )
