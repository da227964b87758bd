"""The small VGG networks of the augmentation paper."""

from torch import nn

from dsopt.registry import MODELS


@MODELS.register(kind="classifier", input_size=32)
def vgg(channels: int, classes: int, *, width: int = 64, batch_norm: bool = True, dropout: float = 0.6) -> nn.Sequential:
    """Three stages of two 3x3 convolutions with 64, 128 and 256 maps and Leaky ReLU, then one linear layer.

    The augmentation paper's section 2.2: batch normalization after every convolution (on CIFAR-10, not on MNIST), 2x2 max pooling
    and dropout of 0.6 after every stage, Glorot's uniform initial weights. The paper does not state the slope of the Leaky ReLU;
    here it is torch's 0.01. 1.2 million parameters for three channels and ten classes.
    """
    return _vgg(channels, classes, 32, width, batch_norm, dropout)


@MODELS.register(kind="classifier", input_size=28)
def vgg28(channels: int, classes: int, *, width: int = 64, batch_norm: bool = False, dropout: float = 0.6) -> nn.Sequential:
    """`vgg` for images of 28x28 pixels, such as MNIST; without batch normalization, as in the paper for MNIST."""
    return _vgg(channels, classes, 28, width, batch_norm, dropout)


def _vgg(channels: int, classes: int, side: int, width: int, batch_norm: bool, dropout: float) -> nn.Sequential:
    def convolution(inputs: int, outputs: int) -> list[nn.Module]:
        norm = [nn.BatchNorm2d(outputs)] if batch_norm else []
        return [nn.Conv2d(inputs, outputs, 3, padding=1), *norm, nn.LeakyReLU()]

    def stage(inputs: int, outputs: int) -> list[nn.Module]:
        return [*convolution(inputs, outputs), *convolution(outputs, outputs), nn.MaxPool2d(2), nn.Dropout(dropout)]

    stages = [*stage(channels, width), *stage(width, 2 * width), *stage(2 * width, 4 * width)]
    network = nn.Sequential(*stages, nn.Flatten(), nn.Linear(4 * width * (side // 8) ** 2, classes))
    for module in network:
        if isinstance(module, nn.Conv2d | nn.Linear):
            nn.init.xavier_uniform_(module.weight)
            nn.init.zeros_(module.bias)  # pyright: ignore[reportArgumentType]
    return network
