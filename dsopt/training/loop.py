"""The training loop of every learner, with or without Ray."""

import io
import math
import pickle
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, runtime_checkable

import torch
import torch.distributed as dist
from torch import Tensor

from dsopt.data.batches import Batch
from dsopt.errors import InputError, JobError
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


@runtime_checkable
class Memory(Protocol):
    """Something with a state of tensors and plain values."""

    def state_dict(self) -> dict[str, Any]: ...
    def load_state_dict(self, state: dict[str, Any]) -> None: ...


@dataclass(frozen=True)
class Phase:
    """A part of a training run. Its budget is `steps` or `seconds`, whichever is given.

    Args:
        source: step within the phase -> batch.
        rate: progress of the phase in 0..1 -> factor on the learning rate.
        memory: what of its feeding must survive an interruption.
    """

    source: Callable[[int], Batch]
    rate: Callable[[float], float]
    steps: int | None = None
    seconds: float | None = None
    memory: Memory | None = None


@dataclass
class State:
    """Where a run stands. `rows` are the numbers found so far: (step, seconds, split, name, value)."""

    phase: int = 0
    step: int = 0  # within the phase
    total: int = 0  # over all phases
    seconds: float = 0.0  # of training, without reports, validation and checkpoints, over all attempts
    phase_seconds: float = 0.0
    rows: list[tuple[int, float, str, str, float]] = field(default_factory=list)


@runtime_checkable
class Checkpoint(Protocol):
    """Where a run's state is kept, told by `str`. `load` gives None if there is none yet."""

    def load(self) -> bytes | None: ...
    def save(self, data: bytes) -> None: ...


def fit(
    learner: Learner,
    phases: Sequence[Phase],
    *,
    report: Callable[[State], None] = lambda state: None,
    resumed: Callable[[State], None] = lambda state: None,
    report_every: int = 20,
    validate: Callable[[], Mapping[str, float]] | None = None,
    validate_every: int = 0,
    checkpoint: Checkpoint | None = None,
    checkpoint_seconds: float = 30.0,
    name: str = "training",
) -> State:
    """Train through all phases, from the last checkpoint if there is one.

    A resumed run takes the same steps on the same batches as an undisturbed one. With several workers (an initialised
    `torch.distributed`), all see rank 0's checkpoint and only it saves.

    Args:
        report: called every `report_every` steps, after a validation and at the end of a phase, with means since the last call in
            `state.rows`.
        validate: called on rank 0 every `validate_every` steps (0: never), but not after the last; its numbers are rows of split
            "validation".
        resumed: called once, before the first step, if there was a checkpoint.

    Raises:
        JobError: the loss is no longer a finite number.
    """
    keep_freed_memory()
    state = resume(learner, phases, checkpoint)
    if state.total:
        resumed(state)
    rank, world = (dist.get_rank(), dist.get_world_size()) if dist.is_initialized() else (0, 1)
    saved = time.monotonic()
    for index in range(state.phase, len(phases)):
        phase, sums, since, clock = phases[index], {}, 0, time.perf_counter()
        while not (ended := _ended(phase, state, world, learner.device)) or since:
            if not ended:
                _set_rate(learner, phase.rate(_progress(phase, state)))
                batch = phase.source(state.step)
                # What a network draws (dropout) follows from the batch, or a resumed run would draw something else.
                _seed(derive(batch.seed, rank), learner.device)
                for key, value in learner.update(batch).items():
                    sums[key] = sums[key] + value if key in sums else value
                state.step, state.total, since = state.step + 1, state.total + 1, since + 1
                ended = phase.steps is not None and state.step >= phase.steps
            clock = _count(state, clock)
            judged = validate_every > 0 and state.total % validate_every == 0 and not (ended and index == len(phases) - 1)
            if since and (ended or judged or state.total % report_every == 0):
                means = _means(sums, since, world)
                _count(state, clock)
                state.rows += [(state.total, state.seconds, "train", key, value) for key, value in means.items()]
                if not all(map(math.isfinite, means.values())):
                    raise JobError(f"{name}: diverged at step {state.total} (loss is not finite); lower the learning rate.")
                sums, since = {}, 0
                if validate and judged and rank == 0:
                    state.rows += [(state.total, state.seconds, "validation", key, value) for key, value in validate().items()]
                report(state)
                if checkpoint and rank == 0 and not ended and time.monotonic() - saved > checkpoint_seconds:
                    checkpoint.save(_dump(learner, phases, state))
                    saved = time.monotonic()
                clock = time.perf_counter()
        state.phase, state.step, state.phase_seconds = index + 1, 0, 0.0
    return state


def _seed(seed: int, device: torch.device) -> None:
    """`torch.manual_seed` for the devices in use.

    That one seeds all kinds of devices, and notes for each that is not there who asked: a third of a small network's step.
    """
    torch.default_generator.manual_seed(seed)
    if device.type == "cuda":
        torch.cuda.manual_seed_all(seed)


def _count(state: State, since: float) -> float:
    """Add the time that went by to what the run and its phase have taken; the time now."""
    now = time.perf_counter()
    state.seconds, state.phase_seconds = state.seconds + now - since, state.phase_seconds + now - since
    return now


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
    # One clock for all workers, or they would learn at different rates, take different numbers of steps, and wait for ever.
    seconds = torch.tensor([state.phase_seconds], dtype=torch.float64, device=device)
    dist.broadcast(seconds, 0)
    state.phase_seconds = float(seconds)
    return state.phase_seconds >= phase.seconds


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


def _dump(learner: Learner, phases: Sequence[Phase], state: State) -> bytes:
    buffer = io.BytesIO()
    memories = [phase.memory.state_dict() if phase.memory else None for phase in phases]
    torch.save({"learner": learner.state_dict(), "memories": memories, "state": vars(state)}, buffer)
    return buffer.getvalue()


def resume(learner: Learner, phases: Sequence[Phase], checkpoint: Checkpoint | None) -> State:
    """Bring a learner, and what feeds it, to where its checkpoint was made; all workers take part. Without one: a fresh state.

    Raises:
        InputError: the checkpoint is not one of such a run.
    """
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
    try:
        saved = torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)  # networks and optimisers fetch theirs
        learner.load_state_dict(saved["learner"])
        for phase, memory in zip(phases, saved["memories"], strict=True):
            if phase.memory:
                phase.memory.load_state_dict(memory)
        return State(**saved["state"])
    except torch.OutOfMemoryError:
        raise
    except (KeyError, ValueError, TypeError, RuntimeError, EOFError, pickle.UnpicklingError) as error:
        raise InputError(
            f"{checkpoint}: does not fit this run: damaged, or of another version of dsopt; delete it to begin anew."
        ) from error
