"""The generators of a sweep with thirteen sizes: side by side on Ray Tune, beside one after another in this process.

    python tests/benchmarks/bench_generators.py [--steps 150] [--rounds 3]

Thirteen nested subsets of the digits, as the augmentation paper has them, and a CDCVAE on each. Both train the same steps, one
thread a worker; on Ray there are two workers; Ray runs before. Prints wall-clock and CPU seconds, of this process and those below.
"""

import argparse
import statistics
import tempfile
import threading
import time
from collections.abc import Callable
from dataclasses import replace

import psutil
import torch

from dsopt import config as configuration
from dsopt.cluster import local
from dsopt.config import Config, variant
from dsopt.jobs.sweep import prepare
from dsopt.pipeline.plan import Plan
from dsopt.pipeline.step import Step
from dsopt.stages import generator

SIZES = [14 * share for share in (1, 2, 5, 10, 20, 30, 40, 50, 60, 70, 80, 90, 100)]
SETTING = (
    *("preset=cdcvae", "data.name=digits", "select.name=stratified", "generate.images=subset", "generate.batch_size=16"),
    *("generate.generator.options.width=8", "generate.encoder.options.width=8", "cluster.cpus_per_worker=1"),
)


def steps_of(config: Config) -> list[Step]:
    """The trainings of the generators, with all that they need made."""
    found = []
    for size in SIZES:
        plan = Plan(variant(config, [f"select.budget={size}"]))
        base = generator.base(plan)
        plan.run(base)
        found.append(plan.step(generator.model(plan, base, 0)))
    return found


class Used:
    """CPU seconds of this process and of all below it, those included that have ended meanwhile."""

    def __init__(self) -> None:
        self.seen: dict[int, float] = {}
        self.ended = threading.Event()
        self.watching = threading.Thread(target=self._watch, daemon=True)

    def _look(self) -> None:
        this = psutil.Process()
        for process in [this, *this.children(recursive=True)]:
            try:
                times = process.cpu_times()
                self.seen[process.pid] = times.user + times.system
            except psutil.Error:
                continue

    def _watch(self) -> None:
        while not self.ended.wait(0.3):
            self._look()

    def of(self, work: Callable[[], object]) -> tuple[float, float]:
        """(wall-clock seconds, CPU seconds) of some work."""
        self._look()
        before, started = dict(self.seen), time.perf_counter()
        self.watching.start()
        work()
        seconds = time.perf_counter() - started
        self._look()
        self.ended.set()
        return seconds, sum(value - before.get(pid, 0.0) for pid, value in self.seen.items())


def trained(workers: int, steps: int) -> tuple[float, float]:
    with tempfile.TemporaryDirectory() as storage:
        config = configuration.load([*SETTING, f"storage={storage}", f"generate.steps={steps}", "cluster.workers=0"])
        todo = steps_of(config)
        config = replace(config, cluster=replace(config.cluster, workers=workers))
        found = Used().of(lambda: prepare.make(todo, config))
        assert all(step.stage.done() for step in todo)
        return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=150)
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    local.start(num_cpus=2, object_store_memory=400 * 2**20)
    found: dict[int, list[tuple[float, float]]] = {0: [], 2: []}
    for number in range(arguments.rounds):
        for workers, measured in found.items():
            measured.append(trained(workers, arguments.steps))
        told = (f"workers={workers} {measured[-1][0]:.1f} s, {measured[-1][1]:.1f} CPU s" for workers, measured in found.items())
        print(f"round {number}: {'; '.join(told)}", flush=True)
    for unit, title in enumerate(("seconds", "CPU seconds")):
        alone, beside = (statistics.median(one[unit] for one in measured) for measured in found.values())
        print(f"{title}: one after another {alone:.1f}, side by side {beside:.1f}, ratio {beside / alone:.2f}")


if __name__ == "__main__":
    main()
