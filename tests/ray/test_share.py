"""Each worker's share of a cluster, with a fake Ray: needs no GPU and starts no Ray."""

import contextlib
import os
import pickle
from collections.abc import Callable
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
import torch

from dsopt import progress
from dsopt.cluster import data, local, session, train, tune
from dsopt.cluster.session import Share, shortage, workers_on_gpus
from dsopt.config import ClusterConfig
from dsopt.data import room
from dsopt.errors import InputError
from dsopt.training.worker import Worker

Connect = Callable[..., None]


@pytest.fixture
def connected(monkeypatch: pytest.MonkeyPatch) -> Connect:
    """Pretend to be connected: to a Ray of our own, or to a cluster."""

    def connect(*, cpus: float, gpus: float, ours: bool) -> None:
        there = {"CPU": cpus} | ({"GPU": gpus} if gpus else {})
        ray = SimpleNamespace(cluster_resources=lambda: there, nodes=lambda: [{"Alive": True, "Resources": there}])
        monkeypatch.setattr(session, "connect", lambda: ray)
        monkeypatch.setattr(local, "is_own", lambda: ours)

    return connect


def test_a_ray_of_our_own_has_no_more_workers_than_its_gpus_hold(connected: Connect) -> None:
    connected(cpus=8, gpus=1, ours=True)
    assert session.share(ClusterConfig(workers=4)) == Share(1, 1.0, 1.0, 8)
    assert session.share(ClusterConfig(workers=4), 0.25) == Share(4, 0.25, 1.0, 2)
    assert session.share(ClusterConfig(workers=4), 0.5).workers == 2
    assert session.share(ClusterConfig(workers=4, gpu=False)) == Share(4, 0.0, 2.0, 2)
    connected(cpus=8, gpus=8, ours=True)
    assert session.share(ClusterConfig(workers=4)).workers == 4
    connected(cpus=2, gpus=1, ours=True)
    assert session.share(ClusterConfig(workers=4), 0.25) == Share(4, 0.25, 0.5, 1)  # all four at once, on two CPUs
    assert workers_on_gpus(1000, 0.05, 1) == 20 and workers_on_gpus(4, 1, 0.5) == 1
    connected(cpus=8, gpus=0, ours=True)
    assert session.share(ClusterConfig(workers=4)) == Share(4, 0.0, 2.0, 2)


def test_a_run_may_ask_for_more_or_less(connected: Connect) -> None:
    connected(cpus=8, gpus=2, ours=True)
    assert session.share(ClusterConfig(workers=4), 2, 6) == Share(1, 2, 6, 6)
    assert session.share(ClusterConfig(workers=4), 0, 3) == Share(4, 0.0, 3, 3)
    assert session.share(ClusterConfig(workers=4), 0, 16) == Share(4, 0.0, 8, 16)  # it would wait for ever
    with pytest.raises(InputError, match=r"^a worker needs 3 GPUs, and Ray sees 2 on this machine"):
        session.share(ClusterConfig(workers=4), 3)
    connected(cpus=8, gpus=2, ours=False)
    assert session.share(ClusterConfig(workers=4), 3, 16) == Share(4, 3, 16, 16)


def test_a_cluster_may_grow(connected: Connect) -> None:
    connected(cpus=0, gpus=0, ours=False)
    assert session.share(ClusterConfig(workers=8, gpu=True)) == Share(8, 1.0, 1.0, None)
    assert session.share(ClusterConfig(workers=8)) == Share(8, 0.0, 1.0, None)
    assert session.share(ClusterConfig(workers=8, cpus_per_worker=3)) == Share(8, 0.0, 1.0, 3)
    connected(cpus=8, gpus=0, ours=False)
    assert session.share(ClusterConfig(workers=4)) == Share(4, 0.0, 2.0, 2)
    connected(cpus=8, gpus=1, ours=False)
    assert session.share(ClusterConfig(workers=8, gpu=True)).workers == 8


def test_threads_are_found_out_on_the_node_that_a_worker_gets(monkeypatch: pytest.MonkeyPatch) -> None:
    """A cluster that starts from nothing has no CPUs to divide when the job asks for workers."""
    import ray

    there = {"head": {}, "small": {"CPU": 8.0, "GPU": 1.0}, "large": {"CPU": 96.0, "GPU": 8.0}, "cpu": {"CPU": 16.0}}
    monkeypatch.setattr(ray, "nodes", lambda: [{"NodeID": name, "Resources": of} for name, of in there.items()])

    def threads(node: str, share: Share, beside: int | None = None) -> int:
        monkeypatch.setattr(ray, "get_runtime_context", lambda: SimpleNamespace(get_node_id=lambda: node))
        return session.threads(share, beside)

    one, half = Share(8, 1.0, 1.0, None), Share(8, 0.5, 1.0, None)
    assert threads("small", one, 1) == 8 and threads("large", one, 2) == 12 and threads("large", half) == 6
    cpus = Share(8, 0.0, 1.0, None)
    assert threads("cpu", cpus, 4) == 4 and threads("cpu", cpus) == 2 and threads("head", cpus) == 1
    assert threads("cpu", Share(8, 0.0, 1.0, 5), 4) == 5


