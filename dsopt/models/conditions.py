"""How generators and discriminators are conditioned on a class, and the image sizes that they support."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn

from dsopt.losses.adversarial import DiscriminatorOutput

GeneratorCondition = Literal["none", "concat", "batch_norm"]
DiscriminatorCondition = Literal["none", "concat", "projection", "auxiliary"]


@dataclass(frozen=True)
class Sizes:
    """Which sides of square images a network supports, and how a message describes them."""

    fits: Callable[[int], bool]
    description: str

    def __call__(self, size: int) -> bool:
        return self.fits(size)


HALVED_TWICE = Sizes(lambda size: size >= 8 and size % 4 == 0, "multiples of 4 from 8 pixels")
ANY = Sizes(lambda size: size >= 1, "any size")


def halvings(size: int) -> tuple[int, int]:
    """The side after halving it while it is even and above 4 pixels, and the number of halvings: 28 -> (7, 2), 32 -> (4, 3)."""
    levels = 0
    while size > 4 and size % 2 == 0:
        size, levels = size // 2, levels + 1
    return size, levels


def with_labels(vectors: Float[Tensor, "b d"], labels: Int[Tensor, " b"], classes: int) -> Float[Tensor, "b e"]:
    """Vectors with the one-hot labels appended (conditional GAN, Mirza & Osindero 2014, arXiv:1411.1784)."""
    return torch.cat([vectors, F.one_hot(labels, classes).to(vectors.dtype)], 1)


def with_planes(images: Float[Tensor, "b c h w"], labels: Int[Tensor, " b"], classes: int) -> Float[Tensor, "b e h w"]:
    """Images with one more channel for each class: ones for the image's own class, zeros for the others."""
    planes = F.one_hot(labels, classes).to(images.dtype)[:, :, None, None].expand(-1, -1, *images.shape[2:])
    return torch.cat([images, planes], 1)


class ClassBatchNorm(nn.Module):
    """Class-conditional batch normalization: a gain and a bias for each class (de Vries et al. 2017, arXiv:1707.00683; thesis,
    section 2.2.2).

    Gains start from N(1, 0.02).
    """

    def __init__(self, width: int, classes: int) -> None:
        super().__init__()
        self.normalise, self.embedding = nn.BatchNorm2d(width, affine=False), nn.Embedding(classes, 2 * width)
        nn.init.normal_(self.embedding.weight[:, :width], 1.0, 0.02)
        nn.init.zeros_(self.embedding.weight[:, width:])

    def forward(self, images: Tensor, labels: Tensor) -> Tensor:
        gain, bias = self.embedding(labels)[:, :, None, None].chunk(2, dim=1)
        return torch.addcmul(bias, gain, self.normalise(images))


class GeneratorNorm(nn.Module):
    """A generator's batch normalization, class-conditional if there are classes: (images, labels or None) -> images."""

    def __init__(self, width: int, classes: int | None) -> None:
        super().__init__()
        self.of_class = classes is not None
        self.layer = nn.BatchNorm2d(width) if classes is None else ClassBatchNorm(width, classes)

    def forward(self, images: Tensor, labels: Tensor | None) -> Tensor:
        return self.layer(images, labels) if self.of_class else self.layer(images)


class Head(nn.Module):
    """The last layers of a discriminator: features -> DiscriminatorOutput.

    The score is linear in the features. Further parts, each optional:

    - "projection" adds to the score the product of the features with an embedding of the label (Miyato & Koyama 2018,
      arXiv:1802.05637, eq. 8);
    - "auxiliary" adds class logits (Odena et al. 2017, arXiv:1610.09585);
    - `codes` above 0 adds an estimate of as many noise values (InfoGAN, Chen et al. 2016, arXiv:1606.03657, section 5).
    """

    def __init__(self, width: int, classes: int, condition: DiscriminatorCondition, codes: int) -> None:
        super().__init__()
        self.score = nn.Linear(width, 1)
        self.projection = nn.Embedding(classes, width) if condition == "projection" else None
        self.classes = nn.Linear(width, classes) if condition == "auxiliary" else None
        self.codes = nn.Linear(width, codes) if codes > 0 else None

    def forward(self, features: Float[Tensor, "b d"], labels: Tensor | None) -> DiscriminatorOutput:
        score = self.score(features).squeeze(1)
        if self.projection is not None:
            score = score + (self.projection(labels) * features).sum(1)
        logits, codes = (None if head is None else head(features) for head in (self.classes, self.codes))
        return DiscriminatorOutput(score, features=features, class_logits=logits, codes=codes)
