"""The selection paper's classifier."""

from torch import nn

from dsopt.registry import MODELS


@MODELS.register(kind="classifier", input_size=24)
def classifier24(channels: int, classes: int, *, width: int = 64, dropout: float = 0.0) -> nn.Sequential:
    """Two blocks of 5x5 convolution, batch normalisation and 3x3 pooling, then 384-192-classes (selection paper, figure 1).

    The figure's sizes are lost; these are those of the TensorFlow CIFAR-10 network that the paper's inputs, regularisation
    and tests come from, with batch normalisation (which the text names) where that network normalises local responses.
    """

    def block(inputs: int) -> list[nn.Module]:
        return [
            nn.Conv2d(inputs, width, 5, padding=2, bias=False),
            nn.BatchNorm2d(width),
            nn.MaxPool2d(3, stride=2, padding=1),
            nn.ReLU(inplace=True),  # after the pooling: the same values for a quarter of the work
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
