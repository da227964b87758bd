"""How fast the training loop is, beside the alternatives, in one run on the same cores.

    python tests/benchmarks/bench_training.py [--steps 20] [--rounds 9] [--threads 2] [--together]

Everybody trains the paper's classifier (classifier24, SGD with momentum, batches of 128, 24x24 crops, flips, brightness, contrast,
per-image standardisation) on CIFAR-10 if it is here, else on random images of its size:

dsopt       what `jobs/train.py` runs: `fit`, `Classifier` with its averaged weights, images as bytes in memory; precision "auto"
streamed    the same, with the images in a file on disk (train.streamed=true), as here in the system's cache
plain       a minimal loop by hand with the same precision, channels-last, the same augmentation in plain tensor operations;
            without averaged weights, checkpoints or metrics. Wanted: dsopt has at least 0.95 of its images a second
loader N    `DataLoader` with N workers, torchvision's transforms on one image at a time, fp32, NCHW, as most tutorials have it.
            Wanted: dsopt has at least 3 times the images a second of the better one

The contenders take turns, so that whatever else the machine does hits all of them; a ratio is the median of the rounds' ratios.
Each has a process of its own: dsopt tells its process's C library to keep freed memory, which would speed up the others too, as
`--together` shows (all in one process).
"""

import argparse
import itertools
import multiprocessing
import os
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from functools import partial
from multiprocessing.connection import Connection
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader, Dataset
from torchvision import transforms

sys.path.insert(0, str(Path(__file__).parents[2]))

from dsopt.augment.inputs import make_inputs
from dsopt.config import TrainConfig
from dsopt.data.images import Images, decode, rows
from dsopt.learners.classifier import Classifier
from dsopt.learners.placement import autocast, compute_dtype
from dsopt.models.classifier24 import classifier24
from dsopt.pipeline.training import shuffled
from dsopt.training.loop import Phase, fit
from dsopt.training.schedules import constant
from dsopt.training.worker import Worker

CPU, BATCH, SIZE, RATE, MOMENTUM = torch.device("cpu"), 128, 24, 0.01, 0.9

Contender = Callable[[int], object]  # train for that many steps


def data(count: int = 10_000) -> tuple[str, Images]:
    """The first images of CIFAR-10, or random ones."""
    folder = Path(os.environ.get("DSOPT_TEST_DATA") or Path(__file__).parents[3] / "shared" / "data") / "cifar10"
    files = sorted(folder.glob("train*.parquet"))
    if not files:
        pixels = torch.randint(0, 256, (count, SIZE + 8, SIZE + 8, 3), dtype=torch.uint8)
        return "random images", Images(torch.arange(count), pixels.permute(0, 3, 1, 2), torch.randint(0, 10, (count,)))
    table = pq.read_table(files[0]).slice(0, count)
    table = table.rename_columns(["image" if name == "img" else name for name in table.column_names])
    return "CIFAR-10", decode(table.append_column("id", [np.arange(len(table))]))


def dsopt_loop(images: Images) -> Contender:
    settings = TrainConfig()
    learner = Classifier(
        classifier24(3, 10),
        learning_rate=RATE,
        momentum=MOMENTUM,
        weight_decay=settings.weight_decay,
        average=settings.average,
        precision="auto",
        device=CPU,
    )
    source = shuffled(images, make_inputs(settings.augment, SIZE, settings.standardise), BATCH, 0, Worker()).source
    return lambda steps: fit(learner, [Phase(source, constant, steps)])


def plain_inputs(images: Tensor) -> Tensor:
    """The augmentation, written as anybody would: [b, h, w, c] bytes -> [b, c, 24, 24] floats."""
    b, h, w, _ = images.shape
    span = torch.arange(SIZE)
    rows = (torch.randint(0, h - SIZE + 1, (b, 1)) + span)[:, :, None]
    columns = (torch.randint(0, w - SIZE + 1, (b, 1)) + span)[:, None, :]
    x = images[torch.arange(b)[:, None, None], rows, columns].permute(0, 3, 1, 2)
    x = torch.where(torch.rand(b, 1, 1, 1) < 0.5, x.flip(3), x).float() / 255
    x = x + (torch.rand(b, 1, 1, 1) * 2 - 1) * 63 / 255
    mean = x.mean((2, 3), keepdim=True)
    x = (x - mean) * (0.2 + 1.6 * torch.rand(b, 1, 1, 1)) + mean
    std, mean = torch.std_mean(x, (1, 2, 3), keepdim=True)
    return (x - mean) / std.clamp_min((3 * SIZE * SIZE) ** -0.5)


