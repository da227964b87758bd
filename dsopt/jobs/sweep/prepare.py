"""What trials need, made before them, each stage once: trainings that do not wait for each other side by side on Ray Tune."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

from dsopt.config import Config, as_yaml
from dsopt.errors import JobError, reason
from dsopt.jobs.sweep.kinds.contract import common_steps, kind_of
from dsopt.jobs.sweep.status import Numbers, SweepStatus, TrialStatus
from dsopt.pipeline.plan import Plan
from dsopt.pipeline.step import Step, check_needs, fail, run
from dsopt.progress import Progress, say
from dsopt.stages import ingest
from dsopt.storage import Table
from dsopt.training.worker import Worker


def prepare(plan: Plan, todo: Sequence[TrialStatus], statuses: SweepStatus) -> None:
    """Make the stages that trials need, each once: data sets first, because only they show whether there are labels.

    A trial whose stages fail has failed, for their reason.
    """
    steps = {step.stage.hash: step for step in plan.to(ingest.images(plan))}
    # A row at equal cost needs another trial, which runs as a trial and not here.
    trials = {status.stage.hash for status in statuses.runs.values()}
    for step in (step for status in todo for step in status.planned.shared if step.stage.hash not in trials):
        steps.setdefault(step.stage.hash, step)
    for step in common_steps(status.planned for status in todo):
        steps.setdefault(step.stage.hash, step)
    for step in steps.values():
        if step.stage.kind == ingest.INGEST:
            run([step])
            kind_of(plan.config).check_labels(step.config, Table(step.stage.uri).manifest["labelled"])
    check_needs([*steps.values(), *(step for status in todo for step in status.planned.own)])
    failed = make([step for step in steps.values() if not step.stage.done()], plan.config)
    for status in todo:
        takes = [*status.planned.shared, *status.planned.own]
        reasons = [failed[step.stage.hash] for step in takes if step.stage.hash in failed]
        if reasons:
            statuses.fail(status, reasons[0])


def make(steps: Sequence[Step], config: Config) -> dict[str, str]:
    """Make stages, inputs first; returns why some failed, by hash.

    With several workers, trainings over all workers that are ready at once are given one worker each instead, side by side: a small
    network does not train twice as fast on two. A training that nothing else is ready beside has all workers.
    """
    failed: dict[str, str] = {}
    left, bar = {step.stage.hash: step for step in steps}, Progress("sweep", len(steps), "stages that trials need")
    while left:
        bar.update(len(steps) - len(left))
        batch = _next(list(left.values()))
        if len(batch) > 1 and batch[0].where == "workers" and config.cluster.workers > 1:
            _side_by_side(batch, config, failed)
        else:
            batch = batch if batch[0].where == "worker" else batch[:1]
            run(batch, failed=failed)
        for step in batch:
            del left[step.stage.hash]
        for hash, step in list(left.items()):  # inputs come first, so this reaches what needs them indirectly, too
            if reason := next((failed[needed.hash] for needed in step.stage.inputs.values() if needed.hash in failed), None):
                failed[hash] = reason
                del left[hash]
    return failed


def _next(steps: Sequence[Step]) -> list[Step]:
    """Steps of one kind of place that wait for none of the others: those on the driver first, those for one worker last."""
    missing = {step.stage.hash for step in steps}
    ready = [step for step in steps if not any(needed.hash in missing for needed in step.stage.inputs.values())]
    groups = ([step for step in ready if step.where == where] for where in ("driver", "workers", "worker"))
    return next(group for group in groups if group)


def _side_by_side(steps: Sequence[Step], config: Config, failed: dict[str, str]) -> None:
    from dsopt.cluster import tune

    for step in steps:
        if step.check:
            step.check(step.stage, step.config)
    say("sweep", f"{len(steps)} trainings side by side, {config.cluster.workers} at a time")
    alone = [step.here() for step in steps]
    plain = replace(config, sweep=replace(config.sweep, scheduler="none"))
    tune.run(partial(_work, steps=alone), [{"step": i} for i in range(len(steps))], plain, _Listener(steps, failed))


def _work(worker: Worker, point: dict[str, Any], report: Callable[[Numbers], None], *, steps: Sequence[Step]) -> Numbers:
    """One stage on a worker. A failure is reported as a result."""
    step = steps[point["step"]]
    try:
        step.stage.begin(as_yaml(step.config))
        step.work(worker, step.stage, step.config)
        return {"percent": 100.0, "score": 0.0, "reason": ""}
    except Exception as error:
        return {"percent": 0.0, "score": 0.0, "reason": reason(error)}


@dataclass
class _Listener:
    """Tells of stages as they end."""

    steps: Sequence[Step]
    failed: dict[str, str]
    reasons: dict[int, str] = field(default_factory=dict)

    def started(self, point: dict[str, Any]) -> None: ...
    def waiting(self) -> None: ...

    def reported(self, point: dict[str, Any], numbers: Numbers) -> None:
        self.reasons[point["step"]] = numbers.get("reason", "")

    def ended(self, point: dict[str, Any], lost: str | None) -> None:
        step, reason = self.steps[point["step"]], lost or self.reasons.get(point["step"], "")
        if reason:
            fail(self.failed, step, JobError(reason))
        else:
            say(step.label, f"done: {step.stage.folder}")
