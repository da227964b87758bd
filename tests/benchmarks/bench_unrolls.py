"""A step of each distiller that can be compiled: as it is, and compiled (`distill.compile`), in one process.

    python tests/benchmarks/bench_unrolls.py [--methods dd bptt gradient_matching] [--networks lenet convnet] [--repeats 5]

On a GPU where there is one, and there into CUDA graphs; else on one thread of the CPU. 100 synthetic images and 256 real ones; `dd`
takes 30 inner steps of 10 images, `bptt` differentiates through 10 of 20 steps of Adam, `gradient_matching` trains its network for
10 steps. LeNet, and ConvNet of width 32. Seconds of the GPU's clock, or of the processor, the best of the repeats, in turns;
the first steps, of which one compiles, are not counted but told. The images of both ways are compared after these.
"""

import argparse
import sys
import time
from functools import partial
from pathlib import Path

import torch

sys.path.append(str(Path(__file__).resolve().parent.parent.parent))

from dsopt.data.batches import Batch
from dsopt.distillation.contract import Problem
from dsopt.models.convnet import convnet
from dsopt.models.lenet import lenet
from dsopt.registry import DISTILLERS
from dsopt.training.worker import keep_freed_memory

NETWORKS = {"lenet": lenet, "convnet": partial(convnet, width=32)}
METHODS = {"dd": {"epochs": 3}, "bptt": {"length": 20, "window": 10}, "gradient_matching": {"outer": 100, "inner": 10}}
DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")
FIRST = 4  # steps that are not counted: one compiles, and CUDA graphs are recorded in the next ones


def now() -> float:
    if DEVICE.type == "cuda":
        torch.cuda.synchronize()
        return time.perf_counter()
    return time.process_time()


class Steps:
    """Steps of a method, of which the first ones are taken already."""

    def __init__(self, method: str, network: str, how: str) -> None:
        torch.manual_seed(0)
        labels = torch.arange(10, device=DEVICE).repeat(100)
        images = torch.randn(1000, 1, 32, 32).to(DEVICE)

        def make() -> torch.nn.Sequential:
            return NETWORKS[network](1, 10).to(DEVICE)

        problem = Problem(images, labels, lambda real: real, 10, 10, make, device=DEVICE, compile=how)
        self.made = DISTILLERS.build(method, METHODS[method])(problem)
        self.batches = [Batch(images[: 256 // 10 * 10], labels[: 256 // 10 * 10], seed) for seed in range(FIRST)]
        started = now()
        for batch in self.batches:
            self.made.update(batch)
        self.first, self.images = now() - started, self.made.synthetic().images.clone()

    def seconds(self) -> float:
        """Of one step more; always on the same batch, so that `bptt` has the same window."""
        started = now()
        self.made.update(self.batches[0])
        return now() - started


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--methods", nargs="+", choices=METHODS, default=list(METHODS))
    parser.add_argument("--networks", nargs="+", choices=NETWORKS, default=list(NETWORKS))
    parser.add_argument("--repeats", type=int, default=5)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    keep_freed_memory()  # as the training loop does
    print(f"{torch.cuda.get_device_name() if DEVICE.type == 'cuda' else 'CPU'}, torch {torch.__version__}")
    for network in arguments.networks:
        for method in arguments.methods:
            eager, compiled = (Steps(method, network, how) for how in ("off", "on"))
            apart = float((compiled.images - eager.images).norm() / eager.images.norm())
            both = [(eager.seconds(), compiled.seconds()) for _ in range(arguments.repeats)]  # in turns
            one, other = (min(seconds) for seconds in zip(*both, strict=True))
            print(
                f"{method:<18} {network:<8} eager {one:7.3f} s  compiled {other:7.3f} s  ratio {other / one:.2f}  "
                f"first {FIRST} steps {compiled.first:.0f} s  images {apart:.0e} apart",
                flush=True,
            )


if __name__ == "__main__":
    main()
