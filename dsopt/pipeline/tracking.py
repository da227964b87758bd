"""What training runs report, told to a tracker as well: one function each. Tracking changes no result, so no hash knows of it."""

import importlib.util
import json
import os
import re
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from itertools import groupby
from typing import TYPE_CHECKING, Any, NamedTuple

from dsopt.config import Config, as_yaml, plain
from dsopt.errors import InputError, JobError, first_line
from dsopt.files import absolute, is_remote, join
from dsopt.progress import say
from dsopt.registry import TRACKERS
from dsopt.storage import Stage

if TYPE_CHECKING:
    from dsopt.training.loop import Learner, State

PROJECT = "dsopt"
MLFLOW = "MLFLOW_TRACKING_URI"
FLUSH_SECONDS = 10  # of TensorBoard's files on an object store
PARAMS = 100  # that MLflow takes at once
LONGEST = 500  # characters of a parameter's value in MLflow

Log = Callable[[int, dict[str, float]], None]  # step, values by name


class Tracked(NamedTuple):
    """A training run as trackers know it.

    Args:
        name: its stage's folder: the same when the run resumes, and of no other run.
        place: where the tracker keeps it; None: where it does so by itself.
        since: steps that were told before; what a killed attempt told of later ones is told again.
    """

    name: str
    title: str
    seed: int
    config: Config
    place: str | None
    since: int


@TRACKERS.register(package="tensorboardX")
@contextmanager
def tensorboard(run: Tracked) -> Iterator[Log]:
    """Event files for TensorBoard, a folder for each run."""
    from tensorboardX import SummaryWriter

    assert run.place is not None
    suffix = f".{uuid.uuid4().hex[:8]}"  # the files' own names are of the second in which they are opened
    folder = join(run.place, run.name)
    writer = SummaryWriter(folder, purge_step=run.since + 1, filename_suffix=suffix, flush_secs=FLUSH_SECONDS)
    if not run.since:
        text = f"{run.title}, seed {run.seed}\n\n{as_yaml(run.config)}"
        writer.add_text("configuration", "\n".join(f"    {line}" for line in text.splitlines()))

    def log(step: int, values: dict[str, float]) -> None:
        for name, value in values.items():
            writer.add_scalar(name, value, step)
        if not is_remote(folder):  # there every flush writes the whole file
            writer.flush()

    try:
        yield log
    finally:
        writer.close()


@TRACKERS.register(package="mlflow")
@contextmanager
def mlflow(run: Tracked) -> Iterator[Log]:
    """A run of the experiment `dsopt` of an MLflow server or store."""
    from mlflow import MlflowClient  # pyright: ignore[reportMissingImports]
    from mlflow.entities import Metric, Param  # pyright: ignore[reportMissingImports]

    client = MlflowClient(run.place)
    experiment = client.get_experiment_by_name(PROJECT)
    number = experiment.experiment_id if experiment else client.create_experiment(PROJECT)
    found = client.search_runs([number], f"tags.`dsopt.stage` = '{run.name}'", max_results=1)
    mine = found[0] if found else client.create_run(number, run_name=run.title, tags={"dsopt.stage": run.name})
    key, params = mine.info.run_id, [Param(name, value[:LONGEST]) for name, value in _flat(run).items()]
    for start in range(0, 0 if found else len(params), PARAMS):
        client.log_batch(key, params=params[start : start + PARAMS])
    client.update_run(key, status="RUNNING")

    def log(step: int, values: dict[str, float]) -> None:
        now = int(1000 * time.time())
        client.log_batch(key, metrics=[Metric(name, value, now, step) for name, value in values.items()])

    status = "FAILED"
    try:
        yield log
        status = "FINISHED"
    finally:
        client.set_terminated(key, status)


@TRACKERS.register(package="wandb")
@contextmanager
def wandb(run: Tracked) -> Iterator[Log]:
    """A run of a project of Weights & Biases; `track_to` names it: PROJECT or TEAM/PROJECT."""
    import wandb  # pyright: ignore[reportMissingImports]

    team, _, project = (run.place or PROJECT).rpartition("/")
    settings = plain(run.config) | {"seed": run.seed}
    about = {"id": run.name.rpartition("-")[2], "name": run.title, "group": run.name.partition("/")[0], "config": settings}
    with wandb.init(project=project, entity=team or None, resume="allow", **about) as mine:
        mine.define_metric("*", step_metric="step")  # not its own step, which may never go back

        def log(step: int, values: dict[str, float]) -> None:
            mine.log({"step": step} | values)

        yield log


