"""train: images, optionally with a subset -> a trained classifier with its metrics, in one phase or more."""

from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import torch
from torch import nn

from dsopt.config import Config, TrainConfig, differing
from dsopt.data.batches import in_order
from dsopt.data.images import Images
from dsopt.data.loading import load
from dsopt.errors import InputError, first_line
from dsopt.learners.placement import arithmetic
from dsopt.pipeline import feeding, networks
from dsopt.pipeline.feeding import Feeder
from dsopt.pipeline.plan import Plan
from dsopt.pipeline.step import Where
from dsopt.pipeline.training import Run, classifier_learner, describe_classifier, external, finish, fit_run, view
from dsopt.registry import SCHEDULES
from dsopt.stages import extra, ingest, judges, needs, select
from dsopt.storage import Kind, Stage, Table
from dsopt.training.loop import Phase
from dsopt.training.progressive import growing, side
from dsopt.training.worker import Worker

TRAIN = Kind("train")

# Keys of `train` that affect the run only through its phases.
_ELSEWHERE = (
    *("learner", "subset", "split", "overlap", "overlap_easiest", "streamed", "decoded"),
    *("phases", "steps", "epochs", "passes", "seconds"),
)


@dataclass(frozen=True)
class Row:
    """A row of the comparison: the training data, and the share of the budget that is spent on the subset first.

    Args:
        extra: a selection whose cost in seconds is added to the training budget.
        added: additional training images, derived from the subset or, without one, from all images.
        guides: trained classifiers in the loss of a generator.
    """

    title: str
    method: str
    split: float
    images: Stage
    subset: Stage | None = None
    extra: Stage | None = None
    added: Stage | None = None
    guides: tuple[Stage, ...] = ()


def phases(train: TrainConfig, split: float) -> list[dict[str, Any]]:
    """The phases of a run: `train.phases` if given, else the budget divided at `split`."""
    if train.phases:
        return train.phases
    key = next((key for key in ("seconds", "epochs", "passes") if getattr(train, key)), "steps")
    budget = getattr(train, key)
    fast = round(split * budget) if key == "steps" else split * budget
    full = "overlap" if train.overlap and fast > 0 else "full"
    parts = [{"data": "subset", key: fast}, {"data": full, key: budget - fast}]
    return [part for part in parts if part[key] > 0]


def beside(plan: Plan, row: Row, seed: int) -> Row:
    """A row with the extra images of `extra`, derived from its subset, or from all training images if it has none."""
    config = plan.config
    if config.extra.name == "none":
        return row
    added = extra.images(plan, row.subset or row.images, seed)
    kind = "+".join([config.extra.name, *config.extra.augment])
    return replace(row, title=f"{row.title} + {kind}", method=f"{row.method}+{kind}", added=added)


def run(plan: Plan, row: Row, seed: int, earlier: Stage | None = None, where: Where = "worker") -> Stage:
    """The training run of a row with one seed.

    Args:
        earlier: for a row with `extra`, the same run without it, whose speed converts the extra seconds to steps.
    """
    workers = plan.config.cluster.workers if where == "workers" else 1
    plan = plan.having(replace(plan.config, train=plan.config.train.over(max(1, workers))))
    config, budget = plan.config, phases(plan.config.train, row.split)
    view(config.train, config.data.image_size)  # refused before anything is done
    feeding.check(budget, config.train, row.added is not None)
    made_of = differing(config, "train", without=[f"train.{key}" for key in _ELSEWHERE]) | {"phases": budget, "seed": seed}
    made_of |= external(config.train)
    if any(phase["data"] == "overlap" for phase in budget):
        made_of["overlap_easiest"] = config.train.overlap_easiest
    kept = {"streamed": config.train.streamed or None, "decoded": False if config.train.decoded is False else None}
    made_of |= {key: value for key, value in kept.items() if value is not None}  # the same steps, but not as many in the same time
    inputs = {"images": row.images} | ({"subset": row.subset} if row.subset else {})
    if feeding.scored(budget, config.train):
        inputs["scores"] = judges.model(plan, "proxy")
    if row.added:
        inputs["added"] = row.added
    if row.extra and earlier:
        inputs |= {"extra": row.extra, "earlier": earlier}
    title, name = f"train {row.title}, seed {seed}", f"{config.data.name}-{row.method}"
    needed = needs.labels if config.train.validation else needs.labels_and_test
    work = partial(train, seed=seed, title=title)
    return plan.add(TRAIN, name, made_of, inputs, work, where=where, title=title, needs=needed)


def alone(plan: Plan) -> Stage:
    """One run over all workers, first on the subset of `train.subset` or of `select`, then on everything."""
    config, images, subset, method = plan.config, ingest.images(plan), None, "full"
    if any(phase["data"] != "full" for phase in phases(config.train, config.train.split)):
        if config.train.subset:
            subset, method = Stage.existing(config.train.subset), "given"
        else:
            subset, method = select.subset(plan, config.select, config.seed), config.select.method
    row = beside(plan, Row("classifier", method, config.train.split, images, subset), config.seed)
    return run(plan, row, config.seed, where="workers")


