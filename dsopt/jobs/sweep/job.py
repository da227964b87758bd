"""sweep: a grid of settings, named rows, or samples of a space -> one training run each, one table and one page for all.

A trial is a list of overrides on the base configuration. Stages that trials share are made first, each once; then the unfinished
training runs go in parallel. Every result lies in its run's own stage, so a sweep that was killed repeats no finished trial.
"""

import re
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from dsopt import progress
from dsopt.config import Config, as_yaml, variant
from dsopt.errors import InputError, JobError, reason, unknown
from dsopt.files import check_writable
from dsopt.jobs.job import Job
from dsopt.jobs.optimize.target import with_target
from dsopt.jobs.sweep import page
from dsopt.jobs.sweep.grid import expand, leaves, made_of, plans, sampled, space
from dsopt.jobs.sweep.kinds.contract import PlannedTrial, kind_of
from dsopt.jobs.sweep.prepare import prepare
from dsopt.jobs.sweep.status import STATUS_SECONDS, Numbers, SweepStatus
from dsopt.pipeline.plan import Plan
from dsopt.pipeline.step import run
from dsopt.progress import say
from dsopt.stages import ingest
from dsopt.storage import Kind, Stage
from dsopt.training.loop import State
from dsopt.training.worker import Worker

SWEEP = Kind("sweep")
# A score below any real one, so that a searcher avoids the setting; at 0 percent no scheduler compares it with others.
FAILED = {"percent": 0.0, "score": -1e9}


def with_held_out(config: Config) -> Config:
    """The configuration, with images held out for evaluation if a scheduler or a searcher compares trials.

    Raises:
        InputError: this configuration cannot hold out images.
    """
    sweep, train, kind = config.sweep, config.train, kind_of(config)
    if kind.held_out is None or (sweep.scheduler == "none" and sweep.searcher == "grid"):
        return config
    if kind.not_held_out:
        by = f"sweep.scheduler={sweep.scheduler}" if sweep.scheduler != "none" else f"sweep.searcher={sweep.searcher}"
        raise InputError(f"{by}: {kind.not_held_out}.")
    overrides = [] if kind.held_out else [f"{sweep.of}.validation=0.1"]
    if sweep.scheduler != "none" and not train.validate_every:
        overrides.append(f"train.validate_every={max(1, train.steps // 20)}")
    return variant(config, overrides)


def planned(plan: Plan) -> tuple[Plan, list[PlannedTrial], Stage]:
    """The plan of the trials, the trials that are known in advance, and the sweep's own stage.

    Raises:
        InputError: any trial that cannot work, as far as that can be known in advance.
    """
    plan = plan.having(with_held_out(with_target(plan.config)))
    config, sweep = plan.config, plan.config.sweep
    kind_of(config).check(config)
    if sweep.searcher == "grid" and sweep.space:
        raise InputError("sweep.space: is for a search; expected sweep.searcher=random or optuna beside it.")
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
        raise InputError("sweep.equal_cost=true: cannot be combined with train.phases; give a budget and train.split.")
    trials = plans(plan, expand(config))
    inputs = {"images": ingest.images(plan)} | {trial.evaluated.folder: trial.evaluated for trial in trials}
    work = partial(_make, plan=plan, trials=trials)
    return plan, trials, plan.add(SWEEP, f"{config.data.name}-{sweep.title}", made_of(config), inputs, work, title="sweep")


def targets(plan: Plan) -> list[Stage]:
    """The sweep; the trials of a search are not known in advance."""
    return [planned(plan)[2]]


def sweep(plan: Plan) -> None:
    """Run the unfinished trials, then write and print the results.

    Raises:
        InputError: wrong trials, or data without labels.
        JobError: trials failed; the others are finished, and the table and the page are written.
    """
    plan, trials, stage = planned(plan)
    check_writable(plan.config.storage)
    if not stage.done():
        stage.begin(as_yaml(plan.config))
    _make(Worker(), stage, plan.config, plan, trials)


def _make(worker: Worker, stage: Stage, config: Config, plan: Plan, trials: list[PlannedTrial]) -> None:
    statuses = SweepStatus(stage, plan, trials)
    todo = [status for status in statuses.runs.values() if status.state == "left"]
    say("sweep", f"{len(statuses.runs)} trials known, {len(statuses.runs) - len(todo)} of them ended before")
    if not stage.done():
        prepare(plan, todo, statuses)
        _train(plan, trials, statuses)
    page.write(stage, config, trials, statuses)
    failed = statuses.count("failed")
    if failed:
        raise JobError(f"sweep: {failed} of {len(statuses.runs)} trials failed; the same command tries them again.")


def _train(plan: Plan, trials: list[PlannedTrial], statuses: SweepStatus) -> None:
    from dsopt.cluster import tune

    config = plan.config
    # Finished steps are not sent to workers: the step of an ingest holds the names of all files.
    sent = [replace(trial, shared=[step for step in trial.shared if not step.stage.done()]) for trial in trials]
    work = partial(run_trial, plan=plan.without_steps(), trials=sent)
    left = [status for status in statuses.runs.values() if status.state == "left"]
    earlier = [status.reports for status in statuses.runs.values() if status.state in ("done", "stopped")]
    fixed = [status for status in left if "trial" in status.point]
    # Rows at equal cost come last: their number of steps depends on the speed of the row without the extra seconds.
    for late in (False, True):
        points = [status.point for status in fixed if status.planned.trial.equal_cost == late]
        tune.run(work, points, config, statuses, earlier=earlier)
    if config.sweep.searcher == "optuna":
        samples = statuses.samples()
        known = [(status.point, status.score) for status in samples if status.score is not None]
        search = tune.Search(space(config), max(0, config.sweep.samples - len(samples)), known)
        begun = [status.point for status in samples if status.state == "left"]
        tune.run(work, begun, config, statuses, search, earlier)


def run_trial(
    worker: Worker, point: dict[str, Any], report: Callable[[Numbers], None], *, plan: Plan, trials: list[PlannedTrial]
) -> Numbers:
    """One trial on a worker, with the stages that only it needs (such as a search's subset). A failure is reported as a result."""
    config = plan.config
    try:
        with _brief_output(report, config):
            trial = trials[point["trial"]] if "trial" in point else sampled(plan, point)
            run([step.here() for step in (*trial.shared, *trial.own[:-1]) if not step.stage.done()])
            if not trial.evaluated.done():
                last = trial.own[-1].here()
                last.stage.begin(as_yaml(last.config))
                last.work(replace(worker, watch=_Reports(report)), last.stage, last.config)
            measure = kind_of(config).measure
            return {"percent": 100.0, "score": measure.score(trial.outcome()[measure.name]), "reason": ""}
    except Exception as error:
        return FAILED | {"reason": reason(error)}


@dataclass
class _Reports:
    """Watches a training run, and reports every new accuracy on held-out images."""

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
def _brief_output(report: Callable[[Numbers], None], config: Config) -> Iterator[None]:
    """Keep a run's lines off the terminal, which shows the whole sweep; report one now and then as the trial's progress.

    With a scheduler or Optuna there are no such reports, because these need a score in each.
    """
    last = time.monotonic()
    need_scores = config.sweep.scheduler != "none" or config.sweep.searcher == "optuna"

    def line(text: str) -> None:
        nonlocal last
        if not need_scores and time.monotonic() - last >= STATUS_SECONDS:
            last = time.monotonic()
            report({"progress": re.sub(r" {2,}", "  ", text)})

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
    targets=targets,
    run=sweep,
)
