"""How planning, ingest, embedding and selection grow with the number of images: seconds, rows a second, and peak memory.

    python tests/benchmarks/bench_growth.py [--rows 10000 100000] [--stages ingest random planning] [--folder FOLDER]

With a folder, its data and stages are kept there, so that a large size can be measured in several calls, a few stages each.

Random pictures of 8x8 pixels in Parquet files of 10,000, so that it is the rows that cost, not the pixels. No Ray: one process, of
one thread, is driver and worker at once; each stage is a process of its own, whose memory counts from its start. "planning" is a
job of which everything is done: what every resumed job does first.
"""

import argparse
import contextlib
import io
import json
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from PIL import Image

from dsopt import config as configuration
from dsopt.pipeline.plan import Plan
from dsopt.reporting.tables import aligned
from dsopt.stages import autoencoder, embed, ingest, select
from dsopt.storage import Stage

FILE_ROWS = 10_000
OVERRIDES = ("data.name=parquet", "data.image_size=32", "autoencoder.steps=1", "autoencoder.options.width=8")


def chosen(*overrides: str) -> Callable[[Plan], Stage]:
    def planned(plan: Plan) -> Stage:
        options = configuration.load([*OVERRIDES, *overrides]).select
        return select.subset(plan, options, 0)

    return planned


STAGES: dict[str, Callable[[Plan], Stage]] = {
    "ingest": ingest.images,
    "autoencoder": autoencoder.model,
    "embed": embed.embeddings,
    "random": chosen("select.name=random", "select.budget=0.1"),
    "top_activation": chosen("select.name=top_activation", "select.budget=0.1"),
    "kmeans": chosen("select.name=kmeans", "select.budget=100"),
    "planning": chosen("select.name=random", "select.budget=0.1"),
}


def write_source(folder: Path, rows: int) -> None:
    """Write the files that are not there yet."""
    folder.mkdir(parents=True, exist_ok=True)
    for start in range(0, rows, FILE_ROWS):
        file, random = folder / f"train-{start // FILE_ROWS:05d}.parquet", np.random.default_rng(start)
        if file.exists():
            continue
        images = random.integers(0, 256, (min(FILE_ROWS, rows - start), 8, 8, 3), dtype=np.uint8)
        files = []
        for image in images:
            sink = io.BytesIO()
            Image.fromarray(image).save(sink, "PNG", compress_level=1)
            files.append({"bytes": sink.getvalue(), "path": None})
        labels = random.integers(0, 10, len(images))
        part = file.with_suffix(".part")
        pq.write_table(pa.table({"image": files, "label": labels}), part)
        part.rename(file)  # whole, or not there


def measure(stage: str, folder: Path) -> None:
    """Make one stage, and print what it took as JSON."""
    torch.set_num_threads(1)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    started, cpu = time.perf_counter(), time.process_time()
    plan = Plan(configuration.load([*OVERRIDES, f"data.root={folder / 'data'}", f"storage={folder / 'runs'}", "cluster.workers=0"]))
    plan.run(STAGES[stage](plan))
    took, cpu = time.perf_counter() - started, time.process_time() - cpu
    print(json.dumps({"seconds": took, "cpu": cpu, "mb": (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024}))


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--rows", type=int, nargs="+", default=[10_000, 100_000])
    parser.add_argument("--stages", nargs="+", choices=STAGES, default=list(STAGES))
    parser.add_argument("--folder")
    parser.add_argument("--stage")
    given = parser.parse_args()
    if given.stage:
        measure(given.stage, Path(given.folder))
        return
    found = []
    for rows in given.rows:
        with contextlib.nullcontext(given.folder) if given.folder else tempfile.TemporaryDirectory() as parent:
            folder = Path(parent, str(rows))
            write_source(folder / "data", rows)
            for stage in given.stages:
                command = [sys.executable, __file__, "--stage", stage, "--folder", str(folder)]
                ran = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
                one = json.loads(ran.stdout.splitlines()[-1])
                took, cpu = one["seconds"], one["cpu"]
                row = [f"{rows:,}", stage, f"{took:.1f}", f"{cpu:.1f}", f"{rows / cpu:,.0f}", f"{one['mb']:.0f}"]
                found.append(row)
                print(*row, flush=True)
    print(aligned(["rows", "stage", "seconds", "CPU seconds", "rows per CPU second", "MB more"], found))


if __name__ == "__main__":
    main()
