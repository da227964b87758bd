"""Normalization of real images to network inputs, and its inverse, from learned images to displayable ones."""

from dataclasses import asdict, dataclass, field
from typing import Any

import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from dsopt.augment.geometry import center_crop
from dsopt.augment.inputs import Inputs, constant, make_inputs
from dsopt.errors import InputError
from dsopt.registry import NORMALISATIONS

AT_ONCE = 1000  # images in memory as floats


@dataclass(frozen=True)
class Channels:
    """Mean and standard deviation of every channel of the training images, on the scale 0..1."""

    mean: list[float]
    deviation: list[float]
    side = None  # for images of any size

    def normalize(self, images: Float[Tensor, "b c s s"]) -> Float[Tensor, "b c s s"]:
        """Images in 0..1 -> normalized images."""
        mean, deviation = self._like(images)
        return (images - mean) / deviation

    def denormalize(self, images: Float[Tensor, "b c s s"]) -> Float[Tensor, "b c s s"]:
        """Normalized images -> images in about 0..1."""
        mean, deviation = self._like(images)
        return images * deviation + mean

    def _like(self, images: Tensor) -> list[Tensor]:
        return [constant(tuple(values), images.dtype, images.device) for values in (self.mean, self.deviation)]

    def describe(self) -> tuple[dict[str, Any], dict[str, Tensor]]:
        """Its parameters: plain values for a manifest, and tensors that are too large for one. See `from_description`."""
        return {"name": "channels"} | asdict(self), {}


@dataclass(frozen=True)
class Whitening:
    """ZCA whitening of standardized images: each minus its own mean, and scaled to unit norm.

    Args:
        mean: of the standardized training images, flattened [d].
        vectors: eigenvectors of their covariance, in columns [d, d].
        values: the divisor along each eigenvector [d].
        level, length: averages of the images' own means and norms, which `denormalize` restores.
        side: of the images, in pixels.
    """

    mean: Tensor
    vectors: Tensor
    values: Tensor
    level: float
    length: float
    side: int
    _placed: dict[torch.device, list[Tensor]] = field(default_factory=dict, compare=False)  # moved once to each device

    def normalize(self, images: Float[Tensor, "b c s s"]) -> Float[Tensor, "b c s s"]:
        """Images in 0..1, or on any other scale, as they are scaled to unit norm -> whitened images."""
        mean, vectors, values = self._on(images.device)
        return ((_standardized(images.flatten(1))[0] - mean) @ vectors / values @ vectors.T).view_as(images)

    def denormalize(self, images: Float[Tensor, "b c s s"]) -> Float[Tensor, "b c s s"]:
        """Whitened images -> images in about 0..1, with the average mean and norm."""
        mean, vectors, values = self._on(images.device)
        flat = images.flatten(1) @ vectors * values @ vectors.T + mean
        return (flat * self.length + self.level).view_as(images)

    def _on(self, device: torch.device) -> list[Tensor]:
        if device not in self._placed:
            self._placed[device] = [tensor.to(device) for tensor in (self.mean, self.vectors, self.values)]
        return self._placed[device]

    def describe(self) -> tuple[dict[str, Any], dict[str, Tensor]]:
        """As in `Channels`."""
        plain = {"name": "zca", "level": self.level, "length": self.length, "side": self.side}
        return plain, {"mean": self.mean, "vectors": self.vectors, "values": self.values}


Normalisation = Channels | Whitening


@NORMALISATIONS.register
def channels(images: UInt8[Tensor, "n c h w"], size: int) -> Channels:
    """Every channel minus its mean, divided by its standard deviation."""
    # Exact sums over bytes by their histogram, which also needs no copy of the images as floats.
    counts = torch.stack([torch.bincount(channel.flatten(), minlength=256) for channel in images.transpose(0, 1)]).double()
    values = torch.arange(256).double() / 255
    mean = (counts @ values) / counts.sum(1)
    deviation = ((counts @ values.square()) / counts.sum(1) - mean.square()).sqrt().clamp_min(1e-3)
    return Channels(mean.tolist(), deviation.tolist())


@NORMALISATIONS.register
def zca(images: UInt8[Tensor, "n c h w"], size: int, *, regularise: float = 0.1) -> Whitening:
    """ZCA whitening over all pixels, as in KIP (Nguyen et al. 2021, arXiv:2107.13034), FRePo and RaT-BPTT.

    Images are standardized first: each minus its own mean, and scaled to unit norm. Then the mean image is subtracted, and every
    principal direction is divided by the square root of its variance plus `regularise` times the mean variance. For n images of d
    numbers this takes n d^2 operations, and d^2 more numbers in the artifact: 38 MB for CIFAR-10.

    Raises:
        InputError: `regularise` is not above 0; directions without variance would be divided by 0.
    """
    if regularise <= 0:
        raise InputError(f"distill.normalise: zca: options.regularise={regularise:g}: must be above 0.")
    cut = make_inputs([], size, None).test
    count, total, square, level, length = len(images), 0.0, 0.0, 0.0, 0.0
    for part in images.split(AT_ONCE):
        flat, means, norms = _standardized(cut(part).flatten(1))
        # Sums in float64: in float32 the difference of large sums would lose the small variances.
        total, square = total + flat.sum(0, dtype=torch.float64), square + (flat.T @ flat).double()
        level, length = level + float(means.sum()), length + float(norms.sum())
    assert isinstance(total, Tensor) and isinstance(square, Tensor)
    mean = total / count
    values, vectors = torch.linalg.eigh((square / count - mean.outer(mean)).float())
    spread = (values.clamp_min(0) + regularise * values.mean()).sqrt()
    return Whitening(mean.float(), vectors, spread, level / count, length / count, size)


def _standardized(flat: Float[Tensor, "b d"]) -> tuple[Float[Tensor, "b d"], Float[Tensor, "b 1"], Float[Tensor, "b 1"]]:
    """Images minus their own means, scaled to unit norm; the means; and the norms before the scaling."""
    means = flat.mean(1, keepdim=True)
    centered = flat - means
    norms = centered.norm(dim=1, keepdim=True).clamp_min(1e-6)  # of an image of one color the norm is 0
    return centered / norms, means, norms


def from_description(plain: dict[str, Any], tensors: dict[str, Tensor]) -> Normalisation:
    """The normalization from the results of its method `describe`."""
    parameters = {key: value for key, value in plain.items() if key != "name"}
    if plain.get("name") != "zca":
        return Channels(**parameters)
    return Whitening(tensors["mean"], tensors["vectors"], tensors["values"], **parameters)


def normalized_inputs(normalisation: Normalisation, size: int, loaded: int | None = None) -> Inputs:
    """Bytes [b, c, h, w] -> normalized images, cropped to the central square of `size` pixels.

    Args:
        loaded: as of `make_inputs`.
    """
    cut = make_inputs([], normalisation.side or size, None, loaded=loaded).test

    def transform(images: Tensor) -> Tensor:
        return center_crop(normalisation.normalize(cut(images)), size).contiguous()

    return Inputs(lambda images, draw: transform(images), transform, loaded=loaded)


def to_bytes(normalisation: Normalisation, images: Float[Tensor, "b c s s"]) -> UInt8[Tensor, "b c s s"]:
    """Normalized images -> displayable images; values outside of 0..1 are clipped."""
    return (normalisation.denormalize(images) * 255).round().clamp(0, 255).to(torch.uint8)
