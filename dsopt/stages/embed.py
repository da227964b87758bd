"""embed: images + a network -> the embeddings table; exactly one row an image, the same on any number of workers."""

import re
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from dsopt.config import Config, differing
from dsopt.data.sets.parquet import parquet_files
from dsopt.data.sources.listing import digest
from dsopt.errors import InputError, JobError
from dsopt.files import first_line, join, read_table, stat
from dsopt.learners.placement import compute_dtype
from dsopt.models import libraries
from dsopt.pipeline import networks
from dsopt.pipeline.encoding import Embedded, Embedder, embed_part, of_copies, of_encoder
from dsopt.pipeline.parts import item_by_item, write_part
from dsopt.pipeline.plan import Plan
from dsopt.stages import autoencoder, ingest, proxy
from dsopt.storage import Kind, Part, Stage, Table, embeddings_schema
from dsopt.training.worker import Worker

EMBED = Kind("embed", version=2)
OWN = ("autoencoder", "proxy")  # encoders that are trained here


def embeddings(plan: Plan, split: str = "train") -> Stage:
    """The embeddings of the images of a split by `embed.encoder`, or of the training images those of `embed.table`."""
    config, chosen, inputs = plan.config, plan.config.embed, {"images": ingest.images(plan)}
    if chosen.source == "table":
        assert chosen.table is not None
        return plan.add(EMBED, f"{config.data.name}-table", {"table": _fingerprint(chosen.table)}, inputs, _take_over)
    made_of = differing(config, "embed", without=("embed.weights", "embed.table", "embed.source"))
    made_of |= {} if split == "train" else {"split": split}
    if "autoencoder" in chosen.encoder:
        inputs["autoencoder"] = autoencoder.model(plan)
    if "proxy" in chosen.encoder:
        inputs["proxy"] = proxy.model(plan, "proxy")
    external = [name for name in chosen.encoder if name not in OWN]
    for name in external:
        libraries.check(name)
    if external:
        made_of["files"] = [libraries.fingerprint(name) for name in external]
        made_of["weights"] = [weights_fingerprint(path, "embed") for path in chosen.weights]
    name = "+".join(
        re.sub(r"[^\w.-]+", "-", encoder.rpartition(":")[2].rstrip("/").rpartition("/")[2]) for encoder in chosen.encoder
    )
    name = name if split == "train" else f"{name}-{split}"
    return plan.add(EMBED, f"{config.data.name}-{name}", made_of, inputs, _embed, check=_check)


def _check(stage: Stage, config: Config) -> None:
    """Refuse encoders that cannot be had, before workers are started to load them."""
    for name, weights in _external(config):
        libraries.encoder(name, weights, config.embed.size)


def _external(config: Config) -> list[tuple[str, str]]:
    """The encoders of libraries and of the user, each with its weights."""
    names = [name for name in config.embed.encoder if name not in OWN]
    return list(zip(names, config.embed.weights or [libraries.LIBRARY] * len(names), strict=True))


def _embed(worker: Worker, stage: Stage, config: Config) -> None:
    from dsopt.cluster.data import stream

    table, split = Table(stage.inputs["images"].uri), stage.made_of.get("split", "train")
    parts = table.parts(split)
    encode = partial(_encoder, stage=stage, config=config, parts=parts)
    write = partial(write_embeddings, stage=stage, dtype=config.embed.dtype)

    def entries(indices: list[int]) -> Iterator[dict[str, Any]]:
        return stream(indices, config.cluster, None, encode, write)

    done, seconds = item_by_item(f"embed {stage.name}", stage, [part.rows for part in parts], "images", entries)
    written = sum(entry["part"]["rows"] for entry in done)
    if written != table.rows(split):
        raise JobError(f"{stage.uri}: {written} embeddings of {table.rows(split)} images.")
    schema = embeddings_schema(done[0]["size"], config.embed.dtype)
    stage.commit([entry["part"] for entry in done], schema, seconds=seconds, embedding_size=done[0]["size"])


def write_embeddings(item: tuple[int, Embedded], stage: Stage, dtype: str = "fp32") -> dict[str, Any]:
    """Write the embeddings of one part; gives its entry in the journal. Raises JobError for values that are not finite."""
    index, (ids, labels, values) = item
    schema = embeddings_schema(values.shape[1], dtype)
    with np.errstate(over="ignore"):
        values = np.ascontiguousarray(values, dtype=schema.field("embedding").type.value_type.to_pandas_dtype())
    if not np.isfinite(values).all():
        why = "the network that makes them diverged" if dtype == "fp32" else f"they may be too large for embed.dtype={dtype}"
        raise JobError(f"{stage.uri}: embeddings are not finite; {why}.")
    columns = [pa.array(ids), pa.array(labels, mask=labels < 0), pa.FixedShapeTensorArray.from_numpy_ndarray(values)]
    part = write_part(stage, index, pa.table(columns, schema=schema))
    return {"index": index, "part": part, "size": values.shape[1]}


def _encoder(worker: Worker, stage: Stage, config: Config, parts: list[Part]) -> Callable[[int], tuple[int, Embedded]]:
    """The encoders on a worker's device: the index of a part -> its embeddings."""
    image_size, chosen = Table(stage.inputs["images"].uri).manifest["image_size"], config.embed
    weights = dict(_external(config))

    def embedder(name: str) -> Embedder:
        if name == "autoencoder":
            return _autoencoder(stage.inputs[name], image_size, worker)
        if name == "proxy":
            judge = proxy.Judge(stage.inputs[name], worker.device)
            return of_copies(judge.features, judge.inputs.loaded or image_size)
        return of_encoder(libraries.encoder(name, weights[name], chosen.size), config.data, worker.device)

    embedders, dtype = [embedder(name) for name in chosen.encoder], compute_dtype(chosen.precision, worker.device)
    return lambda index: (index, embed_part(parts[index], embedders, worker, chosen.batch_size, dtype, image_size))


def _autoencoder(model: Stage, image_size: int, worker: Worker) -> Embedder:
    encoder, inputs = autoencoder.trained(model, worker.device), networks.inputs_of(Table(model.uri))
    return of_copies(lambda images: encoder.encode(inputs.test(images)), inputs.loaded or image_size)


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
        written = write_embeddings((index, Embedded(keys["id"].to_numpy(), labels, values[found.to_numpy()])), stage)
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
    if path in (None, libraries.LIBRARY):
        return None
    file = stat(path)
    if file is None:
        raise InputError(f"{section}.weights={path}: there is no such file.")
    return list(file)
