"""Work shared out over this machine's cores by processes, without Ray; they end with the process that started them."""

import multiprocessing
import os
import signal
import sys
import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from multiprocessing.connection import Connection
from typing import Any, TypeVar

from dsopt.errors import JobError

T = TypeVar("T")


def cores() -> int:
    """How many CPUs this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def unordered(function: Callable[[Any], T], items: Sequence[Any], processes: int) -> Iterator[T]:
    """The results of `function(item)` as they finish; in this process if one process or one item is all there is.

    This process is one of them: it works from the first moment, while the others start, which takes seconds.
    Closing the iterator, as an interruption does, ends the others at once; so does the end of this process, however it comes.

    Args:
        function: picklable, like items and results; imported anew in each process.

    Raises:
        JobError: a process was lost. Whatever `function` raises is raised here.
    """
    count = min(processes, len(items))
    if count < 2:
        yield from map(function, items)
        return
    context = multiprocessing.get_context("spawn")  # a fork of a process with threads, such as torch's and Arrow's, may hang
    lifeline, end = context.Pipe(duplex=False)
    pool = ProcessPoolExecutor(count - 1, context, _begin, (lifeline, max(1, processes // count)))
    waiting = deque(items)
    try:
        with _without_main():
            others = {pool.submit(function, waiting.popleft()) for _ in range(count - 1)}
        own = _aside(function, waiting.popleft())
        while own or others:
            finished, _ = wait({*others, *([own] if own else [])}, return_when=FIRST_COMPLETED)
            others -= finished
            if own in finished:
                own = _aside(function, waiting.popleft()) if waiting else None
            others |= {pool.submit(function, waiting.popleft()) for _ in range(min(len(waiting), count - 1 - len(others)))}
            for future in finished:
                yield future.result()
        pool.shutdown()
    except BrokenProcessPool:
        raise JobError(f"one of {count} processes of this machine was lost; it may have been out of memory.") from None
    finally:
        end.close()
        lifeline.close()
        pool.shutdown(wait=False, cancel_futures=True)


def _aside(function: Callable[[Any], T], item: Any) -> Future[T]:
    """The result of a call in a thread of this process, which does not keep the process from ending."""
    result: Future[T] = Future()

    def work() -> None:
        try:
            result.set_result(function(item))
        except BaseException as error:
            result.set_exception(error)

    threading.Thread(target=work, daemon=True).start()
    return result


@contextmanager
def _without_main() -> Iterator[None]:
    """While processes start: else they import the main module anew, which fails for a script without a guard, or from a pipe."""
    main = vars(sys.modules["__main__"])
    kept = {name: main[name] for name in ("__file__", "__spec__") if name in main}
    main.pop("__file__", None)
    main["__spec__"] = None
    try:
        yield
    finally:
        main.update(kept)


def _begin(lifeline: Connection, threads: int) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches all processes of a terminal; the first of them ends the others
    os.environ["OMP_NUM_THREADS"] = str(threads)
    threading.Thread(target=_end_with, args=(lifeline,), daemon=True).start()


def _end_with(lifeline: Connection) -> None:
    try:
        lifeline.recv()
    except (EOFError, OSError):
        os._exit(1)
