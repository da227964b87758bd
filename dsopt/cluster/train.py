"""Training on Ray: one run on many workers (Ray Train), and many independent runs in parallel (Ray tasks).

Ray Train's checkpoints are not used: the training loop writes its own into the stage's folder, atomically and with retries. So a
run resumes in the same way after a lost worker, after a lost driver, and without Ray. An object store that is unreachable for a
while does not end the run either; it would if Ray Train kept its own state there.
"""

import gc
import os
import tempfile
import uuid
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import torch

from dsopt.cluster import local, private, session
from dsopt.cluster.board import Board, message_board, send_progress_to
from dsopt.cluster.losses import Losses, Saved, taken_away
from dsopt.config import ClusterConfig
from dsopt.data import room
from dsopt.errors import InputError, JobError, reason
from dsopt.training.worker import Worker, set_arithmetic, this_process

Work = Callable[..., None]  # (worker, *arguments)


def distributed(work: Work, arguments: tuple[Any, ...], config: ClusterConfig, saved: Saved = lambda: None) -> None:
    """Run `work(worker, *arguments)` in `config.workers` processes with a process group (NCCL on GPUs, else gloo).

    A Ray started here runs no more workers than it has GPUs, if workers use GPUs. A single worker needs no process group: it runs
    as a Ray task, which starts in 4 s where Ray Train takes 14 to 20 s. If a worker is lost, all are started again and resume from
    the checkpoint, up to `config.max_failures` times without a new one (see `Losses`), not counting machines that the cloud took
    away with a notice.

    Ray Train forms the group before the work begins. `config.timeout_minutes` limits its forming and each wait in it, not the time
    in between: the work loads and decodes its images first, for as long as it takes, and calls `worker.meet`. To form the group
    only then would repeat what Ray Train does for each backend, and gain nothing.

    Raises:
        InputError, JobError: raised by the work (these are not retried), or workers were lost too often.
    """
    if config.workers == 0:
        work(this_process(config.gpu, config.cpus_per_worker), *arguments)
        return
    share = session.share(config)
    if share.workers == 1:
        each(work, [arguments], config, saved=lambda number: saved())
        return
    if not local.is_own():
        # A cluster takes minutes to add machines; after the default of 60 s Ray Train would give up and count a failure.
        os.environ.setdefault("RAY_TRAIN_WORKER_GROUP_START_TIMEOUT_S", "1800")
    from ray.train import FailureConfig, RunConfig, ScalingConfig
    from ray.train.torch import TorchConfig

    session.silence("ray.train")
    # Ray Train would count failures over the whole run: they are counted here. Machines that are taken away after the deadline of
    # their notice it replaces itself, without limit.
    failures = FailureConfig(max_failures=0, controller_failure_limit=0)
    resources = {"CPU": share.cpus} | ({"GPU": share.gpus} if share.gpus else {})
    with message_board() as board, session.reporting_shortage(share, least=share.workers), taken_away() as taken:

        def lost() -> Exception | None:
            """Train to the end, or until a worker is lost."""
            with tempfile.TemporaryDirectory(prefix="dsopt-") as scratch:
                trainer = private.trainer()(
                    _train_worker,
                    torch_config=TorchConfig(timeout_s=round(60 * config.timeout_minutes)),
                    train_loop_config={"work": work, "arguments": arguments, "board": board, "share": share},
                    scaling_config=ScalingConfig(num_workers=share.workers, use_gpu=share.gpus > 0, resources_per_worker=resources),
                    # A new name each time: Ray Train would resume a run of the same name.
                    run_config=RunConfig(name=uuid.uuid4().hex, storage_path=scratch, failure_config=failures),
                )
                try:
                    trainer.fit()
                except Exception as error:  # Ray Train wraps errors of workers in types of its own
                    return error

        losses, excused = Losses(config.max_failures, saved), set()
        while (error := lost()) and board.failed() is None:
            excuses = taken() & set(board.nodes().values()) - excused  # each node is taken away but once
            excused |= excuses
            if not excuses and losses.too_many():
                raise losses.error(error)
        if error := board.failed():
            raise error


def _train_worker(setting: dict[str, Any]) -> None:
    import ray.train.collective
    import ray.train.torch

    board: Board = setting["board"]
    if board.failed() is not None:
        return  # an earlier attempt failed for good
    send_progress_to(board)
    share: session.Share = setting["share"]
    context = ray.train.get_context()
    board.tell_node(f"rank {context.get_world_rank()}")
    room.processes = context.get_local_world_size()
    torch.set_num_threads(session.threads(share, context.get_local_world_size()))
    set_arithmetic()
    # For a worker without a GPU, Ray Train's get_device would return the first GPU that is visible to it.
    device = ray.train.torch.get_device() if share.gpus else torch.device("cpu")
    worker = Worker(context.get_world_rank(), context.get_world_size(), device, meet=ray.train.collective.barrier)
    try:
        error = _attempt(lambda: setting["work"](worker, *setting["arguments"]))
    except RuntimeError:
        if board.failed() is None:
            raise
        return  # a collective operation failed because another worker had failed for good
    if error is not None:
        board.fail(error)
        if torch.distributed.get_backend() == "gloo":
            torch.distributed.destroy_process_group()  # closes the connections, so workers that wait for this one fail at once
        raise error  # those that wait in `meet`, or in NCCL, might wait for ever: Ray Train ends them


