"""A cold start on a busy machine: as `bench_cold_start.py`, with a link that is reckoned and a clock of processor time.

    python tests/benchmarks/bench_slow_link.py --data /data/cifar10 --way full:90 --way rs2:45 --way overlap:45 --with preset=fast

Images arrive at `--rate` MB/s of their stored size, in a clock that is the processor time of this one thread plus the time that a
way waits for images. They are decoded as they arrive: beside, on another core, or with `--decoding here` in this thread, charged
as measured. So other work on the machine changes less, and waiting costs nothing to run. Each way has its own seconds for
everything, from nothing read to the last step, with a whole schedule. Accuracy is on 5,000 training images that no way trains on.

Ways: `full` reads everything first. `rs2` takes fresh random parts (`--part`), each trained on while the next is read. `overlap`
takes a random subset first (`--share`), then all that has arrived; `easiest` likewise, but only the easy ones (`--easiest`) of what
has arrived until all has, told by a few pixels, charged. `subset` takes that subset alone and reads nothing else.
"""

import argparse
import statistics
import tempfile
import time
from types import SimpleNamespace

import torch
from bench_cold_start import FRACTION, rounds
from bench_recipe import HELD_OUT, some

from dsopt import progress
from dsopt.config import Config, load
from dsopt.data.batches import in_order
from dsopt.data.images import Images
from dsopt.data.loading import load as load_images
from dsopt.pipeline import networks
from dsopt.pipeline.plan import Plan
from dsopt.pipeline.training import batches, classifier_learner, describe_classifier
from dsopt.registry import SCHEDULES
from dsopt.stages import ingest
from dsopt.storage import Table
from dsopt.training import loop
from dsopt.training.loop import Phase, fit
from dsopt.training.overlap import Overlap
from dsopt.training.progressive import growing
from dsopt.training.samplers.shuffle import shuffle
from dsopt.training.worker import this_process


class Clock:
    """Processor time, and what was waited."""

    def __init__(self) -> None:
        self.waited, self.started = 0.0, time.process_time()

    def __call__(self) -> float:
        return time.process_time() - self.started + self.waited


class Arriving:
    """Images that come over a link: what `Overlap` needs of a `BackgroundLoader`.

    Args:
        chosen: rows of the subset, which comes first.
        each: seconds of the link for an image.
        decoding: seconds of the processor for an image.
    """

    def __init__(self, whole: Images, chosen: torch.Tensor, each: float, decoding: float, clock: Clock) -> None:
        self.images = torch.cat([whole.images[chosen], whole.images])
        self.labels = torch.cat([whole.labels[chosen], whole.labels])
        self.n, self.subset, self.row_of = len(whole.ids), len(chosen), chosen
        self.each, self.decoding, self.clock, self.decoded = each, decoding, clock, 0
        self.begins = len(chosen) * each
        clock.waited += self.begins + len(chosen) * decoding

    def rows(self) -> int:
        return self._decoded(max(0, min(self.n, int((self.clock() - self.begins) / self.each))))

    def wait(self, rows: int) -> None:
        self.clock.waited += max(0.0, self.begins + rows * self.each - self.clock())
        self._decoded(rows)

    def _decoded(self, rows: int) -> int:
        self.clock.waited += self.decoding * max(0, rows - self.decoded)
        self.decoded = max(rows, self.decoded)
        return self.decoded


