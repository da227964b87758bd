"""Messages from workers to the driver: progress lines, an error that a retry would not fix, and where each runs."""

import pickle
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any

from dsopt import progress
from dsopt.cluster import session

TAKE_S = 0.3  # seconds between looks at the board


class Boards:
    """All boards of a driver, by name: a Ray actor. Messages are bytes, so that it imports little and starts soon."""

    def __init__(self) -> None:
        self.lines: dict[str, list[bytes]] = {}
        self.failures: dict[str, bytes] = {}
        self.nodes: dict[str, dict[bytes, bytes]] = {}

    def put(self, board: str, line: bytes) -> None:
        self.lines.setdefault(board, []).append(line)

    def take(self, board: str) -> list[bytes]:
        return self.lines.pop(board, [])

    def fail(self, board: str, error: bytes) -> None:
        self.failures.setdefault(board, error)

    def failed(self, board: str) -> bytes | None:
        return self.failures.get(board)

    def tell_node(self, board: str, who: bytes, node: bytes) -> None:
        self.nodes.setdefault(board, {})[who] = node

    def nodes_of(self, board: str) -> dict[bytes, bytes]:
        return self.nodes.get(board, {})

    def clear(self, board: str) -> None:
        for kept in (self.lines, self.failures, self.nodes):
            kept.pop(board, None)


@dataclass(frozen=True)
class Board:
    """One board, for the workers of one call; picklable.

    Args:
        boards: the handle of the actor.
    """

    boards: Any
    name: str

    def put(self, line: str) -> None:
        with suppress(Exception):  # a lost line is no reason to stop the work
            self._ask("put", pickle.dumps(progress.Line.of(line, getattr(line, "bar", None))))

    def take(self) -> list[progress.Line]:
        """Remove and return the lines written since the last call, in the order in which they came."""
        return [pickle.loads(line) for line in self._ask("take")]

    def fail(self, error: Exception) -> None:
        """Keep an error; the first one stays."""
        self._ask("fail", pickle.dumps(error))

    def failed(self) -> Exception | None:
        """The error, if there is one."""
        kept = self._ask("failed")
        return pickle.loads(kept) if kept else None

    def tell_node(self, who: str | None = None) -> None:
        """In a worker: keep on which node it runs; Ray does not tell that of one that was lost. By default by the task's id."""
        import ray

        context = ray.get_runtime_context()
        with suppress(Exception):
            self._ask("tell_node", (who or str(context.get_task_id())).encode(), context.get_node_id().encode())

    def nodes(self) -> dict[str, str]:
        """Who -> the id of the node on which they ran last."""
        return {who.decode(): node.decode() for who, node in self._ask("nodes_of").items()}

    def clear(self) -> None:
        self._ask("clear")

    def _ask(self, method: str, *given: bytes) -> Any:
        import ray

        return ray.get(getattr(self.boards, method).remote(self.name, *given))


_started: tuple[str, Any] | None = None  # the job of Ray that the actor belongs to, and its handle


def _boards() -> Any:
    """The actor: on this machine, so that it is there as long as the driver, and one for all calls, since each start takes CPU."""
    global _started
    ray = session.connect()
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    context = ray.get_runtime_context()
    job = context.get_job_id() + context.gcs_address
    if _started is None or _started[0] != job:
        here = NodeAffinitySchedulingStrategy(context.get_node_id(), soft=True)
        options = {"num_cpus": 0, "max_restarts": -1, "max_task_retries": -1, "scheduling_strategy": here}
        _started = job, ray.remote(**options)(Boards).remote()
    return _started[1]


@contextmanager
def message_board() -> Iterator[Board]:
    """A board whose lines this process prints as they arrive; workers write to it after `send_progress_to(board)`."""
    board = Board(_boards(), uuid.uuid4().hex)

    def print_lines() -> None:
        for line in board.take():
            progress.screen.show(line)

    try:
        with session.repeating(print_lines, TAKE_S):
            yield board
    finally:
        with suppress(Exception):
            board.clear()


def send_progress_to(board: Board) -> None:
    """In a worker: write progress lines to the driver's board."""
    progress.output = board.put
