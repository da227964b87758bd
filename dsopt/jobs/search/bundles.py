"""Making tables of children: workers train bundles of them, and a journal keeps the results."""

import itertools
import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

from dsopt.config import Config, SweepConfig
from dsopt.errors import InputError, JobError
from dsopt.jobs.search.child import MaterialSource, material, train_child
from dsopt.jobs.search.trials import Trials, commit, finalists, source, space_of, strategy_of
from dsopt.pipeline.parts import Journal
from dsopt.progress import Progress, say
from dsopt.registry import STRATEGIES
from dsopt.search.queue import ChildRun, Queue
from dsopt.seeds import derive
from dsopt.storage import Stage, Table
from dsopt.training.worker import Worker

REPORT_SECONDS = 10.0  # between two reports of a bundle: a message per small child would cost too much


def make(wanted: Sequence[tuple[Stage, Trials]], config: Config) -> None:
    """Make tables of children, all by the same workers, and commit them. Their inputs must be finished."""
    from dsopt.cluster import tune

    tables = _Tables([_Children(stage, config, trials) for stage, trials in wanted])
    work = partial(_bundle, config=config, wanted=list(wanted))
    tune.run(work, [], replace(config, sweep=SweepConfig(gpus=config.search.gpus)), tables, tables)
    for table in tables.tables:
        table.commit()


class _Children:
    """Hands out bundles of children, and records their results, so that an interrupted table resumes."""

    def __init__(self, stage: Stage, config: Config, wanted: Trials) -> None:
        facts = Table(stage.inputs["images"].uri).manifest
        if not facts["labelled"]:
            raise InputError("search: the data set has no labels; children cannot be trained without them.")
        self.stage, self.config, self.space = stage, config, space_of(config)
        source(stage, config, wanted.proxy)  # fails now, not on a worker, if there are too few images
        self.shape = (facts["channels"], facts["num_classes"], facts["image_size"])
        self.space.cost(self.space.at(len(self.space) - 1), *self.shape)  # fails now if images are too small for the space
        learns = STRATEGIES.traits(wanted.strategy.name).learns and not wanted.finalists
        ahead = config.search.ahead if learns else 10**9
        # Every worker gets some: otherwise all finalists, which take longest, would fit in one bundle and train on one worker.
        at_once = min(wanted.finalists or wanted.children, ahead)
        self.bundle = min(config.search.bundle, math.ceil(at_once / max(1, config.cluster.workers)))
        self.lost, self.running, self.journal = "", 0, Journal(stage)
        entries = itertools.chain.from_iterable(entry["children"] for entry in self.journal)
        self.found = {self._job(row["child"], row["steps"]): row for row in entries}
        known = {job: _accuracy(row) for job, row in self.found.items()}
        strategy = finalists(stage, config, wanted, self.space) if wanted.finalists else strategy_of(config, wanted, self.space)
        self.queue = Queue(strategy, ahead, known)
        if self.found:
            say(wanted.title, f"resumes after {len(self.found)} children of an interrupted search")
        self.wanted = wanted
        self.progress: Progress | None = None

    def commit(self) -> None:
        """Write the table. Raises JobError if children are missing, or all failed."""
        jobs = self.queue.runs()
        lost = [job for job in jobs if job not in self.found]
        if lost:
            raise JobError(f"{self.stage.uri}: {len(lost)} children were lost ({self.lost}); the same command resumes.")
        rows = [
            {"child": self.space.encode(job.genotype), "order": order, "steps": job.steps}
            | {key: self.found[job][key] for key in ("accuracy", "accuracies", "seconds", "reason")}
            | self.space.cost(job.genotype, *self.shape)._asdict()
            for order, job in enumerate(jobs)
        ]
        if all(row["accuracy"] is None for row in rows):
            raise JobError(f"{self.stage.uri}: every child failed, the first because: {rows[0]['reason']}")
        commit(self.stage, self.config, rows, {row["device"] for row in self.found.values()})

    def _job(self, child: str, steps: int) -> ChildRun:
        return ChildRun(self.space.decode(child), steps)

    def ask(self) -> dict[str, Any] | None:
        jobs = self.queue.take(self.bundle)
        if not jobs:
            return None
        self.running += 1
        if not self.progress:  # created late: its clock must not count the tables before this one
            self.progress = Progress(self.wanted.title, max(self.wanted.children, 1), "children", done=len(self.found))
        return {"children": [[self.space.encode(job.genotype), job.steps] for job in jobs]}

    def over(self) -> bool:
        return not self.running

    def reported(self, numbers: dict[str, Any]) -> None:
        rows = [row for row in numbers["children"] if self._job(row["child"], row["steps"]) not in self.found]
        if rows:  # else all were reported before
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
    """Several tables of children that the same workers make: each gets the results of its own bundles."""

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
    """On a worker: train a bundle of children, one after another. Results are reported early if the bundle takes long."""
    stage, trials = wanted[point["table"]]
    given, rows, last_report = source(stage, config, trials.proxy), list[dict[str, Any]](), time.monotonic()

    def numbers() -> dict[str, Any]:
        done = 100.0 * len(rows) / len(point["children"])
        return {"percent": done, "score": max(row["accuracy"] or 0.0 for row in rows), "children": list(rows)}

    for child, steps in point["children"]:
        if rows and time.monotonic() - last_report > REPORT_SECONDS:
            report(numbers())
            last_report = time.monotonic()
        rows.append(_child(worker, child, steps, given, stage, config, trials))
    return numbers()


def _child(
    worker: Worker, child: str, steps: int, given: MaterialSource, stage: Stage, config: Config, wanted: Trials
) -> dict[str, Any]:
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
