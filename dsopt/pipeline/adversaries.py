"""A generator and its discriminator, or a variational autoencoder, from a configuration: checked before any work, then built."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Literal

import torch
from torch import Tensor, nn

from dsopt.augment.differentiable import differentiable
from dsopt.config import AdversarialConfig, Choice, GenerateConfig
from dsopt.data.batches import Batch
from dsopt.errors import InputError, unknown
from dsopt.learners.adversarial import AdversarialLearner, WeightedTerm
from dsopt.learners.variational import VariationalLearner
from dsopt.losses.terms import TRAINED_CLASSIFIERS
from dsopt.registry import ADVERSARIAL, LIKELIHOODS, MODELS, TERMS
from dsopt.training.worker import Worker


def terms(section: str, settings: AdversarialConfig) -> list[WeightedTerm]:
    """The terms of a configuration. Raises InputError, with the key, for a side that a term does not have."""
    found = []
    for term in settings.terms:
        try:
            build_term = TERMS.build(term["name"], term.get("options"))
            found.append(WeightedTerm(term["name"], float(term.get("weight", 1.0)), _side(term), build_term()))
        except InputError as error:
            raise InputError(f"{section}.terms: {term}: {error}") from None
    return found


def _side(term: dict[str, Any]) -> Literal["discriminator", "generator", "both"]:
    """The side that a term is added to; by default the first one that it supports."""
    sides = TERMS.traits(term["name"]).sides
    if term.get("side", sides[0]) not in sides:
        raise unknown("side", str(term["side"]), sides)
    return term.get("side", sides[0])


def loss_in_words(loss: str, terms: Sequence[dict[str, Any]]) -> str:
    """The loss of a checked configuration, such as "hinge + 10 r1"; a term's side is named where it is not the default."""
    added = []
    for term in terms:
        side = _side(term)
        suffix = "" if side == TERMS.traits(term["name"]).sides[0] else f" ({side})"
        added.append(f"{term.get('weight', 1):g} {term['name']}{suffix}")
    return " + ".join([*([] if loss == "none" else [loss]), *added])


def trained_classifiers(settings: AdversarialConfig) -> list[Literal["proxy", "teacher"]]:
    """Which trained classifiers the terms of a checked configuration use."""
    named = {TERMS.options(term["name"], term.get("options")).get("network") for term in settings.terms}
    return [name for name in TRAINED_CLASSIFIERS if name in named]


def network(choice: Choice, *arguments: int) -> nn.Module:
    """A registered network. Raises InputError for an image size that it does not support.

    Args:
        arguments: channels, pixels a side, and what more the kind takes.
    """
    traits, size = MODELS.traits(choice.name), arguments[1]
    if not traits.sizes(size):
        raise InputError(f"data.image_size={size}: {choice.name} does not support this size; expected {traits.sizes.description}.")
    return MODELS.build(choice.name, choice.options)(*arguments)


def check(
    section: str, settings: AdversarialConfig, generator: nn.Module, discriminator: nn.Module | None, latent: int = 0
) -> None:
    """Refuse networks, a loss and terms that do not fit together.

    Args:
        latent: the latent dimension, which bounds the codes that a discriminator can recover.

    Raises:
        InputError: the first misfit, with its key.
    """
    added = terms(section, settings)
    for misfit in _misfits(settings, added, generator, discriminator, latent):
        raise InputError(f"{section}.{misfit}")


def _misfits(
    settings: AdversarialConfig,
    added: Sequence[WeightedTerm],
    generator: nn.Module,
    discriminator: nn.Module | None,
    latent: int,
) -> Iterator[str]:
    """What does not fit, a message each that begins with the key."""
    name, discriminator_name = settings.generator.name, settings.discriminator.name
    need_labels = _needing("labels", added)
    if need_labels and _condition(generator, name) != "class":
        yield (
            f"terms: {', '.join(need_labels)} needs a class-conditional generator, which {name} is not; "
            "see generator.options.condition."
        )
    if discriminator is None:
        yield from _misfits_without_discriminator(added)
        return

    yield from _misfits_of_the_loss(settings, added, discriminator)
    yield from _misfits_of_conditions(settings, generator, discriminator)
    yield from _misfits_of_recovered_inputs(settings, added, latent)

    black, expected = MODELS.traits(name).low, MODELS.traits(discriminator_name).low
    if expected not in (None, black):
        yield f"discriminator.name={discriminator_name}: black must be {expected}, but {name} has it at {black}."


