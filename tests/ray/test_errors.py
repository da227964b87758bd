"""Errors in a process of the cluster are raised in the driver, as without Ray, and nothing waits for ever."""

import contextlib
import os
import pickle
import signal
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest
from running import until

from dsopt.cluster import data, local, private, session, train
from dsopt.cluster.data import stream
from dsopt.cluster.losses import Losses, taken_away
from dsopt.cluster.train import distributed, each
from dsopt.config import ClusterConfig
from dsopt.errors import InputError, JobError
from dsopt.training.worker import Worker

# The functions that go to other processes are local ones: pickled by value, for nobody there could import this file.


def cluster(workers: int, max_failures: int = 1) -> ClusterConfig:
    return ClusterConfig(workers=workers, cpus_per_worker=1, max_failures=max_failures)


@pytest.mark.parametrize("workers", [0, pytest.param(1, marks=[pytest.mark.ray, pytest.mark.slow])])
def test_data(request: pytest.FixtureRequest, workers: int) -> None:
    def read(item: int) -> int:
        if item == 3:
            raise InputError("3 is wrong")
        if item == 4:
            raise OSError("the disk is full\nand more")
        return 10 * item

    if workers:
        request.getfixturevalue("ray_local")
    assert sorted(stream([1, 2], cluster(workers), read)) == [10, 20]
    assert list(stream([], cluster(workers), read)) == []
    with pytest.raises(InputError, match="3 is wrong"):
        list(stream([3], cluster(workers), read))
    with pytest.raises((JobError, OSError), match="the disk is full"):
        list(stream([4], cluster(workers), read))


@pytest.mark.ray
@pytest.mark.slow
def test_a_bug_in_a_data_worker(ray_local: ModuleType) -> None:
    def read(item: int) -> int:
        raise ZeroDivisionError("a bug")

    with pytest.raises(JobError, match=r"^data pipeline: ZeroDivisionError: a bug$"):
        list(stream([1], cluster(1), read))


@pytest.mark.long
@pytest.mark.ray
@pytest.mark.slow
def test_a_data_worker_that_always_dies(ray_local: ModuleType) -> None:
    def encoder(worker: Worker) -> Callable[[int], None]:
        return lambda item: os.kill(os.getpid(), signal.SIGKILL)

    def read(item: int) -> int:
        return item

    with pytest.raises(JobError, match=r"^data pipeline: gave up after 1 lost workers: ActorDiedError"):
        list(stream([1], cluster(1), read, encoder))


@pytest.fixture
def pipelines(monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[[list[tuple[int, str]]], Iterator[tuple[int, str]]]], None]:
    """Put in the place of Ray Data's pipelines, of which each yields some of its items or raises."""

    def replace(each: Callable[[list[tuple[int, str]]], Iterator[tuple[int, str]]]) -> None:
        def rows(items: list[tuple[int, str]], *_: object) -> SimpleNamespace:
            return SimpleNamespace(iter_rows=lambda: ({"value": pickle.dumps(item)} for item in each(items)))

        monkeypatch.setattr(data, "_rows", rows)

    monkeypatch.setattr(data.private, "patch_ray_data", lambda is_own: None)
    monkeypatch.setattr(session, "connect", lambda: None)
    monkeypatch.setattr(session, "share", lambda config: None)
    monkeypatch.setattr(session, "reporting_shortage", lambda share: contextlib.nullcontext())
    return replace


def test_a_data_pipeline_that_loses_workers_goes_on_as_long_as_items_get_finished(pipelines: Callable[..., None]) -> None:
    """Ray Data gives up three times, and each time the rest of the items is begun again; then nothing is finished any more."""
    import ray.exceptions

    begun: list[list[str]] = []

    def one_of_them(items: list[tuple[int, str]]) -> Iterator[tuple[int, str]]:
        begun.append([item for _, item in items])
        yield from items[1:2]
        raise ray.exceptions.ActorDiedError

    pipelines(one_of_them)
    results = stream(["a", "b", "c"], cluster(1), None)
    assert [next(results), next(results)] == ["b", "c"]
    with pytest.raises(JobError, match=r"^data pipeline: gave up after 1 lost workers: ActorDiedError"):
        next(results)
    assert begun == [["a", "b", "c"], ["a", "c"], ["a"]]


def test_a_worker_that_is_unavailable_while_its_node_dies_is_no_further_loss(pipelines: Callable[..., None]) -> None:
    import ray.exceptions

    fails = 1

    def at_last(items: list[tuple[int, str]]) -> Iterator[tuple[int, str]]:
        nonlocal fails
        fails -= 1
        if fails >= 0:
            raise ray.exceptions.ActorUnavailableError("connection refused", None)
        yield from items

    pipelines(at_last)
    assert list(stream(["a", "b"], cluster(1), None)) == ["a", "b"]
    fails = 2
    with pytest.raises(JobError, match=r"^data pipeline: gave up after 1 lost workers: ActorUnavailableError"):
        list(stream(["a", "b"], cluster(1), None))


