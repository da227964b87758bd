"""What Ray costs a search of tiny children: one at a time, in bundles, and in several tables that share their workers.

    python tests/benchmarks/bench_search.py [--children 24] [--tables 4] [--rounds 1]

Tables of children as a job makes them, journal and all: mini216 on the digits, 100 images, 60 steps, one worker of one thread. The
worker notes when it is busy with a bundle. All else is Ray's overhead: until the first is begun, to start a process that imports
torch, and from then on, between bundles. Both are parts of the same time, so that other work on the machine slows all of it.
"""

import argparse
import tempfile
import time
from collections.abc import Callable
from functools import partial
from typing import Any
from unittest import mock

from dsopt import config as configuration
from dsopt.cluster import session, tune
from dsopt.config import Config
from dsopt.files import absolute
from dsopt.jobs.search import bundles
from dsopt.jobs.search.children import children, proxy_of
from dsopt.jobs.search.trials import Trials
from dsopt.pipeline.plan import Plan
from dsopt.reporting.tables import aligned

SEARCH = (
    *("data.name=digits", "data.image_size=8", "search.proxy={data: random_balanced, images: 100, steps: 60}"),
    *("cluster.workers=1", "cluster.cpus_per_worker=1"),
)


def timed(work: tune.Work, worker: Any, point: tune.Point, report: tune.Report) -> tune.Numbers:
    """On the worker: the same work, with the moments of its beginning and its end, which all processes of a machine agree on."""
    begun = time.perf_counter()
    numbers = work(worker, point, report)
    return numbers | {"busy": [begun, time.perf_counter()]}


class Noted:
    """Forwards the events of trials to a listener, and records when the worker was busy."""

    def __init__(self, watch: tune.TrialListener) -> None:
        self.watch, self.busy = watch, dict[float, float]()

    def __getattr__(self, name: str) -> Any:
        return getattr(self.watch, name)

    def reported(self, point: tune.Point, numbers: tune.Numbers) -> None:
        self.busy |= {numbers["busy"][0]: numbers["busy"][1]}  # an event that is reported twice counts once
        self.watch.reported(point, numbers)


def measure(config: Config, tables: int) -> tuple[float, float, float]:
    """Of so many tables: seconds until the worker begins, from then on, and those of them in which it is busy."""
    plan, proxy, search = Plan(config), proxy_of(config.search.proxy, "search.proxy"), config.search
    drawn = [Trials(f"draw {draw}", proxy, search.strategy, search.children, draw=draw) for draw in range(tables)]
    wanted = [(children(plan, trials), trials) for trials in drawn]
    plan.run(*(needed for stage, _ in wanted for needed in stage.inputs.values()))
    original: Callable[..., None] = tune.run
    noted: list[Noted] = []

    def watched(work: tune.Work, points: list[tune.Point], config: Config, watch: tune.TrialListener, search: Any) -> None:
        noted.append(Noted(watch))
        original(partial(timed, work), points, config, noted[0], search)

    with mock.patch.object(tune, "run", watched):
        started = time.perf_counter()
        bundles.make(wanted, config)
        ended = time.perf_counter()
    first = min(noted[0].busy)
    return first - started, ended - first, sum(end - begun for begun, end in noted[0].busy.items())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--children", type=int, default=24, help="of a table")
    parser.add_argument("--tables", type=int, default=4)
    parser.add_argument("--rounds", type=int, default=1)
    arguments = parser.parse_args()
    session.connect()
    lines = []
    for _ in range(arguments.rounds):
        for tables, bundle in ((1, 1), (1, 8), (arguments.tables, 8)):
            with tempfile.TemporaryDirectory() as storage:
                given = [f"storage={storage}", *SEARCH, f"search.bundle={bundle}", f"search.children={arguments.children}"]
                config = configuration.load(given)
                config.storage = absolute(config.storage)
                begins, takes, busy = measure(config, tables)
            bundles = tables * -(-arguments.children // bundle)
            line = [f"{tables} x {arguments.children}", str(bundle), f"{begins:.1f} s", f"{takes:.1f} s"]
            line += [f"{(takes - busy) / bundles:.3f} s", f"{1 - busy / takes:.2f}", f"{1 - busy / (begins + takes):.2f}"]
            lines.append(line)
    print(
        "\n" + aligned(["tables", "in bundles of", "begin after", "then take", "a bundle", "overhead", "with the beginning"], lines)
    )


if __name__ == "__main__":
    main()
