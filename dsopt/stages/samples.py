"""samples: a trained generator -> an images table, the same on any number of devices; training cannot tell it from real images."""

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import torch
from torch import Tensor

from dsopt.config import Config
from dsopt.data.images import Images, encode
from dsopt.files import write_table
from dsopt.generation.sample import labels_in_turn, noise, sample
from dsopt.pipeline.step import Step, item_by_item
from dsopt.seeds import derive
from dsopt.stages import generator
from dsopt.storage import IMAGES, Stage, Table
from dsopt.training.worker import Worker

PART = 1000  # images; a part has a seed of its own, so that it is the same wherever it is made

Made = tuple[int, Tensor, Tensor]  # number of the part, labels, images uint8 [n, c, h, w]


def images(config: Config, base: Stage, count: int | float, seed: int) -> tuple[Stage, list[Step]]:
    """Images from the generator that learned from a table of images, and the steps that train it and make them.

    Args:
        count: how many, each class in turn; a float is a multiple of the images learned from.
        seed: of the training and of the noise.
    """
    model, steps = generator.model(config, base, seed)
    stage = Stage(config.storage, "samples", model.name, {"count": count, "seed": seed}, {"generator": model})
    return stage, [*steps, Step(stage, _work, (count, seed))]


def _work(stage: Stage, config: Config, count: int | float, seed: int) -> None:
    from dsopt.cluster.data import stream

    model = stage.inputs["generator"]
    table, split = generator.learned_from(model)
    wanted = count if isinstance(count, int) else round(count * table.rows(split))
    classes = table.manifest["num_classes"] if Table(model.uri).manifest["conditional"] else 0
    starts = range(0, wanted, PART)
    labels = partial(_labels, wanted=wanted, classes=classes)
    make, write = partial(_maker, stage=stage, config=config, seed=seed), partial(_write, stage=stage)

    def entries(indices: list[int]) -> Iterator[dict[str, Any]]:
        return stream(indices, config.cluster, labels, make, write)

    sizes = [min(PART, wanted - start) for start in starts]
    done, seconds = item_by_item(f"samples {stage.name}", stage, sizes, "images", entries)
    about = table.about()
    stage.commit([entry["part"] for entry in done], IMAGES, seconds=seconds, seed=seed, labelled=classes > 0, **about)


def _labels(index: int, wanted: int, classes: int) -> tuple[int, Tensor]:
    start, stop = index * PART, min((index + 1) * PART, wanted)
    return index, labels_in_turn(start, stop, classes) if classes else torch.full((stop - start,), -1)


def _maker(worker: Worker, stage: Stage, config: Config, seed: int) -> Callable[[tuple[int, Tensor]], Made]:
    """The generator on a worker's device."""
    make = generator.trained(stage.inputs["generator"], config, worker.device)
    draw, low = noise(config.generate.noise, config.generate.latent), generator.low(config)

    def made(item: tuple[int, Tensor]) -> Made:
        index, labels = item
        return index, labels, sample(make, draw, labels, derive(seed, "samples", index), low=low, device=worker.device)

    return made


def _write(item: Made, stage: Stage) -> dict[str, Any]:
    index, labels, images = item
    ids = torch.arange(len(labels)) + index * PART
    rows = encode(Images(ids, images, labels), [stage.inputs["generator"].folder] * len(labels))
    path = f"data/part-{index:05d}.parquet"
    size = write_table(stage.path(path), rows, compression="none")  # PNG is compressed already
    return {"index": index, "part": {"path": path, "rows": len(rows), "bytes": size}}
