"""Accuracy after a time that begins with nothing read: full data, fresh random subsets (RS2), a subset while the rest comes.

    python tests/benchmarks/bench_cold_start.py --data /data/cifar10 --rate 1 --seconds 60 --seeds 3

CIFAR-10 lies on a real S3 server behind a link of `--rate` MB/s: at 1 MB/s its 58 MB take about as long to read as a data set of
thousands of times that size does over a data centre's network. Each way has a process of its own and the same seconds for
everything: reading, decoding, training. Choosing a class-balanced random subset costs nothing; reading it is in the time.
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

sys.path.insert(0, str(Path(__file__).parents[1]))
sys.path.insert(0, str(Path(__file__).parents[2]))

import boto3
import torch
from s3_server import S3Server
from slow_link import SlowLink

from dsopt.augment.inputs import make_inputs
from dsopt.config import Config, load
from dsopt.data.background import BackgroundLoader
from dsopt.data.batches import in_order
from dsopt.data.loading import load as load_images
from dsopt.pipeline.plan import Plan
from dsopt.pipeline.training import batches, classifier_learner
from dsopt.seeds import derive
from dsopt.stages import ingest, select
from dsopt.storage import Table
from dsopt.training.loop import Phase, fit
from dsopt.training.overlap import Overlap
from dsopt.training.samplers import BatchIndices, Sampler
from dsopt.training.samplers.rs2 import rs2
from dsopt.training.samplers.shuffle import shuffle
from dsopt.training.schedules import cosine
from dsopt.training.worker import this_process

FRACTION = 0.0864
WAYS = ("full", "rs2", "overlap")


def rounds(arriving: BackgroundLoader, batch_size: int, seed: int) -> Sampler:
    """RS2 from storage: each round a fresh fraction as it comes, seen once; once all is there, fractions of everything."""
    share = round(FRACTION * arriving.n)
    steps = -(-share // batch_size)
    last = arriving.n // share * steps
    later = rs2(arriving.n, batch_size, seed, fraction=FRACTION)

    def draw(step: int) -> BatchIndices:
        if step >= last:
            arriving.wait(arriving.n)
            return later(step - last)
        number, inside = divmod(step, steps)
        arriving.wait((number + 1) * share)
        return BatchIndices(number * share + shuffle(share, batch_size, derive(seed, number))(inside).indices)

    return draw


def child(way: str, seed: int, seconds: float, images: str, subset: str, local: str) -> dict[str, float]:
    """One training run from nothing; its accuracy, and when its first step was taken."""
    config, worker, test = Config(), this_process(), load_images(local, "test")
    inputs = make_inputs(config.train.augment, 24, config.train.standardise)
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
    state = fit(learner, [Phase(source, cosine, seconds=seconds - first)])
    took = time.perf_counter() - started
    accuracy = learner.evaluate(in_order(test.images, test.labels, 1000, inputs.test, worker.device))["accuracy"]
    if arriving:
        arriving.close()
    return {"accuracy": accuracy, "began": first, "seconds": took, "steps": state.total}


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
            images, subset = prepare(arguments.data, "s3://bench/runs", limit)
            local, _ = prepare(arguments.data, f"{folder}/local", limit)
            for seed in range(arguments.seeds):
                for way in WAYS[seed % 3 :] + WAYS[: seed % 3]:
                    setting = {"way": way, "seed": seed, "seconds": arguments.seconds}
                    setting |= {"images": images, "subset": subset, "local": local}
                    command = [sys.executable, __file__, "--data", "", "--child", json.dumps(setting)]
                    out = subprocess.run(command, env=slow, check=True, text=True, stdout=subprocess.PIPE).stdout
                    found[way].append(json.loads(out.splitlines()[-1]))
                    print(f"seed {seed}  {way:<8} {found[way][-1]}", flush=True)
        server.kill()
    print(f"\n{arguments.seconds:.0f} s from a cold start at {arguments.rate:g} MB/s, {arguments.seeds} seeds")
    print("way       accuracy %      first step after s   steps")
    for way, results in found.items():
        mean = partial(lambda results, key: statistics.fmean(one[key] for one in results), results)
        deviation = statistics.stdev([100 * one["accuracy"] for one in results]) if len(results) > 1 else float("nan")
        print(f"{way:<8}  {100 * mean('accuracy'):5.2f} ± {deviation:4.2f}  {mean('began'):18.1f}  {mean('steps'):6,.0f}")


if __name__ == "__main__":
    torch.set_num_threads(os.cpu_count() or 1)
    main()
