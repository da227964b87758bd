"""What every training stage does: feed, fit with checkpoints in the stage's folder, report, and leave metrics and a model."""

import io
import uuid
from dataclasses import dataclass
from functools import partial

import pyarrow as pa
import torch
from torch import Tensor, nn

from dsopt.augment import draws
from dsopt.augment.inputs import Inputs
from dsopt.config import Config
from dsopt.data.batches import Resident
from dsopt.data.images import Images
from dsopt.progress import Progress, say
from dsopt.seeds import derive
from dsopt.storage import METRICS, Stage, delete, read_bytes, write_bytes, write_table
from dsopt.training.loop import Learner, Phase, State, fit
from dsopt.training.samplers import shuffle
from dsopt.training.worker import Worker


@dataclass(frozen=True)
class Run:
    """One training run: where it goes and how it is called."""

    stage: Stage
    label: str
    seed: int
    batch_size: int


@dataclass(frozen=True)
class StageCheckpoint:
    """A run's checkpoint, in its stage's folder."""

    uri: str

    def load(self) -> bytes | None:
        try:
            return read_bytes(self.uri)
        except FileNotFoundError:
            return None

    def save(self, data: bytes) -> None:
        write_bytes(self.uri, data)


def resident(images: Images, inputs: Inputs, batch_size: int, seed: int, worker: Worker) -> Resident:
    """The batches of a data set that lies on the worker's device."""

    def transform(part: Tensor, step_seed: int, total: int, start: int, stop: int) -> Tensor:
        return inputs.train(part, draws(step_seed, total, start, stop, worker.device))

    return Resident(
        images.images.to(worker.device),
        images.labels.to(worker.device),
        shuffle(len(images.labels), batch_size, derive(seed, "order")),
        partial(derive, seed, "transform"),
        transform,
        worker.rank,
        worker.world,
    )


def fit_run(run: Run, learner: Learner, phases: list[Phase], config: Config, worker: Worker) -> State:
    """Train with progress and checkpoints; goes on from the last checkpoint if the run was interrupted."""
    timed = sum(phase.seconds or 0 for phase in phases)
    images = sum(phase.steps or 0 for phase in phases) * run.batch_size
    progress = Progress(run.label, round(timed) or images, "seconds" if timed else "images")

    def done(state: State) -> int:
        return int(state.seconds) if timed else state.total * run.batch_size

    def report(state: State) -> None:
        loss = next(value for _, _, name, value in reversed(state.rows) if name == "loss")
        progress.update(done(state), f"loss {loss:.4f}")

    def resumed(state: State) -> None:
        progress.first = done(state)
        say(run.label, f"goes on after step {state.total:,} of an interrupted run")

    def quiet(state: State) -> None: ...

    checkpoint = StageCheckpoint(run.stage.path("checkpoint.pt"))
    return fit(
        learner,
        phases,
        report=report if worker.leads else quiet,
        resumed=resumed if worker.leads else quiet,
        checkpoint=checkpoint,
        checkpoint_seconds=config.cluster.checkpoint_seconds,
        name=run.label,
    )


def finish(run: Run, worker: Worker, state: State, tests: dict[str, float], network: nn.Module, **notes: object) -> None:
    """Write the run's metrics and model, and declare its stage done.

    Both have names of their own: a second run of the same command that ends later cannot touch what the first declared.
    """
    if run.stage.done():
        return
    mine = uuid.uuid4().hex[:8]
    rows = [(step, seconds, "train", name, value) for step, seconds, name, value in state.rows]
    rows += [(state.total, state.seconds, "test", name, value) for name, value in tests.items()]
    steps, seconds, splits, names, values = zip(*rows, strict=True)
    identity = [[run.stage.folder] * len(rows), [run.seed] * len(rows)]
    metrics = pa.table([*identity, steps, seconds, splits, names, values], schema=METRICS)
    buffer = io.BytesIO()
    torch.save(network.state_dict(), buffer)
    model = f"model-{mine}.pt"
    write_bytes(run.stage.path(model), buffer.getvalue())
    path = f"data/metrics-{mine}.parquet"
    size = write_table(run.stage.path(path), metrics)
    parts = [{"path": path, "rows": len(metrics), "bytes": size}]
    run.stage.commit(
        parts,
        METRICS,
        seconds=state.seconds,
        seed=run.seed,
        model=model,
        steps=state.total,
        device=worker.describe(),
        **notes,
    )
    delete(run.stage.path("checkpoint.pt"))
    result = "  ".join(f"{name} {value:.4f}" for name, value in tests.items())
    say(run.label, f"{state.total:,} steps in {state.seconds:.1f} s  test {result}")
