"""embed: images + a network -> the embeddings table; exactly one row an image, the same on any number of workers."""

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import torch
from torch import Tensor

from dsopt.config import Config, differing
from dsopt.data.images import decode
from dsopt.data.sets.parquet import parquet_files
from dsopt.data.sources.listing import digest
from dsopt.errors import InputError, JobError
from dsopt.files import first_line, join, read_bytes, read_table, stat
from dsopt.learners.placement import autocast, compute_dtype
from dsopt.models.pretrained import pretrained
from dsopt.pipeline import networks
from dsopt.pipeline.parts import item_by_item, write_part
from dsopt.pipeline.plan import Plan
from dsopt.stages import autoencoder, ingest, proxy
from dsopt.storage import Kind, Part, Stage, Table, embeddings_schema
from dsopt.training.worker import Worker

EMBED = Kind("embed")

Encode = Callable[[Tensor], Tensor]  # uint8 [b, c, h, w] -> [b, d]
Embedded = tuple[int, np.ndarray, np.ndarray, np.ndarray]  # index of the part, ids, labels, embeddings [n, d]


def embeddings(plan: Plan) -> Stage:
    """The embeddings of the training images from `embed.source`."""
    config, chosen, images = plan.config, plan.config.embed, ingest.images(plan)
    name, inputs = f"{config.data.name}-{chosen.source}", {"images": images}
    if chosen.source == "table":
        assert chosen.table is not None
        return plan.add(EMBED, name, {"table": _fingerprint(chosen.table)}, inputs, _take_over)
    made_of = differing(config, "embed", without=("embed.network", "embed.weights", "embed.size", "embed.table"))
    if chosen.source == "network":
        made_of |= {"network": chosen.network, "weights": weights_fingerprint(chosen.weights, "embed"), "size": chosen.size}
    else:
        inputs[chosen.source] = autoencoder.model(plan) if chosen.source == "autoencoder" else proxy.model(plan, "proxy")
    return plan.add(EMBED, name, made_of, inputs, _embed)


def _embed(worker: Worker, stage: Stage, config: Config) -> None:
    from dsopt.cluster.data import stream

    table = Table(stage.inputs["images"].uri)
    parts, size = table.parts("train"), _loaded(stage, config, table.manifest["image_size"])
    read, write = partial(read_part, parts=parts, size=size), partial(write_embeddings, stage=stage)
    encoder = partial(_encoder, stage=stage, config=config)

    def entries(indices: list[int]) -> Iterator[dict[str, Any]]:
        return stream(indices, config.cluster, read, encoder, write)

    done, seconds = item_by_item(f"embed {stage.name}", stage, [part.rows for part in parts], "images", entries)
    written = sum(entry["part"]["rows"] for entry in done)
    if written != table.rows("train"):
        raise JobError(f"{stage.uri}: {written} embeddings of {table.rows('train')} images.")
    schema = embeddings_schema(done[0]["size"])
    stage.commit([entry["part"] for entry in done], schema, seconds=seconds, embedding_size=done[0]["size"])


def _loaded(stage: Stage, config: Config, image_size: int) -> int:
    """The side in pixels to which pictures are resized when they are loaded."""
    for role in ("autoencoder", "proxy"):
        if role in stage.inputs:
            return networks.inputs_of(Table(stage.inputs[role].uri)).loaded or image_size
    return min(config.embed.size, image_size)


def read_part(index: int, parts: list[Part], size: int) -> tuple[int, Any]:
    """The decoded images of one part of an images table, as squares of `size` pixels."""
    return index, decode(read_table(parts[index].uri, ["id", "image", "label", "key"]), size=size)


def write_embeddings(item: Embedded, stage: Stage) -> dict[str, Any]:
    """Write the embeddings of one part; gives its entry in the journal. Raises JobError for values that are not finite."""
    index, ids, labels, embeddings = item
    if not np.isfinite(embeddings).all():
        raise JobError(f"{stage.uri}: embeddings are not finite; the network that makes them diverged.")
    columns = [
        pa.array(ids),
        pa.array(labels, mask=labels < 0),
        pa.FixedShapeTensorArray.from_numpy_ndarray(np.ascontiguousarray(embeddings, dtype=np.float32)),
    ]
    table = pa.table(columns, schema=embeddings_schema(embeddings.shape[1]))
    return {"index": index, "part": write_part(stage, index, table), "size": embeddings.shape[1]}


