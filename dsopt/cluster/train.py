"""Training on Ray: one run over many workers (Ray Train), and many runs beside each other (Ray tasks).

Checkpoints are ours, not Ray Train's: the loop writes them into the stage's folder, atomically and with retries. So a lost worker,
a lost driver and a run without Ray resume in the same way, and an object store that is away for a while does not end a run, as it
would when Ray Train cannot write its own state there.
"""

import os
import tempfile
import uuid
from collections.abc import Callable, Sequence
from typing import Any

import torch

from dsopt.cluster import local, session
from dsopt.config import ClusterConfig
from dsopt.errors import InputError, JobError
from dsopt.training.worker import Worker, this_process

Work = Callable[..., None]  # (worker, *arguments)


def distributed(work: Work, arguments: tuple[Any, ...], config: ClusterConfig) -> None:
    """Run `work(worker, *arguments)` in `config.workers` processes with a process group (NCCL on GPUs, else gloo).

    On a Ray of our own in no more of them than it has GPUs, where workers have one.
    One alone needs no group: it is a run like others beside each other, and starts in 4 s where Ray Train takes 14 to 20.
    Lost workers are replaced and the work starts again, from its own checkpoint, up to `config.max_failures` times.

    Raises:
        InputError, JobError: as the work raised them (not tried again), or because workers were lost too often.
    """
    if config.workers == 0:
        work(this_process(config.gpu, config.cpus_per_worker), *arguments)
        return
    share = session.share(config)
    if share.workers == 1:
        each(work, [arguments], config)
        return
    if not local.ours():
        # A cluster takes minutes to start machines: after the default of 60 s Ray Train asks anew and counts a failure.
        os.environ.setdefault("RAY_TRAIN_WORKER_GROUP_START_TIMEOUT_S", "1800")
    from ray.train import FailureConfig, RunConfig, ScalingConfig
    from ray.train.torch import TorchTrainer
    from ray.train.v2._internal.callbacks.datasets import DatasetsCallback

    class Trainer(TorchTrainer):
        """Without the process that each group of workers has for sets of Ray Data, of which we pass none (4 s of a processor).

        And an interruption is the job's to tell: Ray Train's handler asks its controller first, which hears nothing while it waits.
        """

        def _register_sigint_handler(self, controller: Any) -> None:
            """None."""

        def _create_default_callbacks(self) -> list[Any]:
            return [callback for callback in super()._create_default_callbacks() if not isinstance(callback, DatasetsCallback)]

    session.quiet("ray.train")
    resources = {"CPU": share.cpus} | ({"GPU": share.gpus} if share.gpus else {})
    with (
        session.voice() as board,
        session.patience(share, least=share.workers),
        tempfile.TemporaryDirectory(prefix="dsopt-") as scratch,
    ):
        trainer = Trainer(
            _train_worker,
            train_loop_config={"work": work, "arguments": arguments, "board": board, "share": share},
            scaling_config=ScalingConfig(num_workers=share.workers, use_gpu=share.gpus > 0, resources_per_worker=resources),
            run_config=RunConfig(
                name=uuid.uuid4().hex,  # Ray Train would resume a name it knows; resuming is the work's business
                storage_path=scratch,
                failure_config=FailureConfig(max_failures=config.max_failures, controller_failure_limit=config.max_failures),
            ),
        )
        error = None
        try:
            trainer.fit()
        except Exception as lost:
            error = JobError(f"training: gave up after {config.max_failures} replaced workers: {session.cause(lost)}")
        error = board.failed() or error
    if error is not None:
        raise error


def _train_worker(setting: dict[str, Any]) -> None:
    import ray.train
    import ray.train.torch

    board: session.Board = setting["board"]
    if board.failed() is not None:
        return  # an earlier attempt failed for good
    session.speak_through(board)
    share: session.Share = setting["share"]
    torch.set_num_threads(share.threads)
    context = ray.train.get_context()
    # Where a worker has no GPU, Ray Train names the first that it can see.
    device = ray.train.torch.get_device() if share.gpus else torch.device("cpu")
    worker = Worker(context.get_world_rank(), context.get_world_size(), device)
    try:
        error = _attempt(lambda: setting["work"](worker, *setting["arguments"]))
    except RuntimeError:
        if board.failed() is None:
            raise
        return  # it waited for one that failed for good
    if error is not None:
        board.fail(error)
        if torch.distributed.get_backend() == "gloo":
            torch.distributed.destroy_process_group()  # the others, who may wait for this one, are told so at once
        else:
            raise error  # else they might wait for ever; the next group finds what is on the board and ends


def each(work: Work, arguments: Sequence[tuple[Any, ...]], config: ClusterConfig) -> None:
    """Run `work(worker, *arguments[i])` for every i, `config.workers` at a time, each in a process of its own.

    Processes are kept for the next run, with the images that they have decoded. A lost one's run starts again elsewhere.

    Raises:
        InputError, JobError: the first that any run raised; runs that had begun are waited for.
    """
    if config.workers == 0:
        for these in arguments:
            work(this_process(config.gpu, config.cpus_per_worker), *these)
        return
    ray = session.connect()
    share = session.share(config)
    # max_calls=0: by default a process that used a GPU is thrown away after each call.
    options = {"num_cpus": share.cpus, "num_gpus": share.gpus, "max_retries": config.max_failures, "max_calls": 0}
    with session.voice() as board, session.patience(share):
        remote = ray.remote(**options)(_task)
        waiting, running, error = list(arguments), [], None
        while waiting or running:
            while waiting and len(running) < share.workers and error is None:
                running.append(remote.remote(work, board, share, waiting.pop(0)))
            if not running:
                break
            (finished,), running = ray.wait(running, num_returns=1)
            try:
                error = error or ray.get(finished)
            except Exception as lost:
                error = error or JobError(f"training: gave up after {config.max_failures} lost workers: {session.cause(lost)}")
    if error is not None:
        raise error


def _task(work: Work, board: session.Board, share: session.Share, arguments: tuple[Any, ...]) -> Exception | None:
    session.speak_through(board)
    return _attempt(lambda: work(this_process(share.gpus > 0, share.threads), *arguments))


def _attempt(work: Callable[[], None]) -> Exception | None:
    """The error that no other attempt would mend, returned rather than raised: Ray starts work that raised again."""
    try:
        work()
    except (InputError, JobError) as error:
        return error
    except OSError as error:
        return JobError(f"{type(error).__name__}: {str(error).splitlines()[0]}")
    return None
