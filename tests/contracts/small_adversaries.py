"""Tiny generators with their discriminators, in every combination that is registered."""

from collections.abc import Callable

import torch
from torch import nn

from dsopt.config import AdversarialConfig, Choice
from dsopt.data.batches import Batch
from dsopt.learners.adversarial import AdversarialLearner
from dsopt.pipeline import adversaries
from dsopt.registry import ADVERSARIAL, MODELS, TERMS
from dsopt.seeds import derive
from dsopt.training.worker import Worker

SIZE, CLASSES, LATENT = 8, 3, 5
GENERATORS = [name for name in MODELS.names() if MODELS.traits(name).kind == "generator"]
DISCRIMINATORS = [
    name for name in MODELS.names() if MODELS.traits(name).kind == "discriminator" and "condition" in MODELS.defaults(name)
]
CONDITIONS = [(name, "batch_norm" if name == "sngan_generator" else "concat") for name in GENERATORS]


def settings(generator: str, discriminator: str, loss: str = "hinge", told=("none", "none"), **more) -> AdversarialConfig:
    """Tiny networks."""
    judge = {"width": 5, "condition": told[1], **more.pop("judge", {})}
    return AdversarialConfig(
        generator=Choice(generator, {"width": 4, "condition": told[0]}),
        discriminator=Choice(discriminator, judge),
        loss=Choice(loss),
        learning_rate=0.01,
        **more,
    )


def learner(
    given: AdversarialConfig,
    worker: Worker = Worker(),  # noqa: B008
    change: Callable[[nn.Module], nn.Module] = lambda network: network,
) -> AdversarialLearner:
    """Args: change: of both networks, before they are trained."""
    torch.manual_seed(worker.rank)  # the first worker's weights are everyone's
    generator, judge = adversaries.build("generate", given, (1, SIZE, CLASSES, LATENT), (1, SIZE, CLASSES))
    made = change(generator), None if judge is None else change(judge)
    conditional, low = made[0].conditional, MODELS.traits(given.generator.name).low
    return adversaries.learner(
        "generate",
        given,
        made,
        lambda batch: (batch.images * (1 - low) + low, batch.labels if conditional else None),
        lambda count, random: torch.randn(count, LATENT, generator=random),
        worker,
        {"proxy": classifier()},
        CLASSES,
    )


def classifier() -> torch.nn.Module:
    random = torch.Generator().manual_seed(0)
    dense = torch.nn.Linear(SIZE * SIZE, CLASSES).requires_grad_(False)
    dense.weight.copy_(torch.randn(dense.weight.shape, generator=random))
    return torch.nn.Sequential(torch.nn.Flatten(), dense, torch.nn.Tanh())


def batch(step: int) -> Batch:
    random = torch.Generator().manual_seed(step)
    images = torch.rand(6, 1, SIZE, SIZE, generator=random).contiguous(memory_format=torch.channels_last)
    return Batch(images, torch.randint(0, CLASSES, (6,), generator=random), derive(step))


def pairs() -> list[tuple[str, str]]:
    losses = {name: ADVERSARIAL.build(name)() for name in ADVERSARIAL.names() if name != "none"}
    return [
        (name, judge) for name, loss in losses.items() for judge in DISCRIMINATORS if MODELS.traits(judge).energy == loss.energy
    ]


def with_term(term: str) -> AdversarialConfig:
    """A loss with a term, and networks that suit it."""
    small = {"options": {"network": "convnet(width=4)"}} if "network" in TERMS.defaults(term) else {}
    more = {"terms": [{"name": term, "weight": 0.5, **small}]}
    if term in ("l1", "l2"):
        return settings("dcgan_generator", "dcgan_discriminator", "none", **more)
    if term in ("classification", "information"):
        judge = {"codes": 2} if term == "information" else {}
        return settings("dcgan_generator", "dcgan_discriminator", told=("concat", "auxiliary"), judge=judge, **more)
    return settings("dcgan_generator", "dcgan_discriminator", told=("concat", "projection"), judge={"norm": "none"}, **more)