def test_no_gpu_for_a_ray_of_our_own_is_told(connected: Connect) -> None:
    connected(cpus=8, gpus=0, ours=True)
    with pytest.raises(InputError, match=r"^cluster\.gpu=true: Ray sees no GPU on this machine; expected [^\n]+$"):
        session.share(ClusterConfig(workers=1, gpu=True))


@pytest.mark.ray
@pytest.mark.slow
def test_no_gpu_is_told_at_once(ray_local: ModuleType) -> None:
    def work(worker: Worker) -> None: ...

    config = ClusterConfig(workers=2, gpu=True)
    for task in (lambda: train.distributed(work, (), config), lambda: list(data.stream([1], config, abs))):
        with pytest.raises(InputError, match=r"^cluster\.gpu=true: "):
            task()


def test_what_a_cluster_lacks() -> None:
    gpus, cpus = Share(8, 1.0, 1.0, 1), Share(1, 0.0, 1.0, 1)
    assert shortage(gpus, 8, {"CPU": 4.0}) == "waiting for 8 GPUs; the cluster has 0"
    assert shortage(gpus, 8, {"GPU": 7.0}) == "waiting for 8 GPUs; the cluster has 7"
    assert shortage(gpus, 1, {"GPU": 7.0}) is None and shortage(gpus, 8, {"GPU": 8.0}) is None  # the others take turns
    assert shortage(Share(2, 0.25, 1.0, 1), 1, {}) == "waiting for 1 GPU; the cluster has 0"
    assert shortage(cpus, 1, {}) == "waiting for 1 CPU; the cluster has 0" and shortage(cpus, 1, {"CPU": 1.0}) is None


