"""samples: a trained generator -> generated images, in the schema of real ones; the same on any number of devices."""

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import torch
from torch import Tensor

from dsopt.config import Config
from dsopt.data.images import Images, encode
from dsopt.generation.sample import cyclic_labels, sample
from dsopt.pipeline.parts import item_by_item, write_part
from dsopt.pipeline.plan import Plan
from dsopt.seeds import derive
from dsopt.stages import generator
from dsopt.storage import IMAGES, Kind, Stage, Table
from dsopt.training.worker import Worker

SAMPLES = Kind("samples")
PART = 1000  # images; each part has its own seed, so it does not depend on the worker that generates it

Generated = tuple[int, Tensor, Tensor]  # number of the part, labels, images uint8 [n, c, h, w]


def images(plan: Plan, base: Stage, count: int | float, seed: int) -> Stage:
    """Images from the generator that learned from a table of images.

    Args:
        count: how many, each class in turn; a float is a multiple of the images learned from.
        seed: of the generator's training and of the noise.
    """
    model = generator.model(plan, base, seed)
    work = partial(_sample, count=count, seed=seed)
    return plan.add(SAMPLES, model.name, {"count": count, "seed": seed}, {"generator": model}, work)


def _sample(worker: Worker, stage: Stage, config: Config, count: int | float, seed: int) -> None:
    from dsopt.cluster.data import stream

    model = stage.inputs["generator"]
    table = generator.learned_from(model)
    wanted = count if isinstance(count, int) else round(count * table.rows(table.training()))
    classes = table.manifest["num_classes"] if Table(model.uri).manifest["conditional"] else 0
    starts = range(0, wanted, PART)
    labels = partial(_labels, wanted=wanted, classes=classes)
    make, write = partial(_maker, stage=stage, seed=seed), partial(_write, stage=stage)

    def entries(indices: list[int]) -> Iterator[dict[str, Any]]:
        return stream(indices, config.cluster, labels, make, write)

    sizes = [min(PART, wanted - start) for start in starts]
    done, seconds = item_by_item(f"samples {stage.name}", stage, sizes, "images", entries)
    about = table.about()
    stage.commit([entry["part"] for entry in done], IMAGES, seconds=seconds, seed=seed, labelled=classes > 0, **about)


def _labels(index: int, wanted: int, classes: int) -> tuple[int, Tensor]:
    start, stop = index * PART, min((index + 1) * PART, wanted)
    return index, cyclic_labels(start, stop, classes) if classes else torch.full((stop - start,), -1)


def _maker(worker: Worker, stage: Stage, seed: int) -> Callable[[tuple[int, Tensor]], Generated]:
    """The function that generates one part, with the generator on a worker's device."""
    trained = generator.Trained(stage.inputs["generator"], worker.device)

    def generated(item: tuple[int, Tensor]) -> Generated:
        index, labels = item
        part_seed = derive(seed, "samples", index)
        return index, labels, sample(trained.make, trained.noise, labels, part_seed, low=trained.low, device=worker.device)

    return generated


def _write(item: Generated, stage: Stage) -> dict[str, Any]:
    index, labels, images = item
    ids = torch.arange(len(labels)) + index * PART
    rows = encode(Images(ids, images, labels), [stage.inputs["generator"].folder] * len(labels))
    return {"index": index, "part": write_part(stage, index, rows)}