def test_what_ray_says_of_a_lost_node_is_one_short_line() -> None:
    from ray.exceptions import NodeDiedError

    lost = NodeDiedError(
        "Task failed because the node it was running on is dead or unavailable. Node IP: 192.0.2.2, node ID: 79ac."
    )
    assert session.root_cause(lost) == "NodeDiedError: Task failed because the node it was running on is dead or unavailable"


def test_losses_are_counted_anew_after_a_checkpoint() -> None:
    saved = iter([None, None, 1, 2, 2])
    losses = Losses(1, lambda: next(saved))
    assert [losses.too_many() for _ in range(4)] == [False, False, False, True]


def test_a_notice_that_ray_has_forgotten_is_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = iter([{"draining"}, {"other"}])
    monkeypatch.setattr(local, "is_own", lambda: False)
    monkeypatch.setattr(session, "repeating", lambda action, every: contextlib.nullcontext())
    monkeypatch.setattr(private, "nodes_taken_away", lambda: next(seen))
    with taken_away() as taken:
        assert taken() == {"draining"} and taken() == {"draining", "other"}


def test_machines_that_the_cloud_takes_away_do_not_count(group: list[object], monkeypatch: pytest.MonkeyPatch) -> None:
    """The group is lost three times without a checkpoint: with a node that was taken away, with another such, and without."""
    places = iter([{"rank 0": "a", "rank 1": "b"}, {"rank 0": "c", "rank 1": "b"}, {"rank 0": "d", "rank 1": "b"}])
    board = SimpleNamespace(failed=lambda: None, nodes=lambda: next(places))
    monkeypatch.setattr(train, "message_board", lambda: contextlib.nullcontext(board))
    monkeypatch.setattr(train, "taken_away", lambda: contextlib.nullcontext(lambda: {"b", "c", "elsewhere"}))
    with pytest.raises(JobError, match=r"^training: gave up after 0 lost workers"):
        distributed(lambda worker: None, (), cluster(2, max_failures=0))
    assert len(group) == 3


