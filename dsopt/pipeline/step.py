"""Steps of a plan, and how a plan is run: what is done is never done again, what was interrupted goes on."""

import json
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from dsopt.config import Config, as_yaml
from dsopt.errors import InputError, JobError
from dsopt.files import check_writable, list_files, read_bytes, write_bytes
from dsopt.progress import Progress, duration, say
from dsopt.storage import Stage


@dataclass(frozen=True)
class Step:
    """A stage and the work that makes it.

    Args:
        work: `(stage, config, *arguments)` run here; for `parallel` steps `(worker, stage, config, *arguments)` on any device; for
            those made `together` `(steps, config)` here.
        parallel: a training run that can go on beside others on the cluster.
        together: neighbours with the same work are made by one call of it, which shares its workers among them.
    """

    stage: Stage
    work: Callable[..., None]
    arguments: tuple[Any, ...] = ()
    parallel: bool = False
    together: bool = False
    title: str = field(default="")

    @property
    def label(self) -> str:
        return self.title or f"{self.stage.kind} {self.stage.name}"

    def goes_with(self, other: "Step") -> bool:
        """Whether both are made at once where they are neighbours and neither needs the other."""
        return (self.parallel and other.parallel) or (self.together and other.together and self.work == other.work)


def show(steps: Sequence[Step], config: Config) -> None:
    """What `dry_run=true` prints: the resolved configuration and the stages, with which are done."""
    print(as_yaml(config))
    for step in steps:
        print(f"{'done  ' if step.stage.done() else 'to do '} {step.label:<38} {step.stage.uri}")


def run(steps: Sequence[Step], config: Config) -> None:
    """Make every stage of the plan that is not done, in order; neighbours that go with each other at once.

    Raises:
        InputError: the storage cannot be written, or a stage finds its input wrong.
        JobError: a stage failed; those before it stay done.
    """
    steps = unique(steps)
    todo = [step for step in steps if not step.stage.done()]
    for step in steps:
        if step not in todo:
            say(step.label, f"done before, reused: {step.stage.folder}")
    if todo:
        check_writable(config.storage)
    while todo:
        batch = [todo.pop(0)]
        made = {batch[0].stage.hash}
        while todo and batch[0].goes_with(todo[0]) and not _needs(todo[0].stage, made):
            batch.append(todo.pop(0))
            made.add(batch[-1].stage.hash)
        _run_together(batch, config)


def unique(steps: Sequence[Step]) -> list[Step]:
    """Each stage once, where it first comes."""
    seen: dict[str, Step] = {}
    for step in steps:
        seen.setdefault(step.stage.hash, step)
    return list(seen.values())


def _needs(stage: Stage, hashes: set[str]) -> bool:
    return any(needed.hash in hashes or _needs(needed, hashes) for needed in stage.inputs.values())


def _run_together(steps: list[Step], config: Config) -> None:
    for step in steps:
        step.stage.begin()
    if steps[0].parallel:
        from dsopt.cluster.train import each

        each(_work_on, [(step.work, step.stage, config, *step.arguments) for step in steps], config.cluster)
        return
    started = time.monotonic()
    if steps[0].together:
        steps[0].work(steps, config)
    else:
        (step,) = steps
        step.work(step.stage, config, *step.arguments)
    took = duration(time.monotonic() - started) + (f", {len(steps)} together" if len(steps) > 1 else "")
    for step in steps:
        say(step.label, f"done in {took}: {step.stage.folder}")


def _work_on(worker: Any, work: Callable[..., None], stage: Stage, config: Config, *arguments: Any) -> None:
    work(worker, stage, config, *arguments)


class Journal:
    """What a stage has finished, item by item, so that an interrupted one goes on where it was.

    One small JSON file an item below `_journal/`, written after the item's output: {"seconds", ...whatever the item yields}.
    """

    def __init__(self, stage: Stage) -> None:
        self.uri = stage.path("_journal")
        names = list_files(self.uri)
        self.entries: dict[int, dict[str, Any]] = {
            int(name.removesuffix(".json")): json.loads(read_bytes(f"{self.uri}/{name}")) for name in names
        }

    def add(self, index: int, entry: dict[str, Any]) -> None:
        write_bytes(f"{self.uri}/{index:06d}.json", json.dumps(entry).encode())
        self.entries[index] = entry

    def __iter__(self) -> Iterator[dict[str, Any]]:
        return (self.entries[index] for index in sorted(self.entries))


def item_by_item(
    step_label: str,
    stage: Stage,
    sizes: Sequence[int],
    unit: str,
    stream: Callable[[list[int]], Iterator[dict[str, Any]]],
) -> tuple[list[dict[str, Any]], float]:
    """Do a stage's items that its journal does not have; the entries of all of them in order, and the seconds it took.

    Args:
        sizes: how many `unit` each item is, for the progress.
        stream: the indices to do -> their entries, each with its "index", in any order.
    """
    journal = Journal(stage)
    if not set(journal.entries) <= set(range(len(sizes))):
        raise InputError(f"{stage.uri}: its journal is not of these {len(sizes)} items; remove the folder.")
    todo = [index for index in range(len(sizes)) if index not in journal.entries]
    count = sum(sizes[index] for index in journal.entries)
    if journal.entries:
        say(step_label, f"goes on after {count:,} {unit} of an interrupted run")
    progress = Progress(step_label, sum(sizes), unit, done=count)
    before = max((entry["seconds"] for entry in journal), default=0.0)
    started = time.monotonic()
    for entry in stream(todo) if todo else ():
        index = entry.pop("index")
        journal.add(index, entry | {"seconds": before + time.monotonic() - started})
        count += sizes[index]
        progress.update(count)
    if len(journal.entries) != len(sizes):
        raise JobError(f"{stage.uri}: only {len(journal.entries)} of {len(sizes)} items were made.")
    return list(journal), before + time.monotonic() - started
