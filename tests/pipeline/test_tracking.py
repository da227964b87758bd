"""track=: a tracker is told once what a training run reports, whoever trains and however often; nothing else changes."""

import struct
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
from running import here, one_line, read
from tensorboardX.proto.event_pb2 import Event

from dsopt.errors import InputError, JobError
from dsopt.files import list_files, read_bytes
from dsopt.pipeline import tracking
from dsopt.pipeline.tracking import Tracked
from dsopt.pipeline.training import StageCheckpoint
from dsopt.registry import TRACKERS
from dsopt.storage import Table

TINY = (
    "data.limit=200",
    "train.split=0",
    "train.steps=60",
    "train.batch_size=8",
    "train.options.width=4",
    "cluster.cpus_per_worker=1",
)
ALONE = (*TINY, "cluster.workers=0")

Values = dict[tuple[int, str], float]


def events(folder: str) -> Values:
    """What TensorBoard shows of a run: a later file takes back the steps from which it starts again."""
    found: Values = {}
    files = [[*records(read_bytes(f"{folder}/{name}"))] for name in list_files(folder)]
    for event in (event for file in sorted(files, key=lambda file: file[0].wall_time) for event in file):
        if event.HasField("session_log"):
            found = {key: value for key, value in found.items() if key[0] < event.step}
        for value in event.summary.value:
            if value.HasField("simple_value"):
                assert (event.step, value.tag) not in found, "told twice"
                found[event.step, value.tag] = value.simple_value
    return found


def records(data: bytes) -> Iterator[Event]:
    at = 0
    while at < len(data):
        (length,) = struct.unpack_from("<Q", data, at)
        yield Event.FromString(data[at + 12 : at + 12 + length])
        at += length + 16


def stage_of(storage: str) -> Table:
    (done,) = [name for name in list_files(storage) if name.startswith("train/") and name.endswith("/_DONE")]
    return Table(f"{storage}/{done.removesuffix('/_DONE')}")


def reported(table: Table) -> Values:
    return {(row["step"], f"{row['split']}/{row['name']}"): row["value"] for row in table.read().to_pylist()}


def assert_complete(found: Values, table: Table) -> None:
    rates = {step: found.pop((step, "learning_rate")) for step, name in list(found) if name == "learning_rate"}
    assert found == pytest.approx(reported(table)) and sorted(rates) == sorted({step for step, _ in found})
    assert list(rates.values()) == sorted(rates.values(), reverse=True)


@pytest.mark.slow
def test_tensorboard_has_what_the_metrics_have(storage: str) -> None:
    overrides = ("train.validation=0.2", "train.validate_every=30", f"storage={storage}")
    here(*ALONE, *overrides, "track=tensorboard", job="train")
    table = stage_of(storage)
    folder = f"{storage}/tensorboard/{'/'.join(table.uri.split('/')[-2:])}"
    found = events(folder)
    assert {name for _, name in found} >= {"train/loss", "validation/accuracy", "learning_rate"}
    assert_complete(found, table)
    texts = [
        value.tag
        for name in list_files(folder)
        for event in records(read_bytes(f"{folder}/{name}"))
        for value in event.summary.value
    ]
    assert sum("configuration" in tag for tag in texts) == 1


