"""Embedding through the whole Ray Data path against a plain PyTorch loop over the same files, on the same cores.

    python tests/benchmarks/bench_embed.py [--images 50000] [--rounds 3]

Prints the rate of each by the marginal time of twice as many images, their ratio (wanted: at least 0.8), and the fixed cost of
the Ray path from connecting on (wanted: at most 10 s): its time for a few images, less what they take at its rate. Contenders
alternate; figures are medians over the rounds.
"""

import argparse
import io
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from PIL import Image

from dsopt import config as configuration
from dsopt.augment.geometry import center_crop
from dsopt.data.images import decode
from dsopt.files import read_table, write_table
from dsopt.pipeline import networks
from dsopt.pipeline.plan import Plan
from dsopt.stages import autoencoder, embed
from dsopt.storage import Table, embeddings_schema

FEW = 500


def make_images(path: Path, count: int) -> None:
    """Smooth random pictures, 32x32 JPEG, about as large as those of CIFAR-10."""
    random = np.random.default_rng(0)
    files = []
    for coarse in random.integers(0, 256, (1000, 8, 8, 3), dtype=np.uint8):
        sink = io.BytesIO()
        Image.fromarray(coarse).resize((32, 32), Image.Resampling.BICUBIC).save(sink, "JPEG", quality=90)
        files.append({"bytes": sink.getvalue(), "path": None})
    rows = random.integers(0, len(files), count)
    pq.write_table(pa.table({"image": [files[i] for i in rows], "label": (rows % 10).astype(np.int64)}), path / "train.parquet")
    pq.write_table(pa.table({"image": files[:100], "label": np.arange(100) % 10}), path / "test.parquet")


def settings(folder: Path, count: int, workers: int, embed_batch: int = 256) -> configuration.Config:
    arguments = ["data.name=parquet", f"data.root={folder}/data", f"data.limit={count}", f"storage={folder}/runs"]
    arguments += [f"cluster.workers={workers}", "autoencoder.steps=1", "cluster.cpus_per_worker=2"]
    return configuration.load([*arguments, f"embed.batch_size={embed_batch}"])


def prepare(folder: Path, count: int) -> None:
    plan = Plan(settings(folder, count, 0))
    plan.run(autoencoder.model(plan))


def through_ray(folder: Path, count: int, attempt: int) -> None:
    """Run the embed stage with a batch size that no earlier attempt had, so that there is work to do."""
    plan = Plan(settings(folder, count, 1, 256 + 2 * attempt))
    plan.run(embed.embeddings(plan))


def plainly(folder: Path, count: int) -> None:
    """What one would write by hand: file by file, read, decode, encode, write."""
    torch.set_num_threads(2)
    stage = autoencoder.model(Plan(settings(folder, count, 0)))
    network = networks.trained(Table(stage.uri), torch.device("cpu"))
    for i, part in enumerate(Table(stage.inputs["images"].uri).parts("train")):
        images = decode(read_table(part.uri, ["id", "image", "label"]))
        found = []
        with torch.inference_mode():
            for batch in images.images.split(128):
                found.append(network.encode(center_crop(batch, 24).float() / 255))
        embeddings = torch.cat(found).numpy()
        tensor = pa.FixedShapeTensorArray.from_numpy_ndarray(embeddings)
        table = pa.table([images.ids.numpy(), images.labels.numpy(), tensor], schema=embeddings_schema(embeddings.shape[1]))
        write_table(f"{folder}/plain/part-{i:05d}.parquet", table, compression="none")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=50_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--measure", nargs=3, metavar=("FOLDER", "COUNT", "ATTEMPT"), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.measure:  # a process of its own, so that connecting to Ray counts
        folder, count, attempt = arguments.measure
        started = time.perf_counter()
        through_ray(Path(folder), int(count), int(attempt))
        print(f"seconds={time.perf_counter() - started}")
        return
    n = arguments.images
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "data").mkdir()
        make_images(folder / "data", 2 * n)
        for count in (FEW, n, 2 * n):
            prepare(folder, count)
        rates: dict[str, list[float]] = {"ray": [], "plain": []}
        fixed = []
        for attempt in range(arguments.rounds):
            seconds: dict[str, list[float]] = {"ray": [], "plain": []}
            for count in (FEW, n, 2 * n):
                command = [sys.executable, __file__, "--measure", name, str(count), str(attempt)]
                output = subprocess.run(command, check=True, capture_output=True, text=True).stdout
                seconds["ray"].append(float(output.rpartition("seconds=")[2]))
                started = time.perf_counter()
                plainly(folder, count)
                seconds["plain"].append(time.perf_counter() - started)
            for contender, (_, once, twice) in seconds.items():
                rates[contender].append(n / (twice - once))
            fixed.append(seconds["ray"][0] - FEW / rates["ray"][-1])
            print(f"round {attempt}: ray {seconds['ray']}, plain {seconds['plain']}", flush=True)
    ray, plain = (statistics.median(rates[contender]) for contender in ("ray", "plain"))
    ratio = statistics.median(a / b for a, b in zip(rates["ray"], rates["plain"], strict=True))
    print(f"Ray Data path  {ray:8,.0f} images/s, fixed cost {statistics.median(fixed):.1f} s")
    print(f"plain PyTorch  {plain:8,.0f} images/s")
    print(f"ratio          {ratio:.2f}")


if __name__ == "__main__":
    main()
