"""AlexCifarNet, the distillation papers' network for CIFAR-10."""

from torch import nn

from dsopt.models.initial import xavier
from dsopt.registry import MODELS


@MODELS.register(kind="classifier", input_size=32)
def alexcifarnet(channels: int, classes: int) -> nn.Sequential:
    """Two 5x5 convolutions of 64 channels with local response normalization, then 384-192-classes (after Krizhevsky 2012).

    As in the dataset distillation of Wang et al. 2018 (arXiv:1811.10959), with Xavier initialization: 1.76 million parameters.
    """

    def normalize() -> nn.Module:
        return nn.LocalResponseNorm(4, alpha=1e-3 / 9, beta=0.75, k=1.0)

    def pool() -> nn.Module:
        return nn.MaxPool2d(3, stride=2, padding=1)

    return xavier(
        nn.Sequential(
            nn.Conv2d(channels, 64, 5, padding=2),
            nn.ReLU(),
            pool(),
            normalize(),
            nn.Conv2d(64, 64, 5, padding=2),
            nn.ReLU(),
            normalize(),
            pool(),
            nn.Flatten(),
            nn.Linear(64 * 8 * 8, 384),
            nn.ReLU(),
            nn.Linear(384, 192),
            nn.ReLU(),
            nn.Linear(192, classes),
        )
    )
