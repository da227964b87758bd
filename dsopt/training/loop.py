"""The training loop of all learners, with or without Ray."""

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
from dsopt.training.progressive import smaller
from dsopt.training.worker import keep_freed_memory


@runtime_checkable
class Learner(Protocol):
    """Networks with their optimizers. The learner places its networks; the loop sets learning rates, steps and saves."""

    networks: dict[str, Any]
    optimizers: dict[str, torch.optim.Optimizer]
    device: torch.device

    def update(self, batch: Batch) -> dict[str, Tensor]: ...
    def state_dict(self) -> dict[str, Any]: ...
    def load_state_dict(self, state: dict[str, Any]) -> None: ...


@runtime_checkable
class Stateful(Protocol):
    """An object whose state consists of tensors and plain values."""

    def state_dict(self) -> dict[str, Any]: ...
    def load_state_dict(self, state: dict[str, Any]) -> None: ...


@dataclass(frozen=True)
class Phase:
    """A part of a training run. Its budget is `steps`, `seconds`, or all seconds that are left `until` so many of the whole run.

    Args:
        source: step within the phase -> batch.
        rate: progress of the phase in 0..1 -> factor on the learning rate.
        until: seconds of training from the start of the run; a phase that starts later takes no step.
        memory: the part of the batch source whose state is saved with the checkpoint.
        scale: progress of the phase in 0..1 -> share of a picture's side to train on; None: whole pictures.
    """

    source: Callable[[int], Batch]
    rate: Callable[[float], float]
    steps: int | None = None
    seconds: float | None = None
    memory: Stateful | None = None
    until: float | None = None
    scale: Callable[[float], float] | None = None


@dataclass
class State:
    """The progress of a run. `rows` are the metrics so far: (step, seconds, split, name, value)."""

    phase: int = 0
    step: int = 0  # within the phase
    total: int = 0  # over all phases
    seconds: float = 0.0  # of training, without reports, validation and checkpoints, over all attempts
    phase_seconds: float = 0.0
    rows: list[tuple[int, float, str, str, float]] = field(default_factory=list)


@runtime_checkable
class Checkpoint(Protocol):
    """Storage for a run's state. `load` returns None if there is none yet; `str` names the place in messages."""

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
    test: Callable[[], Mapping[str, float]] | None = None,
    test_every: int = 0,
    checkpoint: Checkpoint | None = None,
    checkpoint_seconds: float = 30.0,
    name: str = "training",
) -> State:
    """Train through all phases, from the last checkpoint if there is one.

    A resumed run takes the same steps on the same batches as an uninterrupted one. With several workers (an initialized
    `torch.distributed`), all load rank 0's checkpoint, and only rank 0 saves.

    Args:
        report: called every `report_every` steps, after a validation and at the end of a phase. `state.rows` then has the means
            since the last call.
        resumed: called once, before the first step, if there was a checkpoint.
        validate: called on rank 0 every `validate_every` steps (0: never), but not after the last step; its results are rows of
            split "validation".
        test: the same for rows of split "test", every `test_every` steps; what it gives is written down, and used for nothing.
        name: of the run, in messages.

    Raises:
        JobError: a metric is no longer finite.
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
                progress = _progress(phase, state)
                _set_rate(learner, phase.rate(progress))
                batch = phase.source(state.step)
                if phase.scale:
                    batch = batch._replace(images=smaller(batch.images, phase.scale(progress)))
                # The network's own random numbers (dropout) depend on the batch alone, so that a resumed run draws the same.
                _seed(derive(batch.seed, rank), learner.device)
                for key, value in learner.update(batch).items():
                    sums[key] = sums[key] + value if key in sums else value
                state.step, state.total, since = state.step + 1, state.total + 1, since + 1
                ended = phase.steps is not None and state.step >= phase.steps
            clock = _count(state, clock)
            last = ended and index == len(phases) - 1
            looks = [
                (split, look)
                for split, look, every in (("validation", validate, validate_every), ("test", test, test_every))
                if every > 0 and state.total % every == 0 and not last
            ]
            if since and (ended or looks or state.total % report_every == 0):
                means = _means(sums, since, world)
                _count(state, clock)
                state.rows += [(state.total, state.seconds, "train", key, value) for key, value in means.items()]
                if not all(map(math.isfinite, means.values())):
                    raise JobError(f"{name}: diverged at step {state.total} (loss is not finite); lower the learning rate.")
                sums, since = {}, 0
                for split, look in looks:
                    if look and rank == 0:
                        state.rows += [(state.total, state.seconds, split, key, value) for key, value in look().items()]
                report(state)
                if checkpoint and rank == 0 and not ended and time.monotonic() - saved > checkpoint_seconds:
                    checkpoint.save(_dump(learner, phases, state))
                    saved = time.monotonic()
                clock = time.perf_counter()
        state.phase, state.step, state.phase_seconds = index + 1, 0, 0.0
    return state


def _seed(seed: int, device: torch.device) -> None:
    """`torch.manual_seed` for the devices in use only.

    torch's own seeds every kind of device, and records a stack trace for each that is not initialized, which takes a third of the
    time of a small network's step.
    """
    torch.default_generator.manual_seed(seed)
    if device.type == "cuda":
        torch.cuda.manual_seed_all(seed)


def _count(state: State, since: float) -> float:
    """Add the time since `since` to the run and its phase. Returns the current time."""
    now = time.perf_counter()
    state.seconds, state.phase_seconds = state.seconds + now - since, state.phase_seconds + now - since
    return now


def _means(sums: dict[str, Tensor], count: int, world: int) -> dict[str, float]:
    """Means over steps and workers; waits for the device. They are equal on all workers, so that all notice a divergence."""
    values = torch.stack([value.float() for value in sums.values()]) / count
    if world > 1:
        dist.all_reduce(values)
        values /= world
    return dict(zip(sums, values.tolist(), strict=True))


def _ended(phase: Phase, state: State, world: int, device: torch.device) -> bool:
    if phase.steps is not None:
        return state.step >= phase.steps
    if world > 1:
        # One clock for all workers. Otherwise their learning rates and numbers of steps would differ, and they would deadlock.
        clocks = torch.tensor([state.phase_seconds, state.seconds], dtype=torch.float64, device=device)
        dist.broadcast(clocks, 0)
        state.phase_seconds, state.seconds = clocks.tolist()
    return state.phase_seconds >= _seconds(phase, state)


def _seconds(phase: Phase, state: State) -> float:
    """The length of a timed phase, of which `state.phase_seconds` have passed."""
    if phase.seconds is not None:
        return phase.seconds
    assert phase.until is not None
    return phase.until - (state.seconds - state.phase_seconds)


def _progress(phase: Phase, state: State) -> float:
    if phase.steps is not None:
        return state.step / phase.steps
    return min(1.0, state.phase_seconds / max(_seconds(phase, state), 1e-9))


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
    """Restore a learner and its batch sources from the checkpoint, on all workers. Without a checkpoint: a new state.

    Raises:
        InputError: the checkpoint does not fit this run.
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
        saved = torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)  # loading copies to the devices
        learner.load_state_dict(saved["learner"])
        for phase, memory in zip(phases, saved["memories"], strict=True):
            if phase.memory:
                phase.memory.load_state_dict(memory)
        return State(**saved["state"])
    except torch.OutOfMemoryError:
        raise
    except (KeyError, ValueError, TypeError, RuntimeError, EOFError, pickle.UnpicklingError) as error:
        raise InputError(
            f"{checkpoint}: does not fit this run: it is damaged, or of another version of dsopt; delete it to start again."
        ) from error
