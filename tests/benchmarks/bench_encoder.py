"""Embedding photographs by an encoder of timm, beside a bare loop with timm over the same files with as many threads.

    python tests/benchmarks/bench_encoder.py [--images 600] [--repeat 4] [--name tf_efficientnet_lite0] [--decode cpu gpu]

The photographs are those of `bench_ingest.py`. The bare loops: `DataLoader` with one worker process a core over timm's own data set
and transform, batches of 64, the network with all threads; and the same in one process. Ours: the whole stage without Ray, reading
the originals, writing the table. Wanted: at least 0.95 of the images a second of the faster loop. Also printed: the peak memory.

On a GPU the loops, whose network stays on the CPU, are left out: `embed.decode=gpu` is to be compared with `cpu`.
"""

import argparse
import os
import resource
import statistics
import sys
import tempfile
import time
from functools import partial
from pathlib import Path

import timm
import torch
from safetensors.torch import save_file
from timm.data import ImageDataset, create_transform
from timm.data.config import resolve_model_data_config
from torch.utils.data import DataLoader

sys.path.insert(0, str(Path(__file__).parents[2]))

from bench_ingest import write_photographs

from dsopt.config import load
from dsopt.pipeline.plan import Plan
from dsopt.stages import embed, ingest
from dsopt.storage import Table

CORES = len(os.sched_getaffinity(0))


@torch.inference_mode()
def loop(folder: Path, name: str, weights: Path, workers: int) -> int:
    network = timm.create_model(name, pretrained=True, pretrained_cfg_overlay={"file": str(weights)}, num_classes=0).eval()
    pictures = ImageDataset(str(folder), transform=create_transform(**resolve_model_data_config(network)))
    network = network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    batches = DataLoader(pictures, 64, num_workers=workers)
    return sum(len(network(images.to(memory_format=torch.channels_last))) for images, _ in batches)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, default=600)
    parser.add_argument("--repeat", type=int, default=4)
    parser.add_argument("--name", default="tf_efficientnet_lite0")
    parser.add_argument("--decode", nargs="+", choices=["cpu", "gpu"], default=["cpu"], help="of ours; gpu needs one")
    asked = parser.parse_args()
    torch.manual_seed(0)
    taken: dict[str, list[float]] = {}
    with tempfile.TemporaryDirectory() as place:
        photographs, weights = Path(place, "photographs"), Path(place, "weights.safetensors")
        write_photographs(photographs, asked.images)
        save_file(timm.create_model(asked.name).state_dict(), weights)
        base = ["data.name=folder", f"data.root={photographs}", f"storage={place}/runs", "cluster.workers=0", "data.check=off"]
        base += ["data.test_fraction=0.0001", f"embed.encoder=timm:{asked.name}", f"embed.weights={weights}", "embed.batch_size=64"]
        first = Plan(load(base))
        first.run(ingest.images(first))

        def ours(decode: str, turn: int) -> int:
            os.utime(weights, (turn, turn))  # other weights, as far as the stage knows
            plan = Plan(load([*base, f"embed.decode={decode}"]))
            stage = embed.embeddings(plan)
            plan.run(stage)
            return Table(stage.uri).rows()

        loops = {
            f"loop, {CORES} processes that decode": lambda turn: loop(photographs, asked.name, weights, CORES),
            "loop, one process": lambda turn: loop(photographs, asked.name, weights, 0),
        }
        contenders = {f"dsopt, embed.decode={how}": partial(ours, how) for how in asked.decode}
        contenders |= {} if torch.cuda.is_available() else loops
        for turn in range(asked.repeat):
            for name in contenders if turn % 2 else reversed(contenders):
                started = time.perf_counter()
                assert contenders[name](turn + 1) == asked.images
                taken.setdefault(name, []).append(asked.images / (time.perf_counter() - started))
    for name, rates in taken.items():
        print(f"{name}: {statistics.median(rates):.1f} images/s")
    print(f"peak memory of this process: {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10:.0f} MiB")


if __name__ == "__main__":
    main()
