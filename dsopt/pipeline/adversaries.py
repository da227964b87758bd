"""A generator and its discriminator as a configuration describes them: checked before anything starts, then built to learn."""

from collections.abc import Callable, Mapping, Sequence
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
    """The terms of a checked configuration. Raises InputError, naming the key, for a side that one has not."""
    found = []
    for term in settings.terms:
        try:
            made = TERMS.build(term["name"], term.get("options"))()
            found.append(WeightedTerm(term["name"], float(term.get("weight", 1.0)), _side(term), made))
        except InputError as error:
            raise InputError(f"{section}.terms: {term}: {error}") from None
    return found


def _side(term: dict[str, Any]) -> Literal["discriminator", "generator", "both"]:
    sides = TERMS.traits(term["name"]).sides
    if term.get("side", sides[0]) not in sides:
        raise unknown("side", str(term["side"]), sides)
    return term.get("side", sides[0])


def loss_in_words(loss: str, terms: Sequence[dict[str, Any]]) -> str:
    """The loss of a checked configuration: "hinge + 10 r1", and a term's side where it is not the one it has by itself."""
    added = []
    for term in terms:
        side = _side(term)
        elsewhere = "" if side == TERMS.traits(term["name"]).sides[0] else f" ({side})"
        added.append(f"{term.get('weight', 1):g} {term['name']}{elsewhere}")
    return " + ".join([*([] if loss == "none" else [loss]), *added])


def trained_classifiers(settings: AdversarialConfig) -> list[Literal["proxy", "teacher"]]:
    """Those that the terms of a checked configuration name."""
    named = {TERMS.options(term["name"], term.get("options")).get("network") for term in settings.terms}
    return [name for name in TRAINED_CLASSIFIERS if name in named]


def network(choice: Choice, *arguments: int) -> nn.Module:
    """A registered network. Raises InputError for a size it cannot have.

    Args:
        arguments: channels, pixels a side, and what more the kind takes.
    """
    traits, size = MODELS.traits(choice.name), arguments[1]
    if not traits.sizes(size):
        raise InputError(f"data.image_size={size}: {choice.name} has no such size; it has {traits.sizes.description}.")
    return MODELS.build(choice.name, choice.options)(*arguments)


def check(
    section: str, settings: AdversarialConfig, generator: nn.Module, discriminator: nn.Module | None, latent: int = 0
) -> None:
    """Refuse, in one line, networks, a loss and terms that do not fit each other, or `latent` numbers of noise."""
    loss = ADVERSARIAL.build(settings.loss.name, settings.loss.options)()
    added, judge, made = terms(section, settings), settings.discriminator.name, settings.generator.name
    names, of_generator = {term.name for term in added}, [term for term in added if term.side != "discriminator"]
    wanting, labelled = (
        [name for name in sorted(names) if need in TERMS.traits(name).needs] for need in ("discriminator", "labels")
    )
    rules = [
        (
            not labelled or _told(generator, made) == "the class",
            f"terms: {', '.join(labelled)} needs the class, which {made} is not told; see generator.options.condition.",
        ),
    ]
    if discriminator is None:
        rules += [
            (not wanting, f"terms: {', '.join(wanting)} needs a discriminator, which loss.name=none has not."),
            (bool(of_generator), "loss.name=none: needs a term to learn from, such as terms=[{name: l1, weight: 100}]."),
        ]
    else:
        energy, low = MODELS.traits(judge).energy, MODELS.traits(judge).low
        normed = any(isinstance(module, nn.modules.batchnorm._BatchNorm) for module in discriminator.modules())
        slopes = sorted(names & {"gradient_penalty", "r1"})
        told = _told(generator, made), _told(discriminator, judge)
        options = MODELS.options(judge, settings.discriminator.options)
        tells, codes, informed = options.get("condition") == "auxiliary", options.get("codes", 0), "information" in names
        rules += [
            (not loss.energy or energy, f"loss.name={settings.loss.name}: needs an autoencoder as discriminator, {judge} is none."),
            (loss.energy or not energy, f"discriminator.name={judge}: is an autoencoder; right is loss.name=energy."),
            (
                not (slopes and normed),
                f"terms: {', '.join(slopes)}: {judge} has batch normalisation, where an image's score depends on the others; "
                "right is discriminator.options.norm=none.",
            ),
            (
                told[0] == told[1] or told == ("the lightness", "no class"),  # as in the colorization study's energy model
                f"generator.options.condition: {made} is told {told[0]}, {judge} is told {told[1]}; both or none must be.",
            ),
            (
                not settings.differentiable or told[0] != "the lightness",
                f"differentiable={settings.differentiable}: would move the colours away from their lightness; leave it out.",
            ),
            (tells or "classification" not in names, "terms: classification needs discriminator.options.condition=auxiliary."),
            (
                not tells or informed or "classification" in names,
                "discriminator.options.condition=auxiliary: goes with the term classification or information.",
            ),
            (
                tells or codes or not informed,
                "terms: information needs discriminator.options.condition=auxiliary, codes=2 or both.",
            ),
            (0 <= codes <= latent, f"discriminator.options.codes={codes}: must be 0 to {latent}, the numbers of the noise."),
            (informed or not codes, f"discriminator.options.codes={codes}: goes with the term information."),
            (low in (None, MODELS.traits(made).low), f"discriminator.name={judge}: black is {low} there, and not in {made}."),
        ]
    for fine, wrong in rules:
        if not fine:
            raise InputError(f"{section}.{wrong}")


