"""sweep: a grid of settings, named rows, or samples of a space -> one training run each, one table and one page for all.

A trial is a list of overrides on the base configuration. Stages that trials share are made once, before; the training runs that are
not done go side by side. Every result lies in the run's own stage, so a sweep that was killed runs no finished trial again.
"""

import re
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from dsopt import progress
from dsopt.config import Config, variant
from dsopt.errors import InputError, JobError, unknown
from dsopt.files import check_writable
from dsopt.jobs.job import Job
from dsopt.jobs.sweep import kinds
from dsopt.jobs.sweep import page as sweep_page
from dsopt.jobs.sweep.grid import expand, leaves, made_of, plans, sampled, space
from dsopt.jobs.sweep.kinds import Planned
from dsopt.jobs.sweep.status import EVERY, Numbers, Standing, Standings
from dsopt.pipeline.step import Step, run
from dsopt.progress import Progress, say
from dsopt.stages import ingest
from dsopt.storage import Stage, Table
from dsopt.training.loop import State
from dsopt.training.worker import Worker

# Worse than any that ends, which a searcher is to learn; and no scheduler compares what has spent nothing.
FAILED = {"percent": 0.0, "score": -1e9}


def judged(config: Config) -> Config:
    """The configuration, with images held out to judge by where a scheduler or a searcher compares trials.

    Raises:
        InputError: extra images, which are made from those held out too.
    """
    sweep, train, held = config.sweep, config.train, kinds.held_out(config)
    if held is None or (sweep.scheduler == "none" and sweep.searcher == "grid"):
        return config
    if sweep.of == "train" and config.extra.name != "none":
        by = f"sweep.scheduler={sweep.scheduler}" if sweep.scheduler != "none" else f"sweep.searcher={sweep.searcher}"
        raise InputError(f"{by}: judges by images held out, from which extra.name={config.extra.name} makes some to train on.")
    overrides = [] if held else [f"{sweep.of}.validation=0.1"]
    if sweep.scheduler != "none" and not train.validate_every:
        overrides.append(f"train.validate_every={max(1, train.steps // 20)}")
    return variant(config, overrides)


def planned(config: Config) -> tuple[Config, list[Planned], Stage]:
    """The configuration as trials have it, the trials known before any ran, and the sweep's own stage.

    Raises:
        InputError: anything in any trial that cannot work, as far as it can be known before.
    """
    config = judged(config)
    sweep = config.sweep
    kinds.check(config)
    if sweep.searcher == "grid" and sweep.space:
        raise InputError("sweep.space: is for a search; right is sweep.searcher=random or optuna beside it.")
    if sweep.searcher != "grid" and sweep.grid:
        raise InputError(f"sweep.grid: is not for sweep.searcher={sweep.searcher}; give sweep.space.")
    if sweep.searcher != "grid":
        space(config)
    if sweep.searcher == "optuna":
        from dsopt.cluster.tune import check_searcher

        check_searcher()
    keys = [key for key, _ in leaves("sweep.grid", sweep.grid)]
    if sweep.x and sweep.x not in keys:
        raise unknown("sweep.x: key of the grid", sweep.x, keys)
    if sweep.equal_cost and config.train.phases:
        raise InputError("sweep.equal_cost=true: does not go with train.phases; give a budget and train.split.")
    trials = plans(config, expand(config))
    images, _ = ingest.images(config)
    inputs = {"images": images} | {trial.run.stage.folder: trial.run.stage for trial in trials}
    return config, trials, Stage(config.storage, "sweep", f"{config.data.name}-{sweep.title}", made_of(config), inputs)


def plan_sweep(config: Config) -> list[Step]:
    """All steps of a sweep, for `dry_run=true`; a search's own trials are not known before."""
    config, trials, stage = planned(config)
    steps = [*ingest.images(config)[1], *(step for trial in trials for step in (*trial.steps, *trial.own))]
    return [*{step.stage.hash: step for step in steps}.values(), Step(stage, lambda *_: None)]


def sweep(config: Config) -> None:
    """Run the trials that are not done, then write and tell the results.

    Raises:
        InputError: wrong trials, or data without labels.
        JobError: trials failed; the others are done, and the table and the page are written.
    """
    config, trials, stage = planned(config)
    check_writable(config.storage)
    if not stage.done():
        stage.begin()
    standings = Standings(stage, config, trials)
    todo = [standing for standing in standings.runs.values() if standing.status == "left"]
    say("sweep", f"{len(standings.runs)} trials known, {len(standings.runs) - len(todo)} of them ended before")
    if not stage.done():
        _prepare(config, todo, standings)
        _train(config, trials, standings)
    sweep_page.write(stage, config, trials, standings)
    failed = standings.count("failed")
    if failed:
        raise JobError(f"sweep: {failed} of {len(standings.runs)} trials failed; the same command tries them again.")


