"""Run jobs as a person does, and compare the tables that they leave."""

import atexit
import contextlib
import functools
import importlib
import io
import os
import re
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import psutil
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from PIL import Image

from dsopt import config as configuration
from dsopt.config import Config
from dsopt.data.sets.digits import read_digits
from dsopt.files import absolute, join, list_files
from dsopt.jobs.job import find
from dsopt.pipeline.plan import Plan
from dsopt.storage import Table

T = TypeVar("T")

REPOSITORY = Path(__file__).resolve().parent.parent

# The main job in seconds. One thread and full precision everywhere: the tables of two runs can be compared, and a busy machine
# slows it down no more than its share. One image a forward pass, so that embedding takes long enough to be disturbed.
# No row whose length is a matter of speed.
SMALL = (
    *("autoencoder.steps=120", "autoencoder.batch_size=32", "autoencoder.precision=fp32", "autoencoder.options.width=8"),
    *("train.steps=60", "train.batch_size=32", "train.precision=fp32", "train.options.width=8"),
    *("embed.batch_size=1", "select.budget=50"),
    *("compare.seeds=1", "compare.splits=[0.5]", "compare.methods=[random]", "compare.equal_cost=false"),
    *("cluster.cpus_per_worker=1", "cluster.checkpoint_seconds=0"),
)
TRAIN_FILES, ROWS, TEST_ROWS = 8, 120, 80


def start(job: str, *overrides: str, cwd: Path = REPOSITORY, **env: str) -> subprocess.Popen[str]:
    """A job, started from the shell in a session of its own."""
    command = [sys.executable, str(cwd / "jobs" / f"{job}.py"), *overrides]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    process = subprocess.Popen(command, cwd=cwd, env=os.environ | env, text=True, start_new_session=True, **pipes)
    atexit.register(process.kill)  # should its test fail before its end
    return process  # type: ignore[return-value]


def shell(job: str, *overrides: str, timeout: float = 600, **env: str) -> subprocess.CompletedProcess[str]:
    """A job from the shell, to its end."""
    process = start(job, *overrides, **env)
    try:
        out, err = process.communicate(timeout=timeout)
    finally:
        process.kill()
    return subprocess.CompletedProcess(process.args, process.returncode, out, err)


def read(*overrides: str) -> Config:
    """The configuration of a job, as the command line gives it."""
    config = configuration.load(overrides)
    config.storage = absolute(config.storage)
    return config


def here(*overrides: str, job: str = "optimize") -> None:
    """A job in this process, with its number of threads as it was."""
    plan, threads = Plan(read(*overrides)), torch.get_num_threads()
    found = find(job)
    try:
        found.run(plan) if found.run else plan.run(*found.targets(plan))
    finally:
        torch.set_num_threads(threads)


def one_line(text: str) -> str:
    """The one line that a person is to see; fails if there are more, or none."""
    (line,) = text.splitlines()
    assert line.startswith("error: ") and len(line) < 400, text
    return line


def write_pictures(folder: Path) -> str:
    """Real digits as the Hugging Face hub would store them, in as many files as make several parts of every table."""
    images, labels = read_digits()[None]
    folder.mkdir(parents=True, exist_ok=True)
    names = [f"train-{i}.parquet" for i in range(TRAIN_FILES)]
    for name, start, rows in [*((name, i * ROWS, ROWS) for i, name in enumerate(names)), ("test.parquet", 1000, TEST_ROWS)]:
        rows = [{"image": {"bytes": _png(images[i]), "path": None}, "label": int(labels[i])} for i in range(start, start + rows)]
        pq.write_table(pa.Table.from_pylist(rows), folder / name)
    return str(folder)


def _png(image: np.ndarray) -> bytes:
    sink = io.BytesIO()
    Image.fromarray(image).resize((32, 32)).save(sink, "PNG")
    return sink.getvalue()


def tables(storage: str) -> dict[str, pa.Table]:
    """Every finished table below a storage, without what differs by nature: seconds, and where the data lay."""
    found = {}
    for file in list_files(storage):
        if file.endswith("/_DONE"):
            folder = file.removesuffix("/_DONE")
            name = re.sub(r"-[0-9a-f]{12}$", "", folder)
            assert name not in found, f"{storage} has two of {name}"
            table = Table(join(storage, folder)).read()
            if "uri" in table.column_names:  # the same files elsewhere: their names are compared
                names = [None if uri is None else uri.rpartition("/")[2] for uri in table["uri"].to_pylist()]
                table = table.set_column(table.column_names.index("uri"), "uri", pa.array(names, pa.string()))
            found[name] = table.drop_columns([c for c in ("seconds", "run") if c in table.column_names])
    return found


def assert_same(found: dict[str, pa.Table], expected: dict[str, pa.Table], *, tolerance: float = 1e-5) -> None:
    """Row for row the same; floating-point numbers up to a tolerance."""
    assert set(found) == set(expected)
    for name, table in expected.items():
        assert found[name].schema.equals(table.schema), name
        assert len(found[name]) == len(table), name
        for column in table.column_names:
            left, right = (t[column].combine_chunks() for t in (found[name], table))
            if isinstance(left, pa.FixedShapeTensorArray):
                left, right = left.storage.flatten(), right.storage.flatten()
            if pa.types.is_floating(left.type):
                np.testing.assert_allclose(left.to_numpy(False), right.to_numpy(False), 0, tolerance, err_msg=f"{name}.{column}")
            else:
                assert left.equals(right), f"{name}.{column}"


def until(condition: Callable[[], T], seconds: float = 600, every: float = 0.05) -> T:
    """Wait until something is so, and return it; the deadline is for what hangs, not for slow machines."""
    deadline = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < deadline, "waited too long"
        time.sleep(every)
    return found


def title(process: psutil.Process) -> str:
    try:
        return " ".join(process.cmdline())
    except psutil.Error:  # it ended meanwhile
        return ""


def processes(text: str, of: int) -> list[psutil.Process]:
    """The processes below a process in whose title, such as Ray gives its workers, a text is found."""
    return [process for process in psutil.Process(of).children(recursive=True) if text in title(process)]


def owner_of(name: str) -> tuple[Any, str]:
    """The module or class that has a dotted name, and the last part of it. Raises LookupError if there is none."""
    *parts, last = name.split(".")
    for end in range(len(parts), 0, -1):
        with contextlib.suppress(ImportError, AttributeError):
            owner = functools.reduce(getattr, parts[end:], importlib.import_module(".".join(parts[:end])))
            if hasattr(owner, last):
                return owner, last
    raise LookupError(name)


def ray_has(*names: str) -> bool:
    """Whether this version of Ray has all that is named."""
    try:
        return bool([owner_of(name) for name in names])
    except LookupError:
        return False
