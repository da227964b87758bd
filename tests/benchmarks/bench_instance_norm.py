"""Instance normalisation beside torch's: its value, its derivatives, and the derivatives of these.

    python tests/benchmarks/bench_instance_norm.py [--repeats 5] [--threads 1]

Processor milliseconds, the best of the repeats, which take turns; each column includes the ones before it.
"""

import argparse
import sys
import time
from pathlib import Path

import torch
from torch import nn

sys.path.append(str(Path(__file__).resolve().parent.parent.parent))

from dsopt.models.instance_norm import InstanceNorm2d
from dsopt.training.worker import keep_freed_memory

SHAPES = [(20, 32, 32, 32), (100, 32, 16, 16), (100, 32, 8, 8), (10, 128, 32, 32)]


def value(norm, images, factor):
    return norm(images.detach())


def once(norm, images, factor, **options):
    return torch.autograd.grad((norm(images) * factor).sum(), [images, *norm.parameters()], **options)


def twice(norm, images, factor):
    by_images, by_weight, by_bias = once(norm, images, factor, create_graph=True)
    outer = (by_images * factor).sum() + by_weight.sum() + by_bias.sum()
    return torch.autograd.grad(outer, [images, *norm.parameters()], allow_unused=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--threads", type=int, default=1)
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    keep_freed_memory()  # as the training loop does
    print(f"{'shape':<20} {'value':>18} {'and derivatives':>18} {'and theirs':>18}   (torch / ours, ms)")
    for shape in SHAPES:
        images, factor, cells = torch.randn(shape, requires_grad=True), torch.randn(shape), []
        norms = (nn.InstanceNorm2d(shape[1], affine=True), InstanceNorm2d(shape[1]))
        for task in (value, once, twice):
            best = [float("inf")] * 2
            for _ in range(given.repeats + 1):
                for index, norm in enumerate(norms):
                    started = time.process_time()
                    for _ in range(5):
                        task(norm, images, factor)
                    best[index] = min(best[index], (time.process_time() - started) / 5)
            theirs, ours = (1000 * seconds for seconds in best)
            cells.append(f"{theirs:6.2f} / {ours:5.2f} {theirs / ours:4.1f}")
        print(f"{'x'.join(map(str, shape)):<20} {cells[0]:>18} {cells[1]:>18} {cells[2]:>18}")


if __name__ == "__main__":
    main()