def test_who_waits_for_a_cluster_is_told(connected: Connect, monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[str] = []
    monkeypatch.setattr(progress, "output", lambda line: said.append(" ".join(line.split())))
    for ours, expected in ((True, []), (False, ["cluster waiting for 2 GPUs; the cluster has 1"])):
        connected(cpus=8, gpus=1, ours=ours)
        with session.reporting_shortage(Share(2, 1.0, 1.0, 1), least=2):
            pass
        assert said == expected


def test_the_same_is_not_said_all_the_time(connected: Connect, monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[str] = []
    monkeypatch.setattr(progress, "output", said.append)
    looks: list[Callable[[], None]] = []
    monkeypatch.setattr(session, "repeating", lambda action, every: contextlib.nullcontext(looks.append(action)))
    now = [1000.0]
    monkeypatch.setattr(session, "time", SimpleNamespace(monotonic=lambda: now[0]))
    there: dict[str, float] = {}
    connected(cpus=0, gpus=0, ours=False)
    monkeypatch.setattr(session, "connect", lambda: SimpleNamespace(cluster_resources=lambda: there))
    with session.reporting_shortage(Share(2, 1.0, 1.0, 1), least=2):
        for seconds, gpus in ((0, 0), (3, 0), (59, 0), (60, 0), (63, 1), (66, 2), (69, 1)):
            now[0], there["GPU"] = 1000.0 + seconds, gpus
            looks[0]()
    assert [line.split()[-1] for line in said] == ["0", "0", "1", "1"]


@pytest.mark.parametrize(("gpus", "device"), [(0.0, "cpu"), (0.25, "cuda"), (1.0, "cuda")])
def test_workers_take_the_gpu_that_they_were_given(monkeypatch: pytest.MonkeyPatch, gpus: float, device: str) -> None:
    """On a machine that has one: Ray shows it to workers that asked for none, too."""
    import ray.train
    import ray.train.torch
    import ray.tune

    taken: list[str] = []
    beside: list[int] = []

    def work(worker: Worker, *_: Any) -> dict[str, Any]:
        taken.append(worker.device.type)
        beside.append(room.processes)
        return {}

    def step(worker: Worker) -> Callable[[int], int]:
        return lambda item: taken.append(worker.device.type) or item

    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(train, "send_progress_to", lambda board: None)
    monkeypatch.setattr(ray.tune, "report", lambda numbers: None)
    context = SimpleNamespace(get_world_rank=lambda: 0, get_world_size=lambda: 8, get_local_world_size=lambda: 4)
    monkeypatch.setattr(ray.train, "get_context", lambda: context)
    monkeypatch.setattr(room, "processes", 1)
    monkeypatch.setattr(train, "_assigned", lambda: ["0"])
    monkeypatch.setattr(ray.train.torch, "get_device", lambda: torch.device("cuda:0"))
    board: Any = SimpleNamespace(failed=lambda: None, tell_node=lambda who=None: None)
    share = Share(2, gpus, 1.0, torch.get_num_threads())

    train._task(work, board, share, ())  # type: ignore[arg-type]
    train._train_worker({"work": work, "arguments": (), "board": board, "share": share})
    tune._trial({}, work, [], share)
    data._PackedOnDevice(step, share)({"value": pickle.dumps((0, 1))})
    assert taken == [device] * 4
    assert beside == [2, 4, 2]  # so that they decode a set once


def test_a_worker_whose_torch_sees_no_gpu_says_so_and_is_not_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(train, "send_progress_to", lambda board: None)
    board: Any = SimpleNamespace(tell_node=lambda: None)
    monkeypatch.setattr(train, "_assigned", lambda: ["0"])
    told = train._task(lambda worker: pytest.fail("it began"), board, Share(1, 1.0, 1.0, 1), ())
    assert isinstance(told, InputError) and "torch sees no GPU" in str(told)


@pytest.mark.slow
def test_a_kept_process_computes_on_the_gpu_that_it_is_assigned(monkeypatch: pytest.MonkeyPatch) -> None:
    """Or not at all: a run that Ray sends it on another GPU goes to another process, and this one ends."""
    kept, ended, ran, assigned = {0: ["0"]}, [], [], iter(["1", "1", "1", "0", "1"])

    class Task:
        """Ray's, with one process that is kept, which it takes as long as there is one."""

        def __init__(self, max_calls: int) -> None:
            self.max_calls = max_calls

        def remote(self, *of: Any) -> Any:
            process = next(iter(kept), len(ended) + 1)
            gpu = [next(assigned)]
            monkeypatch.setattr(train, "_used", kept.setdefault(process, []))
            monkeypatch.setattr(train, "_assigned", lambda: gpu)
            found = train._task(*of)
            if self.max_calls == 1:
                ended.append(kept.pop(process))
            return found

    fake = SimpleNamespace(
        remote=lambda **options: lambda function: Task(options["max_calls"]),
        wait=lambda running, num_returns: (running[:1], running[1:]),
        get=lambda found: found,
    )
    monkeypatch.setattr(session, "connect", lambda: fake)
    monkeypatch.setattr(local, "is_own", lambda: True)
    monkeypatch.setattr(train, "message_board", lambda: contextlib.nullcontext(SimpleNamespace(tell_node=lambda: None)))
    monkeypatch.setattr(train, "send_progress_to", lambda board: None)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    cleared: list[int] = []
    monkeypatch.setattr(torch.cuda, "is_initialized", lambda: True)
    monkeypatch.setattr(torch.cuda, "empty_cache", lambda: cleared.append(1))

    def work(worker: Worker, number: int) -> None:
        ran.append((number, train._used[0], train._assigned()[0]))

    train._on_cluster(work, [(0,), (1,)], Share(1, 1.0, 1.0, 1), ClusterConfig(workers=1))
    assert [number for number, *_ in ran] == [0, 1] and all(used == given for _, used, given in ran)
    assert ended[0] == ["0"] and len(cleared) == 2


@pytest.mark.parametrize(("ours", "workers", "timeout"), [(False, 8, "1800"), (True, 2, None)])
def test_what_ray_train_is_asked_for(
    connected: Connect, monkeypatch: pytest.MonkeyPatch, ours: bool, workers: int, timeout: str | None
) -> None:
    """A Ray started here: as many workers as it has GPUs. A cluster: all workers, and a timeout long enough to add machines."""
    import ray.train.torch
    from ray.train.v2._internal.constants import WORKER_GROUP_START_TIMEOUT_S_ENV_VAR, get_env_vars_to_propagate

    asked: dict[str, Any] = {}

    class Trainer:
        def __init__(self, loop: Any, **given: Any) -> None:
            asked.update(given)

        def fit(self) -> None:
            asked["controller's"] = get_env_vars_to_propagate()

    @contextlib.contextmanager
    def message_board():
        yield SimpleNamespace(failed=lambda: None)

    connected(cpus=8, gpus=2, ours=ours)
    monkeypatch.setattr(ray.train.torch, "TorchTrainer", Trainer)
    monkeypatch.setattr(train, "message_board", message_board)
    monkeypatch.setenv(WORKER_GROUP_START_TIMEOUT_S_ENV_VAR, "")  # so that what is set in between is undone
    os.environ.pop(WORKER_GROUP_START_TIMEOUT_S_ENV_VAR)
    train.distributed(lambda worker: None, (), ClusterConfig(workers=8, timeout_minutes=0.5))
    assert asked["torch_config"].timeout_s == 30
    assert asked["scaling_config"].num_workers == workers and asked["scaling_config"].use_gpu
    assert asked["controller's"].get(WORKER_GROUP_START_TIMEOUT_S_ENV_VAR) == timeout
