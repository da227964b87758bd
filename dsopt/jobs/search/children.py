"""children: a strategy's children, trained on a proxy and judged by held-out real images -> one table."""

import itertools
import math
import random
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import pyarrow as pa

from dsopt.config import Choice, Config, SelectConfig, SweepConfig, plain
from dsopt.errors import InputError, JobError
from dsopt.files import delete
from dsopt.jobs.search import shared as search_shared
from dsopt.jobs.search.child import Source, bound_rates, material, source_of, train_child
from dsopt.pipeline import outputs
from dsopt.pipeline.step import Journal, Step
from dsopt.progress import Progress, say
from dsopt.registry import SPACES, STRATEGIES
from dsopt.search.proxies import Proxy, parse
from dsopt.search.queue import Job, Queue, Strategy
from dsopt.search.spaces.contract import Space
from dsopt.search.strategies.fixed import Listed
from dsopt.seeds import derive
from dsopt.selection.choose import resolve
from dsopt.stages import ingest, select
from dsopt.storage import Stage, Table
from dsopt.training.worker import Worker

CHILDREN = pa.schema(
    [
        ("child", pa.string()),
        ("order", pa.int64()),
        ("steps", pa.int64()),
        ("accuracy", pa.float64()),  # mean over seeds, on held-out images; null if it failed
        ("accuracies", pa.list_(pa.float64())),
        ("seconds", pa.float64()),  # of the device, all seeds
        ("parameters", pa.int64()),
        ("multiply_adds", pa.int64()),
        ("reason", pa.string()),
    ]
)
FULL = Proxy("full")
TELL_SECONDS = 10.0  # between what a worker tells of a bundle of large children; small ones are not worth the messages


@dataclass(frozen=True)
class Trials:
    """Which children are trained, and how.

    Args:
        title: for people: "search", "truth", the proxy's.
        finalists: instead of a strategy's, so many of the best of the stage's input "search".
        draw: which of a proxy's random subsets.
    """

    title: str
    proxy: Proxy
    strategy: Choice
    children: int  # 0: those that a controller of shared weights names
    seeds: int = 1
    finalists: int = 0
    draw: int = 0


def space_of(config: Config) -> Space:
    return SPACES.build(config.search.space.name, config.search.space.options)()


def proxy_of(given: Mapping[str, Any], where: str) -> Proxy:
    """The proxy that a configuration describes; one with its own learning rates has a step for each of them.

    Raises:
        InputError: it cannot be, or brings what belongs to another network.
    """
    proxy = parse(given, where)
    rates = bound_rates(Table(proxy.data), proxy.bound_rates) if proxy.is_table else ()
    return replace(proxy, steps=sum(map(len, rates))) if rates and not proxy.steps and not proxy.shared else proxy


def trials(config: Config, wanted: Trials, **inputs: Stage) -> tuple[Stage, list[Step]]:
    """The stage of some children, and the steps that lead to it.

    Raises:
        InputError: a table that cannot serve as a proxy, or more images wanted than there are, as far as it can be known before.
    """
    search, proxy = config.search, wanted.proxy
    images, steps = ingest.images(config)
    if proxy.is_table or images.done():
        _limit(proxy, images)
    inputs = {"images": images, **inputs}
    if proxy.is_table:
        inputs["subset"] = Stage.existing(proxy.data)
    elif proxy.selects:
        inputs["subset"], (*before, last) = select.subset(config, _selection(config, proxy), config.seed + wanted.draw)
        steps = [*steps, *before, replace(last, work=_select, arguments=(last.work, *last.arguments))]
    strategy_of(config, wanted, space_of(config))  # fails now if its options do not fit
    learns = STRATEGIES.traits(wanted.strategy.name).learns
    made_of = {
        "space": plain(search.space),
        "strategy": plain(wanted.strategy) if not wanted.finalists else None,
        "children": wanted.finalists or wanted.children,
        "ahead": search.ahead if learns and not wanted.finalists else None,
        "train": plain(search.train),
        "validation": search.validation,
        "shared": plain(search.shared) if proxy.shared else None,
        "proxy": {key: value for key, value in plain(proxy).items() if key not in ("draws", "data")},
        "seeds": wanted.seeds,
        "draw": wanted.draw,
        "seed": config.seed,
    }
    stage = Stage(config.storage, "children", f"{config.data.name}-{search.space.name}", made_of, inputs)
    title = f"children: {wanted.title}"
    if proxy.shared:
        search_shared.check(space_of(config))
        return stage, [*steps, Step(stage, _share, (wanted,), parallel=True, title=title)]
    return stage, [*steps, Step(stage, _work, (wanted,), together=True, title=title)]


