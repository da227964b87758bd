"""Training one child on a proxy of the data, and evaluating it on held-out real images."""

import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from jaxtyping import Int64
from torch import Tensor, nn

from dsopt.augment.inputs import Inputs, make_inputs
from dsopt.config import ChildConfig
from dsopt.data.batches import Batch, in_order
from dsopt.data.holdout import held_out
from dsopt.data.images import Images
from dsopt.data.loading import load
from dsopt.errors import InputError
from dsopt.learners.classifier import Classifier
from dsopt.pipeline.training import batches, on_device
from dsopt.registry import SCHEDULES
from dsopt.search.proxies import Proxy
from dsopt.seeds import derive
from dsopt.storage import Table
from dsopt.training.loop import Phase, fit
from dsopt.training.samplers.contract import BatchIndices
from dsopt.training.samplers.shuffle import shuffle
from dsopt.training.worker import Worker

EVALUATION_BATCH = 1000  # images

Rates = tuple[tuple[float, ...], ...]  # learning rates: a row for each epoch, a column for each block of images


@dataclass(frozen=True)
class Material:
    """The training and evaluation data of a child: labels on the device, and images too if they fit there.

    Args:
        labels: class indices [n], or probabilities [n, classes].
        rows: the indices of the images to train on.
        held_out: the images to evaluate on.
        rates: learning rates of the set, if used: then its blocks of images are taken in order, each with its own rate.
    """

    images: Tensor
    labels: Tensor
    rows: Int64[Tensor, " k"]
    held_out: Images
    inputs: Inputs
    channels: int
    classes: int
    size: int
    rates: Rates = ()


@dataclass(frozen=True)
class MaterialSource:
    """Where a `Material` is loaded from; small and hashable.

    Args:
        images: the folder of the images table.
        subset: the folder of the table to train on, if another one.
        limit: how many images to take: the first by rank, in total or balanced over classes.
    """

    images: str
    subset: str | None
    limit: int | None
    per_class: bool
    validation: float
    seed: int
    augment: tuple[str, ...]
    standardise: Any
    bound_rates: str | None = None


@functools.lru_cache(maxsize=2)
def material(source: MaterialSource, device: torch.device) -> Material:
    """Load the data. Raises InputError if no image is left to train or to evaluate on, or the sets do not fit together."""
    table, whole = Table(source.images), load(source.images, "train")
    out = held_out(whole.ids, source.validation, source.seed)
    if not out.any() or out.all():
        raise InputError(
            f"search.validation={source.validation}: holds out {int(out.sum())} of {len(out)} images; expected some, not all."
        )
    evaluated = on_device(Images(whole.ids[out], whole.images[out], whole.labels[out]), device)
    used, rows, rates = whole, (~out).nonzero().squeeze(1), ()
    if source.subset:
        used, rows, rates = _given(source, table, whole.images.shape[1:])
    used = on_device(used, device)
    labels = used.labels if used.soft is None or _is_targets(source) else used.soft
    facts, size = table.manifest, table.manifest["image_size"]
    inputs = make_inputs(source.augment, size, source.standardise)
    return Material(
        *(used.images, labels, rows, evaluated, inputs),
        *(facts["channels"], facts["num_classes"], size, rates),
    )


def _given(source: MaterialSource, table: Table, shape: torch.Size) -> tuple[Images, Int64[Tensor, " k"], Rates]:
    """The images of a subset or another table, the rows to train on without held-out images, and the rates to use."""
    assert source.subset is not None
    given = Table(source.subset)
    rates = bound_rates(given, source.bound_rates)
    used = load(source.subset, given.training())
    if used.images.shape[1:] != shape:
        raise InputError(f"{source.subset}: has images of shape {tuple(used.images.shape[1:])}, the data set's are {tuple(shape)}.")
    keep = torch.ones(len(used.ids), dtype=torch.bool)
    real = given.manifest["stage"] == "select"  # its ids are those of the images table; those of synthetic images are unrelated
    if real and given.manifest["inputs"].get("images") == "/".join(table.uri.split("/")[-2:]):
        keep = ~held_out(used.ids, source.validation, source.seed)
    order = torch.arange(len(used.ids))
    if "rank" in given.manifest["schema"]:
        order = torch.from_numpy(given.read(columns=["rank"])["rank"].to_numpy().astype("int64")).argsort()
    rows = order[keep[order]]
    if source.limit is not None:
        rows = _first(rows, used.labels, source.limit, source.per_class)
    if not len(rows):
        raise InputError(f"{source.subset}: all its images are held out.")
    return used, rows, rates