def train(worker: Worker, stage: Stage, config: Config, seed: int, title: str) -> None:
    """One worker's part of a training run; the first worker writes the stage."""
    table = Table(stage.inputs["images"].uri)
    if not table.manifest["labelled"]:
        raise InputError("train: the data set has no labels; without them the job goes up to select.")
    settings, about = config.train, describe_classifier(config.train, table)
    inputs = networks.described_transforms(about, table.manifest["num_classes"])
    schedule = SCHEDULES.build(settings.schedule.name, settings.schedule.options)
    with closing(Feeder(stage, settings, seed, inputs, worker)) as feeder:
        feeder.load()
        held_out = feeder.held_out() if settings.validation else None

        def test_images() -> Images:
            return load(table.uri, "test", size=inputs.loaded, decoded=settings.decoded)

        if settings.test_every and worker.leads:
            with feeder.pausing():
                test_images()  # now, not while the other workers wait in the next step
        worker.meet()
        learner = classifier_learner(settings, table, seed, worker)
        _check_smallest(learner.average.network, settings, table.manifest["channels"], about["inputs"]["size"], worker)
        best = learner.keep_best() if settings.keep == "best" else None
        budget = _with_extra(stage, [_in_steps(phase, feeder, settings.batch_size) for phase in stage.made_of["phases"]])
        shares, planned = _shares(budget, table.rows("train") / settings.batch_size), []
        for index, phase in enumerate(budget):
            steps, seconds = _length(phase, table.rows("train"), settings.batch_size)
            feed = feeder(index, phase, steps)
            until = phase.get("until_seconds")
            rate, scale = (_slice(factor, *shares[index]) for factor in (schedule, growing(settings.progressive)))
            planned.append(Phase(feed.source, rate, steps, seconds, feed.memory, until, scale))

        def look(images: Images) -> dict[str, float]:
            return learner.evaluate(in_order(images.images, images.labels, 1000, inputs.test, worker.device))

        def test() -> dict[str, float]:
            with feeder.pausing():
                return look(test_images())

        def validate() -> dict[str, float]:
            assert held_out is not None
            with feeder.pausing():
                found = look(held_out)
            if best:
                best.offer(found["accuracy"])
            return found

        job = Run(stage, title, seed, settings.batch_size)
        every = settings.validate_every
        if settings.validate_passes:
            every = max(1, round(settings.validate_passes * feeder.rows(budget[0]) / settings.batch_size))
        looks = (validate if held_out else None, every, test, settings.test_every)
        state = fit_run(job, learner, planned, config, worker, *looks)
    if worker.leads:
        notes = {"arithmetic": arithmetic(learner.dtype, worker.device), "reading": feeder.reading, **learner.passes.about()}
        split, found = ("validation", validate()) if held_out else ("test", test())
        if best:
            notes["kept"] = f"the weights with the best accuracy on held-out images, {best.score:.4f}"
            best.restore()
            split, found = "test", test()
        finish(job, config, worker, state, found, learner.average.averaged_network(), about, split, phases=budget, **notes)


@torch.no_grad()
def _check_smallest(network: nn.Module, settings: TrainConfig, channels: int, size: int, worker: Worker) -> None:
    """Raises InputError if a network, in evaluation mode, does not take the pictures that a progressive training begins with."""
    smallest = side(size, settings.progressive)
    try:
        if smallest < size:
            network(torch.zeros(1, channels, smallest, smallest, device=worker.device))
    except (RuntimeError, ValueError, AssertionError) as error:  # as libraries refuse a size
        about = f"train.progressive={settings.progressive:g}: {settings.name} does not take pictures of {smallest} pixels"
        raise InputError(f"{about} ({first_line(error)}); expected 1 for it.") from None


def _in_steps(phase: dict[str, Any], feeder: Feeder, batch_size: int) -> dict[str, Any]:
    """A phase, with passes over its own images converted to steps."""
    if "passes" not in phase:
        return phase
    steps = max(1, round(phase["passes"] * feeder.rows(phase) / batch_size))
    return {key: value for key, value in phase.items() if key != "passes"} | {"steps": steps}


def _length(phase: dict[str, Any], rows: int, batch_size: int) -> tuple[int | None, float | None]:
    """(steps, seconds) of a phase. An epoch counts the full set even on the subset, so that equal budgets are equal work."""
    if "until_seconds" in phase:
        return None, None
    if "seconds" in phase:
        return None, float(phase["seconds"])
    return max(1, round(phase["steps"] if "steps" in phase else phase["epochs"] * rows / batch_size)), None


def _shares(budget: list[dict[str, Any]], steps_per_epoch: float) -> list[tuple[float, float]]:
    """The start and end of each phase as shares of the run, so that one schedule spans all phases (section 4.4: same rates)."""
    if "until_seconds" in budget[-1]:
        return [(0.0, 1.0)] * len(budget)  # the rate is constant, which is checked with the configuration
    if len({"seconds" in phase for phase in budget}) > 1:
        raise InputError("train.phases: either all phases are in seconds or none.")
    lengths = [p.get("seconds") or p.get("steps") or p["epochs"] * steps_per_epoch for p in budget]
    ends = [sum(lengths[: i + 1]) / sum(lengths) for i in range(len(lengths))]
    return list(zip([0.0, *ends[:-1]], ends, strict=True))


def _slice(schedule: Callable[[float], float], start: float, stop: float) -> Callable[[float], float]:
    return lambda progress: schedule(start + progress * (stop - start))


def _with_extra(stage: Stage, budget: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The phases, the last one extended by the seconds that selection took, at the speed of the earlier run on the same data."""
    if "extra" not in stage.inputs:
        return budget
    fed = [stage.inputs["scores"]] if "scores" in stage.inputs else []  # the scores that feed this run are charged to it anyway
    seconds, last = select.cost(stage.inputs["extra"], *fed) - select.cost(*fed), dict(budget[-1])
    if "seconds" in last:
        return [*budget[:-1], last | {"seconds": last["seconds"] + seconds}]
    earlier = Table(stage.inputs["earlier"].uri).manifest
    key = "steps" if "steps" in last else "epochs"
    whole = sum(phase[key] for phase in budget)
    more = whole * seconds / earlier["seconds"]
    return [*budget[:-1], last | {key: last[key] + (round(more) if key == "steps" else more)}]
