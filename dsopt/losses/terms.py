"""Terms that are added to an adversarial loss: penalties on the discriminator, and further objectives of the generator.

A term is `(context) -> scalar`; its weight is in the configuration. It is registered with the `sides` it can be added to
("discriminator", "generator", "both"), the first of which is the default, and with what it `needs`: "discriminator", "labels". All
terms are means over the batch and over pixels, so that their weights do not depend on sizes.
"""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from dsopt.errors import InputError, unknown
from dsopt.losses.adversarial import DiscriminatorOutput
from dsopt.losses.input_gradients import loss_gradients, penalty, score_gradients
from dsopt.losses.likelihood import gaussian
from dsopt.registry import MODELS, TERMS, call
from dsopt.seeds import seeded

TRAINED_CLASSIFIERS = ("proxy", "teacher")  # a job trains them on the real images


class Context(NamedTuple):
    """What a term may use, in a step of either side."""

    real: Tensor  # the images of the batch [b, c, h, w]; in a discriminator step as the discriminator sees them
    fake: Tensor  # generated images for the same conditions; detached in a discriminator step
    condition: Any  # what both networks are conditioned on: labels, an image, or None
    discriminator: Callable[[Tensor, Any], DiscriminatorOutput]
    real_output: DiscriminatorOutput | None  # of the discriminator on `real`; None in a generator step
    fake_output: DiscriminatorOutput | None  # on `fake`; None without a discriminator
    u: Float[Tensor, " b"]  # uniform numbers drawn for this step
    classifiers: Mapping[str, Callable[[Tensor], Tensor]]  # those of TRAINED_CLASSIFIERS that terms name: images -> logits
    noise: Tensor | None  # [b, latent], what `fake` was generated from
    seed: int  # for what else is random; the same on all workers
    classes: int  # that labels may have
    whole: Callable[[Tensor], Tensor] = lambda part: part  # rows of this worker -> of all: for what is no mean over the batch


Term = Callable[[Context], Tensor]


@TERMS.register(sides=["discriminator"], needs=["discriminator"])
def gradient_penalty(*, target: float = 1.0) -> Term:
    """The squared difference of the score's gradient norm from `target` (WGAN-GP, Gulrajani et al. 2017, arXiv:1704.00028, eq. 3).

    It is taken at a random point between each real and generated image. The authors' weight is 10. Not valid with batch
    normalization, where an image's score depends on the other images.
    """
    return lambda context: penalty(_score(context), context.real, context.fake, context.u, target)


@TERMS.register(sides=["discriminator"], needs=["discriminator"])
def r1() -> Term:
    """Half the squared norm of the score's gradient at real images (Mescheder et al. 2018, arXiv:1801.04406, eq. 9).

    Usual weights are 1 to 10.
    """

    def term(context: Context) -> Tensor:
        real = context.real.detach().requires_grad_()
        return score_gradients(_score(context), real).square().sum(1).mean() / 2

    return term


def _score(context: Context) -> Callable[[Tensor], Tensor]:
    return lambda images: context.discriminator(images, context.condition).score


@TERMS.register(sides=["generator"], needs=["discriminator"])
def pull_away() -> Term:
    """The mean squared cosine between features of different generated images (EBGAN-PT, Zhao et al. 2017, arXiv:1609.03126, eq. 4).

    It counters mode collapse. The square of the equation is kept; the colorization study's own code omits it. The authors' weight
    is 0.1.
    """

    def term(context: Context) -> Tensor:
        directions = context.whole(F.normalize(_features(context.fake_output).flatten(1), dim=1))
        count = len(directions)
        cosines = directions @ directions.T
        other_pairs = cosines.square().sum() - cosines.diagonal().square().sum()
        return other_pairs / (count * max(1, count - 1))

    return term


@TERMS.register(sides=["generator"], needs=["discriminator"])
def feature_matching() -> Term:
    """The mean squared difference between the mean features of real and generated images (Salimans et al. 2016, arXiv:1606.03498).

    Section 3.1, which has the sum over features.
    """

    def term(context: Context) -> Tensor:
        with torch.no_grad():
            real = context.whole(_features(context.discriminator(context.real, context.condition))).mean(0)
        return (context.whole(_features(context.fake_output)).mean(0) - real).square().mean()

    return term


@TERMS.register(sides=["generator"], needs=[])
def l1() -> Term:
    """The mean absolute difference from the real image of the same condition (pix2pix, Isola et al. 2017, arXiv:1611.07004, eq. 3).

    Also in the colorization study, section 4. Their weight is 100.
    """
    return lambda context: (context.fake - context.real).abs().mean()


@TERMS.register(sides=["generator"], needs=[])
def l2() -> Term:
    """The mean squared difference from the real image of the same condition (colorization study, section 4).

    The study's own code takes half the sum over the batch instead: multiply its weight by half the number of elements of a batch.
    """
    return lambda context: (context.fake - context.real).square().mean()


