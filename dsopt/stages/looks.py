"""looks: images of both splits -> what their pixels tell (`dsopt.audit.looks`), one row an image, part by part."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import pyarrow as pa
import torch

from dsopt.audit.looks import COLUMNS, THUMB, content, looks
from dsopt.config import Config
from dsopt.data import decoding
from dsopt.data.images import name_of
from dsopt.errors import InputError, JobError
from dsopt.files import first_line
from dsopt.pipeline.parts import item_by_item, write_part
from dsopt.pipeline.plan import Plan
from dsopt.stages import ingest
from dsopt.storage import Kind, Part, Stage, Table, content_digest
from dsopt.training.worker import Worker

LOOKS = Kind("looks")
PNG = b"\x89PNG"
ROWS = 1024  # decoded at a time
FEW = 20_000  # images that take seconds
SCHEMA = pa.schema(
    [
        ("id", pa.int64()),
        ("label", pa.int64()),
        ("content", pa.binary(16)),
        ("width", pa.int32()),
        ("height", pa.int32()),
        *((name, pa.float32()) for name in COLUMNS),
        ("hash", pa.int64()),
        ("thumb", pa.list_(pa.float16(), THUMB * THUMB)),
    ]
)


def looked(plan: Plan) -> Stage:
    """What the pixels of every image of the configured data set tell; of nothing but the images, so made once for all audits."""
    return plan.add(LOOKS, plan.config.data.name, {}, {"images": ingest.images(plan)}, _look)


def _look(worker: Worker, stage: Stage, config: Config) -> None:
    from dsopt.cluster.data import stream

    table = Table(stage.inputs["images"].uri)
    parts = table.parts()
    # Few images are looked at sooner than a worker starts.
    cluster = replace(config.cluster, workers=0) if table.rows() < FEW else config.cluster
    one = partial(_of_part, stage=stage, parts=parts)

    def entries(indices: list[int]) -> Iterator[dict[str, Any]]:
        return stream(indices, cluster, one)

    done, seconds = item_by_item(f"looks {stage.name}", stage, [part.rows for part in parts], "images", entries)
    written = [entry["part"] for entry in done]
    if sum(part["rows"] for part in written) != table.rows():
        raise JobError(f"{stage.uri}: not one row for each of {table.rows()} images.")
    stage.commit(written, SCHEMA, seconds=seconds)


def _of_part(index: int, stage: Stage, parts: list[Part]) -> dict[str, Any]:
    rows = parts[index].read(["id", "label", "key", "image", "width", "height", "digest"])
    with ThreadPoolExecutor(torch.get_num_threads()) as pool:
        found = [_of_rows(rows.slice(start, ROWS), pool) for start in range(0, len(rows), ROWS)]
    table = pa.concat_tables([SCHEMA.empty_table(), *found])
    return {"index": index, "part": write_part(stage, index, table, parts[index].split)}


def _of_rows(rows: pa.Table, pool: ThreadPoolExecutor) -> pa.Table:
    images, lossless = zip(*pool.map(partial(_decoded, rows), range(len(rows))), strict=True)
    originals = zip(*(rows[name].to_pylist() for name in ("width", "height", "digest")), strict=True)
    columns: dict[str, Any] = {name: rows[name] for name in ("id", "label", "width", "height")}
    columns["content"] = [content(image, *of, lossless=whole) for image, of, whole in zip(images, originals, lossless, strict=True)]
    shapes = np.array([image.shape for image in images])
    values: dict[str, np.ndarray] = {}
    for shape in np.unique(shapes, axis=0):  # copies of whole pictures have several sizes
        alike = np.flatnonzero((shapes == shape).all(1))
        for name, column in looks(torch.stack([images[i] for i in alike])).items():
            column = column.numpy()
            values.setdefault(name, np.empty((len(images), *column.shape[1:]), column.dtype))[alike] = column
    columns |= {name: pa.array(column) for name, column in values.items() if column.ndim == 1}
    columns["thumb"] = pa.FixedSizeListArray.from_arrays(pa.array(values["thumb"].ravel()), THUMB * THUMB)
    return pa.table([columns[name] for name in SCHEMA.names], schema=SCHEMA)


def _decoded(rows: pa.Table, i: int) -> tuple[torch.Tensor, bool]:
    """The pixels of a working copy, and whether it is stored without loss or is the original itself."""
    data = rows["image"][i].as_py()["bytes"]
    try:
        pixels = decoding.decoded(decoding.as_tensor(data))
        return pixels, data.startswith(PNG) or content_digest(data) == rows["digest"][i].as_py()
    except (RuntimeError, OSError) as error:
        raise InputError(f"image {name_of(rows, i)} cannot be decoded: {first_line(error)}") from None
