"""How the memory of an outer step of `bptt` grows with its window, beside keeping the graphs of all steps.

    python tests/benchmarks/bench_bptt.py [--windows 10 40 160] [--threads 1]

LeNet, Adam, 100 synthetic images, 256 real ones; of the states all are kept, or one of as many as the root of the window. Memory is
what a step adds to the process at its peak, each in a process of its own; seconds are of the processor, of the first step.
"""

import argparse
import math
import multiprocessing
import sys
import time
from pathlib import Path

import torch

sys.path.append(str(Path(__file__).resolve().parent.parent.parent))

from dsopt.data.batches import Batch
from dsopt.distillation import bptt as module
from dsopt.distillation.contract import Problem
from dsopt.models.lenet import lenet


def memory(what):
    """KiB, as Linux counts this process's."""
    return int(next(line for line in open("/proc/self/status") if line.startswith(what)).split()[1])


def step(window, every, threads, answer):
    """MiB, seconds and the gradient's norm of one outer step."""
    torch.set_num_threads(threads)
    torch.manual_seed(0)
    real = Batch(torch.randn(256, 1, 32, 32), torch.randint(0, 10, (256,)), 0)
    problem = Problem(real.images, real.labels, lambda images: images, 10, 10, lambda: lenet(1, 10))
    found = module.bptt(problem, length=window, window=window)
    found.every = every
    network = problem.network()
    Path("/proc/self/clear_refs").write_text("5")  # the peak starts anew
    before, started = memory("VmRSS"), time.process_time()
    _, gradients = found.gradients(network, real, module.Window(0, window))
    answer.put(((memory("VmHWM") - before) / 1024, time.process_time() - started, float(gradients[0].norm())))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--windows", type=int, nargs="+", default=[10, 40, 160])
    parser.add_argument("--threads", type=int, default=1)
    given = parser.parse_args()
    context = multiprocessing.get_context("spawn")
    print("window  kept: graphs of all steps     all states              some states             MiB, s; shares of the first")
    for window in given.windows:
        found = []
        for every in (0, 1, math.isqrt(window)):
            answer = context.SimpleQueue()
            process = context.Process(target=step, args=(window, every, given.threads, answer))
            process.start()
            found.append(answer.get())
            process.join()
        most, longest, norm = found[0]
        assert all(abs(one - norm) <= 1e-3 * norm for _, _, one in found), "the gradients differ"
        columns = [f"{size:>8,.0f} {s:>6.2f} ({size / most:.2f}, {s / longest:.2f})" for size, s, _ in found]
        print(f"{window:>6}  {'  '.join(columns)}")


if __name__ == "__main__":
    main()