def plain_loop(images: Images) -> Contender:
    network = classifier24(3, 10).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    optimizer = torch.optim.SGD(network.parameters(), RATE, momentum=MOMENTUM, weight_decay=0.004)
    pixels, labels = images.images.permute(0, 2, 3, 1).contiguous(), images.labels
    dtype = compute_dtype("auto", CPU)

    def train(steps: int) -> None:
        order = torch.cat([torch.randperm(len(labels)) for _ in range(steps * BATCH // len(labels) + 1)])
        for batch in order[: steps * BATCH].split(BATCH):
            inputs = plain_inputs(pixels[batch])
            with autocast(dtype, CPU):
                logits = network(inputs)
                loss = F.cross_entropy(logits, labels[batch])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()

    return train


class Pictures(Dataset):
    """As torchvision's CIFAR10: an array of all images, each made a PIL image when it is asked for."""

    def __init__(self, images: Images, transform: Callable[[Image.Image], Tensor]) -> None:
        self.pixels = images.images.permute(0, 2, 3, 1).numpy()
        self.labels, self.transform = images.labels.tolist(), transform

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        return self.transform(Image.fromarray(self.pixels[index])), self.labels[index]


def standardise_one(image: Tensor) -> Tensor:
    return (image - image.mean()) / image.std().clamp_min(image.numel() ** -0.5)


def loader_loop(images: Images, workers: int) -> Contender:
    transform = transforms.Compose(
        [
            transforms.RandomCrop(SIZE),
            transforms.RandomHorizontalFlip(),
            transforms.ColorJitter(brightness=63 / 255, contrast=0.8),
            transforms.ToTensor(),
            standardise_one,
        ]
    )
    dataset = Pictures(images, transform)
    loader = DataLoader(dataset, BATCH, shuffle=True, drop_last=True, num_workers=workers, persistent_workers=workers > 0)
    network = classifier24(3, 10)
    optimizer = torch.optim.SGD(network.parameters(), RATE, momentum=MOMENTUM, weight_decay=0.004)
    batches: Iterator[tuple[Tensor, Tensor]] = itertools.chain.from_iterable(itertools.repeat(loader))

    def train(steps: int) -> None:
        for inputs, labels in itertools.islice(batches, steps):
            loss = F.cross_entropy(network(inputs), labels)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()

    return train


def streamed_loop(images: Images) -> Contender:
    return dsopt_loop(rows(images, torch.arange(len(images.ids)), streamed=True))


MAKE: dict[str, Callable[[Images], Contender]] = {
    "dsopt": dsopt_loop,
    "streamed": streamed_loop,
    "plain": plain_loop,
    "loader 0": partial(loader_loop, workers=0),
    "loader 2": partial(loader_loop, workers=2),
}


def ready(name: str, threads: int) -> Callable[[int], float]:
    """A contender after its warm-up: number of steps -> seconds they took."""
    torch.set_num_threads(threads)
    torch.manual_seed(0)
    contender = MAKE[name](data()[1])
    contender(5)

    def turn(steps: int) -> float:
        began = time.perf_counter()
        contender(steps)
        return time.perf_counter() - began

    return turn


def serve(name: str, threads: int, pipe: Connection) -> None:
    turn = ready(name, threads)
    pipe.send(None)
    while steps := pipe.recv():
        pipe.send(turn(steps))


def elsewhere(name: str, threads: int) -> Callable[[int], float]:
    """A contender in a process of its own."""
    context = multiprocessing.get_context("spawn")
    pipe, other = context.Pipe()
    context.Process(target=serve, args=(name, threads, other)).start()
    pipe.recv()

    def turn(steps: int) -> float:
        pipe.send(steps)
        return pipe.recv() if steps else 0.0

    return turn


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=20, help="a turn; the loaders take a third, which takes about as long")
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--together", action="store_true", help="all in one process")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    print(f"{data()[0]}, {compute_dtype('auto', CPU)}, torch {torch.__version__}, {Worker().describe()}", flush=True)
    turns = {name: (ready if arguments.together else elsewhere)(name, arguments.threads) for name in MAKE}
    speeds: dict[str, list[float]] = {name: [] for name in turns}
    for i in range(arguments.rounds):
        for name in list(turns)[:: 1 if i % 2 == 0 else -1]:
            steps = max(arguments.steps // 3, 1) if "loader" in name else arguments.steps
            speeds[name].append(steps * BATCH / turns[name](steps))
            time.sleep(0.5)  # until a loader's workers have filled their queue again, and rest
    print(f"{'':10}{'images/s':>10}{'dsopt is':>11}   from, to (of {arguments.rounds} rounds)")
    for name, these in speeds.items():
        ratios = sorted(ours / theirs for ours, theirs in zip(speeds["dsopt"], these, strict=True))
        print(f"{name:10}{statistics.median(these):10,.0f}{statistics.median(ratios):10.2f}x   {ratios[0]:.2f}, {ratios[-1]:.2f}")
    if not arguments.together:
        for turn in turns.values():
            turn(0)


if __name__ == "__main__":
    main()
