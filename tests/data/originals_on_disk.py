"""Small pictures in folders, tar shards and Parquet files, with the images table that names each of them."""

import io
import tarfile
from typing import Any

import pyarrow as pa
from PIL import Image

from dsopt.files import write_bytes, write_table
from dsopt.storage import SUBSET, Kind, Stage, content_digest

CLASSES = ["even", "odd"]


def picture(id: int) -> bytes:
    """An image that tells its id: by its width."""
    sink = io.BytesIO()
    Image.new("RGB", (id + 1, 3), (id % 256, 5, 9)).save(sink, "PNG")
    return sink.getvalue()


def as_files(root: str, ids: range) -> dict[int, dict[str, Any]]:
    """Each a file; id -> its place."""
    for id in ids:
        write_bytes(f"{root}/{id:04d}.png", picture(id))
    return {id: {"uri": f"{root}/{id:04d}.png"} for id in ids}


def as_tar(root: str, ids: range, name: str = "shard.tar") -> dict[int, dict[str, Any]]:
    """All in a tar with a file of the label beside each; id -> its place."""
    sink = io.BytesIO()
    with tarfile.open(fileobj=sink, mode="w") as tar:
        for id in ids:
            for suffix, data in (("png", picture(id)), ("cls", str(id % 2).encode())):
                info = tarfile.TarInfo(f"{id:04d}.{suffix}")
                info.size = len(data)
                tar.addfile(info, io.BytesIO(data))
    sink.seek(0)
    with tarfile.open(fileobj=sink) as tar:
        found = {int(m.name[:4]): (m.offset_data, m.size) for m in tar.getmembers() if m.name.endswith("png")}
    write_bytes(f"{root}/{name}", sink.getvalue())
    return {id: {"uri": f"{root}/{name}", "offset": offset, "length": length} for id, (offset, length) in found.items()}


def as_parquet(root: str, ids: range, *, group_rows: int = 7) -> dict[int, dict[str, Any]]:
    """All rows of a file whose first column of bytes is not the images; id -> its place."""
    rows = [{"thumbnail": b"no image", "photo": {"bytes": picture(id), "path": None}} for id in ids]
    write_table(f"{root}/rows.parquet", pa.Table.from_pylist(rows), group_rows=group_rows)
    return {id: {"uri": f"{root}/rows.parquet", "row": row} for row, id in enumerate(ids)}


def rows_of(places: dict[int, dict[str, Any]], **columns: Any) -> pa.Table:
    """The rows of an index of a subset (`select.content=none`)."""
    rows = []
    for id, place in places.items():
        row = dict.fromkeys(SUBSET.names) | {"id": id, "label": id % 2, "key": f"picture {id}", "label_name": CLASSES[id % 2]}
        row |= {"rank": id, "score": 0.5, "reason": "test", "width": id + 1, "height": 3, "format": "PNG"}
        rows.append(row | {"digest": content_digest(picture(id))} | place | columns)
    schema = pa.schema([field for field in SUBSET if field.name != "image"])
    return pa.Table.from_pylist(rows, schema)


def index_of(storage: str, places: dict[int, dict[str, Any]]) -> str:
    """A finished subset that holds only an index."""
    stage = Stage(storage, Kind("select"), "pictures", {"places": len(places)})
    rows = rows_of(places)
    part = {"path": "data/part-00000.parquet", "rows": len(rows), "bytes": 0}
    write_table(stage.path(part["path"]), rows)
    facts = {"classes": CLASSES, "num_classes": 2, "channels": 3, "image_size": 32, "content": "none"}
    stage.commit([part], SUBSET, seconds=0.0, files=[part], **facts)
    return stage.uri
