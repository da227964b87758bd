"""autoencoder: images -> the trained model that embeds them, by Ray Train over all workers or in this process."""

import torch

from dsopt.augment.inputs import make_inputs
from dsopt.config import Config, plain
from dsopt.data.batches import in_order
from dsopt.data.images import load
from dsopt.errors import InputError
from dsopt.learners.autoencoder import AutoencoderLearner
from dsopt.learners.placement import bare
from dsopt.models.autoencoder import Autoencoder
from dsopt.pipeline import outputs
from dsopt.pipeline.step import Step
from dsopt.pipeline.training import Run, finish, fit_run, shuffled
from dsopt.registry import LOSSES, MODELS, SCHEDULES
from dsopt.seeds import derive
from dsopt.stages import ingest
from dsopt.storage import Stage, Table
from dsopt.training.loop import Phase
from dsopt.training.worker import Worker


def model(config: Config) -> tuple[Stage, list[Step]]:
    """The trained autoencoder of the configured data set, and the steps that lead to it."""
    images, steps = ingest.images(config)
    made_of = plain(config.autoencoder) | {"loss": plain(config.loss), "seed": config.seed}
    stage = Stage(config.storage, "autoencoder", config.data.name, made_of, {"images": images})
    return stage, [*steps, Step(stage, _distribute)]


def _distribute(stage: Stage, config: Config) -> None:
    from dsopt.cluster.train import distributed

    distributed(train, (stage, config), config.cluster)


def train(worker: Worker, stage: Stage, config: Config) -> None:
    """One worker's part of training the autoencoder; the first worker writes the stage."""
    table = Table(stage.inputs["images"].uri)
    settings, size = config.autoencoder, input_size(config.autoencoder.name, table.manifest["image_size"])
    images = load(table.uri, "train")
    torch.manual_seed(derive(config.seed, "weights"))
    network = build(config, table)
    loss = LOSSES.build(config.loss.name, config.loss.options)()
    critic = MODELS.build("critic")(table.manifest["channels"]) if loss.critic else None
    learner = AutoencoderLearner(
        network,
        loss,
        critic,
        learning_rate=settings.learning_rate,
        momentum=settings.momentum,
        precision=settings.precision,
        device=worker.device,
        world=worker.world,
    )
    inputs = make_inputs(settings.augment, size, None)
    schedule = SCHEDULES.build(settings.schedule.name, settings.schedule.options)
    source, _ = shuffled(images, inputs, settings.batch_size, derive(config.seed, "autoencoder"), worker)
    run = Run(stage, "autoencoder", config.seed, settings.batch_size)
    state = fit_run(run, learner, [Phase(source, schedule, settings.steps)], config, worker)
    if not worker.leads:
        return
    held_out = load(table.uri, "test") if table.rows("test") else images
    tests = learner.evaluate(in_order(held_out.images, held_out.labels, 1000, inputs.test, worker.device))
    finish(run, worker, state, tests, bare(learner.networks["autoencoder"]))


def build(config: Config, table: Table) -> Autoencoder:
    return MODELS.build(config.autoencoder.name, config.autoencoder.options)(table.manifest["channels"])


def trained(stage: Stage, config: Config, device: torch.device) -> Autoencoder:
    """The autoencoder of a finished stage, ready to embed."""
    network = build(config, Table(stage.inputs["images"].uri))
    network.load_state_dict(outputs.weights(Table(stage.uri)))
    return network.ready_to_embed().to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]


def input_size(name: str, image_size: int) -> int:
    """The side that a network takes of images that have `image_size`. Raises InputError if they are smaller."""
    size = MODELS.traits(name).input_size
    if image_size < size:
        raise InputError(f"data.image_size={image_size}: {name} takes {size} pixels or more.")
    return size
