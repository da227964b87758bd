"""select: embeddings (or only labels) -> the subset table: the chosen images with rank, score and reason."""

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from dsopt.config import Config, SelectConfig, plain
from dsopt.registry import SELECTORS
from dsopt.selection.choose import choose
from dsopt.stages import embed, ingest
from dsopt.stages.step import Step, item_by_item
from dsopt.storage import SUBSET, Part, Stage, Table, read_table, with_image_feature, write_table


def subset(config: Config, select: SelectConfig, seed: int) -> tuple[Stage, list[Step]]:
    """The subset that a selection method chooses, and the steps that lead to it.

    Methods that do not look at embeddings need none made; methods that draw nothing at random give one subset for all seeds.
    """
    traits = SELECTORS.traits(select.name)
    images, steps = ingest.images(config)
    inputs = {"images": images}
    if traits.embeddings:
        inputs["embeddings"], steps = embed.embeddings(config)
    made_of = plain(select) | {"seed": seed if traits.seeded else None}
    stage = Stage(config.storage, "select", f"{config.data.name}-{select.name}", made_of, inputs)
    return stage, [*steps, Step(stage, _work, (select, seed))]


def baseline(config: Config, name: str) -> SelectConfig:
    """A baseline's settings: the same budget, another method."""
    return replace(config.select, name=name, options={}, per_class=False)


def cost(stage: Stage) -> float:
    """Seconds that choosing took: the selection itself and, where it looked at embeddings, making and computing those."""
    made_by = [stage, *(stage.inputs[role] for role in stage.inputs if role == "embeddings")]
    made_by += [made.inputs["autoencoder"] for made in made_by if "autoencoder" in made.inputs]
    return sum(Table(made.uri).manifest["seconds"] for made in made_by)


def _work(stage: Stage, config: Config, select: SelectConfig, seed: int) -> None:
    from dsopt.cluster.data import stream

    images = Table(stage.inputs["images"].uri)
    looked_at = Table(stage.inputs["embeddings"].uri).parts() if "embeddings" in stage.inputs else images.parts("train")

    def run_parts(function: Callable[[Part], Any], parts: Sequence[Part]) -> Iterable[Any]:
        return stream(parts, config.cluster, function)

    distribute = {"run_parts": run_parts} if config.cluster.workers and len(looked_at) > 1 else {}
    started = time.monotonic()
    chosen = choose(looked_at, select.name, select.options, select.budget, select.per_class, seed, **distribute)
    choosing = time.monotonic() - started
    parts = images.parts("train")
    keep = partial(_filter, stage=stage, parts=parts, chosen=chosen)

    def entries(indices: list[int]) -> Iterator[dict[str, Any]]:
        return stream(indices, config.cluster, keep)

    done, seconds = item_by_item(f"select {select.name}", stage, [part.rows for part in parts], "images", entries)
    written = [entry["part"] for entry in done if entry["part"]["rows"]]
    stage.commit(
        written,
        SUBSET,
        seconds=choosing + seconds,
        seed=seed,
        method=select.name,
        of=images.rows("train"),
        **{key: images.manifest[key] for key in ("classes", "num_classes", "channels", "image_size")},
    )


def _filter(index: int, stage: Stage, parts: list[Part], chosen: pa.Table) -> dict[str, Any]:
    """The chosen images of one part of the images table, in the order of their ids."""
    path = f"data/part-{index:05d}.parquet"
    found = pc.index_in(read_table(parts[index].uri, ["id"])["id"], chosen["id"].combine_chunks())  # pyright: ignore[reportAttributeAccessIssue]
    if found.null_count == len(found):
        return {"index": index, "part": {"path": path, "rows": 0, "bytes": 0}}
    images = read_table(parts[index].uri).filter(found.is_valid())
    reasons = chosen.take(found.drop_null())
    table = pa.table([*images.columns, *(reasons[name] for name in ("rank", "score", "reason"))], schema=with_image_feature(SUBSET))
    size = write_table(stage.path(path), table, compression="none")
    return {"index": index, "part": {"path": path, "rows": len(table), "bytes": size}}
