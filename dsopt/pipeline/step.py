"""A step makes one stage. Running steps reuses finished stages and resumes interrupted ones."""

import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Literal

from dsopt.config import Config, as_yaml
from dsopt.errors import JobError, first_line
from dsopt.files import check_writable, stat
from dsopt.progress import duration, say
from dsopt.storage import Stage
from dsopt.training.worker import Worker

Work = Callable[[Worker, Stage, Config], None]
Check = Callable[[Stage, Config], None]
Preview = Callable[[], object]
Where = Literal["driver", "worker", "workers"]


@dataclass(frozen=True)
class Step:
    """A stage and the work that makes it.

    Args:
        config: the configuration that the stage was planned with.
        work: `(worker, stage, config)`; commits the stage. Picklable, unless it runs on the driver.
        where: "driver": in this process, which may stream parts through the cluster; "worker": on one worker, in parallel with
            other such steps that are ready; "workers": one run over all workers, as a process group.
        check: refuses wrong inputs, on the driver, before any worker is started for the work.
        title: its label in progress lines; by default the stage's kind and name.
        needs: refuses a data set, its stage's input "images", that cannot do for the work: as soon as that is there, before any
            other step is made.
        preview: tells, in a dry run, what the work would find.
        gpus, cpus: of the worker, where="worker"; see `dsopt.cluster.session.share`.
    """

    stage: Stage
    config: Config
    work: Work
    where: Where = "driver"
    check: Check | None = None
    title: str = ""
    needs: Check | None = None
    preview: Preview | None = None
    gpus: float = 1.0
    cpus: int | None = None

    @property
    def label(self) -> str:
        return self.title or f"{self.stage.kind.name} {self.stage.name}"

    def saved(self) -> tuple[int, int] | None:
        """Size and time of the run's last checkpoint, which say whether it has progressed; None if there is none."""
        return stat(self.stage.path("checkpoint.pt"))

    def here(self) -> "Step":
        """The same step without a cluster: its work stays in this process."""
        alone = replace(self.config.cluster, workers=0)
        return replace(self, config=replace(self.config, cluster=alone))


def show(steps: Iterable[Step], config: Config) -> None:
    """Print the resolved configuration and the stages, each done or to do, for `dry_run=true`."""
    print(as_yaml(config))
    steps = list(steps)
    for step in steps:
        print(f"{'done  ' if step.stage.done() else 'to do '} {step.label:<38} {step.stage.uri}")
    for step in steps:
        if step.preview:
            step.preview()
    check_needs([step for step in steps if not step.stage.done()])


def run(steps: Sequence[Step], mentioned: set[str] | None = None, failed: dict[str, str] | None = None) -> None:
    """Make every stage that is not done, after its inputs.

    Single-worker steps wait until no other step is ready, so that as many of them as possible run in parallel.

    Args:
        mentioned: hashes of stages that were reported before and are not reported again; those of all steps are added.
        failed: gets the reason of every stage that fails, and of those that need it, by hash; the others are made all the same.

    Raises:
        InputError: the storage is not writable, or a stage refuses its input.
        JobError: a stage failed, without `failed`; the stages before it stay finished.
    """
    mentioned = set() if mentioned is None else mentioned
    todo = []
    for step in steps:
        if not step.stage.done():
            todo.append(step)
        elif step.stage.hash not in mentioned:
            say(step.label, f"done before, reused: {step.stage.folder}")
    mentioned |= {step.stage.hash for step in steps}
    if todo:
        check_writable(todo[0].config.storage)
    unchecked = todo
    while todo := _possible(todo, failed or {}):
        missing = {step.stage.hash for step in todo}
        unchecked = check_needs(unchecked)
        ready = [step for step in todo if not any(needed.hash in missing for needed in step.stage.inputs.values())]
        batch = next(([step] for step in ready if step.where != "worker"), [step for step in ready if _alike(step, ready[0])])
        _make(batch, None if failed is None else partial(fail, failed))
        todo = [step for step in todo if step not in batch]


def _possible(steps: Sequence[Step], failed: dict[str, str]) -> list[Step]:
    """The steps that need no failed stage; the others fail for its reason. They come after their inputs."""
    for step in steps:
        reasons = (failed[needed.hash] for needed in step.stage.inputs.values() if needed.hash in failed)
        if reason := next(reasons, None):
            failed[step.stage.hash] = reason
    return [step for step in steps if step.stage.hash not in failed]


def fail(failed: dict[str, str], step: Step, error: JobError) -> None:
    """Note in its folder and in `failed`, by hash, why a step failed, and say so."""
    reason = first_line(error).removeprefix(f"{step.label}: ")
    failed[step.stage.hash] = reason
    step.stage.fail(reason)
    say(step.label, f"failed: {reason}")


def _alike(step: Step, other: Step) -> bool:
    """Whether both need the same of a worker."""
    return (step.gpus, step.cpus) == (other.gpus, other.cpus)


def check_needs(steps: Sequence[Step]) -> list[Step]:
    """Refuse a data set that cannot do for one of the steps, see `Step.needs`; the steps whose data set is not there yet.

    Raises:
        InputError: what is missing.
    """
    steps = [step for step in steps if step.needs and "images" in step.stage.inputs]
    there = {step.stage.inputs["images"].hash: step.stage.inputs["images"].done() for step in steps}
    for step in steps:
        if step.needs and there[step.stage.inputs["images"].hash]:
            step.needs(step.stage, step.config)
    return [step for step in steps if not there[step.stage.inputs["images"].hash]]


def make_together(steps: Sequence[Step], work: Callable[[], None]) -> None:
    """Make several stages by one call of `work`, which commits them all."""
    for step in steps:
        step.stage.begin(as_yaml(step.config))
    started = time.monotonic()
    work()
    took = duration(time.monotonic() - started) + (f", {len(steps)} together" if len(steps) > 1 else "")
    for step in steps:
        say(step.label, f"done in {took}: {step.stage.folder}")


def _make(steps: Sequence[Step], failing: Callable[[Step, JobError], None] | None) -> None:
    """Make the stages of one step, or of several for one worker each.

    Args:
        failing: called with what fails; None: the first failure is raised.
    """
    first, cluster = steps[0], steps[0].config.cluster
    for step in steps:
        if step.check:
            step.check(step.stage, step.config)
    if first.where == "worker":
        from dsopt.cluster.train import each

        for step in steps:
            step.stage.begin(as_yaml(step.config))
        arguments = [(step.work, step.stage, step.config) for step in steps]
        fail = failing and (lambda i, error: failing(steps[i], error))
        each(_work_on, arguments, cluster, first.gpus, first.cpus, fail, lambda i: steps[i].saved())
        return
    try:
        if first.where == "workers":
            from dsopt.cluster.train import distributed

            make_together(steps, lambda: distributed(first.work, (first.stage, first.config), cluster, first.saved))
        else:
            make_together(steps, lambda: first.work(Worker(), first.stage, first.config))
    except JobError as error:
        if failing is None:
            raise
        failing(first, error)


def _work_on(worker: Worker, work: Work, stage: Stage, config: Config) -> None:
    work(worker, stage, config)
