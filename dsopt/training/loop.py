"""The training loop of every learner, with or without Ray."""

import io
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, runtime_checkable

import torch
import torch.distributed as dist
from torch import Tensor

from dsopt.data.batches import Batch
from dsopt.errors import JobError
from dsopt.seeds import derive
from dsopt.training.worker import keep_freed_memory


@runtime_checkable
class Learner(Protocol):
    """Networks with their optimisers. `networks` are placed by the learner; the loop sets rates, steps and saves."""

    networks: dict[str, Any]
    optimizers: dict[str, torch.optim.Optimizer]
    device: torch.device

    def update(self, batch: Batch) -> dict[str, Tensor]: ...
    def state_dict(self) -> dict[str, Any]: ...
    def load_state_dict(self, state: dict[str, Any]) -> None: ...


@dataclass(frozen=True)
class Phase:
    """A part of a training run. Its budget is `steps` or `seconds`, whichever is given.

    Args:
        source: step within the phase -> batch.
        rate: progress of the phase in 0..1 -> factor on the learning rate.
    """

    source: Callable[[int], Batch]
    rate: Callable[[float], float]
    steps: int | None = None
    seconds: float | None = None


@dataclass
class State:
    """Where a run stands. `rows` are the numbers reported so far: (step, seconds, name, value)."""

    phase: int = 0
    step: int = 0  # within the phase
    total: int = 0  # over all phases
    seconds: float = 0.0  # of training, without checkpoints, over all attempts
    phase_seconds: float = 0.0
    rows: list[tuple[int, float, str, float]] = field(default_factory=list)


@runtime_checkable
class Checkpoint(Protocol):
    """Where a run's state is kept. `load` gives None if there is none yet."""

    def load(self) -> bytes | None: ...
    def save(self, data: bytes) -> None: ...


def fit(
    learner: Learner,
    phases: Sequence[Phase],
    *,
    report: Callable[[State], None] = lambda state: None,
    resumed: Callable[[State], None] = lambda state: None,
    report_every: int = 20,
    checkpoint: Checkpoint | None = None,
    checkpoint_seconds: float = 30.0,
    name: str = "training",
) -> State:
    """Train through all phases, from the last checkpoint if there is one.

    A resumed run takes the same steps on the same batches as an undisturbed one. With several workers (an initialised
    `torch.distributed`), all see rank 0's checkpoint and only it saves.

    Args:
        report: called every `report_every` steps and at the end of a phase, with means since the last call in `state.rows`.
        resumed: called once, before the first step, if there was a checkpoint.

    Raises:
        JobError: the loss is no longer a finite number.
    """
    keep_freed_memory()
    state = _resume(learner, checkpoint)
    if state.total:
        resumed(state)
    rank, world = (dist.get_rank(), dist.get_world_size()) if dist.is_initialized() else (0, 1)
    saved = time.monotonic()
    for index in range(state.phase, len(phases)):
        phase, sums, since = phases[index], {}, 0
        base, phase_base, started = state.seconds, state.phase_seconds, time.perf_counter()
        while not (ended := _ended(phase, state, world, learner.device)) or since:
            if not ended:
                _set_rate(learner, phase.rate(_progress(phase, state)))
                batch = phase.source(state.step)
                # What a network draws (dropout) follows from the batch, or a resumed run would draw something else.
                torch.manual_seed(derive(batch.seed, rank))
                for key, value in learner.update(batch).items():
                    sums[key] = sums[key] + value if key in sums else value
                state.step, state.total, since = state.step + 1, state.total + 1, since + 1
                ended = phase.steps is not None and state.step >= phase.steps
            elapsed = time.perf_counter() - started
            state.seconds, state.phase_seconds = base + elapsed, phase_base + elapsed
            if since and (ended or state.total % report_every == 0):
                means = _means(sums, since, world)
                elapsed = time.perf_counter() - started
                state.seconds, state.phase_seconds = base + elapsed, phase_base + elapsed
                state.rows += [(state.total, state.seconds, key, value) for key, value in means.items()]
                if not all(map(math.isfinite, means.values())):
                    raise JobError(f"{name}: diverged at step {state.total} (loss is not finite); lower the learning rate.")
                sums, since = {}, 0
                report(state)
                if checkpoint and rank == 0 and not ended and time.monotonic() - saved > checkpoint_seconds:
                    checkpoint.save(_dump(learner, state))
                    saved = time.monotonic()
                    base, phase_base, started = state.seconds, state.phase_seconds, time.perf_counter()
        state.phase, state.step, state.phase_seconds = index + 1, 0, 0.0
    return state


def _means(sums: dict[str, Tensor], count: int, world: int) -> dict[str, float]:
    """Means over steps and workers; waits for the device. All workers see the same, so all see a divergence."""
    values = torch.stack([value.float() for value in sums.values()]) / count
    if world > 1:
        dist.all_reduce(values)
        values /= world
    return dict(zip(sums, values.tolist(), strict=True))


def _ended(phase: Phase, state: State, world: int, device: torch.device) -> bool:
    if phase.steps is not None:
        return state.step >= phase.steps
    assert phase.seconds is not None
    if world == 1:
        return state.phase_seconds >= phase.seconds
    # One clock for all workers, or they would take different numbers of steps and wait for each other for ever.
    seconds = torch.tensor([state.phase_seconds], device=device)
    dist.broadcast(seconds, 0)
    return float(seconds) >= phase.seconds


def _progress(phase: Phase, state: State) -> float:
    if phase.steps is not None:
        return state.step / phase.steps
    assert phase.seconds is not None
    return min(1.0, state.phase_seconds / phase.seconds)


def _set_rate(learner: Learner, factor: float) -> None:
    for optimizer in learner.optimizers.values():
        for group in optimizer.param_groups:
            group.setdefault("initial_lr", group["lr"])
            group["lr"] = group["initial_lr"] * factor


def _dump(learner: Learner, state: State) -> bytes:
    buffer = io.BytesIO()
    torch.save({"learner": learner.state_dict(), "state": vars(state)}, buffer)
    return buffer.getvalue()


def _resume(learner: Learner, checkpoint: Checkpoint | None) -> State:
    if checkpoint is None:
        return State()
    if dist.is_initialized():
        box = [checkpoint.load() if dist.get_rank() == 0 else None]
        dist.broadcast_object_list(box, 0)
        data = box[0]
    else:
        data = checkpoint.load()
    if data is None:
        return State()
    saved = torch.load(io.BytesIO(data), map_location=learner.device, weights_only=True)
    learner.load_state_dict(saved["learner"])
    return State(**saved["state"])
