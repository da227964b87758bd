"""What so many steps on the easy images of CIFAR-10 reach, beside as many on all: for how long choosing by a few pixels pays.

    python tests/benchmarks/bench_easiest.py --data /data/cifar10 --steps 45 60 110 --share 1 0.7 0.5 0.3 --seeds 4

With `preset=fast`; accuracy on 5,000 training images that are neither chosen from nor trained on.
"""

import argparse
import statistics
import tempfile

import torch
from bench_recipe import HELD_OUT, some

from dsopt import progress
from dsopt.config import load
from dsopt.data.batches import in_order
from dsopt.data.loading import load as load_images
from dsopt.pipeline import networks
from dsopt.pipeline.plan import Plan
from dsopt.pipeline.training import batches, classifier_learner, describe_classifier
from dsopt.registry import SCHEDULES
from dsopt.stages import ingest
from dsopt.storage import Table
from dsopt.training.easiest import easiest, few_pixels
from dsopt.training.loop import Phase, fit
from dsopt.training.progressive import growing
from dsopt.training.samplers.contract import BatchIndices
from dsopt.training.samplers.shuffle import shuffle
from dsopt.training.worker import this_process


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--data", required=True)
    parser.add_argument("--steps", type=int, nargs="+", default=[45])
    parser.add_argument("--share", type=float, nargs="+", default=[1.0, 0.5])
    parser.add_argument("--seeds", type=int, default=4)
    parser.add_argument("--first", type=int, default=0, help="the first seed")
    parser.add_argument("--storage", help="keep what is taken in here")
    given = parser.parse_args()
    progress.output = lambda text: None
    with tempfile.TemporaryDirectory() as folder:
        common = [f"storage={given.storage or folder}", "preset=cifar10", f"data.root={given.data}", "cluster.workers=0"]
        plan = Plan(load([*common, "preset=fast"]))
        plan.run(ingest.images(plan))
        table, settings, worker = Table(ingest.images(plan).uri), plan.config.train, this_process(threads=1)
        everything = load_images(table.uri, "train", threads=1)
        whole, judged = some(everything, slice(HELD_OUT, None)), some(everything, slice(HELD_OUT))
        inputs = networks.described_transforms(describe_classifier(settings, table), 10)
        schedule = SCHEDULES.build(settings.schedule.name, settings.schedule.options)

        def reached(pool: torch.Tensor, steps: int, seed: int) -> float:
            learner, order = classifier_learner(settings, table, seed, worker), shuffle(len(pool), settings.batch_size, seed)

            def draw(step: int) -> BatchIndices:
                return BatchIndices(pool[order(step).indices])

            source = batches(draw, whole.images, whole.labels, inputs, seed, worker)
            fit(learner, [Phase(source, schedule, steps, scale=growing(settings.progressive))])
            found = learner.evaluate(in_order(judged.images, judged.labels, 1000, inputs.test, worker.device))
            return 100 * found["accuracy"]

        pixels = few_pixels(whole.images)
        for steps in given.steps:
            for share in given.share:
                pool = easiest(pixels, whole.labels, share).nonzero().squeeze(1)
                values = [reached(pool, steps, seed) for seed in range(given.first, given.first + given.seeds)]
                spread = f" ± {statistics.stdev(values):.2f}" if len(values) > 1 else ""
                print(f"{steps} steps, share {share:g}: {statistics.fmean(values):.2f}{spread}", flush=True)


if __name__ == "__main__":
    torch.set_num_threads(1)
    main()
