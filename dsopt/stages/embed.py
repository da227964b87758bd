"""embed: images + autoencoder -> the embeddings table; exactly one row an image, the same on any number of workers."""

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import numpy as np
import pyarrow as pa
import torch

from dsopt.augment.inputs import make_inputs
from dsopt.config import Config, plain
from dsopt.data.images import Images, decode
from dsopt.errors import JobError
from dsopt.learners.parts import autocast, compute_dtype
from dsopt.stages import autoencoder
from dsopt.stages.step import Step, item_by_item
from dsopt.storage import Part, Stage, Table, embeddings_schema, read_table, write_table
from dsopt.training.worker import Worker

Embedded = tuple[int, np.ndarray, np.ndarray, np.ndarray]  # index of the part, ids, labels, embeddings [n, d]


def embeddings(config: Config) -> tuple[Stage, list[Step]]:
    """The embeddings of the training images, and the steps that lead to them."""
    model, steps = autoencoder.model(config)
    inputs = {"images": model.inputs["images"], "autoencoder": model}
    stage = Stage(config.storage, "embed", config.data.name, plain(config.embed), inputs)
    return stage, [*steps, Step(stage, _work)]


def _work(stage: Stage, config: Config) -> None:
    from dsopt.cluster.data import stream

    table = Table(stage.inputs["images"].uri)
    parts = table.parts("train")
    read, write = partial(_read, parts=parts), partial(_write, stage=stage)
    encoder = partial(_encoder, stage=stage, config=config)

    def entries(indices: list[int]) -> Iterator[dict[str, Any]]:
        return stream(indices, config.cluster, read, encoder, write)

    done, seconds = item_by_item(f"embed {stage.name}", stage, [part.rows for part in parts], "images", entries)
    written = sum(entry["part"]["rows"] for entry in done)
    if written != table.rows("train"):
        raise JobError(f"{stage.uri}: {written} embeddings of {table.rows('train')} images.")
    schema = embeddings_schema(done[0]["size"])
    stage.commit([entry["part"] for entry in done], schema, seconds=seconds, embedding_size=done[0]["size"])


def _read(index: int, parts: list[Part]) -> tuple[int, Images]:
    return index, decode(read_table(parts[index].uri, ["id", "image", "label"]))


def _encoder(worker: Worker, stage: Stage, config: Config) -> Callable[[tuple[int, Images]], Embedded]:
    """The trained encoder on a worker's device."""
    network = autoencoder.trained(stage.inputs["autoencoder"], config, worker.device)
    size = autoencoder.input_size(config.autoencoder.name, Table(stage.inputs["images"].uri))
    inputs = make_inputs([], size, None)
    dtype = compute_dtype(config.embed.precision, worker.device)

    @torch.inference_mode()
    def encode(item: tuple[int, Images]) -> Embedded:
        index, images = item
        found = []
        # Batches never cross parts: an embedding does not depend on how the parts are dealt out.
        for batch in images.images.split(config.embed.batch_size):
            with autocast(dtype, worker.device):
                found.append(network.encode(inputs.test(batch.to(worker.device))).float().cpu())
        return index, images.ids.numpy(), images.labels.numpy(), torch.cat(found).numpy()

    return encode


def _write(item: Embedded, stage: Stage) -> dict[str, Any]:
    index, ids, labels, embeddings = item
    if not np.isfinite(embeddings).all():
        raise JobError(f"{stage.uri}: embeddings are not finite; the autoencoder diverged.")
    columns = [
        pa.array(ids),
        pa.array(labels, mask=labels < 0),
        pa.FixedShapeTensorArray.from_numpy_ndarray(np.ascontiguousarray(embeddings, dtype=np.float32)),
    ]
    table = pa.table(columns, schema=embeddings_schema(embeddings.shape[1]))
    path = f"data/part-{index:05d}.parquet"
    # Floats of an activation do not compress worth the time.
    size = write_table(stage.path(path), table, compression="none")
    return {"index": index, "part": {"path": path, "rows": len(table), "bytes": size}, "size": embeddings.shape[1]}