def _flat(run: Tracked) -> dict[str, str]:
    """The configuration by dotted keys, as text."""
    found: dict[str, str] = {}

    def visit(prefix: str, value: Any) -> None:
        if isinstance(value, dict) and value:
            for name, below in value.items():
                visit(f"{prefix}{name}.", below)
        else:
            found[prefix.rstrip(".")] = value if isinstance(value, str) else json.dumps(value)

    visit("", plain(run.config) | {"seed": run.seed})
    return found


# --- for training runs ---------------------------------------------------------------------------------------------


def check(config: Config) -> None:
    """Raises InputError for a tracker that is not known, not installed, or has no place."""
    name, to = config.track, config.track_to or ""
    if name == "none":
        return
    try:
        package = TRACKERS.traits(name).package
    except InputError as error:
        raise InputError(f"track: {error}") from None
    if importlib.util.find_spec(package) is None:
        raise InputError(f"track={name}: {package} is not installed; expected pip install 'dsopt[{name}]'.")
    if re.search("://[^/]*@", to):
        raise InputError("track_to: must not contain credentials; trackers read them from the environment.")
    if name == "tensorboard" and is_remote(place(config) or "") and importlib.util.find_spec("boto3") is None:
        raise InputError("track=tensorboard: needs boto3 to write to s3://; expected pip install boto3, or track_to=<a folder>.")
    if name == "mlflow" and not place(config):
        raise InputError(
            f"track=mlflow: expected track_to=http://SERVER:5000 or sqlite:////FOLDER/mlflow.db, or {MLFLOW}= with it."
        )


def place(config: Config) -> str | None:
    """`track_to`, the same in every process; without it where TensorBoard's files lie, or what MLflow's variable says."""
    if config.track == "tensorboard":
        return absolute(config.track_to or join(config.storage, "tensorboard"))
    return config.track_to or (os.environ.get(MLFLOW) if config.track == "mlflow" else None)


class Tracking:
    """Tells the tracker of a run what is new. The first that there is to tell opens it, so it is open on the first worker alone."""

    def __init__(self, stage: Stage, title: str, seed: int, config: Config) -> None:
        self._tracked = Tracked(stage.folder, title, seed, config, place(config), since=0)
        self._on, self._known, self._open = config.track != "none", 0, ExitStack()
        self._log: Log | None = None

    def __enter__(self) -> "Tracking":
        return self

    def __exit__(self, *error: Any) -> None:
        try:
            self._open.__exit__(*error)
        except Exception as failure:  # of its own kind in every package
            self._give_up(failure)

    def skip(self, state: "State") -> None:
        """Leave out what was told before."""
        self._known, self._tracked = len(state.rows), self._tracked._replace(since=state.total)

    def tell(self, state: "State", learner: "Learner") -> None:
        """Tell the metrics since the last call, and the learning rates now. Raises JobError if a new run finds no tracker."""
        if not self._on:
            return
        rows, self._known = state.rows[self._known :], len(state.rows)
        rates = [(state.total, name, rate) for name, rate in _rates(learner).items()]
        self.tell_values([(step, f"{split}/{name}", value) for step, _, split, name, value in rows] + rates)

    def tell_values(self, values: list[tuple[int, str, float]]) -> None:
        """Tell (step, name, value)."""
        if not self._on or not values:
            return
        name, begun = self._tracked.config.track, self._log is not None
        try:
            log = self._log or self._open.enter_context(TRACKERS.function(name)(self._tracked))
            self._log = log
            for step, some in groupby(values, key=lambda value: value[0]):
                log(step, {name: value for _, name, value in some})
        except Exception as failure:
            if not begun and not self._tracked.since:  # nothing is lost yet
                raise JobError(f"track={name}: cannot begin: {first_line(failure)}") from None
            self._give_up(failure)

    def _give_up(self, failure: Exception) -> None:
        self._on = False
        say(self._tracked.title, f"is no longer tracked: {self._tracked.config.track}: {first_line(failure)}")


def _rates(learner: "Learner") -> dict[str, float]:
    """The learning rate, or those of several optimizers."""
    rates = {name: float(optimizer.param_groups[0]["lr"]) for name, optimizer in learner.optimizers.items()}
    return {"learning_rate" if len(rates) == 1 else f"learning_rate/{name}": rate for name, rate in rates.items()}