def _encoder(worker: Worker, stage: Stage, config: Config) -> Callable[[tuple[int, Any]], Embedded]:
    """The network on a worker's device."""
    network = _network(stage, config, worker)
    dtype = compute_dtype(config.embed.precision, worker.device)

    @torch.inference_mode()
    def forward(batch: Tensor) -> Tensor:
        with autocast(dtype, worker.device):
            return network(batch.to(worker.device)).float().cpu()

    def encode(item: tuple[int, Any]) -> Embedded:
        index, images = item
        # Batches never cross parts: an embedding does not depend on how the parts are distributed.
        found = worker.map(forward, images.images, config.embed.batch_size)
        return index, images.ids.numpy(), images.labels.numpy(), found.numpy()

    return encode


def _network(stage: Stage, config: Config, worker: Worker) -> Encode:
    if "autoencoder" in stage.inputs:
        model = stage.inputs["autoencoder"]
        encoder, inputs = autoencoder.trained(model, worker.device), networks.inputs_of(Table(model.uri))
        return lambda images: encoder.encode(inputs.test(images))
    if "proxy" in stage.inputs:
        return proxy.Judge(stage.inputs["proxy"], worker.device).features
    assert config.embed.weights is not None
    try:
        weights = read_bytes(config.embed.weights)
    except FileNotFoundError:
        raise InputError(f"embed.weights={config.embed.weights}: there is no such file.") from None
    return pretrained(config.embed.network, weights, config.embed.size, worker.device)


def _take_over(worker: Worker, stage: Stage, config: Config) -> None:
    """The user's own embeddings, in the order and the parts of the images."""
    assert config.embed.table is not None
    table = Table(stage.inputs["images"].uri)
    folder, files = parquet_files(config.embed.table)
    given = pa.concat_tables([_given(join(folder, file.name)) for file in files]).combine_chunks()
    sizes = set(pc.list_value_length(given["embedding"]).unique().to_pylist())  # pyright: ignore[reportAttributeAccessIssue]
    if len(sizes) != 1 or None in sizes:
        raise InputError(f"embed.table={config.embed.table}: all embeddings must have the same length.")
    (size,) = sizes
    values = given["embedding"].combine_chunks().flatten().to_numpy().astype(np.float32).reshape(-1, size)
    parts = []
    for index, part in enumerate(table.parts("train")):
        keys = read_table(part.uri, ["id", "label"])
        found = pc.index_in(keys["id"], given["id"].combine_chunks())  # pyright: ignore[reportAttributeAccessIssue]
        if found.null_count:
            missing = keys["id"].filter(found.is_null())[0].as_py()
            raise InputError(f"embed.table={config.embed.table}: has no row with id {missing} (ids are those of {table.uri}).")
        labels = keys["label"].fill_null(-1).to_numpy()
        written = write_embeddings((index, keys["id"].to_numpy(), labels, values[found.to_numpy()]), stage)
        parts.append(written["part"])
    stage.commit(parts, embeddings_schema(size), seconds=0.0, embedding_size=size)


def _given(uri: str) -> pa.Table:
    try:
        table = read_table(uri)
    except pa.ArrowInvalid as error:
        raise InputError(f"embed.table: {uri}: is no Parquet file: {first_line(error)}") from None
    for name in ("id", "embedding"):
        if name not in table.column_names:
            raise InputError(f"{uri}: has no column `{name}`; the columns are {', '.join(table.column_names)}.")
    column = table["embedding"]
    if isinstance(column.type, pa.BaseExtensionType):
        column = pa.chunked_array([chunk.storage for chunk in column.chunks])
    return pa.table({"id": table["id"].cast(pa.int64()), "embedding": column.cast(pa.list_(pa.float32()))})


def _fingerprint(table: str) -> dict[str, Any]:
    """Fingerprint of the user's embedding files. Raises InputError if there are none."""
    found = parquet_files(table)[1]
    if not found:
        raise InputError(f"embed.table={table}: there are no Parquet files.")
    return digest(found)


def weights_fingerprint(path: str | None, section: str) -> list[Any] | None:
    """Fingerprint of the user's file of weights: its size and time of change. Raises InputError if it is not there."""
    if path is None:
        return None
    file = stat(path)
    if file is None:
        raise InputError(f"{section}.weights={path}: there is no such file.")
    return list(file)
