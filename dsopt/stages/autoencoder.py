"""autoencoder: images -> the trained model that embeds them, by Ray Train over all workers or in this process."""

from typing import Any

import torch

from dsopt.augment.inputs import make_inputs, view_of
from dsopt.config import Config, differing
from dsopt.data.batches import in_order
from dsopt.data.loading import load
from dsopt.learners.autoencoder import AutoencoderLearner
from dsopt.learners.placement import arithmetic, unwrapped
from dsopt.models.autoencoder import Autoencoder
from dsopt.pipeline import networks
from dsopt.pipeline.plan import Plan
from dsopt.pipeline.training import Run, finish, fit_run, shuffled
from dsopt.registry import LOSSES, MODELS, SCHEDULES
from dsopt.seeds import derive
from dsopt.stages import ingest
from dsopt.storage import Kind, Stage, Table
from dsopt.training.loop import Phase
from dsopt.training.worker import Worker

AUTOENCODER = Kind("autoencoder")


def model(plan: Plan) -> Stage:
    """The autoencoder trained on the configured data set."""
    config, images = plan.config, ingest.images(plan)
    view_of(config.autoencoder.name, config.data.image_size)  # refused before anything is done
    made_of = differing(config, "autoencoder", "loss", "seed")
    return plan.add(AUTOENCODER, config.data.name, made_of, {"images": images}, train, where="workers")


def train(worker: Worker, stage: Stage, config: Config) -> None:
    """One worker's part of training the autoencoder; the first worker writes the stage."""
    table = Table(stage.inputs["images"].uri)
    settings, channels = config.autoencoder, table.manifest["channels"]
    view = view_of(settings.name, table.manifest["image_size"])
    images = load(table.uri, "train", size=view.loaded, decoded=None)
    worker.meet()

    torch.manual_seed(derive(config.seed, "weights"))
    network = MODELS.build(settings.name, settings.options)(channels)
    loss = LOSSES.build(config.loss.name, config.loss.options)()
    critic = MODELS.build("critic")(channels) if loss.critic else None
    learner = AutoencoderLearner(
        network,
        loss,
        critic,
        learning_rate=settings.learning_rate,
        momentum=settings.momentum,
        precision=settings.precision,
        device=worker.device,
        world=worker.world,
        sync_batch_norm=settings.sync_batch_norm,
    )
    inputs = make_inputs(settings.augment, view.taken, None, loaded=view.loaded)
    schedule = SCHEDULES.build(settings.schedule.name, settings.schedule.options)
    source, _ = shuffled(images, inputs, settings.batch_size, derive(config.seed, "autoencoder"), worker)
    run = Run(stage, "autoencoder", config.seed, settings.batch_size)
    state = fit_run(run, learner, [Phase(source, schedule, settings.steps)], config, worker)

    if not worker.leads:
        return
    held_out = load(table.uri, "test", size=view.loaded, decoded=None) if table.rows("test") else images
    tests = learner.evaluate(in_order(held_out.images, held_out.labels, 1000, inputs.test, worker.device))
    about = networks.described(settings, channels, inputs=networks.described_inputs(view, [], None))
    notes = {"arithmetic": arithmetic(learner.dtype, worker.device)}
    finish(run, config, worker, state, tests, unwrapped(learner.networks["autoencoder"]), about, **notes)


def trained(stage: Stage, device: torch.device) -> Autoencoder:
    """The autoencoder of a finished stage, ready to embed."""
    network: Any = networks.trained(Table(stage.uri), torch.device("cpu"))
    return network.ready_to_embed().to(device, memory_format=torch.channels_last)
