"""Accuracy after a time that begins with nothing read: full data, fresh random subsets (RS2), a subset while the rest comes.

    python tests/benchmarks/bench_cold_start.py --data /data/cifar10 --rate 1 --seconds 60 --seeds 3
    python tests/benchmarks/bench_cold_start.py --data /data/cifar10 --rate 1 --seconds 120 --target 0.6 --with preset=fast

CIFAR-10 lies on a real S3 server behind a link of `--rate` MB/s: at 1 MB/s its 58 MB take about as long to read as a data set of
thousands of times that size does over a data centre's network. Each way has a process of its own and the same seconds for
everything: reading, decoding, training. Choosing a class-balanced random subset costs nothing; reading it is in the time.

With `--target`, 5,000 of the training images are held out, and the seconds from nothing until the accuracy on these first stays
above the target are shown. The averaged weights are kept every 25 steps and judged after the run, as the link would go on sending
while they are judged. `--with` gives overrides of the recipe, the same for all ways.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))
sys.path.insert(0, str(Path(__file__).parents[2]))

import boto3
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from s3_server import S3Server
from slow_link import SlowLink

from dsopt.config import load
from dsopt.data.background import BackgroundLoader
from dsopt.data.batches import in_order
from dsopt.data.loading import load as load_images
from dsopt.pipeline import networks
from dsopt.pipeline.plan import Plan
from dsopt.pipeline.training import batches, classifier_learner, describe_classifier
from dsopt.registry import SCHEDULES
from dsopt.reporting.targets import Point, reached
from dsopt.seeds import derive
from dsopt.stages import ingest, select
from dsopt.storage import Table
from dsopt.training.loop import Phase, fit
from dsopt.training.overlap import Overlap
from dsopt.training.progressive import growing
from dsopt.training.samplers import BatchIndices, Sampler
from dsopt.training.samplers.rs2 import rs2
from dsopt.training.samplers.shuffle import shuffle
from dsopt.training.worker import this_process

FRACTION = 0.0864
HELD_OUT, KEPT_EVERY = 5000, 25  # training images for a target; steps between two states of the weights that are kept
WAYS = ("full", "rs2", "overlap")


def rounds(arriving: Any, batch_size: int, seed: int, fraction: float = FRACTION) -> Sampler:
    """RS2 from storage: each round a fresh fraction as it comes, seen once; once all is there, fractions of everything.

    Args:
        arriving: has `n` images in all, and `wait(rows)`.
    """
    share = round(fraction * arriving.n)
    steps = -(-share // batch_size)
    last = arriving.n // share * steps
    later = rs2(arriving.n, batch_size, seed, fraction=fraction)

    def draw(step: int) -> BatchIndices:
        if step >= last:
            arriving.wait(arriving.n)
            return later(step - last)
        number, inside = divmod(step, steps)
        arriving.wait((number + 1) * share)
        return BatchIndices(number * share + shuffle(share, batch_size, derive(seed, number))(inside).indices)

    return draw


def child(
    way: str, seed: int, seconds: float, images: str, subset: str, local: str, recipe: list[str], target: float | None
) -> dict[str, Any]:
    """One training run from nothing; its accuracy, when its first step was taken, and when it reached a target."""
    config, worker, test = load(recipe), this_process(), load_images(local, "test")
    inputs = networks.described_transforms(describe_classifier(config.train, Table(local)))
    schedule = SCHEDULES.build(config.train.schedule.name, config.train.schedule.options)
    kept: list[dict[str, torch.Tensor]] = []
    started = time.perf_counter()
    table = Table(images)
    learner = classifier_learner(config.train, table, seed, worker)
    size = config.train.batch_size
    if way == "full":
        whole = load_images(table.uri, "train")
        source = batches(shuffle(len(whole.ids), size, seed), whole.images, whole.labels, inputs, seed, worker)
        arriving = None
    else:
        some = load_images(subset)
        if way == "rs2":
            some = type(some)(some.ids[:0], some.images[:0], some.labels[:0])
        arriving = BackgroundLoader(table.uri, "train", some, table.manifest["num_classes"], worker.device)
        draw = Overlap(arriving, size, seed) if way == "overlap" else rounds(arriving, size, seed)
        source = batches(draw, arriving.images, arriving.labels, inputs, seed, worker)
    first = time.perf_counter() - started

    def keep() -> dict[str, float]:
        kept.append({name: value.clone() for name, value in learner.average.averaged_network().state_dict().items()})
        return {"kept": len(kept)}

    every = KEPT_EVERY if target else 0
    state = fit(
        learner,
        [Phase(source, schedule, seconds=seconds - first, scale=growing(config.train.progressive))],
        validate=keep,
        validate_every=every,
    )
    took = time.perf_counter() - started

    def judge() -> float:
        return learner.evaluate(in_order(test.images, test.labels, 1000, inputs.test, worker.device))["accuracy"]

    found: dict[str, Any] = {"accuracy": judge(), "began": first, "seconds": took, "steps": state.total}
    if arriving:
        arriving.close()
    if target:
        points = [Point(state.total, first + state.seconds, found["accuracy"])]
        network = learner.average.network
        learner.average.averaged_network = lambda: network  # type: ignore[method-assign]
        for step, at, _, _, index in [row for row in state.rows if row[3] == "kept"]:
            network.load_state_dict(kept[int(index) - 1])
            points.append(Point(step, first + at, judge()))
        hit = reached(sorted(points), target)
        found["reached"] = hit.seconds if hit else None
        found["curve"] = [(round(point.seconds, 1), round(point.accuracy, 4)) for point in sorted(points)]
    return found


def held_out(data: str, folder: Path) -> str:
    """CIFAR-10 without its test images: the last training images in their place. Needs the Parquet files of the hub."""
    (path,) = Path(data).glob("**/train-*.parquet")
    table: pa.Table = pq.read_table(path)
    folder.mkdir()
    pq.write_table(table.slice(0, len(table) - HELD_OUT), folder / "train-00000-of-00001.parquet")
    pq.write_table(table.slice(len(table) - HELD_OUT), folder / "test-00000-of-00001.parquet")
    return str(folder)


def prepare(data: str, storage: str, limit: list[str]) -> tuple[str, str]:
    config = load([f"storage={storage}", "data.name=cifar10", f"data.root={data}", "cluster.workers=0", *limit])
    config.select.name, config.select.budget = "random_balanced", FRACTION
    plan = Plan(config)
    subset = select.subset(plan, config.select, 0)
    plan.run(subset)
    return ingest.images(plan).uri, subset.uri


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--data", required=True)
    parser.add_argument("--rate", type=float, default=1.0, help="MB/s")
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--limit", type=int, help="only the first images, for a quick look")
    parser.add_argument("--target", type=float)
    parser.add_argument("--with", dest="recipe", action="append", default=[], help="overrides, the same for all ways")
    parser.add_argument("--child")
    arguments = parser.parse_args()
    if arguments.child:
        print(json.dumps(child(**json.loads(arguments.child))))
        return
    limit = [f"data.limit={arguments.limit}"] if arguments.limit else []
    found: dict[str, list[dict[str, float]]] = {way: [] for way in WAYS}
    with tempfile.TemporaryDirectory() as folder:
        server = S3Server(Path(folder, "s3"))
        server.start()
        with closing(SlowLink(server.ports["s3.port"], arguments.rate * 1e6)) as link:
            os.environ |= server.env
            boto3.client("s3").create_bucket(Bucket="bench")
            slow = os.environ | {"AWS_ENDPOINT_URL": f"http://127.0.0.1:{link.port}"}
            data = held_out(arguments.data, Path(folder, "held out")) if arguments.target else arguments.data
            images, subset = prepare(data, "s3://bench/runs", limit)
            local, _ = prepare(data, f"{folder}/local", limit)
            for seed in range(arguments.seeds):
                for way in WAYS[seed % 3 :] + WAYS[: seed % 3]:
                    setting = {"way": way, "seed": seed, "seconds": arguments.seconds}
                    setting |= {"images": images, "subset": subset, "local": local}
                    setting |= {"recipe": arguments.recipe, "target": arguments.target}
                    command = [sys.executable, __file__, "--data", "", "--child", json.dumps(setting)]
                    out = subprocess.run(command, env=slow, check=True, text=True, stdout=subprocess.PIPE).stdout
                    found[way].append(json.loads(out.splitlines()[-1]))
                    print(f"seed {seed}  {way:<8} {found[way][-1]}", flush=True)
        server.kill()
    print(f"\n{arguments.seconds:.0f} s from a cold start at {arguments.rate:g} MB/s, {arguments.seeds} seeds")
    print("way       accuracy %      first step after s   steps" + "   target after s" * bool(arguments.target))
    for way, results in found.items():
        mean = partial(lambda results, key: statistics.fmean(one[key] for one in results), results)
        deviation = statistics.stdev([100 * one["accuracy"] for one in results]) if len(results) > 1 else float("nan")
        line = f"{way:<8}  {100 * mean('accuracy'):5.2f} ± {deviation:4.2f}  {mean('began'):18.1f}  {mean('steps'):6,.0f}"
        if arguments.target:
            times = [one["reached"] for one in results if one["reached"] is not None]
            line += f"   {statistics.fmean(times):.1f}" * bool(times) + f" ({len(times)} of {len(results)})"
        print(line)


if __name__ == "__main__":
    torch.set_num_threads(os.cpu_count() or 1)
    main()
