"""A finished subset as a torch data set of its original pictures, for the user's own training loop."""

import io
from collections.abc import Callable
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import torch
from jaxtyping import Float32, Int32, Int64
from PIL import Image, ImageOps
from torch import Tensor

from dsopt.data.images import decode
from dsopt.data.pixels import eight_bits
from dsopt.data.subsets.originals import places, read
from dsopt.errors import InputError
from dsopt.files import first_line
from dsopt.storage import ORIGIN, SUBSET, Table

Transform = Callable[[Image.Image], Any]
Label = int | Float32[Tensor, " classes"]


def listed(table: Table, *, stored: bool, split: str | None = None) -> pa.Table:
    """The rows that people take away, without their images: the columns of SUBSET and, where there are any, soft labels.

    Args:
        stored: `uri` and `row` say where the table itself holds each image; else they do so only where there is no original.
        split: those of a table of all images; by default the training images.
    """
    known = [name for name in (*SUBSET.names, "soft_label") if name in table.manifest["schema"] and name != "image"]
    blocks = []
    for part in table.parts(split) if split else table.files():
        rows = part.read(known)
        if "label_name" not in known:
            rows = rows.append_column("label_name", label_names(rows["label"], table.manifest.get("classes")))
        for field in SUBSET:
            if field.name not in ("image", "label_name", *known):
                rows = rows.append_column(field, pa.nulls(len(rows), field.type))
        blocks.append(rows if table.manifest.get("content") == "none" else placed(rows, part.uri, everywhere=stored))
    if not blocks:
        raise InputError(f"{table.uri}: has no rows.")
    return pa.concat_tables(blocks)


def label_names(labels: pa.ChunkedArray, classes: list[str] | None) -> pa.ChunkedArray | pa.Array:
    """The names of labels; of labels without names, their numbers."""
    return pa.array(classes, pa.string()).take(labels.combine_chunks()) if classes else labels.cast(pa.string())


def placed(rows: pa.Table, uri: str, *, everywhere: bool = False) -> pa.Table:
    """The rows of a file, with their places in it in ORIGIN's columns: of all, or of those without an original."""
    here = pa.array(np.full(len(rows), True)) if everywhere else rows["uri"].is_null()
    for name, value in {"uri": uri, "row": pa.array(np.arange(len(rows))), "offset": None, "length": None, "digest": None}.items():
        field = ORIGIN.field(name)
        there = value if name == "row" else pa.scalar(value, field.type)
        column = pc.if_else(here, there, rows[name])  # pyright: ignore[reportAttributeAccessIssue]
        rows = rows.set_column(rows.column_names.index(name), field, column)
    return rows


def opened(data: bytes, key: str, transform: Transform | None, channels: int) -> Any:
    """A file as a PIL image, which decodes its pixels when they are asked for; or what the transform makes of it.

    A transform gets it as training sees it: upright, 8 bits, RGB or (`channels` = 1) gray.

    Raises:
        InputError: it is no image.
    """
    try:
        picture = Image.open(io.BytesIO(data))
        shown = None if transform is None else eight_bits(ImageOps.exif_transpose(picture), channels)
    except Exception as error:  # PIL's decoders raise errors of many types on damaged files
        raise InputError(f"{key}: cannot be decoded: {first_line(error)}") from None
    return picture if transform is None or shown is None else transform(shown)


def numbers(rows: pa.Table, name: str, dtype: Any) -> Tensor:
    """A column as a tensor."""
    return torch.from_numpy(rows[name].to_numpy().astype(dtype))


def labels_of(rows: pa.Table) -> Int64[Tensor, " n"]:
    """The labels; -1: none."""
    return torch.from_numpy(pc.fill_null(rows["label"], -1).to_numpy().astype(np.int64))


def soft_labels_of(rows: pa.Table) -> Float32[Tensor, "n k"] | None:
    if "soft_label" not in rows.column_names:
        return None
    column = rows["soft_label"].combine_chunks()
    return torch.from_numpy(column.flatten().to_numpy().astype(np.float32)).view(len(column), -1)


class SubsetDataset(torch.utils.data.Dataset):
    """A finished subset (or any images table) for the user's own training loop: items are (image, label).

    An image is the original picture as a PIL image, read when it is asked for and decoded when its pixels are; pictures may have
    any size and mode. Where the subset holds working copies, all of one size, it is a uint8 tensor [c, h, w]. With `transform` it
    is what that makes of a PIL image, upright, 8 bits, RGB or gray. A label is an int (-1: no label), or a float tensor [classes]
    if the table has soft labels.

    Attributes:
        ids, labels, ranks, scores: tensors [n]; ranks and scores are None if the table has none.
        keys: the names of the images in the source.
        classes: the names of the labels, if they are known.
        images: uint8 [n, c, h, w], the working copies; None where items are original pictures.
    """

    ids: Int64[Tensor, " n"]
    labels: Int64[Tensor, " n"]
    ranks: Int32[Tensor, " n"] | None
    scores: Float32[Tensor, " n"] | None
    keys: list[str | None]
    classes: list[str] | None

    def __init__(self, uri: str, transform: Transform | None = None) -> None:
        table = Table(uri)
        self._rows = listed(table, stored=True)
        self.ids, self.labels = numbers(self._rows, "id", np.int64), labels_of(self._rows)
        self.ranks = None if self._rows["rank"].null_count else numbers(self._rows, "rank", np.int32)
        self.scores = None if self._rows["score"].null_count else numbers(self._rows, "score", np.float32)
        self.keys = self._rows["key"].to_pylist()
        self.classes = table.manifest.get("classes")
        self.transform = transform
        self._soft, self._channels = soft_labels_of(self._rows), table.manifest.get("channels", 3)
        self.images = _working_copies(table)

    def __len__(self) -> int:
        return len(self.ids)

    def __getitem__(self, index: int) -> tuple[Any, Label]:
        return self.__getitems__([range(len(self))[index]])[0]

    def __getitems__(self, indices: list[int]) -> list[tuple[Any, Label]]:
        """The items of a batch, read together; torch's DataLoader asks for them so."""
        if self.images is not None:
            images = [self._copy(self.images[i]) for i in indices]
        else:
            wanted = places(self._rows.take(indices))
            images = [opened(data, one.key, self.transform, self._channels) for one, data in zip(wanted, read(wanted), strict=True)]
        labels = [int(self.labels[i]) if self._soft is None else self._soft[i] for i in indices]
        return list(zip(images, labels, strict=True))

    def _copy(self, image: Tensor) -> Any:
        if self.transform is None:
            return image
        return self.transform(Image.fromarray(image.permute(1, 2, 0).squeeze(2).numpy()))


def _working_copies(table: Table) -> Tensor | None:
    """The images of a table whose rows are all working copies of one size; None of any other."""
    files = table.files()
    if any(part.images for part in files) or not {part.uri for part in files} <= {part.uri for part in table.parts()}:
        return None
    rows = pa.concat_tables([part.read(["id", "image"]) for part in files])
    sizes = {Image.open(io.BytesIO(image["bytes"].as_py())).size for chunk in rows["image"].chunks for image in chunk}
    return decode(rows).images if len(sizes) == 1 else None


def load_subset(uri: str, transform: Transform | None = None) -> SubsetDataset:
    """A finished subset as a map-style data set of its original pictures, from a local folder or s3://; see `SubsetDataset`.

    Raises:
        InputError: there is no finished stage. Reading an item: its original has changed or is gone (`select.content=none`).
    """
    return SubsetDataset(uri, transform)