def _is_targets(source: MaterialSource) -> bool:
    """Whether soft labels are regression targets, which no cross-entropy can use."""
    recipe = Table(source.subset).manifest.get("recipe") if source.subset else None
    return (recipe or {}).get("loss") == "squared_error"


def _first(rows: Int64[Tensor, " k"], labels: Int64[Tensor, " n"], limit: int, per_class: bool) -> Int64[Tensor, " l"]:
    if not per_class:
        return rows[:limit]
    classes = labels.unique()
    each = max(1, limit // len(classes))
    return torch.cat([rows[labels[rows] == label][:each] for label in classes])


def bound_rates(table: Table, how: str | None) -> Rates:
    """The learning rates of a distilled set if they are to be used, else none.

    Raises:
        InputError: the set has rates or weights of one network and `how` is not given, or no rates although `how` is "use".
    """
    rates = (table.manifest.get("recipe") or {}).get("rates")
    bound = ["learning rates"] * bool(rates) + ["initial weights"] * bool(table.manifest.get("weights"))
    if bound and not how:
        raise InputError(
            f"{table.uri}: has {' and '.join(bound)} that belong to one network and would distort the ranking of others; "
            "distill without them, or give bound_rates: ignore (or use)."
        )
    if how == "use" and not rates:
        raise InputError(f"{table.uri}: bound_rates=use: it has no learning rates.")
    return tuple(map(tuple, rates)) if how == "use" and rates else ()


def material_source(
    proxy: Proxy, images: str, subset: str | None, limit: int | None, settings: ChildConfig, share: float, seed: int
) -> MaterialSource:
    balanced = proxy.per_class or proxy.data == "random_balanced"
    return MaterialSource(
        *(images, subset, limit, balanced, share, seed),
        *(tuple(settings.augment), settings.standardise, proxy.bound_rates),
    )


class ChildResult(NamedTuple):
    """The accuracy of a child on the held-out images, and the device seconds to build, train and evaluate it."""

    accuracy: float
    seconds: float


def train_child(
    build: Callable[[], nn.Module], given: Material, settings: ChildConfig, steps: int, seed: int, worker: Worker
) -> ChildResult:
    """Train and evaluate a new network, with the same optimizer, rates and steps for every child.

    Raises:
        JobError: the training diverged.
    """
    started = worker.device_seconds()
    torch.manual_seed(derive(seed, "weights"))
    learner = classifier(build(), settings, worker, given.rates)
    source = feed(given, settings.batch_size, seed, worker)
    fit(learner, [Phase(source, rate(settings, given.rates, steps), steps)], report_every=100, name="child")
    batches_held_out = in_order(given.held_out.images, given.held_out.labels, EVALUATION_BATCH, given.inputs.test, worker.device)
    accuracy = learner.evaluate(batches_held_out)["accuracy"]
    return ChildResult(accuracy, worker.device_seconds() - started)


def classifier(network: nn.Module, settings: ChildConfig, worker: Worker, rates: Rates = ()) -> Classifier:
    """A learner with the optimizer of all children, or plain SGD if the set has its own rates; evaluated by its last weights."""
    return Classifier(
        network,
        learning_rate=1.0 if rates else settings.learning_rate,
        momentum=0.0 if rates else settings.momentum,
        weight_decay=0.0 if rates else settings.weight_decay,
        average=0.0,
        precision=settings.precision,
        device=worker.device,
    )


def rate(settings: ChildConfig, rates: Rates, steps: int) -> Callable[[float], float]:
    """The schedule of the learning rate, progress in 0..1 -> factor: the set's own rates in turn, or the configured one."""
    if rates:
        flat = [one for epoch in rates for one in epoch]
        return lambda progress: flat[round(progress * steps) % len(flat)]
    return SCHEDULES.build(settings.schedule.name, settings.schedule.options)


def feed(given: Material, batch_size: int, seed: int, worker: Worker) -> Callable[[int], Batch]:
    """The training batches, step -> batch: shuffled, or, with rates, the blocks of images in order."""
    count = len(given.rows)
    order = shuffle(count, min(batch_size, count), derive(seed, "order"))
    blocks = given.rows.chunk(len(given.rates[0])) if given.rates else ()

    def draw(step: int) -> BatchIndices:
        return BatchIndices(blocks[step % len(blocks)] if blocks else given.rows[order(step).indices])

    return batches(draw, given.images, given.labels, given.inputs, seed, worker)
