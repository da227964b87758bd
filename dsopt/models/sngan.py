"""SNGAN's residual networks, class-conditional by projection and by batch normalization: the thesis's GAN."""

from typing import Literal

import torch.nn.functional as F
from torch import Tensor, nn

from dsopt.losses.adversarial import DiscriminatorOutput
from dsopt.models.conditions import HALVED_TWICE, GeneratorNorm, Head, halvings
from dsopt.models.spectral import spectral
from dsopt.registry import MODELS


class Up(nn.Module):
    """A residual block that doubles the image: [b, width, h, w] -> [b, width, 2h, 2w]."""

    def __init__(self, width: int, classes: int | None, upsample: str) -> None:
        super().__init__()
        self.upsample = upsample
        self.norms = nn.ModuleList(GeneratorNorm(width, classes) for _ in range(2))
        self.convolutions = nn.ModuleList(nn.Conv2d(width, width, 3, padding=1) for _ in range(2))
        self.shortcut = nn.Conv2d(width, width, 1)
        _xavier(*self.convolutions, gain=2**0.5)
        _xavier(self.shortcut)

    def forward(self, images: Tensor, labels: Tensor | None) -> Tensor:
        residual = self.convolutions[0](self._double(self.norms[0](images, labels).relu()))
        residual = self.convolutions[1](self.norms[1](residual, labels).relu())
        # A 1x1 convolution commutes with the doubling; before it, it has a quarter of the work.
        return residual + self._double(self.shortcut(images))

    def _double(self, images: Tensor) -> Tensor:
        return F.interpolate(images, scale_factor=2, mode=self.upsample)


class SnganGenerator(nn.Module):
    def __init__(self, channels: int, size: int, classes: int, latent: int, conditional: bool, width: int, upsample: str) -> None:
        super().__init__()
        self.side, levels = halvings(size)
        self.conditional = conditional
        self.first = nn.Linear(latent, width * self.side**2)
        self.blocks = nn.ModuleList(Up(width, classes if conditional else None, upsample) for _ in range(levels))
        self.norm, self.last = nn.BatchNorm2d(width), nn.Conv2d(width, channels, 3, padding=1)
        _xavier(self.first, self.last)

    def forward(self, noise: Tensor, labels: Tensor | None) -> Tensor:
        images = self.first(noise).view(len(noise), -1, self.side, self.side)
        for block in self.blocks:
            images = block(images, labels)
        return self.last(self.norm(images).relu()).tanh()


@MODELS.register(kind="generator", input_size=None, low=-1.0, sizes=HALVED_TWICE)
def sngan_generator(
    channels: int,
    size: int,
    classes: int,
    latent: int,
    *,
    condition: Literal["none", "batch_norm"] = "none",
    width: int = 64,
    upsample: Literal["nearest", "bilinear"] = "nearest",
) -> nn.Module:
    """SNGAN's generator: a linear layer and residual blocks that double the image (Miyato et al. 2018, arXiv:1802.05957, table 4).

    The thesis's table C.3. The paper's width is 256; 64 needs a sixteenth of the work. The authors double by nearest neighbor; the
    library that the thesis used does so bilinearly. There are as many blocks as the size has halvings: three for 32 pixels.
    """
    return SnganGenerator(channels, size, classes, latent, condition == "batch_norm", width, upsample)


class Down(nn.Module):
    """A residual block that may halve the image: [b, inputs, h, w] -> [b, outputs, h / 2, w / 2]."""

    def __init__(self, inputs: int, outputs: int, *, halve: bool, first: bool = False) -> None:
        super().__init__()
        self.halve, self.first = halve, first
        self.convolutions = nn.ModuleList(nn.Conv2d(width, outputs, 3, padding=1) for width in (inputs, outputs))
        self.shortcut = nn.Conv2d(inputs, outputs, 1) if halve else None
        _xavier(*self.convolutions, gain=2**0.5)
        if self.shortcut is not None:
            _xavier(self.shortcut)

    def forward(self, images: Tensor) -> Tensor:
        residual = self.convolutions[0](images if self.first else images.relu())
        residual = self.convolutions[1](residual.relu())
        if self.shortcut is None:
            return residual + images
        # A 1x1 convolution commutes with average pooling; after it, it has a quarter of the work.
        return F.avg_pool2d(residual, 2) + self.shortcut(F.avg_pool2d(images, 2))


class SnganDiscriminator(nn.Module):
    def __init__(
        self, channels: int, classes: int, condition: Literal["none", "projection", "auxiliary"], width: int, codes: int
    ) -> None:
        super().__init__()
        self.conditional = condition != "none"
        self.blocks = nn.Sequential(
            Down(channels, width, halve=True, first=True),
            Down(width, width, halve=True),
            Down(width, width, halve=False),
            Down(width, width, halve=False),
        )
        self.head = Head(width, classes, condition, codes)
        _xavier(*(module for module in self.head.children()))

    def forward(self, images: Tensor, labels: Tensor | None) -> DiscriminatorOutput:
        return self.head(self.blocks(images).relu().sum((2, 3)), labels)


@MODELS.register(kind="discriminator", input_size=None, low=None, sizes=HALVED_TWICE, energy=False)
def sngan_discriminator(
    channels: int,
    size: int,
    classes: int,
    *,
    condition: Literal["none", "projection", "auxiliary"] = "none",
    width: int = 32,
    norm: Literal["spectral", "none"] = "spectral",
    codes: int = 0,
) -> nn.Module:
    """SNGAN's discriminator: four residual blocks and the sum over space (Miyato et al. 2018, arXiv:1802.05957, table 4).

    The thesis's table C.2. All layers are spectrally normalized. The paper's width is 128; 32 needs a sixteenth of the work.
    `codes` are for the term information.
    """
    network = SnganDiscriminator(channels, classes, condition, width, codes)
    return spectral(network) if norm == "spectral" else network


def _xavier(*modules: nn.Module, gain: float = 1.0) -> None:
    """Uniform Xavier weights (Glorot & Bengio 2010), biases 0."""
    for module in modules:
        assert isinstance(module, nn.Conv2d | nn.Linear | nn.Embedding)
        nn.init.xavier_uniform_(module.weight, gain)
        if not isinstance(module, nn.Embedding) and module.bias is not None:
            nn.init.zeros_(module.bias)
