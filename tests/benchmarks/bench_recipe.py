"""Recipes at equal processor time, on one thread: accuracy of each, and of each without one of its parts.

    python tests/benchmarks/bench_recipe.py --data /data/cifar10 --seconds 60 --seeds 2 --row "fast:preset=fast" --row "paper:"

A row is `name:overrides`, separated by semicolons, on CIFAR-10 under its preset. The loop's clock is the processor time of this
process, which other work on the machine changes little; a recipe's schedule follows it. Accuracy is on 5,000 held-out training
images, or with `--test` on the test images.
"""

import argparse
import statistics
import tempfile
import time
from types import SimpleNamespace

import torch

from dsopt import progress
from dsopt.config import Config, load
from dsopt.data.batches import in_order
from dsopt.data.images import Images
from dsopt.data.loading import load as load_images
from dsopt.pipeline import networks
from dsopt.pipeline.plan import Plan
from dsopt.pipeline.training import classifier_learner, describe_classifier, shuffled
from dsopt.registry import SCHEDULES
from dsopt.stages import ingest
from dsopt.storage import Table
from dsopt.training import loop
from dsopt.training.loop import Phase, fit
from dsopt.training.progressive import growing
from dsopt.training.worker import this_process

HELD_OUT = 5000


def some(images: Images, rows: slice) -> Images:
    return Images(images.ids[rows], images.images[rows], images.labels[rows])


def trained(config: Config, table: Table, seed: int, seconds: float, test: bool) -> tuple[float, int]:
    """The accuracy after so many seconds, and the steps that they were enough for."""
    settings, worker, about = config.train, this_process(threads=1), describe_classifier(config.train, table)
    inputs, whole = networks.described_transforms(about, table.manifest["num_classes"]), load_images(table.uri, "train")
    used = whole if test else some(whole, slice(HELD_OUT, None))
    judged = load_images(table.uri, "test") if test else some(whole, slice(HELD_OUT))
    learner = classifier_learner(settings, table, seed, worker)
    schedule = SCHEDULES.build(settings.schedule.name, settings.schedule.options)
    feed = shuffled(used, inputs, settings.batch_size, seed, worker)
    state = fit(learner, [Phase(feed.source, schedule, seconds=seconds, scale=growing(settings.progressive))])
    return learner.evaluate(in_order(judged.images, judged.labels, 1000, inputs.test, worker.device))["accuracy"], state.total


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--data", required=True)
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--test", action="store_true")
    parser.add_argument("--row", action="append", required=True)
    parser.add_argument("--storage", help="keep what is taken in here")
    arguments = parser.parse_args()
    loop.time = SimpleNamespace(perf_counter=time.process_time, monotonic=time.monotonic)  # type: ignore[assignment]
    progress.output = lambda text: None
    with tempfile.TemporaryDirectory() as folder:
        common = [f"storage={arguments.storage or folder}", "preset=cifar10", f"data.root={arguments.data}", "cluster.workers=0"]
        plan = Plan(load(common))
        plan.run(ingest.images(plan))
        table = Table(ingest.images(plan).uri)
        for name, _, given in (row.partition(":") for row in arguments.row):
            config = load([*common, *(text for text in given.split(";") if text)])
            found = [trained(config, table, seed, arguments.seconds, arguments.test) for seed in range(arguments.seeds)]
            values = [100 * accuracy for accuracy, _ in found]
            spread = f" ± {statistics.stdev(values):.2f}" if len(values) > 1 else ""
            steps = statistics.fmean(steps for _, steps in found)
            print(
                f"{name:<40} {statistics.fmean(values):6.2f}{spread}  {steps:7,.0f} steps of {config.train.batch_size}", flush=True
            )


if __name__ == "__main__":
    torch.set_num_threads(1)
    main()
