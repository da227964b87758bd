"""How the memory of an outer step of `bptt` grows with its window, beside keeping the graphs of all steps.

    python tests/benchmarks/bench_bptt.py [--windows 10 40 160] [--threads 1]

LeNet, Adam, 100 synthetic images, 256 real ones. Memory is what a step adds to the process at its peak, each in a process of its
own; seconds are of the processor, of the first step.
"""

import argparse
import multiprocessing
import sys
import time
from functools import partial
from pathlib import Path

import torch

sys.path.append(str(Path(__file__).resolve().parent.parent.parent))

from dsopt.data.batches import Batch
from dsopt.distillation import bptt as module
from dsopt.distillation.contract import Problem
from dsopt.distillation.unroll import differentiate
from dsopt.models.lenet import lenet


def memory(what):
    """KiB, as Linux counts this process's."""
    return int(next(line for line in open("/proc/self/status") if line.startswith(what)).split()[1])


def step(window, keep, threads, answer):
    """MiB, seconds and the gradient's norm of one outer step."""
    torch.set_num_threads(threads)
    torch.manual_seed(0)
    real = Batch(torch.randn(256, 1, 32, 32), torch.randint(0, 10, (256,)), 0)
    problem = Problem(real.images, real.labels, lambda images: images, 10, 10, lambda: lenet(1, 10))
    found = module.bptt(problem, length=window, window=window)
    if keep:
        plain = partial(differentiate, keep=True)
        module.differentiate = lambda *given, keep: plain(*given)
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
    print("window   states kept: MiB, s     graphs kept: MiB, s     memory, time of the other")
    for window in given.windows:
        found = []
        for keep in (False, True):
            answer = context.SimpleQueue()
            process = context.Process(target=step, args=(window, keep, given.threads, answer))
            process.start()
            found.append(answer.get())
            process.join()
        (mine, s, one), (theirs, t, other) = found
        assert abs(one - other) <= 1e-3 * other, "the gradients differ"
        print(f"{window:>6}  {mine:>10,.0f} {s:>8.2f}    {theirs:>12,.0f} {t:>8.2f}      {mine / theirs:>10.2f} {s / t:>8.2f}")


if __name__ == "__main__":
    main()