def _selection(config: Config, proxy: Proxy) -> SelectConfig:
    """More than is wanted, because the selection does not know which images are held out; the best by rank are used."""
    share = 1.5 / (1 - config.search.validation)
    amount = proxy.images or 0
    budget = min(1.0, share * amount) if isinstance(amount, float) else math.ceil(share * amount) + 30
    choice = {"name": proxy.data, "options": proxy.options, "budget": budget, "per_class": proxy.per_class}
    return replace(config.select, **choice, soft_labels="none")


def _select(stage: Stage, config: Config, work: Callable[..., None], wanted: SelectConfig, seed: int) -> None:
    """Select as many images as there are, where the budget is more: when it is set, they are not counted yet."""
    there = Table(stage.inputs["images"].uri).rows("train")
    work(stage, config, replace(wanted, budget=min(wanted.budget, there)), seed)  # a share is below any number of images


def _limit(proxy: Proxy, images: Stage) -> int | None:
    """How many images a proxy takes; None: all. Raises InputError if there are not as many."""
    if proxy.images is None:
        return None
    table = Table(images.uri if proxy.selects else proxy.data)
    rows = table.rows(table.training())
    if proxy.images > rows:
        given = f"search: {{data: {proxy.data}, images: {proxy.images}}}"
        raise InputError(f"{given}: images: there are {rows}; give 1 to {rows}, or a share.")
    return resolve(proxy.images, rows)


def source(stage: Stage, config: Config, proxy: Proxy) -> Source:
    """Where a stage's children find what they are trained on. Raises InputError if it has fewer images than are wanted."""
    images, subset, search = stage.inputs["images"], stage.inputs.get("subset"), config.search
    given = (images.uri, subset.uri if subset else None, _limit(proxy, images))
    return source_of(proxy, *given, search.train, search.validation, config.seed)


def _finalists(stage: Stage, config: Config, wanted: Trials, space: Space) -> Strategy:
    best = ranked(stage.inputs["search"])[: wanted.finalists]
    return Listed([space.decode(row["child"]) for row in best], config.search.train.steps)


def strategy_of(config: Config, wanted: Trials, space: Space) -> Strategy:
    steps = wanted.proxy.steps or config.search.train.steps
    drawn = random.Random(derive(config.seed, "children"))
    return STRATEGIES.build(wanted.strategy.name, wanted.strategy.options)(space, drawn, wanted.children, steps)


def ranked(stage: Stage) -> list[dict[str, Any]]:
    """The children of a finished stage, the best first: among those that were trained longest, by accuracy."""
    rows = [row for row in Table(stage.uri).read().to_pylist() if row["accuracy"] is not None]
    if not rows:
        raise JobError(f"{stage.uri}: every child failed; their reasons are in its table.")
    return sorted(rows, key=lambda row: (-row["steps"], -row["accuracy"], row["order"]))


def _work(steps: list[Step], config: Config) -> None:
    """Make tables of children, all by the same workers: a worker takes seconds to start, as many as some tables take altogether."""
    from dsopt.cluster import tune

    wanted = [(step.stage, *step.arguments) for step in steps]
    tables = _Tables([_Children(stage, config, trials) for stage, trials in wanted])
    work = partial(_bundle, config=config, wanted=wanted)
    tune.run(work, [], replace(config, sweep=SweepConfig(gpus=config.search.gpus)), tables, tables)
    for table in tables.tables:
        table.commit()


