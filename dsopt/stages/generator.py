"""generator: images, or a subset of them -> a network that makes more of them, by Ray Train over all workers or in this process."""

from collections.abc import Callable
from dataclasses import replace

import torch
from torch import Tensor, nn

from dsopt.augment.inputs import make_inputs
from dsopt.config import Config, plain
from dsopt.data.batches import Batch
from dsopt.data.images import load
from dsopt.errors import InputError
from dsopt.generation.sample import Make, Noise, noise
from dsopt.learners.adversarial import AdversarialLearner
from dsopt.learners.placement import autocast, compute_dtype
from dsopt.learners.variational import VariationalLearner
from dsopt.losses.terms import TRAINED
from dsopt.pipeline import adversaries, outputs
from dsopt.pipeline.snapshots import Moments, written
from dsopt.pipeline.step import Step
from dsopt.pipeline.training import Run, batches, finish, fit_run, on_device
from dsopt.registry import MODELS, SCHEDULES
from dsopt.seeds import derive
from dsopt.stages import ingest, proxy, select
from dsopt.storage import Stage, Table
from dsopt.training.loop import Phase, State
from dsopt.training.samplers.shuffle import shuffle
from dsopt.training.worker import Worker

# What does not shape the trained generator: it is about what it learns from or makes, or of the other kind of learner.
_ELSEWHERE = {
    "adversarial": ("images", "samples", "encoder", "likelihood", "beta"),
    "variational": (
        "images",
        "samples",
        "discriminator",
        "loss",
        "terms",
        "discriminator_steps",
        "discriminator_rate",
        "eager_steps",
        "clip",
        "optimizer",
        "differentiable",
    ),
}


Shape = tuple[int, int, int]  # channels, pixels a side, classes


def base(config: Config) -> tuple[Stage, list[Step]]:
    """What a generator learns from: all training images, or those that `select` chooses; and the steps that lead there."""
    return ingest.images(config) if config.generate.images == "full" else select.subset(config, config.select, config.seed)


def model(config: Config, base: Stage, seed: int) -> tuple[Stage, list[Step]]:
    """The generator trained on a table of images (as ingested: on its training images), and the step that trains it.

    Raises InputError for networks that do not fit each other or the size of the images.
    """
    settings, inputs, steps = config.generate, {"images" if base.kind == "ingest" else "subset": base}, []
    untrained(config, (config.data.channels or 3, config.data.image_size, 10))
    made_of = {key: value for key, value in plain(settings).items() if key not in _ELSEWHERE[settings.learner]} | {"seed": seed}
    for role in adversaries.trained_classifiers(settings) if settings.learner == "adversarial" else ():
        inputs[role], more = proxy.judge(config, role)
        steps += more
    stage = Stage(config.storage, "generator", f"{config.data.name}-{settings.generator.name}", made_of, inputs)
    return stage, [*steps, Step(stage, _distribute, (seed,))]


def untrained(config: Config, shape: Shape) -> nn.Module:
    """The generator, once it is checked that it fits its discriminator or its encoder; nothing is computed."""
    settings = config.generate
    with torch.device("meta"):
        if settings.learner == "variational":
            return adversaries.autoencoder("generate", settings, shape)[1]
        return adversaries.build("generate", settings, (*shape, settings.latent), shape)[0]


def check_labelled(config: Config, key: str) -> None:
    """Raises InputError, naming the key that wants labels, for a generator that is told none."""
    made_by = config.generate.generator
    if MODELS.options(made_by.name, made_by.options).get("condition", "none") == "none":
        right = "right is a generator that is told them, such as preset=cdcgan"
        raise InputError(f"{key}: images of {made_by.name} without a condition have no labels to train on; {right}.")


def learned_from(stage: Stage) -> tuple[Table, str | None]:
    """The table that a generator's stage learns from, or another's makes more of, and the split of it."""
    if "subset" in stage.inputs:
        return Table(stage.inputs["subset"].uri), None
    return Table(stage.inputs["images"].uri), "train"


def _distribute(stage: Stage, config: Config, seed: int) -> None:
    from dsopt.cluster.train import distributed

    table, split = learned_from(stage)
    if untrained(config, _shape(table)).conditional:
        counts = _labels(table, split)
        if counts is None:
            raise InputError(
                f"generate.generator.name={config.generate.generator.name}: is told classes, but the images have none."
            )
        if int(counts.min()) < 1:
            raise InputError(f"generate: class {int(counts.argmin())} has no image to learn from among {int(counts.sum())}.")
    distributed(train, (stage, config, seed), config.cluster)