def _prepare(config: Config, todo: list[Standing], standings: Standings) -> None:
    """Make what the trials need, each stage once: all data first, because only they tell whether there are labels."""
    first = [(step, config) for step in ingest.images(config)[1]]
    every = [*first, *((step, standing.planned.config) for standing in todo for step in standing.planned.steps)]
    every += kinds.made_alike(standing.planned for standing in todo)
    unique: dict[str, tuple[Step, Config]] = {}
    for step, own in every:
        unique.setdefault(step.stage.hash, (step, own))
    for step, own in unique.values():
        if step.stage.kind == "ingest":
            _make(step, own)
            kinds.check_labels(own, Table(step.stage.uri).manifest["labelled"])
    missing = [(step, own) for step, own in unique.values() if not step.stage.done()]
    bar = Progress("sweep", len(missing), "stages that trials need")
    failed: dict[str, str] = {}
    for done, (step, own) in enumerate(missing):
        bar.update(done)
        reason = next((failed[made.hash] for made in step.stage.inputs.values() if made.hash in failed), None)
        try:
            if reason is None:
                _make(step, own)
        except JobError as error:
            reason = str(error)
        if reason is not None:
            failed[step.stage.hash] = reason
    for standing in todo:
        takes = [*standing.planned.steps, *standing.planned.own]
        reasons = [failed[step.stage.hash] for step in takes if step.stage.hash in failed]
        if reasons:
            standings.fail(standing, reasons[0])


def _make(step: Step, config: Config) -> None:
    if not step.stage.done():
        run([step], config)


def _train(config: Config, trials: list[Planned], standings: Standings) -> None:
    from dsopt.cluster import tune

    work = partial(_work, config=config, trials=trials)
    left = [standing for standing in standings.runs.values() if standing.status == "left"]
    earlier = [standing.reports for standing in standings.runs.values() if standing.status in ("done", "stopped")]
    fixed = [standing for standing in left if "trial" in standing.point]
    # Rows at equal cost come last: how long they train follows from how fast the row without was.
    for late in (False, True):
        points = [standing.point for standing in fixed if standing.planned.trial.equal_cost == late]
        tune.run(work, points, config, standings, earlier=earlier)
    if config.sweep.searcher == "optuna":
        samples = standings.samples()
        known = [(standing.point, standing.score) for standing in samples if standing.score is not None]
        search = tune.Search(space(config), max(0, config.sweep.samples - len(samples)), known)
        begun = [standing.point for standing in samples if standing.status == "left"]
        tune.run(work, begun, config, standings, search, earlier)


def _work(
    worker: Worker, point: dict[str, Any], report: Callable[[Numbers], None], *, config: Config, trials: list[Planned]
) -> Numbers:
    """One trial on a worker; what it still needs (a search's own subset) it makes there. Its failure is a number like others."""
    try:
        with _in_few_words(report, config):
            made = trials[point["trial"]] if "trial" in point else sampled(config, point)
            alone = replace(made.config, cluster=replace(made.config.cluster, workers=0))
            for step in (*made.steps, *made.own[:-1]):
                _make(step, alone)
            if not made.run.stage.done():
                made.run.stage.begin()
                watched = replace(worker, watch=_Reports(report))
                made.run.work(watched, made.run.stage, alone, *made.run.arguments)
            measure = kinds.kind(config).measure
            return {"percent": 100.0, "score": measure.score(kinds.outcome(made)[measure.name]), "reason": ""}
    except Exception as error:
        lines = str(error).splitlines() or [""]
        known = isinstance(error, InputError | JobError)
        return FAILED | {"reason": lines[0] if known else f"{type(error).__name__}: {lines[0]}"}


@dataclass
class _Reports:
    """Watches a training run, and passes on every new accuracy on held-out images."""

    report: Callable[[Numbers], None]
    last: int = -1

    def __call__(self, share: float, state: State) -> None:
        for step, seconds, split, name, value in state.rows[::-1]:
            if split == "validation" and name == "accuracy":
                if step > self.last:
                    self.last = step
                    self.report({"percent": 100 * share, "step": step, "seconds": seconds, "score": value})
                return


@contextmanager
def _in_few_words(report: Callable[[Numbers], None], config: Config) -> Iterator[None]:
    """The lines of a single run are not for the terminal, which the sweep has: one now and then is a report of how the trial goes.

    Not to a scheduler or to Optuna, which take no report without a score.
    """
    told, asked = time.monotonic(), config.sweep.scheduler != "none" or config.sweep.searcher == "optuna"

    def line(text: str) -> None:
        nonlocal told
        if not asked and time.monotonic() - told >= EVERY:
            told = time.monotonic()
            report({"doing": re.sub(r" {2,}", "  ", text)})

    before, progress.output = progress.output, line
    try:
        yield
    finally:
        progress.output = before


JOB = Job(
    about="""Run a study: a grid of any settings, each with several seeds, or a search; one table and one page for all.

    dsopt sweep 'sweep.grid.select.name=[random_balanced,kcenter]' 'sweep.grid.train.split=[0,0.5,1]' sweep.seeds=5
    dsopt sweep preset=study_split data.name=cifar10 data.root=...    # the papers' studies: study_*
    dsopt sweep sweep.searcher=random sweep.scheduler=asha 'sweep.space.train.learning_rate={log: [0.001, 0.5]}'

Trials run in parallel on Ray Tune, or one after another with cluster.workers=0. Stages that trials share are made once.
Finished stages are reused; after an interruption, the same command resumes.
""",
    keys="""
    sweep.of sweep.grid sweep.seeds sweep.rows sweep.also sweep.title sweep.x sweep data.name data.root select.name
    select.budget train.name train.steps train.split train.validation train.validate_every distill.validation
    measure.extractor measure.cas measure.extra cluster.workers cluster.gpu storage seed
""",
    plan=plan_sweep,
    run=sweep,
)