def _told(network: nn.Module, name: str) -> str:
    return f"the {getattr(MODELS.traits(name), 'conditioned_on', 'class')}" if network.conditional else "no class"


def build(
    section: str, settings: AdversarialConfig, made: Sequence[int], judged: Sequence[int]
) -> tuple[nn.Module, nn.Module | None]:
    """The generator and its discriminator (None with loss.name=none), checked.

    Args:
        made, judged: the positional arguments of the two: channels, pixels a side, and what more the kind takes.

    Raises:
        InputError: as of `check` and `network`. Under `torch.device("meta")` nothing else is done but to check.
    """
    generator, discriminator = network(settings.generator, *made), None
    if ADVERSARIAL.build(settings.loss.name, settings.loss.options)().discriminator is not None:
        discriminator = network(settings.discriminator, *judged)
    check(section, settings, generator, discriminator, *made[3:])  # behind channels, pixels and classes; colorizers have no noise
    return generator, discriminator


def variational(
    section: str, settings: GenerateConfig, size: Sequence[int], split: Callable[[Batch], tuple[Tensor, Any]], worker: Worker
) -> VariationalLearner:
    """What trains a variational autoencoder as the configuration says. Raises InputError as `autoencoder` does.

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
        precision=settings.precision,
        device=worker.device,
        world=worker.world,
    )


def autoencoder(section: str, settings: GenerateConfig, size: Sequence[int]) -> tuple[nn.Module, nn.Module]:
    """The encoder and its decoder, a generator; checked. Raises InputError for networks and a likelihood that do not fit."""
    decoder = network(settings.generator, *size, settings.latent)
    encoder = network(settings.encoder, *size, settings.latent)
    low, likelihood = MODELS.traits(settings.generator.name).low, settings.likelihood.name
    if LIKELIHOODS.traits(likelihood).low not in (None, low):
        raise InputError(f"{section}.likelihood.name={likelihood}: needs images in 0..1, {settings.generator.name} makes {low}..1.")
    if encoder.conditional != decoder.conditional:
        made, coded = settings.generator.name, settings.encoder.name
        told = f"{made} is told {_told(decoder, made)}, {coded} is told {_told(encoder, coded)}"
        raise InputError(f"{section}.generator.options.condition: {told}; both or none must be.")
    if settings.noise != "normal":
        raise InputError(f"{section}.noise={settings.noise}: must be normal, the distribution of a variational autoencoder's code.")
    return encoder, decoder


def learner(
    section: str,
    settings: AdversarialConfig,
    networks: tuple[nn.Module, nn.Module | None],
    split: Callable[[Batch], tuple[Tensor, Any]],
    noise: Callable[[int, torch.Generator], Tensor | None],
    worker: Worker,
    classifiers: Mapping[str, Callable[[Tensor], Tensor]] | None = None,
) -> AdversarialLearner:
    """What trains the two as the configuration says. `split`, `noise` and `classifiers` are the learner's."""
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
        augment=differentiable(settings.differentiable, low) if settings.differentiable else None,
        classifiers=classifiers,
        precision=settings.precision,
        device=worker.device,
        world=worker.world,
    )
