"""The residual network with which the distillation thesis evaluates generated images."""

from typing import Any

import torch.nn.functional as F
from torch import Tensor, nn

from dsopt.registry import MODELS


class _Block(nn.Module):
    """Two 3x3 convolutions with a skip connection, which is a 1x1 convolution if the size changes; all with batch normalization."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.first, self.second = _normalized(inputs, outputs, 3, stride), _normalized(outputs, outputs, 3)
        self.skip = _normalized(inputs, outputs, 1, stride) if stride > 1 else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.second(F.relu(self.first(x))) + self.skip(x))


def _normalized(inputs: int, outputs: int, side: int, stride: int = 1) -> nn.Sequential:
    convolution = nn.Conv2d(inputs, outputs, side, stride, padding=side // 2, bias=False)
    return nn.Sequential(convolution, nn.BatchNorm2d(outputs))


@MODELS.register(kind="classifier", input_size=32, any_size=True)
def resnet21(channels: int, classes: int, *, width: int = 64) -> nn.Sequential:
    """A convolution, 3x3 max pooling to half the side, eight residual blocks of 64 to 512 maps, average pooling, a linear layer.

    The distillation thesis's table C.1: 21 layers with weights, including the three on skip connections; 11.2 million parameters
    for three channels and ten classes. Its recipe is `train.schedule.name=one_cycle train.learning_rate=0.01`.
    """
    blocks: list[Any] = []
    for level in range(4):
        outputs = width << level
        blocks += [_Block(outputs // 2 if level else width, outputs, 2 if level else 1), _Block(outputs, outputs, 1)]
    stem = [*_normalized(channels, width, 3), nn.ReLU(), nn.MaxPool2d(3, 2, padding=1)]
    return nn.Sequential(*stem, *blocks, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8 * width, classes))
