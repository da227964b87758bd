"""One outer step of `dd` beside a plain unroll of the same computation, in one process.

    python tests/benchmarks/bench_dd.py [--network lenet|convnet] [--repeats 5] [--threads 1]

30 inner steps (10 blocks of 10 images, 3 epochs), 1,024 real images; ConvNet of width 32, and for the plain unroll with torch's own
instance normalisation. Processor seconds, the best of the repeats, which take turns; memory is what each adds to the process at
its peak, in a process of its own.
"""

import argparse
import copy
import multiprocessing
import sys
import time
from functools import partial
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import nn
from torch.func import functional_call

sys.path.append(str(Path(__file__).resolve().parent.parent.parent))

from dsopt.data.batches import Batch
from dsopt.distillation.contract import Problem
from dsopt.distillation.dd import dd
from dsopt.models.convnet import convnet
from dsopt.models.lenet import lenet
from dsopt.training.worker import keep_freed_memory

NETWORKS = {"lenet": lenet, "convnet": partial(convnet, width=32)}


def setting(name, dtype=torch.float32):
    """The method, a network, the same one with nothing but torch's modules, and a real batch."""
    keep_freed_memory()  # as the training loop does
    torch.manual_seed(0)
    real = Batch(torch.randn(1024, 1, 32, 32, dtype=dtype), torch.randint(0, 10, (1024,)), 0)
    problem = Problem(real.images, real.labels, lambda images: images, 10, 10, partial(NETWORKS[name], 1, 10))
    network = problem.network().to(dtype)
    torchs = nn.Sequential(*copy.deepcopy(network))
    for index, module in enumerate(torchs):
        if isinstance(module, nn.InstanceNorm2d):
            torchs[index] = nn.InstanceNorm2d(module.num_features, affine=True, dtype=dtype)
    found = dd(problem, epochs=3)
    for value in (found.stored.leaf, found.learned["rates"]):
        value.data = value.data.to(dtype)
    return found, network, torchs, real


def ours(found, network, _, real):
    return found.gradients(network, [value.detach() for value in network.parameters()], real)[1]


def plain(found, _, network, real):
    """One graph of everything."""
    names, weights = [name for name, _ in network.named_parameters()], list(network.parameters())
    images, rates = found.stored.leaf, found.learned["rates"]
    for epoch in range(3):
        for block in range(10):
            x, y = images.chunk(10)[block], found.labels.chunk(10)[block]
            loss = F.cross_entropy(functional_call(network, dict(zip(names, weights, strict=True)), (x,)), y)
            gradients = torch.autograd.grad(loss, weights, create_graph=True)
            weights = [w - F.softplus(rates[epoch, block]) * g for w, g in zip(weights, gradients, strict=True)]
    loss = F.cross_entropy(functional_call(network, dict(zip(names, weights, strict=True)), (real.images,)), real.labels)
    return torch.autograd.grad(loss, [images, rates])


def memory(what):
    """KiB, as Linux counts this process's."""
    return int(next(line for line in open("/proc/self/status") if line.startswith(what)).split()[1])


def peak(name, network, threads, answer):
    torch.set_num_threads(threads)
    arguments = setting(network)
    Path("/proc/self/clear_refs").write_text("5")  # the peak starts anew
    before = memory("VmRSS")
    globals()[name](*arguments)
    answer.put(memory("VmHWM") - before)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--network", choices=NETWORKS, default="lenet")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--threads", type=int, default=1)
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    exact = setting(given.network, torch.float64)  # in float32 rounding may move a unit across zero, and then all that follows
    for mine, theirs in zip(ours(*exact), plain(*exact), strict=True):
        assert float((mine - theirs).norm()) < 1e-9 * float(theirs.norm())
    arguments = setting(given.network)
    seconds = {"ours": [], "plain": []}
    for _ in range(given.repeats):
        for name in seconds:
            started = time.process_time()
            globals()[name](*arguments)
            seconds[name].append(time.process_time() - started)
    context, added = multiprocessing.get_context("spawn"), {}
    for name in seconds:
        answer = context.Queue()
        process = context.Process(target=peak, args=(name, given.network, given.threads, answer))
        process.start()
        added[name] = answer.get() / 1024
        process.join()
    for name, values in seconds.items():
        print(f"{name:<6} {min(values):6.3f} processor s  {added[name]:7.1f} MiB more at the peak")
    time_ratio, memory_ratio = min(seconds["plain"]) / min(seconds["ours"]), added["plain"] / added["ours"]
    print(f"plain / ours: {time_ratio:.2f} in time, {memory_ratio:.2f} in memory")


if __name__ == "__main__":
    main()
