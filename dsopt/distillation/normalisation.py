"""Real images before anything is distilled from them: on the scale of what a network takes, and the way back to pictures."""

from dataclasses import asdict, dataclass, field
from typing import Any

import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from dsopt.augment.geometry import center_crop
from dsopt.augment.inputs import Inputs, make_inputs
from dsopt.errors import InputError
from dsopt.registry import NORMALISATIONS

AT_ONCE = 1000  # images


@dataclass(frozen=True)
class Channels:
    """Mean and deviation of every channel of the training images, on the scale 0..1."""

    mean: list[float]
    deviation: list[float]
    side = None  # images of any size

    def of(self, images: Float[Tensor, "b c s s"]) -> Float[Tensor, "b c s s"]:
        """Of images in 0..1."""
        mean, deviation = self._like(images)
        return (images - mean) / deviation

    def back(self, images: Float[Tensor, "b c s s"]) -> Float[Tensor, "b c s s"]:
        """Images about in 0..1."""
        mean, deviation = self._like(images)
        return images * deviation + mean

    def _like(self, images: Tensor) -> list[Tensor]:
        return [images.new_tensor(values)[:, None, None] for values in (self.mean, self.deviation)]

    def about(self) -> tuple[dict[str, Any], dict[str, Tensor]]:
        """What it is made from, for a manifest: plain values, and tensors of too many numbers for one."""
        return {"name": "channels"} | asdict(self), {}


@dataclass(frozen=True)
class Whitening:
    """Images less their mean and of length 1, whitened.

    Args:
        mean: of such images [d], which are flattened.
        vectors: of their covariance, in columns [d, d].
        values: by how much each direction is divided [d].
        level, length: means of what images are rid of before, which pictures are given back.
    """

    mean: Tensor
    vectors: Tensor
    values: Tensor
    level: float
    length: float
    side: int
    _placed: dict[torch.device, list[Tensor]] = field(default_factory=dict, compare=False)  # moved once to each device

    def of(self, images: Float[Tensor, "b c s s"]) -> Float[Tensor, "b c s s"]:
        """Of images in 0..1, or on any other scale: their length is lost."""
        mean, vectors, values = self._on(images.device)
        return ((_unit(images.flatten(1))[0] - mean) @ vectors / values @ vectors.T).view_as(images)

    def back(self, images: Float[Tensor, "b c s s"]) -> Float[Tensor, "b c s s"]:
        """Images about in 0..1, of the usual mean and length."""
        mean, vectors, values = self._on(images.device)
        flat = images.flatten(1) @ vectors * values @ vectors.T + mean
        return (flat * self.length + self.level).view_as(images)

    def _on(self, device: torch.device) -> list[Tensor]:
        if device not in self._placed:
            self._placed[device] = [tensor.to(device) for tensor in (self.mean, self.vectors, self.values)]
        return self._placed[device]

    def about(self) -> tuple[dict[str, Any], dict[str, Tensor]]:
        """As of `Channels`."""
        plain = {"name": "zca", "level": self.level, "length": self.length, "side": self.side}
        return plain, {"mean": self.mean, "vectors": self.vectors, "values": self.values}


Normalisation = Channels | Whitening


@NORMALISATIONS.register
def channels(images: UInt8[Tensor, "n c h w"], size: int) -> Channels:
    """Every channel less its mean, divided by its deviation."""
    counts = torch.stack([torch.bincount(channel.flatten(), minlength=256) for channel in images.transpose(0, 1)]).double()
    values = torch.arange(256).double() / 255
    mean = (counts @ values) / counts.sum(1)
    deviation = ((counts @ values.square()) / counts.sum(1) - mean.square()).sqrt().clamp_min(1e-3)
    return Channels(mean.tolist(), deviation.tolist())


@NORMALISATIONS.register
def zca(images: UInt8[Tensor, "n c h w"], size: int, *, regularise: float = 0.1) -> Whitening:
    """Whitening of all pixels together (ZCA), of images less their mean and of length 1, as in KIP (Nguyen et al. 2021,
    arXiv:2107.13034), FRePo and RaT-BPTT.

    The mean of these images is taken off too, and to every direction's variance is added `regularise` times the mean variance. For
    n images of d numbers it takes n d^2 operations, and the artefact d^2 numbers more: 38 MB for CIFAR-10.

    Raises:
        InputError: `regularise` is not above 0; directions without variance would be divided by 0.
    """
    if regularise <= 0:
        raise InputError(f"distill.normalise: zca: options.regularise={regularise:g}: must be more than 0.")
    cut = make_inputs([], size, None).test
    count, total, square, level, length = len(images), 0.0, 0.0, 0.0, 0.0
    for some in images.split(AT_ONCE):
        flat, means, norms = _unit(cut(some).flatten(1))
        total, square = total + flat.sum(0, dtype=torch.float64), square + (flat.T @ flat).double()
        level, length = level + float(means.sum()), length + float(norms.sum())
    assert isinstance(total, Tensor) and isinstance(square, Tensor)
    mean = total / count
    values, vectors = torch.linalg.eigh((square / count - mean.outer(mean)).float())
    spread = (values.clamp_min(0) + regularise * values.mean()).sqrt()
    return Whitening(mean.float(), vectors, spread, level / count, length / count, size)


def _unit(flat: Float[Tensor, "b d"]) -> tuple[Float[Tensor, "b d"], Float[Tensor, "b 1"], Float[Tensor, "b 1"]]:
    """Images less their mean and of length 1; the means, and the lengths that they had."""
    means = flat.mean(1, keepdim=True)
    rest = flat - means
    norms = rest.norm(dim=1, keepdim=True).clamp_min(1e-6)
    return rest / norms, means, norms


def restored(plain: dict[str, Any], tensors: dict[str, Tensor]) -> Normalisation:
    """The normalisation that was described `about`."""
    about = {key: value for key, value in plain.items() if key != "name"}
    if plain.get("name") != "zca":
        return Channels(**about)
    return Whitening(tensors["mean"], tensors["vectors"], tensors["values"], **about)


def inputs_of(normalisation: Normalisation, size: int) -> Inputs:
    """From bytes [b, c, h, w] to the middle square of `size` pixels, normalised."""
    cut = make_inputs([], normalisation.side or size, None).test

    def normalise(images: Tensor) -> Tensor:
        return center_crop(normalisation.of(cut(images)), size).contiguous()

    return Inputs(lambda images, draw: normalise(images), normalise)


def pictures(normalisation: Normalisation, images: Float[Tensor, "b c s s"]) -> UInt8[Tensor, "b c s s"]:
    """Normalised images for people: what lies outside of 0..1 is cut off."""
    return (normalisation.back(images) * 255).round().clamp(0, 255).to(torch.uint8)