@TERMS.register(sides=["both"], needs=["discriminator", "labels"])
def classification() -> Term:
    """Cross-entropy of an auxiliary classifier on real and generated images (AC-GAN, Odena et al. 2017, arXiv:1610.09585, eq. 3).

    Requires a discriminator with condition=auxiliary.
    """

    def term(context: Context) -> Tensor:
        outputs = [output for output in (context.real_output, context.fake_output) if output is not None]
        logits = [output.class_logits for output in outputs if output.class_logits is not None]
        return torch.stack([F.cross_entropy(each, context.condition) for each in logits]).sum()

    return term


@TERMS.register(sides=["both"], needs=["discriminator"])
def information(*, deviation: float = 1.0) -> Term:
    """The error of the discriminator's estimate of an image's codes (InfoGAN, Chen et al. 2016, arXiv:1606.03657, eq. 5-6).

    Up to the codes' entropy, which no network changes, it is the negative of a lower bound on the mutual information between codes
    and images, in nats. The authors' weight is 1.

    Codes are the class, for a discriminator with condition=auxiliary, with a cross-entropy; and the first values of the noise, as
    many as its option `codes`, with a normal likelihood around its estimate, without the constant. `deviation` is the standard
    deviation of that normal: 1 in the authors' code for MNIST, where the paper's appendix lets the network estimate it. Unlike the
    paper's, classes are those of the data set and are not drawn, so that generated images keep their labels. Unlike in
    `classification`, only generated images count.

    Raises:
        InputError: `deviation` is not above 0.
    """
    if not deviation > 0:
        raise InputError(f"deviation={deviation}: must be above 0.")

    def term(context: Context) -> Tensor:
        output, losses = context.fake_output, []
        assert output is not None
        if output.class_logits is not None:
            losses.append(F.cross_entropy(output.class_logits, context.condition))
        if output.codes is not None:
            assert context.noise is not None
            codes = context.noise[:, : output.codes.shape[1]]
            losses.append(gaussian(output.codes, codes, deviation=deviation))
        return torch.stack(losses).sum()

    return term


@TERMS.register(sides=["generator", "discriminator", "both"], needs=["labels"])
def gradient_difference(*, network: str = "convnet") -> Term:
    """The distance between a classifier's gradients at generated images and at real ones of their classes (thesis, equation 4.4).

    Gradients are those of its loss with respect to an image. `network` is a registered classifier, drawn anew at each step, such as
    `convnet(width=32)`, which sees images resized to its own size; or `proxy` or `teacher`, trained on the real images before (the
    thesis's pre-trained R). The term is the mean of the norms of single images; the thesis may have taken one norm of a batch.

    The thesis adds it to the discriminator's loss (side: discriminator). No weight of the discriminator is in it, so there it
    changes only the reported loss: by construction the training is that of the baseline.
    """
    _check_classifier(network)

    def term(context: Context) -> Tensor:
        classify = _classifier(network, context)
        fake, real = (loss_gradients(classify, images, context.condition) for images in (context.fake, context.real))
        return (fake - real).norm(dim=1).mean()

    return term


@TERMS.register(sides=["generator", "discriminator", "both"], needs=["labels"])
def gradient_magnitude(*, network: str = "convnet") -> Term:
    """The negative norm of a classifier's gradients at generated images, so that they train faster (thesis, equation 4.5).

    Everything else is as in `gradient_difference`.
    """
    _check_classifier(network)

    def term(context: Context) -> Tensor:
        return -loss_gradients(_classifier(network, context), context.fake, context.condition).norm(dim=1).mean()

    return term


def _check_classifier(text: str) -> None:
    name, options = call(text)
    valid = [model for model in MODELS.names() if MODELS.traits(model).kind == "classifier" and MODELS.traits(model).input_size]
    if name not in (*TRAINED_CLASSIFIERS, *valid):
        raise unknown("classifier", name, [*TRAINED_CLASSIFIERS, *valid])
    if name in TRAINED_CLASSIFIERS and options:
        raise InputError(f"classifier {text}: its options are the keys of {name}, such as {name}.options.width.")
    if name not in TRAINED_CLASSIFIERS:
        MODELS.options(name, options)


def _classifier(text: str, context: Context) -> Callable[[Tensor], Tensor]:
    """The trained classifier of that name, or one with fresh weights."""
    name, options = call(text)
    if name in TRAINED_CLASSIFIERS:
        return context.classifiers[name]
    with seeded(context.seed):
        network = MODELS.build(name, options)(context.real.shape[1], context.classes)
    network = network.to(context.real.device, non_blocking=True)
    resize = nn.Upsample(size=MODELS.traits(name).input_size, mode="bilinear")
    return nn.Sequential(resize, network).requires_grad_(False)


def _features(output: DiscriminatorOutput | None) -> Tensor:
    assert output is not None and output.features is not None, "the discriminator has no features"
    return output.features
