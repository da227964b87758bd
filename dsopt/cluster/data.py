"""Streaming a table's parts through Ray Data: read on CPUs, compute on a pool of devices, write, all at once.

One row of the stream is one part of a table, because a part's output has its own name and bytes: whatever is retried, doubled or
run by two jobs at once replaces a file with itself. That gives every image exactly one row without bookkeeping by Ray, which
cannot take back what a killed writer left.
"""

import functools
import pickle
import warnings
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

from dsopt.cluster import local, session
from dsopt.config import ClusterConfig
from dsopt.errors import InputError, JobError

if TYPE_CHECKING:  # a process that only reads starts in half of the time without torch
    from dsopt.training.worker import Worker

Step = Callable[[Any], Any]
DeviceStep = Callable[["Worker"], Step]  # built once in every process that has a device

READING = session.Share(workers=1, gpus=0.0, cpus=0.5, threads=1)  # what a process has that reads or writes beside devices


def stream(
    items: Sequence[Any],
    config: ClusterConfig,
    read: Step,
    on_device: DeviceStep | None = None,
    write: Step | None = None,
) -> Iterator[Any]:
    """`write(on_device(worker)(read(item)))` for every item, in any order, as they get ready.

    Args:
        items: what `read` takes; small and picklable, like the results.
        on_device: makes the step that runs on `config.workers` devices; left out, as `write`, where there is none.

    Raises:
        InputError, JobError: the first that any step raised.
    """
    results = _here(items, config, read, on_device, write) if config.workers == 0 else _ray(items, config, read, on_device, write)
    for result in results:
        if isinstance(result, Exception):
            raise result
        yield result


def _here(items: Sequence[Any], config: ClusterConfig, read: Step, on_device: DeviceStep | None, write: Step | None):
    compute = on_device(_worker(config.gpu, config.cpus_per_worker)) if on_device else None
    for item in items:
        value = read(item)
        for step in filter(None, (compute, write)):
            value = step(value)
        yield value


def _worker(gpu: bool | None, threads: int | None) -> "Worker":
    from dsopt.training.worker import this_process

    return this_process(gpu, threads)


def _ray(items: Sequence[Any], config: ClusterConfig, read: Step, on_device: DeviceStep | None, write: Step | None):
    if not items:
        return
    session.connect()
    import ray.data
    import ray.exceptions

    session.quiet("ray.data")
    local.spare_data()
    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = False
    context.print_on_execution_start = False
    # Ray Data's own defaults: lost workers are replaced for ever, but one that is lost while it starts ends all.
    context.max_consecutive_actor_init_deaths = config.max_failures
    warnings.filterwarnings("ignore", "`ray_remote_args` is deprecated")  # but these have no other name, in the Ray we pin
    share = session.share(config)
    try:
        with session.patience(share if on_device else READING):
            for row in _rows(items, config, share, read, on_device, write).iter_rows():
                yield pickle.loads(row["value"])
    except ray.exceptions.RayTaskError as error:
        raise JobError(f"data pipeline: {session.cause(error)}") from error
    except ray.exceptions.RayError as error:
        raise JobError(f"data pipeline: gave up after {config.max_failures} lost workers: {session.cause(error)}") from error


def _rows(
    items: Sequence[Any],
    config: ClusterConfig,
    share: session.Share,
    read: Step,
    on_device: DeviceStep | None,
    write: Step | None,
):
    """The steps as a Ray data set, one row an item, which nothing has been done for yet."""
    import ray.data

    packed = [{"value": pickle.dumps(item)} for item in items]
    rows = ray.data.from_items(packed, override_num_blocks=len(packed))
    if on_device and not share.gpus:
        # On CPUs a worker does all of an item's steps: nothing is copied between processes, and none starts only to read.
        rows = rows.map(
            _PackedOnDevice,  # type: ignore[arg-type]
            fn_constructor_args=(on_device, share, read, write),
            compute=ray.data.ActorPoolStrategy(size=min(share.workers, len(items))),
            num_cpus=share.cpus / 2,  # a pool that held all CPUs would wait for ever for whatever else Ray Data starts
            max_restarts=config.max_failures,
            max_task_retries=config.max_failures,
        )
    else:
        rows = rows.map(_Packed(read), num_cpus=READING.cpus, max_retries=config.max_failures)
        if on_device:
            rows = rows.map(
                _PackedOnDevice,  # type: ignore[arg-type]
                fn_constructor_args=(on_device, share),
                compute=ray.data.ActorPoolStrategy(size=min(share.workers, len(items))),
                num_gpus=share.gpus,
                max_restarts=config.max_failures,
                max_task_retries=config.max_failures,
            )
        if write:
            rows = rows.map(_Packed(write), num_cpus=READING.cpus, max_retries=config.max_failures)
    return rows


class _Packed:
    """A step on pickled values, the one type that every block format keeps as it is; errors travel on as values."""

    def __init__(self, step: Step) -> None:
        self.step = step

    def __call__(self, row: dict[str, Any]) -> dict[str, Any]:
        value = pickle.loads(row["value"])
        if not isinstance(value, Exception):
            try:
                value = self.step(value)
            except (InputError, JobError) as error:
                value = error
            except OSError as error:
                value = JobError(f"{type(error).__name__}: {str(error).splitlines()[0]}")
        return {"value": pickle.dumps(value, protocol=5)}


class _PackedOnDevice(_Packed):
    """The step on a device, between others that the same process does."""

    def __init__(self, make: DeviceStep, share: session.Share, before: Step | None = None, after: Step | None = None) -> None:
        worker = _worker(share.gpus > 0, share.threads)
        steps = [step for step in (before, make(worker), after) if step]
        super().__init__(lambda value: functools.reduce(lambda made, step: step(made), steps, value))
