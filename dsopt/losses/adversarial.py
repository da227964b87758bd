"""What a generator and its discriminator play for: one loss a function, both sides together.

A discriminator scores images: the higher, the more real. A score is one number an image, [b], or one a patch, [b, patches]; losses
are means over all of them.
"""

from collections.abc import Callable
from typing import NamedTuple

import torch.nn.functional as F
from torch import Tensor

from dsopt.registry import ADVERSARIAL


class Judgement(NamedTuple):
    """What a discriminator says of a batch."""

    score: Tensor  # [b] or [b, patches]; of an energy model, the negative of its energy
    reproduction: Tensor | None = None  # of the images, where it is an autoencoder
    features: Tensor | None = None  # [b, ...], what the score is made from
    classes: Tensor | None = None  # logits [b, classes], where it also tells classes
    codes: Tensor | None = None  # [b, codes], where it also tells the first numbers of the noise


class Adversarial(NamedTuple):
    """Both sides of a loss; None where there is no discriminator."""

    discriminator: Callable[[Judgement, Judgement], Tensor] | None  # (of real images, of made ones) -> scalar
    generator: Callable[[Judgement], Tensor] | None  # (of made images) -> scalar
    energy: bool = False  # wants an autoencoder as discriminator


@ADVERSARIAL.register
def non_saturating() -> Adversarial:
    """Cross-entropy; the generator raises log D of its images (Goodfellow et al. 2014, arXiv:1406.2661, section 3)."""
    return Adversarial(_cross_entropy, lambda fake: F.softplus(-fake.score).mean())


@ADVERSARIAL.register
def minimax() -> Adversarial:
    """Cross-entropy; the generator lowers log(1 - D) of its images (Goodfellow et al. 2014, arXiv:1406.2661, eq. 1).

    It saturates: where the discriminator is sure, the generator has no slope to follow.
    """
    return Adversarial(_cross_entropy, lambda fake: -F.softplus(fake.score).mean())


def _cross_entropy(real: Judgement, fake: Judgement) -> Tensor:
    return F.softplus(-real.score).mean() + F.softplus(fake.score).mean()


@ADVERSARIAL.register
def least_squares(*, fake: float = 0.0, real: float = 1.0, wanted: float = 1.0) -> Adversarial:
    """Halves of squared distances (LSGAN, Mao et al. 2017, arXiv:1611.04076, eq. 2).

    `fake`, `real` and `wanted` are the equation's a, b and c: what the discriminator should say of made and of real images, and
    what the generator wants it to say.
    """
    return Adversarial(
        lambda true, made: ((true.score - real).square().mean() + (made.score - fake).square().mean()) / 2,
        lambda made: (made.score - wanted).square().mean() / 2,
    )


@ADVERSARIAL.register
def hinge(*, margin: float = 1.0) -> Adversarial:
    """Scores beyond the margin count no more (SNGAN, Miyato et al. 2018, arXiv:1802.05957, eq. 16-17; the thesis's eq. 4.2-4.3)."""
    return Adversarial(
        lambda real, fake: F.relu(margin - real.score).mean() + F.relu(margin + fake.score).mean(),
        lambda fake: -fake.score.mean(),
    )


@ADVERSARIAL.register
def wasserstein() -> Adversarial:
    """The difference of mean scores (WGAN, Arjovsky et al. 2017, arXiv:1701.07875, eq. 2-3).

    The discriminator must be kept from steep slopes: by `clip`, by a gradient penalty or by spectral normalisation. The negative of
    its loss estimates the distance of the images made from the real ones.
    """
    return Adversarial(lambda real, fake: fake.score.mean() - real.score.mean(), lambda fake: -fake.score.mean())


@ADVERSARIAL.register
def energy(*, margin: float = 1.0) -> Adversarial:
    """Low energy to real images, at least `margin` to made ones (EBGAN, Zhao et al. 2017, arXiv:1609.03126, eq. 1-2).

    The margin is in the discriminator's units of energy.
    """
    return Adversarial(
        lambda real, fake: -real.score.mean() + F.relu(margin + fake.score).mean(), lambda fake: -fake.score.mean(), energy=True
    )


@ADVERSARIAL.register
def none() -> Adversarial:
    """No discriminator: the generator is trained on its terms alone."""
    return Adversarial(None, None)
