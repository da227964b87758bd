"""Other autoencoders that embed: denoising, variational and sparse ones, with the networks of the selection paper's.

Its section 6 leaves "other types of autoencoders" for later. What a kind adds to the loss is a penalty, which its network gives in
training beside the reconstruction.
"""

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from dsopt.models.autoencoder import Autoencoder
from dsopt.registry import MODELS


class Denoising(Autoencoder):
    def __init__(self, channels: int, width: int, code_channels: int, noise: float) -> None:
        super().__init__(channels, width, code_channels)
        self.noise = noise

    def forward(self, images: Tensor) -> Tensor:
        seen = images + self.noise * torch.randn_like(images) if self.training else images
        return super().forward(seen)


@MODELS.register(kind="autoencoder", input_size=24, picture=32)
def denoising_autoencoder(channels: int, *, width: int = 64, code_channels: int = 24, noise: float = 0.1) -> Autoencoder:
    """An autoencoder that restores images from ones with normal noise (Vincent et al. 2008, ICML).

    Args:
        noise: its standard deviation, for pixels in 0..1.
    """
    return Denoising(channels, width, code_channels, noise)


class Sparse(Autoencoder):
    def __init__(self, channels: int, width: int, code_channels: int, sparsity: float) -> None:
        super().__init__(channels, width, code_channels)
        self.sparsity = sparsity

    def forward(self, images: Tensor) -> Tensor | tuple[Tensor, Tensor]:
        code = self.encoder(images)
        restored = self.decoder(code)
        return (restored, self.sparsity * code.float().abs().mean()) if self.training else restored


@MODELS.register(kind="autoencoder", input_size=24, picture=32)
def sparse_autoencoder(channels: int, *, width: int = 64, code_channels: int = 24, sparsity: float = 0.003) -> Autoencoder:
    """An autoencoder with an L1 penalty on its code, so that few elements are active for an image.

    Args:
        sparsity: weight of the mean absolute element, beside the mean squared error of pixels in 0..1.
    """
    return Sparse(channels, width, code_channels, sparsity)


class Variational(Autoencoder):
    """Its encoder ends in the means and deviations of the code; the embedding is the mean."""

    def __init__(self, channels: int, width: int, code_channels: int, deviation: float) -> None:
        super().__init__(channels, width, code_channels)
        whole = Autoencoder(channels, width, 2 * code_channels).encoder
        self.encoder, self.weight = whole[:-1], 2 * deviation**2  # without the last ReLU: means have both signs

    def encode(self, images: Float[Tensor, "b c 24 24"]) -> Float[Tensor, "b d"]:
        return self.encoder(images)[:, : self.code_channels].flatten(1)

    def forward(self, images: Tensor) -> Tensor | tuple[Tensor, Tensor]:
        mean, wide = self.encoder(images).float().chunk(2, dim=1)
        if not self.training:
            return self.decoder(mean)
        deviation = 1e-6 + F.softplus(wide)
        divergence = (mean.square() + deviation.square() - 1 - 2 * deviation.log()).sum() / 2
        return self.decoder(mean + deviation * torch.randn_like(mean)), self.weight * divergence / images.numel()


@MODELS.register(kind="autoencoder", input_size=24, picture=32)
def variational_autoencoder(channels: int, *, width: int = 64, code_channels: int = 24, deviation: float = 0.1) -> nn.Module:
    """A variational autoencoder (Kingma & Welling 2014, arXiv:1312.6114); its embedding is the mean of the code.

    Args:
        deviation: of a pixel in 0..1 given the code. With it, error and penalty together are an image's negative evidence lower
            bound, but for a constant and a factor.
    """
    return Variational(channels, width, code_channels, deviation)
