"""Training one child on whatever stands in for the data, and judging it by real images that were held out."""

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
from dsopt.data.images import Images, load
from dsopt.errors import InputError
from dsopt.learners.classifier import Classifier
from dsopt.registry import SCHEDULES
from dsopt.search.proxies import Proxy
from dsopt.seeds import derive
from dsopt.stages.training import batches
from dsopt.storage import Table
from dsopt.training.loop import Phase, fit
from dsopt.training.samplers.contract import Draw
from dsopt.training.samplers.shuffle import shuffle
from dsopt.training.worker import Worker

BOUND = ("rates", "learning_rates", "initial_weights")  # what a set's manifest says that belongs to one network
JUDGED_AT_ONCE = 1000  # images


@dataclass(frozen=True)
class Material:
    """What a child is trained on and judged by, on the device.

    Args:
        labels: numbers [n], or probabilities [n, classes].
        rows: which of the images are trained on.
        rates: learning rates a step that the set brings, taken in turn.
    """

    images: Tensor
    labels: Tensor
    rows: Int64[Tensor, " k"]
    judged: Images
    inputs: Inputs
    channels: int
    classes: int
    size: int
    rates: tuple[float, ...] = ()


@dataclass(frozen=True)
class Source:
    """Where the material comes from; small and hashable.

    Args:
        subset: the folder of another table than the images'.
        limit: how many of it are taken: its best by rank, or of every class.
    """

    images: str
    subset: str | None
    limit: int | None
    per_class: bool
    validation: float
    seed: int
    augment: tuple[str, ...]
    standardise: Any
    bound_rates: bool = False


@functools.lru_cache(maxsize=2)
def material(source: Source, device: torch.device) -> Material:
    """Raises InputError if nothing is left to train on or to judge by, or the sets do not fit together."""
    table, whole = Table(source.images), load(source.images, "train")
    out = held_out(whole.ids, source.validation, source.seed)
    if not out.any() or out.all():
        raise InputError(f"search.validation={source.validation}: of {len(out)} images it holds out {int(out.sum())}.")
    judged = Images(whole.ids[out], whole.images[out].to(device), whole.labels[out].to(device))
    used, rows, rates = whole, (~out).nonzero().squeeze(1), ()
    if source.subset:
        used, rows, rates = _given(source, table, whole.images.shape[1:])
    labels = used.labels if used.soft is None else used.soft
    facts, size = table.manifest, table.manifest["image_size"]
    inputs = make_inputs(source.augment, size, source.standardise)
    return Material(
        *(used.images.to(device), labels.to(device), rows, judged, inputs),
        *(facts["channels"], facts["num_classes"], size, rates),
    )


def _given(source: Source, table: Table, shape: torch.Size) -> tuple[Images, Int64[Tensor, " k"], tuple[float, ...]]:
    """The images of a subset or any other table, and which of them are used: none that is held out."""
    assert source.subset is not None
    given = Table(source.subset)
    rates = check_bound(given, source.bound_rates)
    used = load(source.subset, "train" if "splits" in given.manifest else None)
    if used.images.shape[1:] != shape:
        raise InputError(f"{source.subset}: has images of shape {tuple(used.images.shape[1:])}, the data set's are {tuple(shape)}.")
    keep = torch.ones(len(used.ids), dtype=torch.bool)
    if given.manifest["inputs"].get("images") == "/".join(table.uri.split("/")[-2:]):  # rows of these images, by their ids
        keep = ~held_out(used.ids, source.validation, source.seed)
    order = torch.arange(len(used.ids))
    if "rank" in given.manifest["schema"]:
        order = torch.from_numpy(given.read(columns=["rank"])["rank"].to_numpy().astype("int64")).argsort()
    rows = order[keep[order]]
    if source.limit is not None:
        rows = _first(rows, used.labels, source.limit, source.per_class)
    if not len(rows):
        raise InputError(f"{source.subset}: has no images that are not held out.")
    return used, rows, rates


def _first(rows: Int64[Tensor, " k"], labels: Int64[Tensor, " n"], limit: int, per_class: bool) -> Int64[Tensor, " l"]:
    if not per_class:
        return rows[:limit]
    classes = labels.unique()
    each = max(1, limit // len(classes))
    return torch.cat([rows[labels[rows] == label][:each] for label in classes])


def check_bound(table: Table, allowed: bool) -> tuple[float, ...]:
    """The learning rates that a set brings, if they are asked for.

    Raises:
        InputError: it brings what belongs to one network and that is not allowed, or is asked for and not there.
    """
    brings = [name for name in BOUND if table.manifest.get(name)]
    if brings and not allowed:
        raise InputError(
            f"{table.uri}: brings {' and '.join(brings)} learned for one network, with which others are ranked wrongly; "
            "distil without them, or say allow_bound_rates: true."
        )
    rates = next((table.manifest[name] for name in BOUND[:2] if table.manifest.get(name)), ())
    if allowed and not rates:
        raise InputError(f"{table.uri}: allow_bound_rates: it brings no learning rates.")
    return tuple(float(rate) for rate in torch.tensor(rates).flatten()) if allowed else ()


def source_of(
    proxy: Proxy, images: str, subset: str | None, limit: int | None, settings: ChildConfig, share: float, seed: int
) -> Source:
    balanced = proxy.per_class or proxy.data == "random_balanced"
    return Source(
        *(images, subset, limit, balanced, share, seed),
        *(tuple(settings.augment), settings.standardise, proxy.allow_bound_rates),
    )


class Trained(NamedTuple):
    """How a child did on the held-out images, and the seconds of its training."""

    accuracy: float
    seconds: float


def train_child(
    build: Callable[[], nn.Module], given: Material, settings: ChildConfig, steps: int, seed: int, worker: Worker
) -> Trained:
    """Train a fresh network for so many steps: the same optimiser, rates and steps for every child.

    Raises:
        JobError: it diverged.
    """
    torch.manual_seed(derive(seed, "weights"))
    learner = classifier(build(), settings, worker, given.rates)
    source = feed(given, settings.batch_size, seed, worker)
    state = fit(learner, [Phase(source, rate(settings, given.rates, steps), steps)], report_every=100, name="child")
    judged = in_order(given.judged.images, given.judged.labels, JUDGED_AT_ONCE, given.inputs.test, worker.device)
    return Trained(learner.evaluate(judged)["accuracy"], state.seconds)


def classifier(network: nn.Module, settings: ChildConfig, worker: Worker, rates: tuple[float, ...] = ()) -> Classifier:
    """A learner with the optimiser of all children, or plain SGD where a set brings its own rates; tests use the last weights."""
    return Classifier(
        network,
        learning_rate=1.0 if rates else settings.learning_rate,
        momentum=0.0 if rates else settings.momentum,
        weight_decay=0.0 if rates else settings.weight_decay,
        average=0.0,
        precision=settings.precision,
        device=worker.device,
    )


def rate(settings: ChildConfig, rates: tuple[float, ...], steps: int) -> Callable[[float], float]:
    if rates:
        return lambda progress: rates[round(progress * steps) % len(rates)]
    return SCHEDULES.build(settings.schedule.name, settings.schedule.options)


def feed(given: Material, batch_size: int, seed: int, worker: Worker) -> Callable[[int], Batch]:
    """The shuffled batches of a material: step -> batch."""
    count = len(given.rows)
    order = shuffle(count, min(batch_size, count), derive(seed, "order"))

    def draw(step: int) -> Draw:
        return Draw(given.rows[order(step).indices])

    return batches(draw, given.images, given.labels, given.inputs, seed, worker)
