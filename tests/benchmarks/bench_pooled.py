"""LeNet with convolution, ReLU and pooling as one beside the same modules one after another, in one process.

    python tests/benchmarks/bench_pooled.py [--channels 1] [--threads 1] [--repeats 5]

A step is the loss and its gradients in the weights; in float32, and the modules also under autocast to bfloat16. Seconds on the
clock, the best of the repeats, which take turns.
"""

import argparse
import sys
import time
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import nn

sys.path.append(str(Path(__file__).resolve().parent.parent.parent))

from dsopt.models.lenet import lenet
from dsopt.training.worker import keep_freed_memory


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--channels", type=int, default=1)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--repeats", type=int, default=5)
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    keep_freed_memory()  # as the training loop does
    pooled = lenet(given.channels, 10)
    modules = nn.Sequential(*pooled)
    networks = {"as one": (pooled, False), "modules": (modules, False), "bfloat16": (modules, True)}
    for size in (10, 32, 128, 1024):
        images, labels, steps = torch.randn(size, given.channels, 32, 32), torch.randint(0, 10, (size,)), max(3, 400 // size)
        seconds = {name: [] for name in networks}
        for _ in range(given.repeats):
            for name, (network, low) in networks.items():
                started = time.perf_counter()
                for _ in range(steps):
                    with torch.autocast("cpu", torch.bfloat16, enabled=low):
                        loss = F.cross_entropy(network(images).float(), labels)
                    torch.autograd.grad(loss, list(network.parameters()))
                seconds[name].append((time.perf_counter() - started) / steps)
        ours, *others = (min(values) * 1000 for values in seconds.values())
        beside = ", ".join(f"{name} {ms:7.2f} ms: {ms / ours:.2f}" for name, ms in zip(list(networks)[1:], others, strict=True))
        print(f"{size:5} images a step: {ours:7.2f} ms, {beside}")


if __name__ == "__main__":
    main()