def _misfits_without_discriminator(added: Sequence[WeightedTerm]) -> Iterator[str]:
    need_discriminator = _needing("discriminator", added)
    if need_discriminator:
        yield f"terms: {', '.join(need_discriminator)} needs a discriminator, but loss.name=none trains none."
    if all(term.side == "discriminator" for term in added):
        yield "loss.name=none: needs a term to learn from, such as terms=[{name: l1, weight: 100}]."


def _misfits_of_the_loss(settings: AdversarialConfig, added: Sequence[WeightedTerm], discriminator: nn.Module) -> Iterator[str]:
    """A loss and gradient penalties that the discriminator cannot have."""
    name = settings.discriminator.name
    is_autoencoder = MODELS.traits(name).energy
    energy_loss = ADVERSARIAL.build(settings.loss.name, settings.loss.options)().energy
    if energy_loss and not is_autoencoder:
        yield f"loss.name={settings.loss.name}: needs an autoencoder as discriminator; {name} is not one."
    if is_autoencoder and not energy_loss:
        yield f"discriminator.name={name}: is an autoencoder; expected loss.name=energy."

    # Penalties on the gradient at each image assume that its score depends on that image alone.
    penalties = sorted({term.name for term in added} & {"gradient_penalty", "r1"})
    if penalties and any(isinstance(module, nn.modules.batchnorm._BatchNorm) for module in discriminator.modules()):
        yield (
            f"terms: {', '.join(penalties)}: {name} has batch normalization, which makes an image's score depend on the others "
            "in its batch; expected discriminator.options.norm=none."
        )


def _misfits_of_conditions(settings: AdversarialConfig, generator: nn.Module, discriminator: nn.Module) -> Iterator[str]:
    """Networks that are conditioned on different things, and transforms that would break the condition."""
    name, discriminator_name = settings.generator.name, settings.discriminator.name
    own, other = _condition(generator, name), _condition(discriminator, discriminator_name)
    # A colorizer's discriminator may see the colors alone, as in the colorization study's energy model.
    if own != other and (own, other) != ("lightness", None):
        yield (
            f"generator.options.condition: {name} is {_in_words(own)}, {discriminator_name} is {_in_words(other)}; "
            "expected the same condition for both."
        )
    if settings.differentiable and own == "lightness":
        yield f"differentiable={settings.differentiable}: would move the colors away from their lightness; leave it out."


def _misfits_of_recovered_inputs(settings: AdversarialConfig, added: Sequence[WeightedTerm], latent: int) -> Iterator[str]:
    """An auxiliary head or codes (classes and latent values that a discriminator recovers from images) without their terms."""
    options = MODELS.options(settings.discriminator.name, settings.discriminator.options)
    auxiliary, codes = options.get("condition") == "auxiliary", options.get("codes", 0)
    names = {term.name for term in added}
    classification, information = "classification" in names, "information" in names
    if classification and not auxiliary:
        yield "terms: classification needs discriminator.options.condition=auxiliary."
    if auxiliary and not (classification or information):
        yield "discriminator.options.condition=auxiliary: needs the term classification or information."
    if information and not (auxiliary or codes):
        yield "terms: information needs discriminator.options.condition=auxiliary, codes=2 or both."
    if not 0 <= codes <= latent:
        yield f"discriminator.options.codes={codes}: must be 0 to {latent}, the latent dimension."
    if codes and not information:
        yield f"discriminator.options.codes={codes}: needs the term information."


def _needing(need: str, added: Sequence[WeightedTerm]) -> list[str]:
    """The names of the terms that need labels or a discriminator."""
    return [name for name in sorted({term.name for term in added}) if need in TERMS.traits(name).needs]


def _condition(network: nn.Module, name: str) -> str | None:
    """What a registered network is conditioned on: "class", "lightness" or nothing."""
    return getattr(MODELS.traits(name), "conditioned_on", "class") if network.conditional else None


def _in_words(condition: str | None) -> str:
    return "unconditional" if condition is None else f"conditioned on the {condition}"