def _share(worker: Worker, stage: Stage, config: Config, wanted: Trials) -> None:
    """On one worker: train shared weights, and judge with them the controller's children, or those of the strategy `random`."""
    space, proxy = space_of(config), wanted.proxy
    known = [job.genotype for job in iter(strategy_of(config, wanted, space).ask, None)] if wanted.children else []
    given = source(stage, config, proxy)
    rows, rewards = search_shared.rows_of(worker, stage, config, space, given, proxy.shared or "", known)
    commit(stage, config, rows, {worker.describe()}, rewards=rewards)
    delete(stage.path("checkpoint.pt"))


def commit(stage: Stage, config: Config, rows: list[dict[str, Any]], devices: set[str], **notes: Any) -> None:
    """Write a table of children and declare the stage done."""
    table, seconds = pa.Table.from_pylist(rows, schema=CHILDREN), math.fsum(row["seconds"] for row in rows)
    notes |= {"failed": sum(row["accuracy"] is None for row in rows), "device": ", ".join(sorted(devices))}
    outputs.commit(stage, table, name="children", seconds=seconds, seed=config.seed, **notes)


class _Children:
    """Hands out bundles of children, and writes down what they were worth: who is started again goes on from there."""

    def __init__(self, stage: Stage, config: Config, wanted: Trials) -> None:
        facts = Table(stage.inputs["images"].uri).manifest
        if not facts["labelled"]:
            raise InputError("search: the data set has no labels; children cannot be trained without them.")
        self.stage, self.config, self.space = stage, config, space_of(config)
        source(stage, config, wanted.proxy)  # fails now, and not on a worker, where it wants more images than there are
        self.shape = (facts["channels"], facts["num_classes"], facts["image_size"])
        self.space.cost(self.space.at(len(self.space) - 1), *self.shape)  # fails now where images are too small for the space
        learns = STRATEGIES.traits(wanted.strategy.name).learns and not wanted.finalists
        ahead = config.search.ahead if learns else 10**9
        # Every worker has some: the finalists, trained in full, all fit in one bundle, and one worker would train them alone.
        at_once = min(wanted.finalists or wanted.children, ahead)
        self.bundle = min(config.search.bundle, math.ceil(at_once / max(1, config.cluster.workers)))
        self.lost, self.running, self.journal = "", 0, Journal(stage)
        entries = itertools.chain.from_iterable(entry["children"] for entry in self.journal)
        self.found = {self._job(row["child"], row["steps"]): row for row in entries}
        known = {job: _accuracy(row) for job, row in self.found.items()}
        strategy = _finalists(stage, config, wanted, self.space) if wanted.finalists else strategy_of(config, wanted, self.space)
        self.queue = Queue(strategy, ahead, known)
        if self.found:
            say(wanted.title, f"goes on after {len(self.found)} children of an interrupted search")
        self.wanted = wanted
        self.progress: Progress | None = None

    def commit(self) -> None:
        """Write the table. Raises JobError if there are children missing, or none but failed ones."""
        jobs = self.queue.jobs()
        lost = [job for job in jobs if job not in self.found]
        if lost:
            raise JobError(f"{self.stage.uri}: {len(lost)} children were lost ({self.lost}); the same command goes on.")
        rows = [
            {"child": self.space.encode(job.genotype), "order": order, "steps": job.steps}
            | {key: self.found[job][key] for key in ("accuracy", "accuracies", "seconds", "reason")}
            | self.space.cost(job.genotype, *self.shape)._asdict()
            for order, job in enumerate(jobs)
        ]
        if all(row["accuracy"] is None for row in rows):
            raise JobError(f"{self.stage.uri}: every child failed, the first because: {rows[0]['reason']}")
        commit(self.stage, self.config, rows, {row["device"] for row in self.found.values()})

    def _job(self, child: str, steps: int) -> Job:
        return Job(self.space.decode(child), steps)

    def ask(self) -> dict[str, Any] | None:
        jobs = self.queue.take(self.bundle)
        if not jobs:
            return None
        self.running += 1
        if not self.progress:  # its clock starts now, however long other tables came first
            self.progress = Progress(self.wanted.title, max(self.wanted.children, 1), "children", done=len(self.found))
        return {"children": [[self.space.encode(job.genotype), job.steps] for job in jobs]}

    def over(self) -> bool:
        return not self.running

    def reported(self, numbers: dict[str, Any]) -> None:
        rows = [row for row in numbers["children"] if self._job(row["child"], row["steps"]) not in self.found]
        if rows:  # else it was told twice
            self.journal.add(len(self.journal.entries), {"children": rows})
        for row in rows:
            job = self._job(row["child"], row["steps"])
            self.found[job] = row
            self.queue.put(job, _accuracy(row))
        best = max((row["accuracy"] for row in self.found.values() if row["accuracy"] is not None), default=0.0)
        if self.progress:
            self.progress.update(len(self.found), f"best {100 * best:.2f} %")

    def ended(self, lost: str | None) -> None:
        self.running -= 1
        self.lost = lost or self.lost


