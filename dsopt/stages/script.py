"""script: a run of the comparison by a command of the user -> its accuracy and time, as metrics; its output, and what it wrote.

A failure is the reason in the stage's folder beside the output; the stage is not done, so the same job tries it again.
"""

import json
import math
import os
import re
import shlex
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import torch

from dsopt.config import Config
from dsopt.errors import JobError
from dsopt.files import copy_folder, is_remote, read_bytes, write_bytes
from dsopt.pipeline import commands, outputs
from dsopt.pipeline.plan import Plan
from dsopt.progress import say
from dsopt.stages import exported, needs
from dsopt.stages.classifier import Row
from dsopt.storage import Kind, Stage, content_digest
from dsopt.training.worker import Worker

SCRIPT = Kind("script")
LOG = "output.txt"  # of the stage: what the command printed
LOG_EVERY = 10.0  # seconds between two copies of it into the stage's folder, and between two lines of progress
READ = 1 << 20  # bytes at its end, in which the accuracy is looked for
CODE = 1 << 20  # bytes of a file that a command names, at most, for its content to be part of what the run is made of
ACCURACY = re.compile(r"\s*accuracy\s*=\s*([-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?)\s*")
SHOWN = 20  # lines of a failed run's output
WIDTH = 200  # characters of one of its lines, where it is told


def run(plan: Plan, row: Row, seed: int) -> Stage:
    """The run of a row with one seed, by `compare.command`."""
    config, compare = plan.config, plan.config.compare
    command = compare.command or ""
    inputs = {"images": row.images} | ({"subset": row.subset} if row.subset else {})
    inputs["data"] = exported.exported(plan, row.subset or row.images, files="{subset}" in command)
    if "{test}" in command:
        inputs["test"] = exported.exported(plan, row.images, split="test")
    title = f"{row.title}, seed {seed}"
    return plan.add(
        SCRIPT,
        f"{config.data.name}-{row.method}",
        {"command": command, "code": _code(command), "seed": seed},
        inputs,
        partial(_work, seed=seed, title=title, folder=os.getcwd(), environment=dict(os.environ)),
        where="worker",
        title=title,
        needs=needs.labels_and_test if "{test}" in command else needs.labels,
        gpus=compare.gpus,
        cpus=compare.cpus,
    )


def _code(command: str) -> dict[str, str]:
    """The digests of the files that a command names: with another script it is another run."""
    files = [word for word in shlex.split(command) if os.path.isfile(word) and os.path.getsize(word) <= CODE]
    return {file: content_digest(Path(file).read_bytes()) for file in files}


def _work(worker: Worker, stage: Stage, config: Config, seed: int, title: str, folder: str, environment: dict[str, str]) -> None:
    if worker.device.type == "cuda":
        torch.cuda.empty_cache()  # what this process has trained before is no longer needed
    # What the worker has of its own stays, such as the GPUs that it may use; but for its threads Ray sets another number.
    threads = environment.get("OMP_NUM_THREADS", str(torch.get_num_threads()))
    environment = {"PYTHONUNBUFFERED": "1"} | environment | dict(os.environ) | {"OMP_NUM_THREADS": threads}
    with tempfile.TemporaryDirectory(prefix="dsopt-") as scratch:
        out, log = Path(scratch, "out"), Path(scratch, LOG)
        out.mkdir()
        places = _data(stage, scratch) | {"seed": str(seed), "out": str(out)}
        words = [re.sub(r"\{(\w+)\}", lambda found: places[found[1]], word) for word in shlex.split(stage.made_of["command"])]
        say(title, shlex.join(words))
        started = time.monotonic()
        with _shown(title, stage, log) as show:
            status = commands.run(words, log, folder if os.path.isdir(folder) else None, environment, show)
        seconds = time.monotonic() - started
        found = _measured(status, commands.last_lines(log, READ), out)
        seconds = found.pop("seconds", seconds)
        if any(out.iterdir()):
            copy_folder(str(out), stage.path("out"))
    rows = ((stage.folder, seed, 0, seconds, "test", name, value) for name, value in found.items())
    outputs.commit(stage, outputs.metrics(rows), seconds=seconds, seed=seed, device=worker.describe())
    say(title, f"accuracy {found['accuracy']:.4f} in {seconds:.1f} s")


def _data(stage: Stage, scratch: str) -> dict[str, str]:
    """Where the command finds its data: in the storage, or in a copy if that is no folder of this machine."""
    places = {}
    for role, names in (("data", {"subset": exported.FILES, "ids": exported.IDS}), ("test", {"test": exported.FILES})):
        if role in stage.inputs:
            folder = stage.inputs[role].uri
            if is_remote(folder):
                copy_folder(folder, os.path.join(scratch, role))
                folder = os.path.join(scratch, role)
            places |= {name: os.path.join(folder, file) for name, file in names.items()}
    return places


@contextmanager
def _shown(title: str, stage: Stage, log: Path) -> Iterator[Callable[[], None]]:
    """A function that now and then copies the output into the stage's folder and says its last line; in the end all is there."""
    last, said = time.monotonic(), ""

    def show() -> None:
        nonlocal last, said
        if time.monotonic() - last >= LOG_EVERY:
            write_bytes(stage.path(LOG), log.read_bytes())
            line = " ".join(commands.last_lines(log, READ)[-1:])[:WIDTH]
            if line != said:
                say(title, line)
            last, said = time.monotonic(), line

    try:
        yield show
    finally:
        write_bytes(stage.path(LOG), log.read_bytes())


def _measured(status: int, lines: list[str], out: Path) -> dict[str, float]:
    """What a command measured, by name: of `metrics.json`, else of its output. Raises JobError: it failed, or gave no accuracy."""
    if status:
        raise JobError(": ".join([commands.told(status), *lines[-1:]])[:WIDTH])
    file = out / "metrics.json"
    try:
        given = json.loads(file.read_text()) if file.exists() else _told(lines)
    except ValueError:
        raise JobError("{out}/metrics.json: is not valid JSON.") from None
    numbers = {k: float(v) for k, v in given.items() if isinstance(v, int | float)} if isinstance(given, dict) else {}
    found = {name: value for name, value in numbers.items() if math.isfinite(value)}
    if "accuracy" not in found:
        raise JobError("no accuracy: expected a number `accuracy` in {out}/metrics.json, or a line accuracy=0.93 in the output.")
    if not 0 <= found["accuracy"] <= 1:
        raise JobError(f"accuracy={found['accuracy']:g}: expected a share of the test images, from 0 to 1.")
    return found


def _told(lines: list[str]) -> dict[str, float]:
    """The accuracy of the last line of the form accuracy=0.93."""
    found = [match[1] for line in lines if (match := ACCURACY.fullmatch(line))]
    return {"accuracy": float(found[-1])} if found else {}


def end_of_output(stage: Stage) -> list[str]:
    """The last lines that a run printed when it was last tried; empty for a run of another kind."""
    try:
        text = read_bytes(stage.path(LOG)).decode(errors="replace")
    except FileNotFoundError:
        return []
    return commands.lines_of(text)[-SHOWN:]
