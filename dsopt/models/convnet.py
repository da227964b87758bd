"""ConvNet, the standard network for comparing distillation methods."""

from torch import nn

from dsopt.models.instance_norm import InstanceNorm2d
from dsopt.registry import MODELS


@MODELS.register(kind="classifier", input_size=32)
def convnet(channels: int, classes: int, *, width: int = 128, depth: int = 3) -> nn.Sequential:
    """`depth` blocks of 3x3 convolution, instance normalization, ReLU and 2x2 average pooling, then one linear layer.

    The network of dataset condensation (Zhao et al. 2021, arXiv:2006.05929, section 3): 320,010 parameters for three channels and
    ten classes. Instance normalization depends on one image alone, so that training this network can be unrolled.
    """

    def block(inputs: int) -> list[nn.Module]:
        convolution = nn.Conv2d(inputs, width, 3, padding=1)
        return [convolution, InstanceNorm2d(width), nn.ReLU(), nn.AvgPool2d(2)]

    blocks = [module for level in range(depth) for module in block(width if level else channels)]
    return nn.Sequential(*blocks, nn.Flatten(), nn.Linear(width * (32 >> depth) ** 2, classes))
