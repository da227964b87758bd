"""What every training stage does: feed batches, fit with checkpoints in the stage's folder, report progress, write the results."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dsopt.augment import Draws
from dsopt.augment.inputs import MOST, Inputs, View, view_of
from dsopt.config import ClassifierConfig, Config
from dsopt.data import room
from dsopt.data.batches import Batch, Batches
from dsopt.data.encoded import Encoded
from dsopt.data.images import Images
from dsopt.errors import InputError, JobError
from dsopt.files import delete, exists, read_bytes, stat, write_bytes
from dsopt.learners.classifier import Classifier
from dsopt.models import libraries
from dsopt.pipeline import networks, outputs
from dsopt.pipeline.tracking import Tracking
from dsopt.progress import Progress, say
from dsopt.seeds import derive
from dsopt.storage import Stage, Table
from dsopt.training.loop import Learner, Phase, State, Stateful, fit
from dsopt.training.samplers import Sampler
from dsopt.training.samplers.contract import FilteringSampler, LossAwareSampler
from dsopt.training.samplers.shuffle import shuffle
from dsopt.training.worker import Worker, operations

LOADED = 8 / 7  # times what a network takes: the size that larger pictures are loaded at, of which crops are taken; 256 for 224


@dataclass(frozen=True)
class Run:
    """One training run: the stage it writes, the label of its progress lines, its seed and batch size."""

    stage: Stage
    label: str
    seed: int
    batch_size: int


@dataclass(frozen=True)
class StageCheckpoint:
    """A run's checkpoint, in its stage's folder."""

    uri: str

    def __str__(self) -> str:
        return self.uri

    def load(self) -> bytes | None:
        try:
            return read_bytes(self.uri)
        except FileNotFoundError:
            return None

    def save(self, data: bytes) -> None:
        write_bytes(self.uri, data)


def classifier_learner(settings: ClassifierConfig, table: Table, seed: int, worker: Worker) -> Classifier:
    """A fresh classifier for the images of a table."""
    torch.manual_seed(derive(seed, "weights"))
    facts, size = table.manifest, view(settings, table.manifest["image_size"]).taken
    arguments = facts["channels"], facts["num_classes"]
    network = networks.untrained(settings.name, settings.options, *arguments, size=size, weights=settings.weights)
    return learner_of(network, settings, worker)


def view(settings: ClassifierConfig, image_size: int) -> View:
    """How the network sees images that have `image_size`; a library's or the user's takes `size`, by default all of it.

    Raises:
        InputError: they are smaller than what it takes, or there can be no such network.
    """
    if not libraries.is_external(settings.name):
        return view_of(settings.name, image_size)
    libraries.check(settings.name)
    size = settings.size or image_size
    if size > image_size:
        raise InputError(f"data.image_size={image_size}: {settings.name} is to take {size} pixels; expected {size} or more.")
    return View(image_size if image_size <= MOST * size else round(LOADED * size), size)


def external(settings: ClassifierConfig) -> dict[str, Any]:
    """What the hash of a stage with this network needs beside its settings: of what files and functions of the user it is made."""
    if not libraries.is_external(settings.name):
        return {}
    file = settings.weights if settings.weights not in (None, libraries.LIBRARY) else None
    found = stat(file) if file else None
    if file and found is None:
        raise InputError(f"weights={file}: there is no such file.")
    return {"network": [libraries.fingerprint(settings.name), found and list(found)]}


def learner_of(network: nn.Module, settings: ClassifierConfig, worker: Worker) -> Classifier:
    return Classifier(
        network,
        learning_rate=settings.learning_rate,
        momentum=settings.momentum,
        optimizer=settings.optimizer,
        weight_decay=settings.weight_decay,
        decay=settings.decay,
        label_smoothing=settings.label_smoothing,
        average=settings.average,
        sync_batch_norm=settings.sync_batch_norm,
        compile=settings.compile,
        precision=settings.precision,
        device=worker.device,
        world=worker.world,
    )


def describe_classifier(settings: ClassifierConfig, table: Table) -> dict[str, Any]:
    """The description from which a classifier for the images of a table is rebuilt and fed, see `dsopt.pipeline.networks`.

    Raises InputError if the images do not fit the network.
    """
    facts, seen, by = table.manifest, view(settings, table.manifest["image_size"]), settings.standardise
    divided = _statistics(settings, facts["channels"]) if by == "channels" else None if by == "none" else by
    inputs = networks.described_inputs(seen, settings.augment, divided)
    return networks.described(settings, facts["channels"], facts["num_classes"], inputs=inputs, precision=settings.precision)


def _statistics(settings: ClassifierConfig, channels: int) -> list[list[float]]:
    found = [list(values) for values in libraries.statistics(settings.name)]
    return found if channels == 3 else [[sum(values) / len(values)] for values in found]


class Feed(NamedTuple):
    """The batches of a phase, step -> batch, and the state that must be in its checkpoints."""

    source: Callable[[int], Batch]
    memory: Stateful | None = None


Observe = Callable[[Tensor, Tensor, Tensor], None]  # indices [b], labels, logits [b, classes]


def on_device(images: Images, device: torch.device, streamed: bool | None = None) -> Images:
    """A set with its labels on the device, and its images too if they fit; `streamed` decides whether images stay off it."""
    stay = isinstance(images.images, Encoded) or streamed
    stay = stay or (streamed is None and not room.fits_device(images.images.nbytes, device))
    soft = None if images.soft is None else images.soft.to(device)
    return Images(images.ids, images.images if stay else images.images.to(device), images.labels.to(device), soft)


def shuffled(images: Images, inputs: Inputs, batch_size: int, seed: int, worker: Worker, observe: Observe | None = None) -> Feed:
    """The shuffled batches of a data set, with its soft labels if it has them.

    Args:
        observe: called with the logits of every batch.
    """
    draw, here = shuffle(len(images.ids), batch_size, derive(seed, "order")), on_device(images, worker.device)
    labels = here.labels if here.soft is None else here.soft
    return Feed(batches(draw, here.images, labels, inputs, seed, worker, observe))


def batches(
    draw: Sampler,
    images: Tensor | Encoded,
    labels: Tensor,
    inputs: Inputs,
    seed: int,
    worker: Worker,
    observe: Observe | None = None,
) -> Batches:
    """The batches that a sampler draws from a set that is `on_device`.

    A `LossAwareSampler` observes the losses of each batch; a `FilteringSampler` keeps a part of its candidates.
    """

    drawing, mixing = Draws(worker.device), Draws(worker.device)

    def transform(part: Tensor, step_seed: int, total: int, start: int, stop: int) -> Tensor:
        return inputs.train(part, drawing(step_seed, total, start, stop))

    def mix(part: Tensor, labels: Tensor, step_seed: int, total: int, start: int, stop: int) -> tuple[Tensor, Tensor]:
        assert inputs.mix is not None
        return inputs.mix(part, labels, mixing(derive(step_seed, "mix"), total, start, stop))

    if inputs.mix and isinstance(draw, LossAwareSampler):
        raise InputError(
            "train.augment: mixed images have no loss of their own, which train.sampler goes by; leave out one of them."
        )
    return Batches(
        images,
        labels,
        draw,
        partial(derive, seed, "transform"),
        transform,
        worker.rank,
        worker.world,
        partial(_observe_losses, draw) if isinstance(draw, LossAwareSampler) else observe,
        draw.keep if isinstance(draw, FilteringSampler) else None,
        mix if inputs.mix else None,
        foreseen=not isinstance(draw, LossAwareSampler),
    )


def _observe_losses(sampler: LossAwareSampler, indices: Tensor, labels: Tensor, logits: Tensor) -> None:
    sampler.observe(indices, F.cross_entropy(logits.float(), labels, reduction="none"))


def fit_run(
    run: Run,
    learner: Learner,
    phases: list[Phase],
    config: Config,
    worker: Worker,
    validate: Callable[[], dict[str, float]] | None = None,
    validate_every: int = 0,
    test: Callable[[], dict[str, float]] | None = None,
    test_every: int = 0,
) -> State:
    """Train with progress and checkpoints; resumes from the last checkpoint if the run was interrupted."""
    timed = phases[-1].until or sum(phase.seconds or 0 for phase in phases)
    images = sum(phase.steps or 0 for phase in phases) * run.batch_size
    progress = Progress(run.label, round(timed) or images, "seconds" if timed else "images")

    def done(state: State) -> int:
        return int(state.seconds) if timed else state.total * run.batch_size

    def report(state: State) -> None:
        loss = next(value for _, _, split, name, value in reversed(state.rows) if (split, name) == ("train", "loss"))
        progress.update(done(state), f"loss {loss:.4f}")
        tracking.tell(state, learner)
        worker.watch(state.seconds / timed if timed else done(state) / images, state)

    def resumed(state: State) -> None:
        progress.first = done(state)
        tracking.skip(state)
        say(run.label, f"resumes after step {state.total:,} of an interrupted run")

    def quiet(state: State) -> None: ...  # only the first worker reports

    checkpoint = StageCheckpoint(run.stage.path("checkpoint.pt"))
    try:
        with Tracking(run.stage, run.label, run.seed, config) as tracking, operations(config.deterministic):
            return fit(
                learner,
                phases,
                report=report if worker.leads else quiet,
                resumed=resumed if worker.leads else quiet,
                validate=validate,
                validate_every=validate_every,
                test=test,
                test_every=test_every,
                checkpoint=checkpoint,
                checkpoint_seconds=config.cluster.checkpoint_seconds,
                name=run.label,
            )
    except JobError as error:  # it diverged
        if not exists(checkpoint.uri):
            raise
        raise JobError(f"{error} The last checkpoint before that is kept: {run.stage.folder}/checkpoint.pt") from None


def finish(
    run: Run,
    config: Config,
    worker: Worker,
    state: State,
    found: dict[str, float],
    network: nn.Module,
    about: dict[str, Any],
    split: str = "test",
    **notes: Any,
) -> None:
    """Write the run's metrics and network, and declare its stage done.

    Args:
        found: metrics of the trained network on `split`, by name.
        about: the description from which it is rebuilt (`networks.described`).
    """
    if run.stage.done():  # another driver was first
        delete(run.stage.path("checkpoint.pt"))
        return
    rows = [*state.rows, *((state.total, state.seconds, split, name, value) for name, value in found.items())]
    outputs.commit(
        run.stage,
        outputs.metrics((run.stage.folder, run.seed, *row) for row in rows),
        seconds=state.seconds,
        seed=run.seed,
        model=about | {"weights": networks.save_weights(run.stage, network.state_dict())},
        steps=state.total,
        device=worker.describe(),
        **notes,
    )
    delete(run.stage.path("checkpoint.pt"))
    with Tracking(run.stage, run.label, run.seed, config) as tracking:
        tracking.skip(state)
        tracking.tell_values([(state.total, f"{split}/{name}", value) for name, value in found.items()])
    result = "  ".join([split, *(f"{name} {value:.4f}" for name, value in found.items())]) if found else ""
    say(run.label, f"{state.total:,} steps in {state.seconds:.1f} s  {result}".rstrip())
