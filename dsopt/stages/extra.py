"""extra: additional training images: copies of the given ones, transformed once, or images generated or interpolated from them."""

from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from math import ceil
from typing import Any

import pyarrow as pa
import torch

from dsopt.augment import draws
from dsopt.augment.inputs import make_inputs
from dsopt.config import Config, differing
from dsopt.data.holdout import held_out
from dsopt.data.images import decode, encode
from dsopt.pipeline.parts import item_by_item, write_part
from dsopt.pipeline.plan import Plan
from dsopt.seeds import derive
from dsopt.stages import generator, interpolated, samples
from dsopt.storage import IMAGES, Kind, Part, Stage, Table
from dsopt.training.worker import Worker

EXTRA = Kind("extra")


def images(plan: Plan, base: Stage, seed: int) -> Stage:
    """The extra images of a table (of an ingested one: of its training images), themselves a table."""
    config, settings = plan.config, plan.config.extra
    if settings.name == "generated":
        generator.check_labelled(config, "extra.name=generated")
        return samples.images(plan, base, settings.amount, seed)
    if settings.name == "interpolated":
        return interpolated.images(plan, base, settings.amount, seed)
    drawn = settings.augment or settings.amount % 1
    made_of = differing(config, "extra") | {"seed": seed if drawn else None}
    name = "-".join([config.data.name, settings.name, *settings.augment])
    return plan.add(EXTRA, name, made_of, {"base": base}, partial(_copies, seed=seed))


def _copies(worker: Worker, stage: Stage, config: Config, seed: int) -> None:
    from dsopt.cluster.data import stream

    table = Table(stage.inputs["base"].uri)
    parts = table.parts(table.training())
    copy = partial(_copy, stage=stage, parts=parts, config=config, seed=seed)

    def entries(indices: list[int]) -> Iterator[dict[str, Any]]:
        return stream(indices, config.cluster, copy)

    done, seconds = item_by_item(f"extra {stage.name}", stage, [part.rows for part in parts], "images", entries)
    written = [entry["part"] for entry in done if entry["part"]["rows"]]
    stage.commit(written, IMAGES, seconds=seconds, seed=stage.made_of["seed"], **table.about())


def _copy(index: int, stage: Stage, parts: list[Part], config: Config, seed: int) -> dict[str, Any]:
    """Write `extra.amount` copies of one part; of its fractional part, copies of about that share of the images."""
    rows, amount, augment = parts[index].read(), config.extra.amount, config.extra.augment
    side = Table(stage.inputs["base"].uri).manifest["image_size"]
    rows = rows.select([name for name in rows.column_names if name in (*IMAGES.names, "soft_label")])
    copies = []
    for number in range(ceil(amount)):
        ids = torch.from_numpy(rows["id"].to_numpy().copy())
        kept = held_out(ids, amount - number, derive(seed, "extra", number))  # all of them where the share is 1 or more
        some = rows.filter(pa.array(kept.numpy()))
        if len(some):
            some = _transformed(some, side, augment, derive(seed, "extra", index, number)) if augment else some
            renumbered = pa.array(ids[kept].numpy() * ceil(amount) + number)
            copies.append(some.set_column(0, "id", renumbered))
    return {"index": index, "part": write_part(stage, index, pa.concat_tables(copies) if copies else rows.slice(0, 0))}


def _transformed(rows: pa.Table, side: int, augment: list[str], seed: int) -> pa.Table:
    """The images, as squares of `side` pixels, after the transforms, as PNG."""
    images = decode(rows, size=side)
    n = len(images.ids)
    transformed = make_inputs(augment, side, None).train(images.images, draws(seed, n, 0, n, torch.device("cpu")))
    pixels = (255 * transformed).round().clamp(0, 255).to(torch.uint8)
    return encode(replace(images, images=pixels), rows["key"].to_pylist()).cast(rows.schema)
