"""interpolated: images and their embeddings -> images decoded from points between embeddings, by the autoencoder."""

from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from dsopt.augment.geometry import resized
from dsopt.config import Config
from dsopt.data.images import Images, encode, find
from dsopt.errors import InputError
from dsopt.generation.interpolate import interpolate
from dsopt.generation.sample import cyclic_labels
from dsopt.pipeline import networks
from dsopt.pipeline.parts import item_by_item, write_part
from dsopt.pipeline.plan import Plan
from dsopt.seeds import derive
from dsopt.stages import autoencoder, embed
from dsopt.storage import IMAGES, Kind, Stage, Table
from dsopt.training.worker import Worker

INTERPOLATED = Kind("interpolated")
PART = 1000  # images


def images(plan: Plan, base: Stage, amount: int | float, seed: int) -> Stage:
    """Images between those of a table (of an ingested one: of its training images).

    Each lies between a random image and one of its nearest neighbors of the same class, in the embedding space (selection paper,
    discussion). The autoencoder reconstructs only the center of an image; border pixels are replicated around it, and the result is
    enlarged to the size of the images.

    Args:
        amount: how many, each class in turn; a float is a multiple of the images given.

    Raises:
        InputError: embeddings from anything but the autoencoder.
    """
    config = plan.config
    if config.embed.source != "encoder" or config.embed.encoder != ["autoencoder"]:
        raise InputError(f"embed.encoder={','.join(config.embed.encoder)}: only embeddings of the autoencoder can be decoded.")
    inputs, made_of = {"base": base, "embeddings": embed.embeddings(plan)}, {"amount": amount, "seed": seed}
    return plan.add(INTERPOLATED, config.data.name, made_of, inputs, partial(_interpolate, amount=amount, seed=seed))


def _interpolate(worker: Worker, stage: Stage, config: Config, amount: int | float, seed: int) -> None:
    table, embeddings = Table(stage.inputs["base"].uri), stage.inputs["embeddings"]
    ids, labels = _given(table)
    points = _points(embeddings, ids)
    wanted = cyclic_labels(0, amount if isinstance(amount, int) else round(amount * len(ids)), table.manifest["num_classes"])
    found, ends = interpolate(points, labels, wanted, derive(seed, "interpolated"))
    model = embeddings.inputs["autoencoder"]
    network, loaded = autoencoder.trained(model, torch.device("cpu")), networks.inputs_of(Table(model.uri)).loaded
    side = table.manifest["image_size"]

    @torch.inference_mode()
    def part(index: int) -> dict[str, Any]:
        here = slice(index * PART, (index + 1) * PART)
        decoded = _enlarged(network.decode(found[here]), loaded or side)
        decoded = decoded if decoded.shape[-1] == side else resized(decoded, side)
        pixels = (decoded * 255).round().clamp(0, 255).to(torch.uint8)
        sources = [f"between {a} and {b}" for a, b in ids[ends[here]].tolist()]
        rows = encode(Images(torch.arange(len(wanted))[here], pixels, wanted[here]), sources)
        return {"index": index, "part": write_part(stage, index, rows)}

    sizes = [len(some) for some in wanted.split(PART)]
    done, seconds = item_by_item(f"interpolated {stage.name}", stage, sizes, "images", lambda todo: map(part, todo))
    about = table.about()
    stage.commit([entry["part"] for entry in done], IMAGES, seconds=seconds, seed=seed, labelled=True, **about)


def _given(table: Table) -> tuple[Tensor, Tensor]:
    """Ids and labels of the images to train on. Raises InputError for a class with fewer than two images."""
    rows = table.read(table.training(), ["id", "label"])
    if rows["label"].null_count:
        raise InputError("extra.name=interpolated: interpolates within a class, but the data set has no labels.")
    ids, labels = (torch.from_numpy(rows[name].to_numpy().copy()) for name in ("id", "label"))
    counts = torch.bincount(labels, minlength=table.manifest["num_classes"])
    if int(counts.min()) < 2:
        raise InputError(f"extra.name=interpolated: class {int(counts.argmin())} has {int(counts.min())} images, but needs two.")
    return ids, labels


def _points(embeddings: Stage, ids: Tensor) -> Tensor:
    """The embeddings of the images with these ids."""
    rows = Table(embeddings.uri).read(columns=["id", "embedding"]).combine_chunks()
    known = torch.from_numpy(rows["id"].to_numpy().copy())
    values = torch.from_numpy(rows["embedding"].combine_chunks().to_numpy_ndarray().copy())  # pyright: ignore[reportAttributeAccessIssue]
    return values[find(ids, known)]


def _enlarged(images: Tensor, side: int) -> Tensor:
    before = (side - images.shape[-1]) // 2
    after = side - images.shape[-1] - before
    return F.pad(images, (before, after, before, after), mode="replicate")