def test_a_run_on_one_worker_is_not_charged_with_machines_that_the_cloud_takes_away(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its worker is lost four times: with a node that was taken away, as it told or Ray says, on a node unknown, and on another."""

    class Result(str):
        def task_id(self) -> SimpleNamespace:
            return SimpleNamespace(hex=lambda: str(self))

    def get(result: Result) -> None:
        raise RuntimeError(f"the worker died, {result}")

    begun = map(Result, ("first", "node ID: taken", "second", "third"))
    ray = SimpleNamespace(
        remote=lambda **options: lambda function: SimpleNamespace(remote=lambda *given: next(begun)),
        wait=lambda running, num_returns: (running[:1], running[1:]),
        get=get,
    )
    board = SimpleNamespace(nodes=lambda: {"first": "taken", "third": "another"})
    monkeypatch.setattr(session, "connect", lambda: ray)
    monkeypatch.setattr(local, "is_own", lambda: True)
    monkeypatch.setattr(train, "message_board", lambda: contextlib.nullcontext(board))
    monkeypatch.setattr(train, "taken_away", lambda: contextlib.nullcontext(lambda: {"taken"}))
    with pytest.raises(JobError, match=r"^training: gave up after 1 lost workers"):
        train._on_cluster(lambda worker: None, [()], session.Share(1, 0.0, 1.0, 1), cluster(1))
    assert next(begun, None) is None


def test_a_group_of_workers_that_is_lost_again_and_again(group: list[object]) -> None:
    """Each time after a checkpoint: it is begun again, until that is missing for once."""
    saved = iter([0, 1, 2, 3, 3])  # before the first attempt, and after each
    with pytest.raises(
        JobError, match=r"^training: gave up after 1 lost workers without a checkpoint: RuntimeError: a worker died"
    ):
        distributed(lambda worker: None, (), cluster(2), lambda: next(saved))
    assert len(group) == 4


@pytest.fixture
def group(monkeypatch: pytest.MonkeyPatch) -> list[object]:
    """A group of two workers that is lost whenever it is begun; the attempts."""
    import ray.train.torch

    begun: list[object] = []

    class Trainer:
        def __init__(self, loop: object, **given: object) -> None:
            begun.append(given["run_config"])

        def fit(self) -> None:
            raise RuntimeError("a worker died")

    monkeypatch.setattr(ray.train.torch, "TorchTrainer", Trainer)
    monkeypatch.setattr(session, "share", lambda config: session.Share(2, 0.0, 1.0, 1))
    board = SimpleNamespace(failed=lambda: None, nodes=dict)
    monkeypatch.setattr(train, "message_board", lambda: contextlib.nullcontext(board))
    monkeypatch.setattr(local, "is_own", lambda: True)
    return begun


@pytest.mark.long
@pytest.mark.ray
@pytest.mark.slow
def test_one_of_two_training_workers_fails(ray_local: ModuleType, tmp_path: Path) -> None:
    """The other one, which waits for it, does not wait for ever, and the error is the one that was raised."""

    def work(worker: Worker) -> None:
        if not worker.leads:
            until((tmp_path / "leader").exists)
            raise InputError("only here")
        with (tmp_path / "leader").open("a") as file:
            file.write("waits\n")
        worker.meet()

    with pytest.raises(InputError, match="only here"):
        distributed(work, (), cluster(2, max_failures=3))
    assert (tmp_path / "leader").read_text() == "waits\n"  # nobody tried again


@pytest.mark.long
@pytest.mark.ray
@pytest.mark.slow
def test_one_of_two_training_workers_decodes_for_longer_than_the_time_limit(ray_local: ModuleType, tmp_path: Path) -> None:
    """The process group has been formed before, but nobody waits in it until both have met."""
    limit = 12.0  # seconds; the group must be formed within them

    def work(worker: Worker) -> None:
        import torch
        import torch.distributed as dist

        if not worker.leads:
            time.sleep(limit + 3)
        worker.meet()
        total = torch.tensor([worker.rank + 1])
        dist.all_reduce(total)
        with (tmp_path / f"rank {worker.rank}").open("a") as file:
            file.write(f"{int(total)}\n")

    distributed(work, (), replace(cluster(2, max_failures=0), timeout_minutes=limit / 60))
    assert [(tmp_path / f"rank {rank}").read_text() for rank in range(2)] == ["3\n", "3\n"]


@pytest.mark.ray
@pytest.mark.slow
def test_no_line_of_a_worker_is_lost(ray_local: ModuleType, capsys: pytest.CaptureFixture[str]) -> None:
    """However short its work is."""

    def work(worker: Worker, name: str) -> None:
        from dsopt.progress import say

        for number in range(5):
            say(name, f"line {number}")

    for round in ("first", "second"):
        each(work, [(f"{round} {name}",) for name in "ab"], cluster(2))
        told = capsys.readouterr().out.splitlines()
        assert sorted(" ".join(line.split()) for line in told) == [f"{round} {name} line {i}" for name in "ab" for i in range(5)]
        for name in "ab":
            mine = [line for line in told if line.startswith(f"{round} {name}")]
            assert mine == sorted(mine)


@pytest.mark.long
@pytest.mark.ray
@pytest.mark.slow
def test_runs_beside_each_other(ray_local: ModuleType, tmp_path: Path) -> None:
    def work(worker: Worker, name: str, then: str) -> None:
        (tmp_path / name).touch()
        if then == "dies":
            os.kill(os.getpid(), signal.SIGKILL)
        if then == "dies once" and not (tmp_path / "again").exists():
            (tmp_path / "again").touch()
            os.kill(os.getpid(), signal.SIGKILL)
        if then == "dies thrice" and len(lost.read_text() if (lost := tmp_path / "lost").exists() else "") < 3:
            with lost.open("a") as file:
                file.write("x")  # the checkpoint
            os.kill(os.getpid(), signal.SIGKILL)
        if then == "fails":
            raise InputError("wrong")
        if then == "waits for the failing one":
            until(lambda: (tmp_path / "failing").exists())
            time.sleep(1)
        (tmp_path / name).write_text("done")

    each(work, [("first", ""), ("second", "dies once"), ("third", "")], cluster(2))
    assert all((tmp_path / name).read_text() == "done" for name in ("first", "second", "third"))
    with pytest.raises(InputError, match="wrong"):
        each(work, [("slow", "waits for the failing one"), ("failing", "fails"), ("late", "")], cluster(2))
    assert (tmp_path / "slow").read_text() == "done" and not (tmp_path / "late").exists()
    with pytest.raises(JobError, match="gave up after 1 lost workers"):
        each(work, [("dying", "dies")], cluster(1))
    lost = tmp_path / "lost"
    each(work, [("spot", "dies thrice")], cluster(1), saved=lambda number: lost.stat().st_size if lost.exists() else 0)
    assert (tmp_path / "spot").read_text() == "done" and lost.read_text() == "xxx"


@pytest.mark.long
@pytest.mark.ray
@pytest.mark.slow
def test_failed_runs_that_end_no_other(ray_local: ModuleType, tmp_path: Path) -> None:
    def work(worker: Worker, name: str, then: str) -> None:
        if then == "dies":
            os.kill(os.getpid(), signal.SIGKILL)
        if then == "fails":
            raise JobError("no")
        (tmp_path / name).touch()

    failed: dict[int, str] = {}
    runs = [("first", "dies"), ("second", "fails"), ("third", "")]
    each(work, runs, cluster(1), cpus=1, failing=lambda number, error: failed.update({number: str(error)}))
    assert "gave up after 1 lost workers" in failed.pop(0) and failed == {1: "no"} and (tmp_path / "third").exists()
