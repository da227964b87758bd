"""The selection paper's classifier."""

from torch import nn

from dsopt.registry import MODELS


@MODELS.register(kind="classifier", input_size=24, picture=32)
def classifier24(channels: int, classes: int, *, width: int = 64, dropout: float = 0.0) -> nn.Sequential:
    """Two blocks of 5x5 convolution, batch normalization and 3x3 pooling, then 384-192-classes (selection paper, figure 1).

    The figure's sizes are not known. These are those of the TensorFlow CIFAR-10 network, from which the paper has its inputs,
    regularization and tests, with batch normalization (which the text names) in place of local response normalization.
    """

    def block(inputs: int) -> list[nn.Module]:
        return [
            nn.Conv2d(inputs, width, 5, padding=2, bias=False),
            nn.BatchNorm2d(width),
            nn.MaxPool2d(3, stride=2, padding=1),
            nn.ReLU(inplace=True),  # it commutes with max pooling; here it has a quarter of the work
        ]

    return nn.Sequential(
        *block(channels),
        *block(width),
        nn.Flatten(),
        nn.Linear(width * 6 * 6, 384),
        nn.ReLU(inplace=True),
        nn.Dropout(dropout),
        nn.Linear(384, 192),
        nn.ReLU(inplace=True),
        nn.Linear(192, classes),
    )
