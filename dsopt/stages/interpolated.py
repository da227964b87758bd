"""interpolated: images and their embeddings -> new images between them, decoded by the autoencoder; an images table."""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from dsopt.config import Config
from dsopt.data.images import Images, encode, find
from dsopt.errors import InputError
from dsopt.files import write_table
from dsopt.generation.interpolate import interpolate
from dsopt.generation.sample import labels_in_turn
from dsopt.pipeline.step import Step, item_by_item
from dsopt.seeds import derive
from dsopt.stages import autoencoder, embed
from dsopt.storage import IMAGES, Stage, Table

PART = 1000  # images


def images(config: Config, base: Stage, amount: int | float, seed: int) -> tuple[Stage, list[Step]]:
    """Images between those of a table (as ingested: of its training images), and the steps that lead to them.

    Each lies between a random image and one of its nearest of the same class, in the embedding (selection paper, discussion). The
    autoencoder's reproductions are as large as what it takes, the middle of an image; their borders are repeated around them.

    Args:
        amount: how many, each class in turn; a float is a multiple of the images given.

    Raises:
        InputError: embeddings that no autoencoder made.
    """
    if config.embed.source != "autoencoder":
        raise InputError(f"embed.source={config.embed.source}: only embeddings of the autoencoder can be decoded to images.")
    embeddings, steps = embed.embeddings(config)
    role = "images" if base.kind == "ingest" else "subset"
    inputs = {role: base, "embeddings": embeddings}
    stage = Stage(config.storage, "interpolated", config.data.name, {"amount": amount, "seed": seed}, inputs)
    return stage, [*steps, Step(stage, _work, (amount, seed))]


def _work(stage: Stage, config: Config, amount: int | float, seed: int) -> None:
    role, embeddings = next(iter(stage.inputs)), stage.inputs["embeddings"]
    table = Table(stage.inputs[role].uri)
    ids, labels = _given(table, "train" if role == "images" else None)
    points = _points(embeddings, ids)
    wanted = labels_in_turn(0, amount if isinstance(amount, int) else round(amount * len(ids)), table.manifest["num_classes"])
    found, ends = interpolate(points, labels, wanted, derive(seed, "interpolated"))
    network = autoencoder.trained(embeddings.inputs["autoencoder"], config, torch.device("cpu"))
    side = table.manifest["image_size"]

    @torch.inference_mode()
    def part(index: int) -> dict[str, Any]:
        here = slice(index * PART, (index + 1) * PART)
        pixels = (_enlarged(network.decode(found[here]), side) * 255).round().clamp(0, 255).to(torch.uint8)
        sources = [f"between {a} and {b}" for a, b in ids[ends[here]].tolist()]
        rows = encode(Images(torch.arange(len(wanted))[here], pixels, wanted[here]), sources)
        path = f"data/part-{index:05d}.parquet"
        size = write_table(stage.path(path), rows, compression="none")
        return {"index": index, "part": {"path": path, "rows": len(rows), "bytes": size}}

    sizes = [len(some) for some in wanted.split(PART)]
    done, seconds = item_by_item(f"interpolated {stage.name}", stage, sizes, "images", lambda todo: map(part, todo))
    about = table.about()
    stage.commit([entry["part"] for entry in done], IMAGES, seconds=seconds, seed=seed, labelled=True, **about)


def _given(table: Table, split: str | None) -> tuple[Tensor, Tensor]:
    """Ids and labels. Raises InputError where a class has no two images to be between."""
    rows = table.read(split, ["id", "label"])
    if rows["label"].null_count:
        raise InputError("extra.name=interpolated: goes between images of one class, but the data set has no labels.")
    ids, labels = (torch.from_numpy(rows[name].to_numpy().copy()) for name in ("id", "label"))
    counts = torch.bincount(labels, minlength=table.manifest["num_classes"])
    if int(counts.min()) < 2:
        raise InputError(f"extra.name=interpolated: class {int(counts.argmin())} has {int(counts.min())} images, and needs two.")
    return ids, labels


def _points(embeddings: Stage, ids: Tensor) -> Tensor:
    """The embeddings of some images."""
    rows = Table(embeddings.uri).read(columns=["id", "embedding"]).combine_chunks()
    known = torch.from_numpy(rows["id"].to_numpy().copy())
    values = torch.from_numpy(rows["embedding"].combine_chunks().to_numpy_ndarray().copy())  # pyright: ignore[reportAttributeAccessIssue]
    return values[find(ids, known)]


def _enlarged(images: Tensor, side: int) -> Tensor:
    before = (side - images.shape[-1]) // 2
    after = side - images.shape[-1] - before
    return F.pad(images, (before, after, before, after), mode="replicate")
