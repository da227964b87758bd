"""What is added to an adversarial loss: penalties of the discriminator, and more wishes of the generator.

A term is `(context) -> scalar`; its weight stands in the configuration. It is registered with the `sides` it can be added to
("discriminator", "generator", "both"), the first of them unless the configuration says another, and with what it `needs`: a
"judge", "labels". All are means over the batch and over pixels, so that weights do not depend on sizes.
"""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from dsopt.errors import InputError, unknown
from dsopt.losses.adversarial import Judgement
from dsopt.losses.input_gradients import loss_gradients, penalty, score_gradients
from dsopt.losses.likelihood import gaussian
from dsopt.registry import MODELS, TERMS, call

TRAINED = ("proxy", "teacher")  # classifiers that a job trains on the real images


class Context(NamedTuple):
    """What a term can look at, in a step of either side."""

    real: Tensor  # the images of the batch [b, c, h, w]; in a step of the discriminator as it saw them
    fake: Tensor  # those made for the same conditions; has no graph in a step of the discriminator
    condition: Any  # what both networks were given: labels, an image, or None
    judge: Callable[[Tensor, Any], Judgement]  # the discriminator
    judged_real: Judgement | None  # None in a step of the generator
    judged_fake: Judgement | None  # None without a discriminator
    u: Float[Tensor, " b"]  # uniform numbers drawn for this step
    classifiers: Mapping[str, Callable[[Tensor], Tensor]]  # of `TRAINED` those that terms name: images -> logits [b, classes]
    noise: Tensor | None  # [b, latent], what the made images were made from


Term = Callable[[Context], Tensor]


@TERMS.register(sides=["discriminator"], needs=["judge"])
def gradient_penalty(*, target: float = 1.0) -> Term:
    """How far the slope of the score is from `target`, at a random point between each real and made image (WGAN-GP, Gulrajani et
    al. 2017, arXiv:1704.00028, eq. 3). The authors' weight is 10; batch normalisation, where an image's score depends on the
    others, forbids it."""

    return lambda context: penalty(_score(context), context.real, context.fake, context.u, target)


@TERMS.register(sides=["discriminator"], needs=["judge"])
def r1() -> Term:
    """Half the squared slope of the score at real images (Mescheder et al. 2018, arXiv:1801.04406, eq. 9); weights are 1 to 10."""

    def term(context: Context) -> Tensor:
        real = context.real.detach().requires_grad_()
        return score_gradients(_score(context), real).square().sum(1).mean() / 2

    return term


def _score(context: Context) -> Callable[[Tensor], Tensor]:
    return lambda images: context.judge(images, context.condition).score


@TERMS.register(sides=["generator"], needs=["judge"])
def pull_away() -> Term:
    """The mean squared cosine between the features of different made images, so that they differ (EBGAN-PT, Zhao et al. 2017,
    arXiv:1609.03126, eq. 4). With the square of the equation, which the colorization study's own code lacks; its weight is 0.1."""

    def term(context: Context) -> Tensor:
        directions = F.normalize(_features(context.judged_fake).flatten(1), dim=1)
        count = len(directions)
        cosines = directions @ directions.T
        return (cosines.square().sum() - cosines.diagonal().square().sum()) / (count * max(1, count - 1))

    return term


@TERMS.register(sides=["generator"], needs=["judge"])
def feature_matching() -> Term:
    """The squared distance between the mean features of real and made images (Salimans et al. 2016, arXiv:1606.03498, section 3.1),
    here the mean over features."""

    def term(context: Context) -> Tensor:
        with torch.no_grad():
            real = _features(context.judge(context.real, context.condition)).mean(0)
        return (_features(context.judged_fake).mean(0) - real).square().mean()

    return term


@TERMS.register(sides=["generator"], needs=[])
def l1() -> Term:
    """The mean absolute difference from the real image of the same condition (pix2pix, Isola et al. 2017, arXiv:1611.07004, eq. 3;
    the colorization study, section 4). Their weight is 100."""
    return lambda context: (context.fake - context.real).abs().mean()


@TERMS.register(sides=["generator"], needs=[])
def l2() -> Term:
    """The mean squared difference from the real image of the same condition (colorization study, section 4).

    The study's own code takes half the sum over the batch instead: multiply its weight by half the number of elements of a batch.
    """
    return lambda context: (context.fake - context.real).square().mean()


