"""Adversarial losses: one function each, with the discriminator's and the generator's side together.

A discriminator scores images: the higher, the more real. A score is one number an image, [b], or one a patch, [b, patches]; losses
are means over all of them.
"""

from collections.abc import Callable
from typing import NamedTuple

import torch.nn.functional as F
from torch import Tensor

from dsopt.registry import ADVERSARIAL


class DiscriminatorOutput(NamedTuple):
    """What a discriminator computes for a batch of images."""

    score: Tensor  # [b] or [b, patches]; of an energy model, the negative of its energy
    reconstruction: Tensor | None = None  # of the images, if the discriminator is an autoencoder
    features: Tensor | None = None  # [b, ...], what the score is computed from
    class_logits: Tensor | None = None  # [b, classes], if it has an auxiliary classifier
    codes: Tensor | None = None  # [b, codes], its estimate of the first noise values, if it has a head for them


class AdversarialLoss(NamedTuple):
    """Both sides of a loss; None for the loss without a discriminator."""

    discriminator: Callable[[DiscriminatorOutput, DiscriminatorOutput], Tensor] | None  # (on real, on generated images) -> scalar
    generator: Callable[[DiscriminatorOutput], Tensor] | None  # (on generated images) -> scalar
    energy: bool = False  # requires an autoencoder as discriminator


@ADVERSARIAL.register
def non_saturating() -> AdversarialLoss:
    """Cross-entropy; the generator maximizes log D of its images (Goodfellow et al. 2014, arXiv:1406.2661, section 3)."""
    return AdversarialLoss(_cross_entropy, lambda fake: F.softplus(-fake.score).mean())


@ADVERSARIAL.register
def minimax() -> AdversarialLoss:
    """Cross-entropy; the generator minimizes log(1 - D) of its images (Goodfellow et al. 2014, arXiv:1406.2661, eq. 1).

    It saturates: where the discriminator is confident, the generator's gradient vanishes.
    """
    return AdversarialLoss(_cross_entropy, lambda fake: -F.softplus(fake.score).mean())


def _cross_entropy(real: DiscriminatorOutput, fake: DiscriminatorOutput) -> Tensor:
    # softplus(-s) = -log sigmoid(s) and softplus(s) = -log(1 - sigmoid(s)), without overflow.
    return F.softplus(-real.score).mean() + F.softplus(fake.score).mean()


@ADVERSARIAL.register
def least_squares(*, fake: float = 0.0, real: float = 1.0, wanted: float = 1.0) -> AdversarialLoss:
    """Halves of squared distances (LSGAN, Mao et al. 2017, arXiv:1611.04076, eq. 2).

    `fake`, `real` and `wanted` are the equation's a, b and c: the discriminator's targets for generated and for real images, and
    the generator's target for the score of its images.
    """

    def discriminator(on_real: DiscriminatorOutput, on_fake: DiscriminatorOutput) -> Tensor:
        return ((on_real.score - real).square().mean() + (on_fake.score - fake).square().mean()) / 2

    return AdversarialLoss(discriminator, lambda on_fake: (on_fake.score - wanted).square().mean() / 2)


@ADVERSARIAL.register
def hinge(*, margin: float = 1.0) -> AdversarialLoss:
    """Hinge loss: scores beyond the margin have no gradient (SNGAN, Miyato et al. 2018, arXiv:1802.05957, eq. 16-17).

    The thesis's equations 4.2 and 4.3.
    """
    return AdversarialLoss(
        lambda real, fake: F.relu(margin - real.score).mean() + F.relu(margin + fake.score).mean(),
        lambda fake: -fake.score.mean(),
    )


@ADVERSARIAL.register
def wasserstein() -> AdversarialLoss:
    """The difference of mean scores (WGAN, Arjovsky et al. 2017, arXiv:1701.07875, eq. 2-3).

    The discriminator's gradients must be bounded: by `clip`, by a gradient penalty or by spectral normalization. The negative of
    its loss estimates the distance between generated and real images.
    """
    return AdversarialLoss(lambda real, fake: fake.score.mean() - real.score.mean(), lambda fake: -fake.score.mean())


@ADVERSARIAL.register
def energy(*, margin: float = 1.0) -> AdversarialLoss:
    """Low energy for real images, at least `margin` for generated ones (EBGAN, Zhao et al. 2017, arXiv:1609.03126, eq. 1-2).

    The margin is in the discriminator's units of energy.
    """
    return AdversarialLoss(
        lambda real, fake: -real.score.mean() + F.relu(margin + fake.score).mean(),
        lambda fake: -fake.score.mean(),
        energy=True,
    )


@ADVERSARIAL.register
def none() -> AdversarialLoss:
    """No discriminator: the generator is trained on its terms alone."""
    return AdversarialLoss(None, None)
