"""LeNet, the network of most small-scale distillation experiments."""

from typing import Literal

from torch import nn

from dsopt.models.initial import xavier
from dsopt.models.pooled import Pooled
from dsopt.registry import MODELS


@MODELS.register(kind="classifier", input_size=32)
def lenet(channels: int, classes: int, *, pooling: Literal["max", "average"] = "max") -> nn.Sequential:
    """LeNet with ReLU: 5x5 convolutions of 6 and 16 channels, then 120-84-classes (LeCun et al. 1998).

    As in the dataset distillation of Wang et al. 2018 (arXiv:1811.10959), with Xavier initialization: 61,706 parameters for one
    channel and ten classes. It has no batch normalization, so that its training can be unrolled.
    """
    pool = nn.MaxPool2d if pooling == "max" else nn.AvgPool2d
    return xavier(
        Pooled(
            nn.Conv2d(channels, 6, 5),
            nn.ReLU(),
            pool(2),
            nn.Conv2d(6, 16, 5),
            nn.ReLU(),
            pool(2),
            nn.Flatten(),
            nn.Linear(16 * 5 * 5, 120),
            nn.ReLU(),
            nn.Linear(120, 84),
            nn.ReLU(),
            nn.Linear(84, classes),
        )
    )
