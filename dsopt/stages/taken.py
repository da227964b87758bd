"""What a subset holds for people besides what training reads: the originals, and a list of keys.

Training reads images of one size: those files of `data/` that hold nothing but working copies, and for the others their
counterparts below `working/`.
"""

import io
from collections.abc import Iterable, Iterator
from dataclasses import replace
from functools import partial
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv

from dsopt.config import Config
from dsopt.data.subsets import remote
from dsopt.data.subsets.originals import places, read_originals
from dsopt.errors import InputError
from dsopt.files import read_table, write_bytes, write_table
from dsopt.pipeline.parts import item_by_item
from dsopt.storage import IMAGE, Part, Stage, content_digest, with_image_feature
from dsopt.training.worker import Worker

FILE_BYTES = 128 << 20  # of originals in a file
KEYS = pa.schema([("key", pa.string()), ("label", pa.int64()), ("label_name", pa.string()), ("rank", pa.int32())])
CSV, ENTRY_BYTES = "subset.csv", 128  # of an image: a line of 60 bytes, in a buffer that grows by copying
GROUP_BYTES = 1 << 20  # of originals in a row group, the least that is read for one of them


def write_rows(
    item: tuple[int, pa.Table], stage: Stage, content: str, parts: list[Part], classes: list[str] | None
) -> dict[str, Any]:
    """Write the chosen rows of one part of the images table, as training reads them; gives the entry in the journal."""
    index, table = item
    path, more = f"data/part-{index:05d}.parquet", {}
    if not len(table):
        return {"index": index, "part": {"path": path, "rows": 0, "bytes": 0}}
    if content == "none":
        table = table.drop_columns(["image"])
        more = {"images": parts[index].uri.removeprefix(stage.storage.rstrip("/") + "/")}
    elif content == "originals" and pc.any(_differ(table)).as_py():  # pyright: ignore[reportAttributeAccessIssue]
        path = f"working/part-{index:05d}.parquet"
    return {"index": index, "part": _write(stage, path, table, classes) | more}


def copy_originals(stage: Stage, parts: list[dict[str, Any]], classes: list[str] | None, config: Config) -> list[dict[str, Any]]:
    """The files for people: those parts that are such already, and of the others copies that hold the originals."""
    todo = [part for part in parts if part["path"].startswith("working/")]
    if not todo:
        return parts
    # As at ingest, only this machine is sure to see a local folder.
    cluster = config.cluster if remote.is_remote(config.data.root or "") else replace(config.cluster, workers=0)
    copy = partial(_copy, stage=stage, parts=todo, classes=classes)

    def entries(indices: list[int]) -> Iterator[dict[str, Any]]:
        from dsopt.cluster.data import stream

        return stream(indices, cluster, copy)

    sizes = [part["rows"] for part in todo]
    done, _ = item_by_item(f"select {config.select.method}: originals", stage, sizes, "images", entries, "_originals")
    files = [part for part in parts if part not in todo] + [part for entry in done for part in entry["files"]]
    return sorted(files, key=lambda part: part["path"])


def write_csv(stage: Stage, files: list[dict[str, Any]], config: Config) -> str:
    """The keys of the subset as plain text, with labels and ranks, written where there is memory; gives the name of the file."""
    from dsopt.cluster.train import away

    away(_write_csv, (stage, files), config.cluster, ENTRY_BYTES * sum(part["rows"] for part in files))
    return CSV


def _write_csv(worker: Worker, stage: Stage, files: list[dict[str, Any]]) -> None:
    write_bytes(stage.path(CSV), as_csv(read_table(stage.path(part["path"]), KEYS.names).cast(KEYS) for part in files))


def as_csv(tables: Iterable[pa.Table]) -> memoryview:
    """Tables with the columns of KEYS as plain text, one after another."""
    sink = io.BytesIO()
    with pyarrow.csv.CSVWriter(sink, KEYS) as writer:
        for table in tables:
            writer.write_table(table)
    return sink.getbuffer()


def _differ(table: pa.Table) -> pa.ChunkedArray:
    """Of which rows the original is another file than the working copy."""
    stored = pa.array([content_digest(image["bytes"].as_buffer()) for chunk in table["image"].chunks for image in chunk])
    return pc.and_(table["uri"].is_valid(), pc.fill_null(pc.not_equal(table["digest"], stored), True))  # pyright: ignore[reportAttributeAccessIssue]


def _copy(index: int, stage: Stage, parts: list[dict[str, Any]], classes: list[str] | None) -> dict[str, Any]:
    """Copy the originals of a part into files of a bounded size; gives the entry in the journal."""
    path = parts[index]["path"]
    table = read_table(stage.path(path))
    name = path.replace("working/", "data/").removesuffix(".parquet")
    files = []
    try:
        for number, piece in enumerate(_with_originals(table)):
            group_rows = max(1, GROUP_BYTES * len(piece) // max(1, piece.nbytes))
            files.append(_write(stage, f"{name}-{number:03d}.parquet", piece, classes, group_rows=group_rows))
    except InputError as error:
        raise InputError(f"{error} Or take working copies: select.content=working.") from None
    return {"index": index, "files": files}


def _with_originals(table: pa.Table) -> Iterator[pa.Table]:
    """The rows with their originals as images, so many at a time as a file holds."""
    differ = _differ(table).to_numpy()
    wanted = places(table.filter(pa.array(differ)))
    originals, images, start, size = read_originals(wanted), [], 0, 0
    names = iter(wanted)
    for row in range(len(table)):
        image = table["image"][row].as_py()
        if differ[row]:
            image = {"bytes": next(originals), "path": next(names).key.rpartition("/")[2]}
        images.append(image)
        size += len(image["bytes"])
        if size >= FILE_BYTES or row == len(table) - 1:
            piece = table.slice(start, len(images))
            yield piece.set_column(piece.column_names.index("image"), "image", pa.array(images, IMAGE))
            images, start, size = [], row + 1, 0


def _write(stage: Stage, path: str, table: pa.Table, classes: list[str] | None, **options: Any) -> dict[str, Any]:
    table = table.cast(with_image_feature(table.schema, classes))
    return {"path": path, "rows": len(table), "bytes": write_table(stage.path(path), table, compression="none", **options)}