def build(
    section: str, settings: AdversarialConfig, generator_arguments: Sequence[int], discriminator_arguments: Sequence[int]
) -> tuple[nn.Module, nn.Module | None]:
    """The generator and its discriminator (None with loss.name=none), checked.

    Under `torch.device("meta")` this only checks: nothing is computed.

    Args:
        generator_arguments, discriminator_arguments: positional: channels, pixels a side, and what more the kind takes.

    Raises:
        InputError: see `check` and `network`.
    """
    generator, discriminator = network(settings.generator, *generator_arguments), None
    if ADVERSARIAL.build(settings.loss.name, settings.loss.options)().discriminator is not None:
        discriminator = network(settings.discriminator, *discriminator_arguments)
    latent = generator_arguments[3:]  # after channels, pixels and classes; colorizers have no noise
    check(section, settings, generator, discriminator, *latent)
    return generator, discriminator


def variational(
    section: str, settings: GenerateConfig, size: Sequence[int], split: Callable[[Batch], tuple[Tensor, Any]], worker: Worker
) -> VariationalLearner:
    """The learner of a variational autoencoder. Raises InputError as `autoencoder` does.

    Args:
        size: channels, pixels a side, classes.
    """
    return VariationalLearner(
        *autoencoder(section, settings, size),
        LIKELIHOODS.build(settings.likelihood.name, settings.likelihood.options),
        split=split,
        beta=settings.beta,
        learning_rate=settings.learning_rate,
        betas=(settings.beta1, settings.beta2),
        average=settings.average,
        sync_batch_norm=settings.sync_batch_norm,
        precision=settings.precision,
        device=worker.device,
        world=worker.world,
    )


def autoencoder(section: str, settings: GenerateConfig, size: Sequence[int]) -> tuple[nn.Module, nn.Module]:
    """The encoder and its decoder, a generator. Raises InputError for networks, a likelihood and a noise that do not fit."""
    decoder = network(settings.generator, *size, settings.latent)
    encoder = network(settings.encoder, *size, settings.latent)
    name, encoder_name, likelihood = settings.generator.name, settings.encoder.name, settings.likelihood.name
    black = MODELS.traits(name).low
    if LIKELIHOODS.traits(likelihood).low not in (None, black):
        raise InputError(f"{section}.likelihood.name={likelihood}: needs images in 0..1; {name} generates {black}..1.")
    if encoder.conditional != decoder.conditional:
        own, other = _in_words(_condition(decoder, name)), _in_words(_condition(encoder, encoder_name))
        raise InputError(
            f"{section}.generator.options.condition: {name} is {own}, {encoder_name} is {other}; "
            "expected the same condition for both."
        )
    if settings.noise != "normal":
        raise InputError(f"{section}.noise={settings.noise}: must be normal, the prior of a variational autoencoder.")
    return encoder, decoder


def learner(
    section: str,
    settings: AdversarialConfig,
    networks: tuple[nn.Module, nn.Module | None],
    split: Callable[[Batch], tuple[Tensor, Any]],
    noise: Callable[[int, torch.Generator], Tensor | None],
    worker: Worker,
    classifiers: Mapping[str, Callable[[Tensor], Tensor]] | None = None,
    classes: int = 0,
) -> AdversarialLearner:
    """The learner of a generator and its discriminator; for what is not in `settings` see `AdversarialLearner`."""
    rate, low = settings.learning_rate, MODELS.traits(settings.generator.name).low
    return AdversarialLearner(
        *networks,
        ADVERSARIAL.build(settings.loss.name, settings.loss.options)(),
        terms(section, settings),
        split=split,
        noise=noise,
        optimizer=settings.optimizer,
        learning_rates=(rate, rate if settings.discriminator_rate is None else settings.discriminator_rate),
        betas=(settings.beta1, settings.beta2),
        discriminator_steps=settings.discriminator_steps,
        eager_steps=settings.eager_steps,
        clip=settings.clip,
        average=settings.average,
        sync_batch_norm=settings.sync_batch_norm,
        augment=differentiable(settings.differentiable, low) if settings.differentiable else None,
        classifiers=classifiers,
        classes=classes,
        precision=settings.precision,
        device=worker.device,
        world=worker.world,
    )
