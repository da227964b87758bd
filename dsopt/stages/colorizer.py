"""colorizer: colour images -> a network that gives any lightness colours, by Ray Train over all workers or in this process."""

import torch
from torch import Tensor, nn

from dsopt.augment.inputs import make_inputs
from dsopt.config import Config, plain
from dsopt.data import colors
from dsopt.data.batches import Batch
from dsopt.data.images import load
from dsopt.errors import InputError
from dsopt.learners.adversarial import AdversarialLearner
from dsopt.pipeline import adversaries, outputs
from dsopt.pipeline.step import Step
from dsopt.pipeline.training import Run, finish, fit_run, shuffled
from dsopt.registry import MODELS, SCHEDULES
from dsopt.seeds import derive
from dsopt.stages import ingest
from dsopt.storage import Stage, Table
from dsopt.training.loop import Phase
from dsopt.training.worker import Worker

_ELSEWHERE = ("model", "beside", "differentiable")  # do not shape the trained network


def model(config: Config, seed: int) -> tuple[Stage, list[Step]]:
    """The trained colorizer of the configured data set, and the steps that lead to it.

    Raises InputError for networks that do not fit each other or the size of the images, and for what is no colour.
    """
    settings, size = config.colorize, config.colorize.size or config.data.image_size
    if settings.differentiable:
        raise InputError("colorize.differentiable: must be []: it would change colours and leave their lightness where it is.")
    if size > config.data.image_size:
        raise InputError(f"colorize.size={size}: the images have {config.data.image_size} pixels; see data.image_size.")
    if config.data.channels == 1:
        raise InputError("data.channels=1: a colorizer learns from colours; right is 3.")
    _networks(config, size, torch.device("meta"))
    images, steps = ingest.images(config)
    made_of = {key: value for key, value in plain(settings).items() if key not in _ELSEWHERE} | {"seed": seed}
    stage = Stage(config.storage, "colorizer", config.data.name, made_of, {"images": images})
    return stage, [*steps, Step(stage, _distribute, (seed,))]


def _networks(config: Config, size: int, device: torch.device) -> tuple[nn.Module, nn.Module | None]:
    with device:
        return adversaries.build("colorize", config.colorize, (2, size), (2, size, 0))


def _distribute(stage: Stage, config: Config, seed: int) -> None:
    from dsopt.cluster.train import distributed

    if Table(stage.inputs["images"].uri).manifest["channels"] != 3:
        told = f"data.name={config.data.name}: its images are grey"
        raise InputError(f"{told}; give a trained colorizer, colorize.model=..., or colours to learn from.")
    distributed(train, (stage, config, seed), config.cluster)


def train(worker: Worker, stage: Stage, config: Config, seed: int) -> None:
    """One worker's part of training a colorizer; the first worker writes the stage."""
    settings, size = config.colorize, config.colorize.size or config.data.image_size
    images = load(Table(stage.inputs["images"].uri).uri, "train")
    torch.manual_seed(derive(seed, "weights"))
    learner = _learner(config, size, worker)
    inputs = make_inputs(settings.augment, size, None)
    source, _ = shuffled(images, inputs, settings.batch_size, derive(seed, "colorizer"), worker)
    schedule = SCHEDULES.build(settings.schedule.name, settings.schedule.options)
    run = Run(stage, f"colorizer {settings.loss.name}", seed, settings.batch_size)
    state = fit_run(run, learner, [Phase(source, schedule, settings.steps)], config, worker)
    if worker.leads:
        notes = {"generator": plain(settings.generator), "size": size, "loss": settings.loss.name, "terms": settings.terms}
        finish(run, worker, state, {}, learner.average.finished(), **notes)


def _learner(config: Config, size: int, worker: Worker) -> AdversarialLearner:
    networks = _networks(config, size, torch.device("cpu"))
    return adversaries.learner("colorize", config.colorize, networks, _split, lambda count, generator: None, worker)


def _split(batch: Batch) -> tuple[Tensor, Tensor]:
    """The colours to be made, and the lightness that they are made for."""
    lightness, ab = colors.split(batch.images)
    return ab, lightness


class Colorizer:
    """A finished colorizer at work on a device.

    Attributes:
        size: pixels a side of the images that it learned on.
        multiple: its images' sides are multiples of this.

    Raises InputError if the stage is of another kind.
    """

    def __init__(self, stage: Stage, device: torch.device) -> None:
        table = Table(stage.uri)
        manifest = table.manifest
        if manifest["stage"] != "colorizer":
            raise InputError(f"{stage.uri}: is no colorizer but of stage {manifest['stage']}.")
        chosen, self.size, self.device = manifest["generator"], manifest["size"], device
        network = MODELS.build(chosen["name"], chosen["options"])(2, self.size)
        network.load_state_dict(outputs.weights(table))
        self.network = network.to(device, memory_format=torch.channels_last).eval()
        self.multiple: int = network.multiple

    @torch.inference_mode()
    def __call__(self, lightness: Tensor) -> Tensor:
        """The colours of each image: lightness [b, 1, h, w] in -1..1 -> a and b [b, 2, h, w] in -1..1."""
        return self.network(None, lightness.to(self.device))
