"""How fast a ResNet-18 trains on photographs at 224 pixels, beside the alternatives, in one run on the same cores.

    python tests/benchmarks/bench_photos.py [--steps 8] [--rounds 3] [--images 400]

dsopt       working copies decoded once, 256 pixels a side, as bytes in memory; random resized crops and flips; precision "auto"
encoded     the same, with images that stay encoded and are decoded ahead of each step, as those do that have no room decoded
plain       a loop by hand: the same images in memory, torchvision's v2 transforms, the same precision, channels-last, fused SGD;
            without averaged weights or metrics. Wanted: dsopt has at least 0.95 of its images a second
loader      `DataLoader` with a worker a core that decodes the JPEGs each time, v2 transforms, the same network and precision

The contenders take turns; a figure is the median of the rounds.
"""

import argparse
import io
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import torch
import torchvision
from PIL import Image
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset
from torchvision.transforms import v2

sys.path.insert(0, str(Path(__file__).parents[2]))

from bench_ingest import write_photographs

from dsopt.config import load
from dsopt.data.images import Images, decode
from dsopt.data.loading import load as load_images
from dsopt.learners.placement import autocast, compute_dtype
from dsopt.pipeline import networks
from dsopt.pipeline.plan import Plan
from dsopt.pipeline.training import classifier_learner, describe_classifier, shuffled
from dsopt.stages import ingest
from dsopt.storage import Table
from dsopt.training.loop import Phase, fit
from dsopt.training.worker import Worker, keep_freed_memory

CPU, CORES, BATCH = torch.device("cpu"), len(os.sched_getaffinity(0)), 32
MEAN, DEVIATION = [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]


class Files(Dataset):
    def __init__(self, files: list[bytes], labels: list[int]) -> None:
        self.files, self.labels = files, labels
        steps = [v2.RandomResizedCrop(224, antialias=True), v2.RandomHorizontalFlip(), v2.ToDtype(torch.float32, scale=True)]
        self.transform = v2.Compose([v2.PILToTensor(), *steps, v2.Normalize(MEAN, DEVIATION)])

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, i: int) -> tuple[Tensor, int]:
        return self.transform(Image.open(io.BytesIO(self.files[i]))), self.labels[i]


def by_hand(batches: Iterator[tuple[Tensor, Tensor]], network: nn.Module, steps: int) -> float:
    """Seconds of some steps, after one that is not counted."""
    optimizer, dtype = torch.optim.SGD(network.parameters(), 0.01, momentum=0.9, fused=True), compute_dtype("auto", CPU)
    started = 0.0
    for step, (images, labels) in enumerate(islice(batches, steps + 1)):
        optimizer.zero_grad()
        with autocast(dtype, CPU):
            logits = network(images.to(memory_format=torch.channels_last))
        nn.functional.cross_entropy(logits.float(), labels).backward()
        optimizer.step()
        if step == 0:
            started = time.perf_counter()
    return time.perf_counter() - started


def from_memory(images: Tensor, labels: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
    crop, mean, deviation = v2.RandomResizedCrop(224, antialias=True), *(torch.tensor(v).view(3, 1, 1) for v in (MEAN, DEVIATION))
    while True:
        rows = torch.randperm(len(images))[:BATCH]
        batch = torch.stack([crop(image) for image in images[rows]])
        batch = torch.where((torch.rand(BATCH) < 0.5).view(-1, 1, 1, 1), batch.flip(3), batch)
        yield (batch.float() / 255 - mean) / deviation, labels[rows]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    for name, default in (("steps", 8), ("rounds", 3), ("images", 400)):
        parser.add_argument(f"--{name}", type=int, default=default)
    asked = parser.parse_args()
    keep_freed_memory()
    rates: dict[str, list[float]] = {}
    with tempfile.TemporaryDirectory() as place:
        write_photographs(Path(place, "photographs"), asked.images)
        settings = [
            "data.name=folder",
            f"data.root={place}/photographs",
            f"storage={place}/runs",
            "cluster.workers=0",
            "data.check=off",
        ]
        settings += ["data.image_size=256", "train.name=torchvision:resnet18", "train.size=224", "train.standardise=channels"]
        config = load(
            [*settings, "train.augment=[random_resized_crop,flip]", f"train.batch_size={BATCH}", "train.learning_rate=0.01"]
        )
        plan = Plan(config)
        plan.run(ingest.images(plan))
        table = Table(ingest.images(plan).uri)
        inputs = networks.described_transforms(describe_classifier(config.train, table))
        rows = table.read("train")
        images = decode(rows, size=inputs.loaded)
        files_only = load_images(table.uri, "train", size=inputs.loaded, decoded=False)
        files = [row["bytes"] for row in rows["image"].to_pylist()]

        def ours(kept: Images) -> float:
            learner = classifier_learner(config.train, table, 0, Worker())
            source = shuffled(kept, inputs, BATCH, 0, Worker()).source
            fit(learner, [Phase(source, lambda progress: 1.0, 1)])
            started = time.perf_counter()
            fit(learner, [Phase(source, lambda progress: 1.0, asked.steps)])
            return time.perf_counter() - started

        def resnet() -> Any:
            return torchvision.models.resnet18(num_classes=2).to(memory_format=torch.channels_last)  # type: ignore[call-overload]

        def loader() -> float:
            data = DataLoader(Files(files, images.labels.tolist()), BATCH, shuffle=True, num_workers=CORES, drop_last=True)
            return by_hand((batch for _ in range(100) for batch in data), resnet(), asked.steps)

        contenders = {
            "dsopt": lambda: ours(images),
            "encoded": lambda: ours(files_only),
            "plain": lambda: by_hand(from_memory(images.images, images.labels), resnet(), asked.steps),
            "loader": loader,
        }
        for turn in range(asked.rounds):
            for name in contenders if turn % 2 == 0 else reversed(contenders):
                rates.setdefault(name, []).append(asked.steps * BATCH / contenders[name]())
    for name, found in rates.items():
        ratios = [mine / theirs for mine, theirs in zip(rates["dsopt"], found, strict=True)]
        print(f"{name}: {statistics.median(found):.1f} images/s; dsopt has {statistics.median(ratios):.2f} of it")


if __name__ == "__main__":
    main()
