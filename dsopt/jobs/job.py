"""What a job is, and how it is found by its name.

A job is a module of `dsopt.jobs` with an object `JOB`: `dsopt/jobs/NAME.py`, or `dsopt/jobs/NAME/job.py` beside what only it uses.
"""

import ast
import functools
import importlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dsopt.errors import unknown

if TYPE_CHECKING:  # help is shown without torch
    from dsopt.pipeline.plan import Plan
    from dsopt.storage import Stage


@dataclass(frozen=True)
class Job:
    """A job of the command line.

    Args:
        about: what it does, in a first line of its own, and how it is called.
        keys: the configuration keys and sections that it uses, most used first, separated by spaces.
        targets: a plan -> the stages that the job is for; `dry_run=true` shows the steps that lead there.
        run: does the job; not given: it makes the targets, and that is all.
    """

    about: str
    keys: str
    targets: Callable[["Plan"], list["Stage"]]
    run: Callable[["Plan"], None] | None = None


@dataclass(frozen=True)
class Described:
    """What is known of a job without importing it, for help: `import torch` takes seconds."""

    module: str
    about: str
    keys: str


@functools.cache
def described() -> dict[str, Described]:
    """All jobs by name."""
    folder, jobs = Path(__file__).parent, {}
    for path in sorted([*folder.glob("*.py"), *folder.glob("*/job.py")]):
        name = path.stem if path.parent == folder else path.parent.name
        if given := _literals(path):
            jobs[name] = Described(".".join(["dsopt.jobs", *path.relative_to(folder).with_suffix("").parts]), **given)
    return dict(sorted(jobs.items()))


def _literals(path: Path) -> dict[str, Any] | None:
    """What stands in a file's `JOB = Job(about=..., keys=..., ...)`."""
    for node in ast.parse(path.read_text()).body:
        match node:
            case ast.Assign(targets=[ast.Name(id="JOB")], value=ast.Call(keywords=keywords)):
                return {item.arg: ast.literal_eval(item.value) for item in keywords if item.arg in ("about", "keys")}
    return None


def find(name: str) -> Job:
    """The job of a name. Raises InputError for an unknown one."""
    if name not in (jobs := described()):
        raise unknown("job", name, jobs)
    return importlib.import_module(jobs[name].module).JOB
