"""advise: pilot trainings on few images and few steps -> how many images are enough, and whether choosing them pays."""

from collections.abc import Callable, Sequence
from dataclasses import fields, replace
from functools import partial
from typing import Any

from dsopt.config import Config, as_yaml, differing
from dsopt.errors import InputError, JobError
from dsopt.files import check_writable
from dsopt.jobs.advise import page
from dsopt.jobs.advise.findings import Facts, find, verdict
from dsopt.jobs.advise.pilots import Pilot, Queue, design, planned, ways, whole_steps
from dsopt.jobs.job import Job
from dsopt.jobs.sweep.job import run_trial
from dsopt.jobs.sweep.kinds.contract import PlannedTrial
from dsopt.jobs.sweep.prepare import prepare
from dsopt.jobs.sweep.status import Numbers, SweepStatus
from dsopt.pipeline.plan import Plan
from dsopt.progress import say
from dsopt.stages import classifier, ingest, needs, select
from dsopt.storage import Kind, Stage, Table
from dsopt.training.worker import Worker

ADVICE = Kind("advice", version=5)

# What the advice does not depend on: what it is about, other jobs, where things lie and run.
_ELSEWHERE = ("compare", "sweep", "search", "distill", "evaluate", "generate", "extra", "colorize", "measure", "cluster")
_PLACES = ("storage", "track", "track_to", "input", "output", "format")
_WITHOUT = (
    "data.root",
    "select.budget",
    "select.content",
    "select.ids",
    "train.split",
    "train.overlap",
    "train.overlap_easiest",
    "train.validate_every",
)


def advice(plan: Plan) -> Stage:
    """The stage of the advice for a plan's data, choice and training, whatever its `select.budget`."""
    config = plan.config
    sections = [item.name for item in fields(config) if item.name not in (*_ELSEWHERE, *_PLACES)]
    made_of, inputs = differing(config, *sections, without=_WITHOUT), {"images": ingest.images(plan)}
    made_of |= {"of": [[kind.name, kind.version] for kind in (classifier.TRAIN, select.SELECT)]}  # the pilots, not known yet
    return plan.add(ADVICE, config.data.name, made_of, inputs, partial(_make, plan=plan), title="advise", needs=_labels)


def _labels(stage: Stage, config: Config) -> None:
    needs.need(stage.inputs["images"], config, "advise", test=False)


def targets(plan: Plan) -> list[Stage]:
    """The advice; which pilots lead there is known once the images are counted, and as they end."""
    return [advice(plan)]


def advise(plan: Plan) -> None:
    """Run the pilots that are left, then write and print the advice.

    Raises:
        InputError: data without labels, or trainings too short for pilots.
        JobError: pilots failed, or too few ended in time.
    """
    stage = advice(plan)
    check_writable(plan.config.storage)
    plan.run(ingest.images(plan))
    _labels(stage, plan.config)
    if not stage.done():
        stage.begin(as_yaml(plan.config))
        _make(Worker(), stage, plan.config, plan)
    page.show(stage)


def _make(worker: Worker, stage: Stage, config: Config, plan: Plan) -> None:
    images = Table(stage.inputs["images"].uri)
    pilots = design(config, images.rows("train"), images.manifest["num_classes"])
    trials = [planned(plan, pilot) for pilot in pilots]
    statuses = SweepStatus(stage, plan, trials)
    queue = Queue(pilots, trials, statuses, 60 * config.advise.minutes, config.train.batch_size / images.rows("train"))
    _train(plan, queue, statuses)
    failed = [status.reason for status in statuses.runs.values() if status.state == "failed"]
    if failed:
        raise JobError(f"advise: {len(failed)} of {len(trials)} pilots failed: {failed[0]} The same command tries them again.")
    done = queue.done()
    facts = _facts(config, images.rows("train"), queue, [trials[number] for number in done], [pilots[number] for number in done])
    found = find([pilots[number] for number in done], [queue.accuracy(number) for number in done], ways(config), facts, config.seed)
    if not found:
        raise JobError(
            f"advise: only {len(done)} pilots ended in advise.minutes={config.advise.minutes:g}; give them more minutes."
        )
    budget, told = verdict(found, facts, ways(config)[-1].title)
    page.write(stage, config, queue, facts, found, budget, told)


def _train(plan: Plan, queue: Queue, statuses: SweepStatus) -> None:
    from dsopt.cluster import tune

    todo = [status for status in statuses.runs.values() if status.state == "left"]
    steps = sum(pilot.steps for pilot in queue.pilots)
    say("advise", f"{len(queue.pilots)} pilots, {steps:,} steps; {len(queue.done())} of them ended before")
    prepare(plan, todo, statuses)
    sent = [replace(trial, shared=[step for step in trial.shared if not step.stage.done()]) for trial in queue.trials]
    tune.run(partial(_pilot, plan=plan.without_steps(), trials=sent), [], plan.config, statuses, queue)
    for reason in sorted(set(queue.left_out.values())):
        say("advise", f"{list(queue.left_out.values()).count(reason)} pilots left out: {reason}")


def _pilot(
    worker: Worker, point: dict[str, Any], report: Callable[[Numbers], None], *, plan: Plan, trials: list[PlannedTrial]
) -> Numbers:
    """A pilot on a worker, without lines on its progress: a searcher, which asks the queue, takes only reports with a score."""
    return run_trial(worker, point, lambda numbers: report(numbers) if "score" in numbers else None, plan=plan, trials=trials)


def _facts(config: Config, images: int, queue: Queue, trials: Sequence[PlannedTrial], pilots: Sequence[Pilot]) -> Facts:
    steps = whole_steps(config, images)
    costs: dict[str, list[float]] = {}
    for trial, pilot in zip(trials, pilots, strict=True):
        if pilot.way and trial.row.subset:
            costs.setdefault(pilot.way.title, []).append(select.cost(trial.row.subset))
    choosing = {title: sum(values) / len(values) for title, values in costs.items()}
    return Facts(images, config.train.batch_size, steps, queue.expected(steps), choosing, config.advise.within)


def taken(plan: Plan) -> float:
    """The share of the images that a finished advice names, for `select.budget=advise`.

    Raises:
        InputError: there is no such advice.
    """
    stage = advice(plan)
    if not stage.done():
        raise InputError(
            f"select.budget=advise: there is no advice in {stage.uri}; expected `dsopt advise` with the same settings before."
        )
    budget = Table(stage.uri).manifest["budget"]
    say("advice", f"select.budget={budget:g}" + (": train on everything" if budget == 1 else "") + f", of {stage.folder}")
    return budget


JOB = Job(
    about="""Say how many images are enough, and whether choosing them pays, from small pilot trainings.

    dsopt advise preset=cifar10 data.root=... train.steps=20000 select.name=ccs
    dsopt optimize preset=cifar10 data.root=... train.steps=20000 select.name=ccs select.budget=advise    # takes its word

Pilots train on 1 to 100 % of the images, for few steps; their accuracies on held-out images are extrapolated, with intervals.
Finished pilots are reused; after an interruption, the same command resumes.
""",
    keys="""
    advise select.name select.per_class select.soft_labels train.name train.steps train.epochs train.batch_size
    train.validation data.name data.root data.image_size cluster.workers cluster.gpu storage seed
""",
    targets=targets,
    run=advise,
)
