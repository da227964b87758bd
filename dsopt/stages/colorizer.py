"""colorizer: color images -> a network that gives any lightness colors, by Ray Train over all workers or in this process."""

from functools import partial

import torch
from torch import Tensor, nn

from dsopt.augment.inputs import make_inputs
from dsopt.config import Config, differing
from dsopt.data import colors
from dsopt.data.batches import Batch
from dsopt.data.loading import load
from dsopt.errors import InputError
from dsopt.learners.adversarial import AdversarialLearner
from dsopt.learners.placement import arithmetic
from dsopt.pipeline import adversaries, networks
from dsopt.pipeline.plan import Plan
from dsopt.pipeline.training import Run, finish, fit_run, shuffled
from dsopt.registry import SCHEDULES
from dsopt.seeds import derive
from dsopt.stages import ingest
from dsopt.storage import Kind, Stage, Table
from dsopt.training.loop import Phase
from dsopt.training.worker import Worker

COLORIZER = Kind("colorizer")
_ELSEWHERE = ("model", "beside", "differentiable")  # keys that do not shape the trained network


def model(plan: Plan, seed: int) -> Stage:
    """The colorizer trained on the configured data set.

    Raises InputError for networks that do not fit each other or the size of the images, and for grey images.
    """
    config, settings = plan.config, plan.config.colorize
    size = settings.size or config.data.image_size
    if settings.differentiable:
        raise InputError("colorize.differentiable: must be []: it would change colors and leave their lightness where it is.")
    if size > config.data.image_size:
        raise InputError(f"colorize.size={size}: the images have {config.data.image_size} pixels; see data.image_size.")
    if config.data.channels == 1:
        raise InputError("data.channels=1: a colorizer learns from colors; expected 3.")
    _networks(config, size, torch.device("meta"))
    made_of = differing(config, "colorize", without=[f"colorize.{key}" for key in _ELSEWHERE]) | {"seed": seed}
    inputs = {"images": ingest.images(plan)}
    return plan.add(COLORIZER, config.data.name, made_of, inputs, partial(train, seed=seed), where="workers", needs=_check)


def _networks(config: Config, size: int, device: torch.device) -> tuple[nn.Module, nn.Module | None]:
    with device:
        return adversaries.build("colorize", config.colorize, (2, size), (2, size, 0))


def _check(stage: Stage, config: Config) -> None:
    if Table(stage.inputs["images"].uri).manifest["channels"] != 3:
        given = f"data.name={config.data.name}: its images are grey"
        raise InputError(f"{given}; expected colors to learn from, or a trained colorizer, colorize.model=...")


def train(worker: Worker, stage: Stage, config: Config, seed: int) -> None:
    """One worker's part of training a colorizer; the first worker writes the stage."""
    settings, size = config.colorize, config.colorize.size or config.data.image_size
    images = load(Table(stage.inputs["images"].uri).uri, "train")
    worker.meet()
    torch.manual_seed(derive(seed, "weights"))
    learner = _learner(config, size, worker)
    inputs = make_inputs(settings.augment, size, None)
    source, _ = shuffled(images, inputs, settings.batch_size, derive(seed, "colorizer"), worker)
    schedule = SCHEDULES.build(settings.schedule.name, settings.schedule.options)
    run = Run(stage, f"colorizer {settings.loss.name}", seed, settings.batch_size)
    state = fit_run(run, learner, [Phase(source, schedule, settings.steps)], config, worker)
    if worker.leads:
        about = networks.described(settings.generator, 2, size)
        notes = {"size": size, "loss": settings.loss.name, "terms": settings.terms}
        notes["arithmetic"] = arithmetic(learner.dtype, worker.device)
        finish(run, config, worker, state, {}, learner.average.averaged_network(), about, **notes)


def _learner(config: Config, size: int, worker: Worker) -> AdversarialLearner:
    networks = _networks(config, size, torch.device("cpu"))
    return adversaries.learner("colorize", config.colorize, networks, _split, lambda count, generator: None, worker)


def _split(batch: Batch) -> tuple[Tensor, Tensor]:
    """The colors to be made, and the lightness that they are made for."""
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
        if table.manifest["stage"] != COLORIZER.name:
            raise InputError(f"{stage.uri}: is no colorizer but of stage {table.manifest['stage']}.")
        self.network, self.size, self.device = networks.trained(table, device), table.manifest["size"], device
        self.multiple: int = self.network.multiple  # pyright: ignore[reportAttributeAccessIssue]

    @torch.inference_mode()
    def __call__(self, lightness: Tensor) -> Tensor:
        """The colors of each image: lightness [b, 1, h, w] in -1..1 -> a and b [b, 2, h, w] in -1..1."""
        return self.network(None, lightness.to(self.device))
