"""generator: images, or a subset of them -> a network that generates more of them, trained on all workers."""

from collections.abc import Callable
from dataclasses import replace
from functools import partial

import torch
from torch import Tensor, nn

from dsopt.augment.inputs import make_inputs
from dsopt.config import Config, differing
from dsopt.data.batches import Batch
from dsopt.data.loading import load
from dsopt.errors import InputError
from dsopt.generation.sample import noise
from dsopt.learners.adversarial import AdversarialLearner
from dsopt.learners.placement import arithmetic, autocast, compute_dtype
from dsopt.learners.variational import VariationalLearner
from dsopt.losses.terms import TRAINED_CLASSIFIERS
from dsopt.pipeline import adversaries, networks
from dsopt.pipeline.plan import Plan
from dsopt.pipeline.snapshots import Snapshots, written
from dsopt.pipeline.training import Run, batches, finish, fit_run, on_device
from dsopt.registry import MODELS, SCHEDULES
from dsopt.seeds import derive
from dsopt.stages import ingest, proxy, select
from dsopt.storage import Kind, Stage, Table
from dsopt.training.loop import Phase, State
from dsopt.training.samplers.shuffle import shuffle
from dsopt.training.worker import Worker

GENERATOR = Kind("generator")

# Keys that do not shape the trained generator: what it learns from or generates, or what only the other kind of learner has.
_ELSEWHERE = {
    "adversarial": ("images", "samples", "encoder", "likelihood", "beta"),
    "variational": (
        *("images", "samples", "discriminator", "loss", "terms", "discriminator_steps", "discriminator_rate"),
        *("eager_steps", "clip", "optimizer", "differentiable"),
    ),
}

Shape = tuple[int, int, int]  # channels, pixels a side, classes


def base(plan: Plan) -> Stage:
    """What a generator learns from: all training images, or those that `select` chooses."""
    config = plan.config
    return ingest.images(plan) if config.generate.images == "full" else select.subset(plan, config.select, config.seed)


def model(plan: Plan, base: Stage, seed: int) -> Stage:
    """The generator trained on a table of images (on an ingested one: on its training images).

    Raises InputError for networks that do not fit each other or the size of the images.
    """
    config, settings = plan.config, plan.config.generate
    untrained(config, (config.data.channels or 3, config.data.image_size, 10))
    without = [f"generate.{key}" for key in (*_ELSEWHERE[settings.learner], *["steps"] * (settings.epochs is not None))]
    made_of, inputs = differing(config, "generate", without=without) | {"seed": seed}, {"base": base}
    for role in adversaries.trained_classifiers(settings) if settings.learner == "adversarial" else ():
        inputs[role] = proxy.model(plan, role)
    name = f"{config.data.name}-{settings.generator.name}"
    return plan.add(GENERATOR, name, made_of, inputs, partial(train, seed=seed), where="workers", check=_check)


def untrained(config: Config, shape: Shape) -> nn.Module:
    """The generator on the meta device, checked against its discriminator or encoder; nothing is computed."""
    settings = config.generate
    with torch.device("meta"):
        if settings.learner == "variational":
            return adversaries.autoencoder("generate", settings, shape)[1]
        return adversaries.build("generate", settings, (*shape, settings.latent), shape)[0]


def check_labelled(config: Config, key: str) -> None:
    """Raises InputError, naming the key that needs labels, for a generator that is not class-conditional."""
    chosen = config.generate.generator
    if MODELS.options(chosen.name, chosen.options).get("condition", "none") == "none":
        expected = "expected a class-conditional generator, such as preset=cdcgan"
        raise InputError(f"{key}: images of {chosen.name} without a condition have no labels to train on; {expected}.")


def learned_from(stage: Stage) -> Table:
    """The images that a generator's stage learns from, or that a stage of extra images copies from."""
    return Table(stage.inputs["base"].uri)


def _check(stage: Stage, config: Config) -> None:
    table = learned_from(stage)
    if untrained(config, _shape(table)).conditional:
        counts, name = _class_counts(table), config.generate.generator.name
        if counts is None:
            raise InputError(f"generate.generator.name={name}: is class-conditional, but the images have no labels.")
        if int(counts.min()) < 1:
            raise InputError(f"generate: class {int(counts.argmin())} has no image to learn from among {int(counts.sum())}.")


def _class_counts(table: Table) -> Tensor | None:
    """How many images each class has; None where any image has no label."""
    labels = table.read(table.training(), ["label"])["label"]
    return None if labels.null_count else torch.bincount(torch.tensor(labels.to_numpy()), minlength=table.manifest["num_classes"])