def each(
    work: Work,
    arguments: Sequence[tuple[Any, ...]],
    config: ClusterConfig,
    gpus: float = 1.0,
    cpus: int | None = None,
    failing: Callable[[int, JobError], None] | None = None,
    saved: Callable[[int], object] = lambda number: None,
) -> None:
    """Run `work(worker, *arguments[i])` for every i, `config.workers` at a time, each in its own process.

    A process is reused for the next run, which finds the decoded images in its cache. If a process is lost, its run is restarted in
    another one, up to `config.max_failures` times without a new checkpoint (see `Losses`), not counting machines that the cloud
    took away with a notice.

    Args:
        gpus, cpus: of each process, see `session.share`.
        failing: called with the number of a run that failed, and its error; the others go on.
        saved: number of a run -> what is saved of it, see `Saved`.

    Raises:
        InputError, JobError: the first error of any run (a JobError only without `failing`); it is raised after the other started
            runs have finished.
    """
    if config.workers == 0:
        for number, these in enumerate(arguments):
            try:
                work(this_process(config.gpu if gpus else False, cpus or config.cpus_per_worker), *these)
            except JobError as error:
                if failing is None:
                    raise
                failing(number, error)
        return
    _on_cluster(work, arguments, session.share(config, gpus, cpus), config, failing, saved)


def away(work: Work, arguments: tuple[Any, ...], config: ClusterConfig, memory: int, gpus: float = 0.0) -> None:
    """Run `work(worker, *arguments)` on a machine of the cluster that has the memory, so that the driver needs none.

    In this process if there is no cluster but this machine. The work may use the cluster itself, so it requests half a CPU.

    Args:
        memory: bytes that are reserved, but no more than half of what the largest machine has that the cluster has now.
        gpus: that it needs, or a share of one.

    Raises:
        InputError, JobError: raised by the work, or its worker was lost too often.
    """
    if config.workers == 0 or (session.connect() and local.is_own()):
        work(Worker(), *arguments)
        return
    share = session.Share(workers=1, gpus=gpus, cpus=session.LEAST_CPUS, threads=config.cpus_per_worker)
    _on_cluster(work, [arguments], share, config, memory=min(memory, session.most_memory() // 2 or memory))


def _on_cluster(
    work: Work,
    arguments: Sequence[tuple[Any, ...]],
    share: session.Share,
    config: ClusterConfig,
    failing: Callable[[int, JobError], None] | None = None,
    saved: Callable[[int], object] = lambda number: None,
    memory: int = 0,
) -> None:
    ray = session.connect()
    # max_calls=0: by default Ray ends a process that used a GPU after each call. max_retries=0: losses are counted here.
    options = {"num_cpus": share.cpus, "num_gpus": share.gpus, "memory": memory, "max_retries": 0, "max_calls": 0}
    with message_board() as board, session.reporting_shortage(share), taken_away() as taken:
        task = ray.remote(**options)(_task)
        ending = ray.remote(**(options | {"max_calls": 1}))(_task)  # its process ends after it
        moved: set[int] = set()
        losses = [Losses(config.max_failures, partial(saved, number)) for number in range(len(arguments))]
        waiting, running, error = list(range(len(arguments))), {}, None
        while waiting or running:
            while waiting and len(running) < share.workers and error is None:
                number = waiting.pop(0)
                remote = ending if number in moved else task
                running[remote.remote(work, board, share, arguments[number])] = number
            if not running:
                break
            (finished,), _ = ray.wait(list(running), num_returns=1)
            number = running.pop(finished)
            try:
                found = ray.get(finished)
            except Exception as lost:
                away, node = taken(), board.nodes().get(finished.task_id().hex())
                # Before it has told its node, only Ray's message may name that.
                if node in away or any(one in str(lost) for one in away) or not losses[number].too_many():
                    waiting.insert(0, number)
                    continue
                found = losses[number].error(lost)
            if isinstance(found, Moved):
                moved.add(number)
                waiting.insert(0, number)
                continue
            if failing and isinstance(found, JobError):
                failing(number, found)
            else:
                error = error or found
    if error is not None:
        raise error


class Moved(Exception):
    """The answer of a process that was kept from an earlier run, and is on other GPUs than those that Ray assigns it now."""


_used: list[str] = []  # the GPUs that this process computes on: CUDA stays with those that it saw first


def _task(work: Work, board: Board, share: session.Share, arguments: tuple[Any, ...]) -> Exception | None:
    if share.gpus:
        _used[:] = _used or _assigned()
        if _used != _assigned():
            return Moved()
    send_progress_to(board)
    board.tell_node()
    try:
        return _attempt(lambda: work(this_process(share.gpus > 0, session.threads(share), share.workers), *arguments))
    finally:
        if torch.cuda.is_initialized():
            gc.collect()
            torch.cuda.empty_cache()  # others may run on this GPU, until this process gets its next run


def _assigned() -> list[str]:
    import ray

    return sorted(ray.get_runtime_context().get_accelerator_ids()["GPU"])


def _attempt(work: Callable[[], None]) -> Exception | None:
    """Return, rather than raise, an error that a retry would not fix: Ray restarts work that raises."""
    try:
        work()
    except (InputError, JobError) as error:
        return error
    except OSError as error:
        return JobError(reason(error))
    return None