@pytest.mark.slow
def test_a_run_that_was_killed_continues(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    overrides, save, saved = (
        (*ALONE, f"storage={tmp_path}", "cluster.checkpoint_seconds=0", "track=tensorboard"),
        StageCheckpoint.save,
        [],
    )

    def killed(self: StageCheckpoint, data: bytes) -> None:
        if saved:
            raise KeyboardInterrupt
        save(self, data)
        saved.append(data)

    with monkeypatch.context() as patched:
        patched.setattr(StageCheckpoint, "save", killed)
        with pytest.raises(KeyboardInterrupt):
            here(*overrides, job="train")
    (folder,) = (tmp_path / "tensorboard" / "train").iterdir()
    assert {step for step, _ in events(str(folder))} == {20, 40}
    here(*overrides, job="train")
    assert_complete(events(str(folder)), stage_of(str(tmp_path)))


@pytest.mark.long
@pytest.mark.ray
def test_of_several_workers_one_tells(ray_local: ModuleType, tmp_path: Path) -> None:
    here(*ALONE, f"storage={tmp_path}", job="ingest")
    here(*TINY, f"storage={tmp_path}", "cluster.workers=2", "track=tensorboard", f"track_to={tmp_path}/board", job="train")
    (folder,) = (tmp_path / "board" / "train").iterdir()
    assert_complete(events(str(folder)), stage_of(str(tmp_path)))


# --- trackers that are not here ------------------------------------------------------------------------------------


class Runs(dict[str, SimpleNamespace]):
    """What a tracker was told, by the name of the run."""

    def begun(self, name: str, params: dict[str, Any]) -> SimpleNamespace:
        return self.setdefault(name, SimpleNamespace(params=params, values=[], status=[]))

    def values(self, name: str) -> Values:
        return {(step, key): value for step, values in self[name].values for key, value in values.items()}


def fake_mlflow(runs: Runs) -> dict[str, Any]:
    class Client:
        def __init__(self, uri: str) -> None:
            assert uri == "sqlite:////nowhere.db"

        def get_experiment_by_name(self, name: str) -> None: ...

        def create_experiment(self, name: str) -> str:
            return name

        def search_runs(self, ids: list[str], text: str, max_results: int) -> list[Any]:
            return [SimpleNamespace(info=SimpleNamespace(run_id=name)) for name in runs if f"'{name}'" in text]

        def create_run(self, experiment: str, run_name: str, tags: dict[str, str]) -> Any:
            name = tags["dsopt.stage"]
            runs.begun(name, {"title": run_name})
            return SimpleNamespace(info=SimpleNamespace(run_id=name))

        def log_batch(self, key: str, metrics: list[Any] = [], params: list[Any] = []) -> None:  # noqa: B006
            assert len(params) <= 100
            runs[key].params |= dict(params)
            if metrics:
                runs[key].values.append((metrics[0][3], {metric[0]: metric[1] for metric in metrics}))

        def update_run(self, key: str, status: str) -> None:
            runs[key].status.append(status)

        def set_terminated(self, key: str, status: str) -> None:
            runs[key].status.append(status)

    entities = SimpleNamespace(Metric=lambda *values: values, Param=lambda *values: values)
    return {"mlflow": SimpleNamespace(MlflowClient=Client, entities=entities), "mlflow.entities": entities}


def fake_wandb(runs: Runs) -> dict[str, Any]:
    @contextmanager
    def init(id: str, name: str, config: dict[str, Any], **about: Any) -> Iterator[Any]:
        assert (about["project"], about["entity"], about["resume"], about["group"]) == ("digits", "us", "allow", "train")
        run = runs.begun(id, config | {"title": name})
        run.status.append("RUNNING")
        yield SimpleNamespace(
            define_metric=lambda *a, **k: None, log=lambda values: run.values.append((values.pop("step"), values))
        )
        run.status.append("FINISHED")

    return {"wandb": SimpleNamespace(init=init)}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "fake", "to"), [("mlflow", fake_mlflow, "sqlite:////nowhere.db"), ("wandb", fake_wandb, "us/digits")]
)
def test_a_run_of_another_tracker(
    name: str, fake: Callable[[Runs], dict[str, Any]], to: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    runs = Runs()
    for module, content in fake(runs).items():
        monkeypatch.setitem(sys.modules, module, content)
    here(*ALONE, f"storage={tmp_path}", "seed=7", f"track={name}", f"track_to={to}", job="train")
    ((key, run),) = runs.items()
    assert stage_of(str(tmp_path)).uri.endswith(key) and run.params["title"] == "train classifier, seed 7"
    assert int(run.params["seed"]) == 7 and run.status == ["RUNNING", "FINISHED"] * 2
    assert_complete(runs.values(key), stage_of(str(tmp_path)))


@pytest.fixture
def failing(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    """A tracker that takes so many steps, and then fails."""

    def take(steps: int) -> None:
        @contextmanager
        def fails(run: Tracked) -> Iterator[tracking.Log]:
            left = iter(range(steps - 1))
            if not steps:
                raise ConnectionError("no server\nthere")
            yield lambda step, values: next(left, None) is None and exit_with(OSError("the server is gone"))

        monkeypatch.setattr(TRACKERS, "function", lambda name: fails)

    return take


def exit_with(error: Exception) -> None:
    raise error


@pytest.mark.slow
def test_a_tracker_that_fails_ends_no_training(failing: Callable[[int], None], tmp_path: Path, capfd: Any) -> None:
    failing(2)
    here(*ALONE, f"storage={tmp_path}", "track=tensorboard", job="train")
    output = capfd.readouterr().out
    assert output.count("is no longer tracked: tensorboard: the server is gone") >= 1 and reported(stage_of(str(tmp_path)))


def test_a_new_run_without_its_tracker_fails(failing: Callable[[int], None], tmp_path: Path) -> None:
    failing(0)
    with pytest.raises(JobError, match=r"track=tensorboard: cannot begin: no server$"):
        here(*ALONE, f"storage={tmp_path}", "track=tensorboard", job="train")


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["track=tensorbord"], "track: tracker 'tensorbord' is not known. Did you mean 'tensorboard'?"),
        (["track=wandb"], "track=wandb: wandb is not installed; expected pip install 'dsopt[wandb]'"),
        (["track=tensorboard", "track_to=http://me:secret@server"], "track_to: must not contain credentials"),
    ],
)
def test_what_is_wrong_is_said_before_anything_starts(
    overrides: list[str], message: str, tmp_path: Path, job: Callable[..., tuple[int, str, str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None if name == "wandb" else SimpleNamespace())
    status, output, error = job("train", f"storage={tmp_path}", *ALONE, *overrides)
    assert status == 2 and message in one_line(error) and not output and not list(tmp_path.iterdir())


def test_mlflow_needs_a_place(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: SimpleNamespace())
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    with pytest.raises(InputError, match="track=mlflow: expected track_to="):
        tracking.check(read("track=mlflow"))
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://server")
    tracking.check(read("track=mlflow"))
