"""20 small trials side by side on Ray Tune, beside the same 20 one after another without Ray.

    python tests/benchmarks/bench_sweep.py [--steps 400] [--rounds 1]

Each contender is the whole job in a process of its own: imports, connecting to Ray, reading the data, training, table and page. The
trials are one-threaded on Ray's workers, one worker a core; without Ray each has all cores. Prints seconds and the ratio.
"""

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parent.parent.parent
TRIALS = ("sweep.grid.train.learning_rate=[0.02,0.05,0.1,0.2]", "sweep.seeds=5", "train.split=0", "train.batch_size=64")


def measure(workers: int, steps: int) -> float:
    """Seconds of the whole job."""
    with tempfile.TemporaryDirectory() as storage:
        arguments = [f"storage={storage}", "data.name=digits", *TRIALS, f"train.steps={steps}", f"cluster.workers={workers}"]
        command = [sys.executable, str(REPOSITORY / "jobs" / "sweep.py"), *arguments]
        started = time.perf_counter()
        subprocess.run(command, check=True, capture_output=True, text=True)
        return time.perf_counter() - started


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=400)
    parser.add_argument("--rounds", type=int, default=1)
    arguments = parser.parse_args()
    cores = len(os.sched_getaffinity(0))
    seconds: dict[int, list[float]] = {0: [], cores: []}
    for number in range(arguments.rounds):
        for workers, found in seconds.items():
            found.append(measure(workers, arguments.steps))
        print(
            f"round {number}: " + ", ".join(f"workers={workers} {found[-1]:.1f} s" for workers, found in seconds.items()),
            flush=True,
        )
    here, ray = (statistics.median(found) for found in seconds.values())
    print(f"one after another, without Ray  {here:6.1f} s")
    print(f"Ray Tune, {cores} workers             {ray:6.1f} s")
    print(f"ratio                           {ray / here:6.2f} of the time")


if __name__ == "__main__":
    main()