class _Tables:
    """Several tables of children, made at once: each hears what it asked for."""

    def __init__(self, tables: list[_Children]) -> None:
        self.tables = tables

    def ask(self) -> dict[str, Any] | None:
        for number, table in enumerate(self.tables):
            if point := table.ask():
                return point | {"table": number}
        return None

    def over(self) -> bool:
        return all(table.over() for table in self.tables)

    def started(self, point: dict[str, Any]) -> None: ...

    def reported(self, point: dict[str, Any], numbers: dict[str, Any]) -> None:
        self.tables[point["table"]].reported(numbers)

    def ended(self, point: dict[str, Any], lost: str | None) -> None:
        self.tables[point["table"]].ended(lost)

    def waiting(self) -> None: ...


def _accuracy(row: Mapping[str, Any]) -> float:
    return math.nan if row["accuracy"] is None else row["accuracy"]


def _bundle(
    worker: Worker,
    point: dict[str, Any],
    report: Callable[[dict[str, Any]], None],
    config: Config,
    wanted: list[tuple[Stage, Trials]],
) -> dict[str, Any]:
    """On a worker: train some children of a table, one after another. Large ones are told of before the last is known."""
    stage, trials = wanted[point["table"]]
    given, rows, told = source(stage, config, trials.proxy), list[dict[str, Any]](), time.monotonic()

    def numbers() -> dict[str, Any]:
        done = 100.0 * len(rows) / len(point["children"])
        return {"percent": done, "score": max(row["accuracy"] or 0.0 for row in rows), "children": list(rows)}

    for child, steps in point["children"]:
        if rows and time.monotonic() - told > TELL_SECONDS:
            report(numbers())
            told = time.monotonic()
        rows.append(_child(worker, child, steps, given, stage, config, trials))
    return numbers()


def _child(worker: Worker, child: str, steps: int, given: Source, stage: Stage, config: Config, wanted: Trials) -> dict[str, Any]:
    row: dict[str, Any] = {"child": child, "steps": steps, "accuracy": None, "accuracies": [], "seconds": 0.0, "reason": ""}
    row["device"] = worker.describe()
    try:
        space, data = space_of(config), material(given, worker.device)
        build = partial(space.build, space.decode(child), data.channels, data.classes, data.size)
        for number in range(wanted.seeds):
            seed = derive(config.seed, stage.hash, child, number)
            trained = train_child(build, data, config.search.train, steps, seed, worker)
            row["accuracies"].append(trained.accuracy)
            row["seconds"] += trained.seconds
        row["accuracy"] = math.fsum(row["accuracies"]) / wanted.seeds
    except Exception as error:  # one bad child does not end the search
        row["reason"] = (str(error).splitlines() or [type(error).__name__])[0]
    return row
