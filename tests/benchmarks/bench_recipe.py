"""Recipes at equal processor time, on one thread: accuracy of each, and of each without one of its parts.

    python tests/benchmarks/bench_recipe.py --data /data/cifar10 --seconds 60 --seeds 2 --row "fast:preset=fast" --row "paper:"
    python tests/benchmarks/bench_recipe.py --data /data/cifar10 --row "subset first:preset=fast;train.split=0.5;select.name=random"

A row is `name:overrides`, separated by semicolons, of `dsopt train` on CIFAR-10 under its preset. Every clock is the processor time
of this process, which other work on the machine changes little; a recipe's schedule follows it. What choosing a subset or training
a proxy takes is taken off the row's seconds. A row whose `train.phases` are in steps takes these instead; its seconds are printed.
Accuracy is on the tenth of the training images that is held out, or with `--test` on the test images.
"""

import argparse
import statistics
import tempfile
import time

import torch

from dsopt import progress
from dsopt.config import load
from dsopt.data.images import Images
from dsopt.pipeline.plan import Plan
from dsopt.stages import classifier, ingest, select
from dsopt.storage import Stage, Table

HELD_OUT = 5000  # of the training images, where a benchmark holds them out itself


def some(images: Images, rows: slice) -> Images:
    return Images(images.ids[rows], images.images[rows], images.labels[rows])


def planned(overrides: list[str], seconds: float) -> tuple[Plan, Stage]:
    in_steps = any(text.startswith("train.phases=") for text in overrides)
    plan = Plan(load([*overrides, *([] if in_steps else [f"train.seconds={seconds}"])]))
    return plan, classifier.alone(plan)


def trained(overrides: list[str], seconds: float) -> tuple[float, int, float]:
    """The accuracy after so many seconds, the steps that they were enough for, and the seconds with those of choosing."""
    plan, stage = planned(overrides, seconds)
    plan.run(*stage.inputs.values())
    choosing = select.cost(*(made for name, made in stage.inputs.items() if name in ("subset", "scores")))
    plan, stage = planned(overrides, seconds - choosing)
    plan.run(stage)
    table = Table(stage.uri)
    (accuracy,) = (row["value"] for row in table.read().to_pylist() if row["split"] != "train" and row["name"] == "accuracy")
    return accuracy, table.manifest["steps"], table.manifest["seconds"] + choosing


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--data", required=True)
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--first", type=int, default=0, help="the first seed")
    parser.add_argument("--test", action="store_true")
    parser.add_argument("--row", action="append", required=True)
    parser.add_argument("--storage", help="keep what is taken in here")
    arguments = parser.parse_args()
    time.perf_counter = time.monotonic = time.process_time
    progress.output = lambda text: None
    with tempfile.TemporaryDirectory() as folder:
        common = ["preset=cifar10", f"data.root={arguments.data}", "cluster.workers=0", "cluster.cpus_per_worker=1"]
        common += ["train.split=0", f"train.validation={0 if arguments.test else 0.1}"]
        taken_in = f"storage={arguments.storage or folder}"
        Plan(config := load([*common, taken_in])).run(ingest.images(Plan(config)))
        for name, _, given in (row.partition(":") for row in arguments.row):
            row = [*common, taken_in, *(text for text in given.split(";") if text)]
            seeds = range(arguments.first, arguments.first + arguments.seeds)
            found = [trained([*row, f"seed={seed}"], arguments.seconds) for seed in seeds]
            values = [100 * accuracy for accuracy, *_ in found]
            spread = f" ± {statistics.stdev(values):.2f}" if len(values) > 1 else ""
            steps, took = (statistics.fmean(one[i] for one in found) for i in (1, 2))
            print(f"{name:<40} {statistics.fmean(values):6.2f}{spread}  {steps:7,.0f} steps in {took:.1f} s", flush=True)


if __name__ == "__main__":
    torch.set_num_threads(1)
    main()