@TERMS.register(sides=["both"], needs=["judge", "labels"])
def classification() -> Term:
    """Cross-entropy of the classes that the discriminator tells, of real and of made images (AC-GAN, Odena et al. 2017,
    arXiv:1610.09585, eq. 3). For a discriminator with condition=auxiliary."""

    def term(context: Context) -> Tensor:
        told = [judgement.classes for judgement in (context.judged_real, context.judged_fake) if judgement is not None]
        return torch.stack([F.cross_entropy(logits, context.condition) for logits in told if logits is not None]).sum()

    return term


@TERMS.register(sides=["both"], needs=["judge"])
def information(*, deviation: float = 1.0) -> Term:
    """How badly the discriminator tells what an image was made from: but for the codes' entropy, which no network changes, the
    negative of a lower bound of the mutual information of codes and images, in nats (InfoGAN, Chen et al. 2016, arXiv:1606.03657,
    eq. 5-6). The authors' weight is 1.

    Codes are the class, for a discriminator with condition=auxiliary, by cross-entropy; and the first numbers of the noise, as many
    as its option `codes`, as normal around what it tells, with one `deviation` (1 in the authors' code for MNIST, where the paper's
    appendix lets the network tell it) and without the constant. Unlike the paper's, classes are the data set's own and not drawn:
    made images keep labels. Unlike `classification`, only made images count.

    Raises:
        InputError: a deviation that is not above 0.
    """
    if not deviation > 0:
        raise InputError(f"deviation={deviation}: must be above 0.")

    def term(context: Context) -> Tensor:
        told, found = context.judged_fake, []
        assert told is not None
        if told.classes is not None:
            found.append(F.cross_entropy(told.classes, context.condition))
        if told.codes is not None:
            assert context.noise is not None
            found.append(gaussian(told.codes, context.noise[:, : told.codes.shape[1]], deviation=deviation))
        return torch.stack(found).sum()

    return term


@TERMS.register(sides=["generator", "discriminator", "both"], needs=["labels"])
def gradient_difference(*, network: str = "convnet") -> Term:
    """How far the slope of a classifier's loss at made images is from that at real ones of their classes (thesis, eq. 4.4).

    `network` is a registered classifier, drawn anew at each step, such as `convnet(width=32)`, which sees images resized to its own
    size; or `proxy` or `teacher`, trained on the real images before (the thesis's pre-trained R). A mean of the norms of single
    images, where the thesis may have taken one norm of a batch.

    The thesis adds it to the discriminator's loss (side: discriminator). No weight of the discriminator is in it, so there it
    changes nothing but the number that the loss shows: by construction the training is that of the baseline.
    """
    _check_classifier(network)

    def term(context: Context) -> Tensor:
        classify = _classifier(network, context)
        made, real = (loss_gradients(classify, images, context.condition) for images in (context.fake, context.real))
        return (made - real).norm(dim=1).mean()

    return term


@TERMS.register(sides=["generator", "discriminator", "both"], needs=["labels"])
def gradient_magnitude(*, network: str = "convnet") -> Term:
    """The negative of the slope of a classifier's loss at made images, so that they teach faster (thesis, eq. 4.5).

    All else as of `gradient_difference`.
    """
    _check_classifier(network)
    return lambda context: -loss_gradients(_classifier(network, context), context.fake, context.condition).norm(dim=1).mean()


def _check_classifier(text: str) -> None:
    name, options = call(text)
    valid = [model for model in MODELS.names() if MODELS.traits(model).kind == "classifier" and MODELS.traits(model).input_size]
    if name not in (*TRAINED, *valid):
        raise unknown("classifier", name, [*TRAINED, *valid])
    if name in TRAINED and options:
        raise InputError(f"classifier {text}: its options are the keys of {name}, such as {name}.options.width.")
    if name not in TRAINED:
        MODELS.options(name, options)


def _classifier(text: str, context: Context) -> Callable[[Tensor], Tensor]:
    """The trained classifier of that name, or one with new weights and with no more classes than the batch has."""
    name, options = call(text)
    if name in TRAINED:
        return context.classifiers[name]
    network = MODELS.build(name, options)(context.real.shape[1], int(context.condition.max()) + 1).to(context.real.device)
    return nn.Sequential(nn.Upsample(size=MODELS.traits(name).input_size, mode="bilinear"), network).requires_grad_(False)


def _features(judgement: Judgement | None) -> Tensor:
    assert judgement is not None and judgement.features is not None, "the discriminator tells no features"
    return judgement.features