def _shape(table: Table) -> Shape:
    return table.manifest["channels"], table.manifest["image_size"], max(1, table.manifest["num_classes"])


def train(worker: Worker, stage: Stage, config: Config, seed: int) -> None:
    """One worker's part of training a generator; the first worker writes the stage."""
    table, settings = learned_from(stage), config.generate
    images, shape = on_device(load(table.uri, table.training()), worker.device), _shape(table)
    worker.meet()
    conditional = bool(untrained(config, shape).conditional)
    torch.manual_seed(derive(seed, "weights"))
    learner = _learner(stage, config, shape, conditional, worker)
    inputs = make_inputs(settings.augment, table.manifest["image_size"], None)
    draw = shuffle(len(images.labels), settings.batch_size, derive(seed, "order"))
    source = batches(draw, images.images, images.labels, inputs, derive(seed, "generator"), worker)
    schedule = SCHEDULES.build(settings.schedule.name, settings.schedule.options)
    run = Run(stage, f"generator {settings.generator.name}", seed, settings.batch_size)
    snapshots = Snapshots(
        stage,
        learner.generate,
        noise(settings.noise, settings.latent),
        low(config),
        classes=table.manifest["num_classes"] if conditional else 0,
        device=worker.device,
        watch=worker.watch,
    )
    if worker.leads:
        snapshots(0.0, State())
    steps = settings.steps
    if settings.epochs is not None:
        steps = max(1, round(settings.epochs * len(images.labels) / settings.batch_size))
    state = fit_run(run, learner, [Phase(source, schedule, steps)], config, replace(worker, watch=snapshots))
    if worker.leads:
        facts = {"noise": settings.noise, "latent": settings.latent, "precision": settings.precision}
        about = networks.described(settings.generator, *shape, settings.latent, **facts)
        finish(
            run,
            config,
            worker,
            state,
            {},
            learner.average.averaged_network(),
            about,
            conditional=conditional,
            snapshots=written(stage),
            arithmetic=arithmetic(learner.dtype, worker.device),
        )


def _learner(
    stage: Stage, config: Config, shape: Shape, conditional: bool, worker: Worker
) -> AdversarialLearner | VariationalLearner:
    settings, black = config.generate, low(config)

    def split(batch: Batch) -> tuple[Tensor, Tensor | None]:
        """Images in the generator's range, and their labels if it takes any."""
        return batch.images * (1 - black) + black, batch.labels if conditional else None

    if settings.learner == "variational":
        return adversaries.variational("generate", settings, shape, split, worker)
    pair = adversaries.build("generate", settings, (*shape, settings.latent), shape)
    classifiers = _classifiers(stage, black, worker.device)
    drawn = noise(settings.noise, settings.latent)
    return adversaries.learner("generate", settings, pair, split, drawn, worker, classifiers, shape[2])


def _classifiers(stage: Stage, black: float, device: torch.device) -> dict[str, Callable[[Tensor], Tensor]]:
    """The trained classifiers among a generator's inputs: images in its range -> logits."""
    classifiers = {role: proxy.Judge(trained, device) for role, trained in stage.inputs.items() if role in TRAINED_CLASSIFIERS}

    def logits_of(classifier: proxy.Judge) -> Callable[[Tensor], Tensor]:
        return lambda images: classifier.logits((images - black) / (1 - black))

    return {role: logits_of(classifier) for role, classifier in classifiers.items()}


def low(config: Config) -> float:
    """The value of black in the images that the configured generator generates; white is 1."""
    return MODELS.traits(config.generate.generator.name).low


class Trained:
    """A finished generator on a device, rebuilt from its stage's folder alone.

    Attributes:
        network: (noise [b, latent], labels [b] or None) -> images [b, c, h, w] with values from `low` to 1.
        noise: (count, generator) -> noise [count, latent] from the distribution that it was trained with.
        low: the value of black.
    """

    def __init__(self, stage: Stage, device: torch.device) -> None:
        table = Table(stage.uri)
        about = networks.description_of(table)
        self.network = networks.trained(table, device)
        self.kind, self.latent = about["noise"], about["latent"]
        self.noise = noise(self.kind, self.latent)
        self.low: float = MODELS.traits(about["name"]).low
        self.dtype, self.device = compute_dtype(about["precision"], device), device

    def make(self, noise: Tensor, labels: Tensor | None) -> Tensor:
        """Generate images, in the precision of the training."""
        with autocast(self.dtype, self.device):
            return self.network(noise, labels)
