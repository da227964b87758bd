"""Embedding by `dsopt.cluster.data.stream` against Ray Data's own `read_parquet` -> `map_batches` -> `write_parquet`.

    python tests/benchmarks/bench_ray_data.py [--rounds 3] [--small 100000] [--large 5000]

The same parts, decoding and network, one worker of one thread. Small images are 32x32, large ones 224x224 JPEGs. Each run is a
process of its own, with a Ray of its own; seconds are from the first task on, "CPU s" is of all its processes. Ray's own way names
its files by its run: what a killed writer or a second driver leaves would count twice.
"""

import argparse
import io
import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[2]))
sys.path.insert(0, str(Path(__file__).parent))

import numpy as np
import psutil
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from PIL import Image
from torch import Tensor, nn

from dsopt import config as configuration
from dsopt.cluster import data, session
from dsopt.models import libraries
from dsopt.pipeline.encoding import of_encoder
from dsopt.pipeline.plan import Plan
from dsopt.reporting.tables import aligned
from dsopt.stages import embed, ingest
from dsopt.storage import Table

SIZES = {"small": 32, "large": 224}
WAYS = ("stream", "map_batches")


def encoder() -> tuple[nn.Module, Any]:
    """A network that costs next to nothing, so that it is the way of the data that is measured."""

    def see(picture: Image.Image) -> Tensor:
        return torch.from_numpy(np.asarray(picture).copy()).permute(2, 0, 1).float()

    return nn.Sequential(nn.AdaptiveAvgPool2d(8), nn.Flatten()), see


def write_source(folder: Path, rows: int, size: int) -> None:
    random, files = np.random.default_rng(0), []
    for coarse in random.integers(0, 256, (500, 8, 8, 3), dtype=np.uint8):
        sink = io.BytesIO()
        Image.fromarray(coarse).resize((size, size), Image.Resampling.BICUBIC).save(sink, "JPEG", quality=90)
        files.append({"bytes": sink.getvalue(), "path": None})
    folder.mkdir()
    for start in range(0, rows, 5000):
        count = min(5000, rows - start)
        table = pa.table({"image": [files[i % 500] for i in range(count)], "label": np.arange(count) % 10})
        pq.write_table(table, folder / f"train-{start // 5000:05d}.parquet")


def settings(folder: Path, kind: str, workers: int) -> configuration.Config:
    keys = ["data.name=parquet", f"data.root={folder / kind}", f"data.image_size={SIZES[kind]}", "data.check=off"]
    keys += [f"storage={folder / 'runs'}", "embed.encoder=bench_ray_data:encoder", "embed.batch_size=256"]
    return configuration.load([*keys, f"cluster.workers={workers}", "cluster.cpus_per_worker=1", "cluster.gpu=false"])


class Embed:
    """What Ray Data calls with batches of rows."""

    def __init__(self, config: configuration.Config) -> None:
        torch.set_num_threads(1)
        name = config.embed.encoder[0]
        self.embedder = of_encoder(libraries.encoder(name, libraries.LIBRARY, None), config.data, torch.device("cpu"))

    @torch.inference_mode()
    def __call__(self, rows: pa.Table) -> pa.Table:
        images = torch.stack([self.embedder.see(image["bytes"].as_py()) for chunk in rows["image"].chunks for image in chunk])
        values = torch.cat([self.embedder.embed(batch) for batch in images.split(256)]).numpy()
        return pa.table({"id": rows["id"], "label": rows["label"], "embedding": list(values)})


def run(folder: Path, kind: str, way: str) -> None:
    """Embed in this process and its Ray, and print what it took as JSON."""
    config = settings(folder, kind, 1)
    plan = Plan(config)
    ray = session.connect()
    data.start(config.cluster, nothing)
    started, before = time.perf_counter(), spent()
    if way == "stream":
        plan.run(embed.embeddings(plan))
    else:
        parts = [part.uri for part in Table(ingest.images(plan).uri).parts("train")]
        rows = ray.data.read_parquet(parts, columns=["id", "image", "label"], override_num_blocks=len(parts))
        pool = ray.data.ActorPoolStrategy(size=1)
        rows = rows.map_batches(
            Embed, fn_constructor_args=(config,), batch_format="pyarrow", batch_size=512, compute=pool, num_cpus=0.5
        )
        rows.write_parquet(str(folder / f"out-{kind}-{time.time_ns()}"))
    took, cpu = time.perf_counter() - started, spent() - before
    print(json.dumps({"seconds": took, "cpu": cpu}))


def nothing(item: None) -> None: ...


def spent() -> float:
    """CPU seconds of this process and all below it."""
    own = psutil.Process()
    times = [p.cpu_times() for p in (own, *own.children(recursive=True))]
    return sum(t.user + t.system + t.children_user + t.children_system for t in times)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--small", type=int, default=100_000)
    parser.add_argument("--large", type=int, default=5_000)
    parser.add_argument("--run", nargs=3, metavar=("FOLDER", "KIND", "WAY"), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.run:
        return run(Path(arguments.run[0]), *arguments.run[1:])
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for kind in SIZES:
            write_source(folder / kind, getattr(arguments, kind), SIZES[kind])
            plan = Plan(settings(folder, kind, 0))
            plan.run(ingest.images(plan))
            found: dict[str, list[dict[str, float]]] = {way: [] for way in WAYS}
            for round in range(arguments.rounds):
                for way in WAYS[:: 1 if round % 2 else -1]:
                    command = [sys.executable, __file__, "--run", str(folder), kind, way]
                    done = subprocess.run(command, check=True, capture_output=True, text=True)
                    found[way].append(json.loads(done.stdout.splitlines()[-1]))
                    subprocess.run(["rm", "-rf", *map(str, (folder / "runs" / "embed", *folder.glob("out-*")))], check=True)
            lines = []
            for way, runs in found.items():
                middle = {key: statistics.median(run[key] for run in runs) for key in runs[0]}
                rate = getattr(arguments, kind) / middle["seconds"]
                lines.append([kind, way, f"{rate:,.0f}", f"{middle['cpu']:.1f}"])
            print(aligned(["images", "way", "images/s", "CPU s"], lines, 2), flush=True)


if __name__ == "__main__":
    main()
