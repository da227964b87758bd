"""A small fast network for pictures of 32 pixels, in the spirit of the field's speed records on CIFAR-10."""

import itertools

import torch
import torch.distributed as dist
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from dsopt.registry import MODELS


class Whitening(nn.Module):
    """A convolution with fixed filters that make the patches of pictures uncorrelated and of variance 1, and a learned bias.

    The filters are the eigenvectors of the patches' covariance, divided by the roots of their eigenvalues, each with both signs, so
    that no activation loses a direction (Page 2019, "How to train your ResNet 8: bag of tricks"). Here the patches are those of the
    first batch that the network is trained on, of all workers: it then needs no data to be built. Until then the filters are
    random and orthonormal. They are buffers, so they are saved, restored and averaged with the network.

    Args:
        channels: of the pictures.
        side: of a patch, in pixels.
        floor: added to the eigenvalues, whose sum is scaled to their number: directions that hardly vary are not blown up.
    """

    def __init__(self, channels: int, side: int, floor: float = 5e-4) -> None:
        super().__init__()
        size = channels * side * side
        self.side, self.floor, self.outputs = side, floor, 2 * size
        self.world = 1  # workers that train the network, as `dsopt.learners.placement.place` tells it
        first = nn.init.orthogonal_(torch.empty(size, size)).view(size, channels, side, side)
        self.filters: Tensor
        self.whitens: Tensor
        self.register_buffer("filters", torch.cat([first, -first]))
        self.register_buffer("whitens", torch.zeros((), dtype=torch.bool))
        self.bias = nn.Parameter(torch.zeros(self.outputs))
        self._known: bool | None = None  # what `whitens` says, on the host: a step must not wait for the device

    def forward(self, images: Float[Tensor, "b c h w"]) -> Float[Tensor, "b k h2 w2"]:
        if self.training and not self._known:
            if not bool(self.whitens):
                self.filters.copy_(whitening(images.detach().float(), self.side, self.floor, self.world))
                self.whitens.fill_(True)
            self._known = True
        return F.conv2d(images, self.filters, self.bias)


@torch.no_grad()
def whitening(images: Float[Tensor, "b c h w"], side: int, floor: float, world: int = 1) -> Float[Tensor, "k c s s"]:
    """The filters of `Whitening` for the patches of pictures, of those of all workers."""
    with torch.autocast(images.device.type, enabled=False):
        channels = images.shape[1]
        patches = F.unfold(images, side).transpose(0, 1).flatten(1)  # [c s s, patches]
        values, vectors = torch.linalg.eigh(_covariance(patches, world).cpu())  # so small that a GPU would take longer
        scale = values.sum().clamp_min(1e-12) / len(values)
        filters = (vectors / (values / scale + floor).clamp_min(floor).sqrt() / scale.sqrt()).T.view(-1, channels, side, side)
        return torch.cat([filters, -filters])


def _covariance(values: Float[Tensor, "d n"], world: int) -> Float[Tensor, "d d"]:
    """Of the columns of all workers, which may have different numbers of them."""
    total = torch.cat([values.sum(1), values.new_full((1,), values.shape[1])])
    if world > 1:
        dist.all_reduce(total)
    centered = values - (total[:-1] / total[-1])[:, None]
    products = centered @ centered.T
    if world > 1:
        dist.all_reduce(products)
    return products / (total[-1] - 1)


class _Norm(nn.Module):
    """Batch normalization with a bias and without a scale."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.norm, self.bias = nn.BatchNorm2d(channels, affine=False), nn.Parameter(torch.zeros(channels, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        return self.norm(x) + self.bias


def _block(inputs: int, outputs: int) -> list[nn.Module]:
    first, second = (nn.Conv2d(maps, outputs, 3, padding=1, bias=False) for maps in (inputs, outputs))
    return [first, nn.MaxPool2d(2), _Norm(outputs), nn.GELU(), second, _Norm(outputs), nn.GELU()]


class Whitened(nn.Module):
    """The network of `whitened`."""

    def __init__(self, layers: list[nn.Module], scale: float, mirror: bool) -> None:
        super().__init__()
        self.layers, self.scale, self.mirror = nn.Sequential(*layers), scale, mirror

    def forward(self, images: Float[Tensor, "b c h w"]) -> Float[Tensor, "b k"]:
        logits = self.layers(images)
        if self.mirror and not self.training:
            logits = (logits + self.layers(images.flip(3))) / 2
        return logits * self.scale


@MODELS.register(kind="classifier", input_size=32, any_size=True)
def whitened(
    channels: int, classes: int, *, width: int = 64, patch: int = 2, whiten: bool = True, scale: float = 1 / 9, mirror: bool = True
) -> Whitened:
    """A VGG of six 3x3 convolutions behind a fixed whitening layer (Page 2019; Jordan 2024, arXiv:2404.00498, section 3).

    Three blocks with `width`, 4 and 4 times as many maps, each convolution, 2x2 max pooling, convolution, with batch
    normalization without scales and GELU; then max pooling over all 3x3 places and a linear layer without bias, whose logits are
    scaled. Filters start as the identity as far as they go (arXiv:2404.00498, section 3.2). Deviations: the patches of the
    whitening are those of the first batch, and its bias is trained to the end.

    Args:
        whiten: false: a learned convolution in place of the whitening, for comparison.
        mirror: once trained, answer with the mean of the logits of a picture and of its mirror image. Not for digits or text.
    """
    first = Whitening(channels, patch) if whiten else nn.Conv2d(channels, 2 * channels * patch * patch, patch)
    maps = [2 * channels * patch * patch, width, 4 * width, 4 * width]
    blocks = [layer for inputs, outputs in itertools.pairwise(maps) for layer in _block(inputs, outputs)]
    for layer in blocks:
        if isinstance(layer, nn.Conv2d):
            nn.init.dirac_(layer.weight[: layer.in_channels])  # the other filters keep torch's random values
    head = nn.Linear(maps[-1], classes, bias=False)
    return Whitened([first, nn.GELU(), *blocks, nn.AdaptiveMaxPool2d(1), nn.Flatten(), head], scale, mirror)
