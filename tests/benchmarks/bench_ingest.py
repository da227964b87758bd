"""How fast photographs are taken in, beside the same working copies made in other ways, in one run.

    python tests/benchmarks/bench_ingest.py [--images 500] [--size 224] [--repeat 3]
    python tests/benchmarks/bench_ingest.py --job --images 3000 --repeat 2 [--img2dataset ~/other/bin/img2dataset]

The photographs are JPEGs of 500x375 pixels, cut from scikit-learn's two. In one process: a loop with PIL in one thread, as square
PNGs (`data.fit=square data.store=png`) and as JPEGs of the whole picture. With `--job`: the ingest stage into Parquet on all cores,
beside Hugging Face `datasets`, whose imagefolder is resized by `map` into the same JPEGs and written as Parquet, with as many
processes; and beside img2dataset's resize to Parquet, if its command is named (its requirements are not ours: an environment of
its own). Wanted: at least as fast. Wall-clock and, of one process, processor time.
"""

import argparse
import io
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pyarrow.parquet as pq
from PIL import Image, ImageOps
from sklearn.datasets import load_sample_images

sys.path.insert(0, str(Path(__file__).parents[2]))

from dsopt.config import DataConfig, load
from dsopt.data.ingest import ingest_shard
from dsopt.data.sources.source import find
from dsopt.pipeline.plan import Plan
from dsopt.stages import ingest
from dsopt.storage import Table

WIDTH, HEIGHT = 500, 375
CORES = len(os.sched_getaffinity(0))


def write_photographs(root: Path, count: int) -> None:
    pictures, numbers = [Image.fromarray(pixels) for pixels in load_sample_images().images], np.random.default_rng(0)
    for i in range(count):
        whole = pictures[i % 2]
        width = int(numbers.uniform(0.35, 0.85) * whole.width)
        height = width * HEIGHT // WIDTH
        x, y = numbers.integers(0, whole.width - width + 1), numbers.integers(0, whole.height - height + 1)
        place = root / ("china", "flower")[i % 2] / f"{i:05}.jpg"
        place.parent.mkdir(parents=True, exist_ok=True)
        whole.crop((x, y, x + width, y + height)).resize((WIDTH, HEIGHT)).save(place, quality=90)


def ours(root: Path, size: int) -> int:
    shards, classes = find(DataConfig(name="folder", root=str(root))).list_shards()
    data = DataConfig(image_size=size, channels=3)
    return sum(len(table) for shard in shards for table in ingest_shard(shard, data, classes).tables.values())


def square_png(root: Path, size: int) -> int:
    return plainly(root, lambda picture: encoded(ImageOps.fit(picture, (size, size), Image.Resampling.BICUBIC), "PNG"))


def whole_jpeg(root: Path, size: int) -> int:
    target = round(size * WIDTH / HEIGHT), size
    return plainly(
        root, lambda picture: encoded(picture.resize(target, Image.Resampling.BICUBIC), "JPEG", quality=92, subsampling=0)
    )


def job(root: Path, size: int) -> int:
    with tempfile.TemporaryDirectory() as storage:
        settings = ["data.name=folder", f"data.root={root}", f"data.image_size={size}", f"storage={storage}", "cluster.workers=0"]
        plan = Plan(load([*settings, "data.check=off"]))
        stage = ingest.images(plan)
        plan.run(stage)
        return Table(stage.uri).rows()


def hugging_face(root: Path, size: int) -> int:
    datasets.disable_progress_bars()
    target = round(size * WIDTH / HEIGHT), size

    def resized(row: dict[str, Any]) -> dict[str, Any]:
        picture = row["image"].convert("RGB").resize(target, Image.Resampling.BICUBIC)
        return {"image": {"bytes": encoded(picture, "JPEG", quality=92, subsampling=0), "path": None}}

    with tempfile.TemporaryDirectory() as cache:
        found = datasets.load_dataset("imagefolder", data_dir=str(root), split="train", cache_dir=cache, num_proc=CORES)
        copies = found.map(resized, num_proc=CORES)
        copies.to_parquet(f"{cache}/copies.parquet")
        return len(copies)


def img2dataset(root: Path, size: int, command: str) -> int:
    with tempfile.TemporaryDirectory() as folder:
        listed = Path(folder, "urls.csv")
        listed.write_text("\n".join(["url", *(file.as_uri() for file in sorted(root.rglob("*.jpg")))]))
        options = {
            "url_list": listed,
            "input_format": "csv",
            "url_col": "url",
            "output_format": "parquet",
            "output_folder": Path(folder, "copies"),
            "image_size": size,
            "resize_mode": "keep_ratio",
            "encode_quality": 92,
            "processes_count": CORES,
            "number_sample_per_shard": 256,
        }
        subprocess.run([command, *(f"--{key}={value}" for key, value in options.items())], check=True, capture_output=True)
        return sum(pq.read_metadata(file).num_rows for file in Path(folder, "copies").glob("*.parquet"))


def plainly(root: Path, copy: Callable[[Image.Image], bytes]) -> int:
    return len([copy(Image.open(file).convert("RGB")) for file in sorted(root.rglob("*.jpg"))])


def encoded(picture: Image.Image, kind: str, **options: int) -> bytes:
    sink = io.BytesIO()
    picture.save(sink, kind, **options)
    return sink.getvalue()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    for name, default in (("images", 500), ("size", 224), ("repeat", 3)):
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--job", action="store_true", help="the whole stage on all cores, beside datasets")
    parser.add_argument("--img2dataset", help="its command, to run beside --job")
    asked = parser.parse_args()
    taken: dict[str, list[tuple[float, float]]] = {}
    with tempfile.TemporaryDirectory() as folder:
        write_photographs(Path(folder), asked.images)
        for turn in range(asked.repeat):
            functions = {f.__name__: f for f in ([job, hugging_face] if asked.job else [ours, whole_jpeg, square_png])}
            if asked.img2dataset:
                functions["img2dataset"] = partial(img2dataset, command=asked.img2dataset)
            for name in functions if turn % 2 == 0 else reversed(functions):
                wall, processor = time.perf_counter(), time.process_time()
                assert functions[name](Path(folder), asked.size) == asked.images
                taken.setdefault(name, []).append((time.perf_counter() - wall, time.process_time() - processor))
    for name, seconds in taken.items():
        wall, processor = (statistics.median(column) for column in zip(*seconds, strict=True))
        own = "" if asked.job else f", {processor / asked.images * 1000:.1f} ms of a processor an image"
        print(f"{name}: {asked.images / wall:.0f} images/s{own}")


if __name__ == "__main__":
    main()