def trained(
    config: Config,
    table: Table,
    whole: Images,
    judged: Images,
    way: str,
    seed: int,
    seconds: float,
    each: float,
    decoding: float,
    share: float,
    part: float,
    easiest: float,
) -> tuple[float, int, float]:
    """The accuracy, the steps and the seconds of a way."""
    settings, worker, about = config.train, this_process(threads=1), describe_classifier(config.train, table)
    inputs, size = networks.described_transforms(about, 10), settings.batch_size
    learner = classifier_learner(settings, table, seed, worker)
    schedule = SCHEDULES.build(settings.schedule.name, settings.schedule.options)
    order = torch.randperm(len(whole.ids), generator=torch.Generator().manual_seed(seed))
    chosen = order[: round(share * len(order))] if way in ("overlap", "easiest", "subset") else order[:0]
    clock = Clock()
    loop.time = SimpleNamespace(perf_counter=clock, monotonic=time.monotonic)  # type: ignore[assignment]
    arriving = Arriving(whole, chosen, each, decoding, clock)
    if way == "full":
        arriving.wait(arriving.n)
    draw = {
        "full": lambda: shuffle(arriving.n, size, seed),
        "rs2": lambda: rounds(arriving, size, seed, part),
        "overlap": lambda: Overlap(arriving, size, seed),  # type: ignore[arg-type]
        "easiest": lambda: Overlap(arriving, size, seed, share=easiest),  # type: ignore[arg-type]
        "subset": lambda: shuffle(len(chosen), size, seed),
    }[way]()
    source = batches(draw, arriving.images, arriving.labels, inputs, seed, worker)
    state = fit(learner, [Phase(source, schedule, seconds=seconds - clock(), scale=growing(settings.progressive))])
    spent = clock()
    accuracy = learner.evaluate(in_order(judged.images, judged.labels, 1000, inputs.test, worker.device))["accuracy"]
    return accuracy, state.total, spent


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--data", required=True)
    parser.add_argument("--rate", type=float, default=1.0, help="MB/s")
    parser.add_argument("--way", action="append", required=True, help="full, rs2, overlap, easiest or subset, a colon, its seconds")
    parser.add_argument("--share", type=float, default=0.0864, help="of the images, in the subset")
    parser.add_argument("--part", type=float, default=FRACTION, help="of the images, in a part of rs2")
    parser.add_argument("--easiest", type=float, default=0.5, help="of the arrived images, of `easiest`")
    parser.add_argument("--decoding", choices=["beside", "here"], default="beside")
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--first", type=int, default=0, help="the first seed")
    parser.add_argument("--with", dest="recipe", action="append", default=[])
    parser.add_argument("--storage", help="keep what is taken in here")
    arguments = parser.parse_args()
    progress.output = lambda text: None
    with tempfile.TemporaryDirectory() as folder:
        common = [f"storage={arguments.storage or folder}", "preset=cifar10", f"data.root={arguments.data}", "cluster.workers=0"]
        config = load([*common, *arguments.recipe])
        plan = Plan(config)
        plan.run(ingest.images(plan))
        table, started = Table(ingest.images(plan).uri), time.process_time()
        everything = load_images(table.uri, "train", threads=1)
        decoding = (time.process_time() - started) / len(everything.ids)
        each = (
            sum(p["bytes"] for p in table.manifest["parts"] if p["split"] == "train") / len(everything.ids) / arguments.rate / 1e6
        )
        whole, judged = some(everything, slice(HELD_OUT, None)), some(everything, slice(HELD_OUT))
        print(f"{1e6 * decoding:.0f} us to decode an image, {len(whole.ids) * each:.1f} s to read all at {arguments.rate:g} MB/s")
        charged = decoding if arguments.decoding == "here" else 0.0
        ways = [(name, float(seconds)) for name, _, seconds in (way.partition(":") for way in arguments.way)]
        found: dict[tuple[str, float], list[float]] = {way: [] for way in ways}
        for seed in range(arguments.first, arguments.first + arguments.seeds):
            for name, seconds in ways:  # one after another with each seed, so that what else the machine does is alike
                given = (name, seed, seconds, each, charged, arguments.share, arguments.part, arguments.easiest)
                accuracy, steps, spent = trained(config, table, whole, judged, *given)
                found[name, seconds].append(100 * accuracy)
                print(f"  {name} seed {seed}: {100 * accuracy:.2f} % {steps} steps in {spent:.1f} s", flush=True)
        for (name, seconds), values in found.items():
            spread = f" ± {statistics.stdev(values):.2f}" if len(values) > 1 else ""
            print(f"{name:<8} {seconds:>5} s  {statistics.fmean(values):6.2f}{spread}", flush=True)


if __name__ == "__main__":
    torch.set_num_threads(1)
    main()
