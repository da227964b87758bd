"""Images generated from the same noise at a few points of a generator's training."""

from collections.abc import Callable
from typing import Any

import torch

from dsopt.data.images import Images, encode
from dsopt.files import list_files, write_table
from dsopt.generation.sample import Generate, Noise, cyclic_labels, sample
from dsopt.storage import Stage
from dsopt.training.loop import State

SHARES = (0.0, 0.03, 0.1, 0.3, 0.6, 1.0)  # of the budget: images change most early on
SHOWN = 20  # images in each snapshot


class Snapshots:
    """Watches a training run, and writes small images tables `snapshots/NUMBER-STEP.parquet` into its stage's folder.

    Names and content depend on the training alone, so an interrupted run writes the same ones when it resumes.

    Args:
        classes: number of classes, each labelled in turn; 0 for an unconditional generator.
        watch: the worker's own watcher, called afterwards.
    """

    def __init__(
        self,
        stage: Stage,
        generate: Generate,
        noise: Noise,
        low: float,
        classes: int,
        device: torch.device,
        watch: Callable[..., None],
    ) -> None:
        self.stage, self.generate, self.noise, self.low = stage, generate, noise, low
        self.device, self.watch = device, watch
        self.labels = cyclic_labels(0, SHOWN, classes) if classes else torch.full((SHOWN,), -1)
        self.seen = max((snapshot["number"] for snapshot in written(stage)), default=-1)

    def __call__(self, share: float, state: State) -> None:
        number = max(index for index, wanted in enumerate(SHARES) if share >= wanted)
        if number > self.seen:
            self.seen = number
            images = sample(self.generate, self.noise, self.labels, seed=0, low=self.low, device=self.device)
            rows = encode(Images(torch.arange(SHOWN), images, self.labels), [f"step {state.total}"] * SHOWN)
            write_table(self.stage.path("snapshots", f"{number}-{state.total:08d}.parquet"), rows)
        self.watch(share, state)


def written(stage: Stage) -> list[dict[str, Any]]:
    """The snapshots in a stage's folder, in order: {"number", "step", "path"}."""
    names = [[*name.removesuffix(".parquet").split("-"), name] for name in list_files(stage.path("snapshots"))]
    return [{"number": int(number), "step": int(step), "path": f"snapshots/{name}"} for number, step, name in names]
