"""Streaming a table's parts through Ray Data: reading on CPUs, computing on a pool of devices and writing run concurrently.

One row of the stream is one part of a table, because the name and bytes of a part's output follow from its input. A part that is
retried, or written twice by two jobs, replaces a file with an identical one. So every image gets exactly one row without any
bookkeeping by Ray, which could not remove the files that a killed writer left.

`read_parquet` -> `map_batches` -> `write_parquet` in its place embeds small images faster and large ones slower, with a network
that costs next to nothing (`tests/benchmarks/bench_ray_data.py`, one worker of one thread: 3,314 against 2,867 images a second of
32 pixels, 353 against 421 of 224), since encoded pictures then pass through the object store. Its files are named by the run: an
interrupted job would begin again, and what a killed writer or a second driver left would count twice. So this way stays.
"""

import functools
import pickle
import warnings
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

from dsopt.cluster import local, private, session
from dsopt.config import ClusterConfig
from dsopt.errors import InputError, JobError, reason

if TYPE_CHECKING:  # a process that only reads starts in half the time without torch
    from dsopt.training.worker import Worker

Transform = Callable[[Any], Any]
DeviceTransform = Callable[["Worker"], Transform]  # called once in every process that has a device

_started = False  # whether Ray Data has run in this process
# Of a process that reads or writes, beside those with GPUs.
IO_SHARE = session.Share(workers=1, gpus=0.0, cpus=session.LEAST_CPUS, threads=1)


def stream(
    items: Sequence[Any],
    config: ClusterConfig,
    read: Transform | None,
    on_device: DeviceTransform | None = None,
    write: Transform | None = None,
) -> Iterator[Any]:
    """Yield `write(on_device(worker)(read(item)))` for every item, in the order in which they finish.

    Args:
        items: inputs of `read`, or without it of the transform on the device; small and picklable, like the results.
        on_device: makes the transform that runs on `config.workers` devices; None, like `write`: the transform is skipped.

    Raises:
        InputError, JobError: the first error that any transform raised.
    """
    results = (
        _in_process(items, config, read, on_device, write) if config.workers == 0 else _ray(items, config, read, on_device, write)
    )
    for result in results:
        if isinstance(result, Exception):
            raise result
        yield result


def start(config: ClusterConfig, nothing: Transform) -> None:
    """Start Ray Data, which takes seconds once in a process, so that they are not charged to the first stage that streams.

    Args:
        nothing: does nothing; of the module whose functions are to be streamed, which Ray's processes have then imported.
    """
    global _started
    if config.workers and not _started:
        list(_ray([None], config, nothing, None, None))
        _started = True


def _in_process(
    items: Sequence[Any], config: ClusterConfig, read: Transform | None, on_device: DeviceTransform | None, write: Transform | None
):
    compute = on_device(_worker(config.gpu, config.cpus_per_worker)) if on_device else None
    for item in items:
        for transform in filter(None, (read, compute, write)):
            item = transform(item)
        yield item


def _worker(gpu: bool | None, threads: int | None) -> "Worker":
    from dsopt.training.worker import this_process

    return this_process(gpu, threads)


def _ray(
    items: Sequence[Any], config: ClusterConfig, read: Transform | None, on_device: DeviceTransform | None, write: Transform | None
):
    if not items:
        return
    session.connect()
    import ray.data
    import ray.exceptions

    session.silence("ray.data")
    private.patch_ray_data(local.is_own)
    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = False
    context.print_on_execution_start = False
    # By default Ray Data replaces lost workers without limit, but gives up at once when one is lost while it starts.
    context.max_consecutive_actor_init_deaths = config.max_failures
    warnings.filterwarnings("ignore", "`ray_remote_args` is deprecated")  # max_retries has no other way in, in the pinned Ray
    share, waiting, fruitless = session.share(config), dict(enumerate(items)), 0
    with session.reporting_shortage(share if on_device else IO_SHARE):
        while waiting:
            before = len(waiting)
            try:
                for row in _rows(list(waiting.items()), config, share, read, on_device, write).iter_rows():
                    index, value = pickle.loads(row["value"])
                    del waiting[index]
                    yield value
            except ray.exceptions.RayTaskError as error:
                raise JobError(f"data pipeline: {session.root_cause(error)}") from error
            except ray.exceptions.RayError as error:
                # Ray counts each worker's losses over its whole life; the pipeline starts again as long as items get finished. A
                # worker whose node has just died may be unavailable until Ray finds that out: all retries may fail of one loss.
                fruitless = 0 if len(waiting) < before else fruitless + 1
                passing = isinstance(error, ray.exceptions.ActorUnavailableError) and fruitless <= config.max_failures
                if fruitless and not passing:
                    cause = session.root_cause(error)
                    raise JobError(f"data pipeline: gave up after {config.max_failures} lost workers: {cause}") from error


def _rows(
    items: Sequence[tuple[int, Any]],
    config: ClusterConfig,
    share: session.Share,
    read: Transform | None,
    on_device: DeviceTransform | None,
    write: Transform | None,
):
    """The transforms as a lazy Ray data set with one row per item, which keeps its number."""
    import ray.data

    packed = [{"value": pickle.dumps(item)} for item in items]
    # One block per item: a block is Ray Data's unit of work, so items run in parallel and are retried one by one.
    rows = ray.data.from_items(packed, override_num_blocks=len(packed))
    if on_device and not share.gpus:
        # On CPUs one worker runs all transforms of an item: nothing is copied between processes, and none starts only to read.
        rows = rows.map(
            _PackedOnDevice,  # type: ignore[arg-type]
            fn_constructor_args=(on_device, share, read, write),
            compute=ray.data.ActorPoolStrategy(size=min(share.workers, len(items))),
            num_cpus=share.cpus / 2,  # Ray Data needs CPUs for its other tasks: a pool that holds all of them deadlocks
            max_restarts=config.max_failures,
            max_task_retries=config.max_failures,
        )
    else:
        if read:
            rows = rows.map(_Packed(read), num_cpus=IO_SHARE.cpus, max_retries=config.max_failures)
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
            rows = rows.map(_Packed(write), num_cpus=IO_SHARE.cpus, max_retries=config.max_failures)
    return rows


class _Packed:
    """A transform of pickled (number, value), since every block format leaves bytes unchanged; errors are passed on as values.

    Ray would retry a transform that raises, but an InputError or a JobError would only be raised again.
    """

    def __init__(self, transform: Transform) -> None:
        self.transform = transform

    def __call__(self, row: dict[str, Any]) -> dict[str, Any]:
        index, value = pickle.loads(row["value"])
        if not isinstance(value, Exception):
            try:
                value = self.transform(value)
            except (InputError, JobError) as error:
                value = error
            except OSError as error:
                value = JobError(reason(error))
        return {"value": pickle.dumps((index, value), protocol=5)}


class _PackedOnDevice(_Packed):
    """The transform on a device, with those before and after it that run in the same process."""

    def __init__(
        self, make: DeviceTransform, share: session.Share, before: Transform | None = None, after: Transform | None = None
    ) -> None:
        worker = _worker(share.gpus > 0, session.threads(share))
        transforms = [transform for transform in (before, make(worker), after) if transform]
        super().__init__(lambda value: functools.reduce(lambda result, transform: transform(result), transforms, value))
