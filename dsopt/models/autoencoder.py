"""The selection paper's autoencoder."""

from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from dsopt.registry import MODELS


class Autoencoder(nn.Module):
    """Images in 0..1 -> embedding -> images. `encode` returns the flat embedding, [b, code_channels * 9]."""

    def __init__(self, channels: int, width: int, code_channels: int) -> None:
        super().__init__()
        self.code_channels = code_channels

        def down(inputs: int, outputs: int) -> list[nn.Module]:
            return [
                nn.Conv2d(inputs, outputs, 5, padding=2, bias=False),
                nn.BatchNorm2d(outputs),
                nn.MaxPool2d(3, stride=2, padding=1),
                nn.ReLU(inplace=True),  # it commutes with max pooling; here it has a quarter of the work
            ]

        def up(inputs: int, outputs: int) -> list[nn.Module]:
            return [
                nn.ConvTranspose2d(inputs, outputs, 5, stride=2, padding=2, output_padding=1),
                nn.ReLU(inplace=True),
            ]

        self.encoder = nn.Sequential(*down(channels, width), *down(width, width), *down(width, code_channels))
        self.decoder = nn.Sequential(*up(code_channels, width), *up(width, width), *up(width, channels))
        # The last ReLU is the paper's. With a bias of mid-gray all its outputs have gradients; with a bias of zero about
        # half of them are dead from the start.
        nn.init.constant_(self.decoder[-2].bias, 0.5)  # type: ignore[arg-type]

    def encode(self, images: Float[Tensor, "b c 24 24"]) -> Float[Tensor, "b d"]:
        return self.encoder(images).flatten(1)

    def decode(self, embeddings: Float[Tensor, "b d"]) -> Float[Tensor, "b c 24 24"]:
        return self.decoder(embeddings.view(-1, self.code_channels, 3, 3))

    def ready_to_embed(self) -> "Autoencoder":
        """This network in evaluation mode, with batch normalization folded into the convolutions: faster, equal to within 1e-6."""
        self.eval()
        layers: list[nn.Module] = []
        for layer in self.encoder:
            layers.append(fuse_conv_bn_eval(layers.pop(), layer) if isinstance(layer, nn.BatchNorm2d) else layer)  # type: ignore[type-var]
        self.encoder = nn.Sequential(*layers)
        return self

    def forward(self, images: Float[Tensor, "b c 24 24"]) -> Float[Tensor, "b c 24 24"]:
        return self.decoder(self.encoder(images))


@MODELS.register(kind="autoencoder", input_size=24, picture=32)
def autoencoder(channels: int, *, width: int = 64, code_channels: int = 24) -> Autoencoder:
    """A convolutional autoencoder with an embedding of 216 = 24 x 3 x 3 elements (selection paper, section 4.2 and figure 2).

    The encoder has 5x5 convolutions, batch normalization, ReLU and 3x3 pooling, 24 -> 12 -> 6 -> 3 pixels; the decoder has three
    5x5 transposed convolutions of stride 2 with ReLU. The figure's channel counts are not known: the default `width` is our choice.
    """
    return Autoencoder(channels, width, code_channels)