def _labels(table: Table, split: str | None) -> Tensor | None:
    """How many images each class has; None where any image has no label."""
    labels = table.read(split, ["label"])["label"]
    return None if labels.null_count else torch.bincount(torch.tensor(labels.to_numpy()), minlength=table.manifest["num_classes"])


def _shape(table: Table) -> Shape:
    return table.manifest["channels"], table.manifest["image_size"], max(1, table.manifest["num_classes"])


def train(worker: Worker, stage: Stage, config: Config, seed: int) -> None:
    """One worker's part of training a generator; the first worker writes the stage."""
    table, split = learned_from(stage)
    settings, images = config.generate, on_device(load(table.uri, split), worker.device)
    conditional = bool(untrained(config, _shape(table)).conditional)
    torch.manual_seed(derive(seed, "weights"))
    learner = _learner(stage, config, _shape(table), conditional, worker)
    inputs = make_inputs(settings.augment, table.manifest["image_size"], None)
    draw = shuffle(len(images.labels), settings.batch_size, derive(seed, "order"))
    source = batches(draw, images.images, images.labels, inputs, derive(seed, "generator"), worker)
    schedule = SCHEDULES.build(settings.schedule.name, settings.schedule.options)
    run = Run(stage, f"generator {settings.generator.name}", seed, settings.batch_size)
    classes = table.manifest["num_classes"] if conditional else 0
    moments = Moments(stage, learner.make, _noise(config), low(config), classes, worker.device, worker.watch)
    if worker.leads:
        moments(0.0, State())
    state = fit_run(run, learner, [Phase(source, schedule, settings.steps)], config, replace(worker, watch=moments))
    if worker.leads:
        finish(run, worker, state, {}, learner.average.finished(), conditional=conditional, moments=written(stage))


def _learner(
    stage: Stage, config: Config, shape: Shape, conditional: bool, worker: Worker
) -> AdversarialLearner | VariationalLearner:
    settings, black = config.generate, low(config)

    def split(batch: Batch) -> tuple[Tensor, Tensor | None]:
        """Images in the generator's range, and their labels if it takes any."""
        return batch.images * (1 - black) + black, batch.labels if conditional else None

    if settings.learner == "variational":
        return adversaries.variational("generate", settings, shape, split, worker)
    made = adversaries.build("generate", settings, (*shape, settings.latent), shape)
    return adversaries.learner("generate", settings, made, split, _noise(config), worker, _classifiers(stage, config, worker))


def _classifiers(stage: Stage, config: Config, worker: Worker) -> dict[str, Callable[[Tensor], Tensor]]:
    """The trained classifiers among a generator's inputs: images in its range -> logits."""
    judges = {role: proxy.Judge(made, config, worker.device) for role, made in stage.inputs.items() if role in TRAINED}
    black = low(config)

    def seen_by(judge: proxy.Judge) -> Callable[[Tensor], Tensor]:
        return lambda images: judge.logits((images - black) / (1 - black))

    return {role: seen_by(judge) for role, judge in judges.items()}


def _noise(config: Config) -> Noise:
    return noise(config.generate.noise, config.generate.latent)


def low(config: Config) -> float:
    """The value of black in the images that the generator makes; white is 1."""
    return MODELS.traits(config.generate.generator.name).low


def network_of(stage: Stage, config: Config, device: torch.device) -> nn.Module:
    """The network of a finished stage."""
    shape, settings = _shape(learned_from(stage)[0]), config.generate
    made = adversaries.network(settings.generator, *shape, settings.latent)
    made.load_state_dict(outputs.weights(Table(stage.uri)))
    return made.to(device, memory_format=torch.channels_last).eval()  # type: ignore[call-overload]


def trained(stage: Stage, config: Config, device: torch.device) -> Make:
    """The generator of a finished stage, ready to make images."""
    network, dtype = network_of(stage, config, device), compute_dtype(config.generate.precision, device)

    def make(noise: Tensor, labels: Tensor | None) -> Tensor:
        with autocast(dtype, device):
            return network(noise, labels)

    return make
