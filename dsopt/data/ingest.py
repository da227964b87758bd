"""From rows of a source to rows of the images table: every image is checked once; all get one size and number of channels."""

import hashlib
import io
from collections.abc import Iterable
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
from PIL import Image, ImageOps, UnidentifiedImageError

from dsopt.config import DataConfig
from dsopt.data.source import Shard, SourceRow
from dsopt.errors import InputError
from dsopt.files import first_line, retried
from dsopt.seeds import splitmix64
from dsopt.storage import IMAGES

FORMATS = ("PNG", "JPEG", "WEBP", "BMP", "GIF", "TIFF", "PPM")  # not all of PIL's: for EPS, e.g., it starts Ghostscript
GRAY_MODES = ("1", "L", "LA", "La", "I")
ORIENTATION = 0x0112  # EXIF tag: how the camera was held
MAX_LABEL = 2**31 - 1


class Broken(NamedTuple):
    """A row that was skipped, and why."""

    id: int
    key: str
    reason: str


class Unusable(Exception):
    """A row cannot be used; the message is the reason."""


@retried
def ingest_shard(shard: Shard, data: DataConfig, classes: list[str] | None) -> tuple[dict[str, pa.Table], list[Broken]]:
    """The images tables of a shard, by split ("train", "test"; only those with rows), and the skipped rows.

    Images that are already PNG or JPEG of the configured size keep their bytes; others are cropped to the central square, resized
    (bicubic) and stored as PNG. A pure function of its arguments: running it again gives the same bytes.

    Args:
        data: with `channels` set (see `source_channels`).
        classes: the names of the labels; None if labels are numbers without names.

    Raises:
        InputError: a row is broken and `data.on_error` is "fail".
    """
    assert data.channels is not None
    numbers = None if classes is None else {name: i for i, name in enumerate(classes)}
    kept: dict[str, list[dict[str, Any]]] = {"train": [], "test": []}
    broken = []
    for id, row in enumerate(shard.read(), start=shard.first_id):
        try:
            label = _label(row.label, numbers, shard.labelled)
            image, suffix = stored_image(row.image, data.image_size, data.channels)
            origin = _origin(row)
        except Unusable as reason:
            if data.on_error == "fail":
                raise InputError(f"{row.key}: {reason} (data.on_error=skip leaves such rows out).") from None
            broken.append(Broken(id, row.key, str(reason)))
            continue
        split = shard.split or ("test" if held_out(id, data.test_fraction) else "train")
        stored = {"bytes": image, "path": f"{id:08d}.{suffix}"}
        kept[split].append({"id": id, "image": stored, "label": label, "key": row.key} | origin)
    return {split: pa.Table.from_pylist(rows, IMAGES) for split, rows in kept.items() if rows}, broken


def _origin(row: SourceRow) -> dict[str, Any]:
    """The columns that say where an image lies and what it is; only those of its size where it is no encoded file."""
    picture = opened(row.image)
    about: dict[str, Any] = {"width": picture.width, "height": picture.height}
    if row.place is None or not isinstance(row.image, bytes):
        return about
    digest = hashlib.blake2b(row.image, digest_size=16).hexdigest()
    return about | row.place._asdict() | {"format": picture.format, "digest": digest}


def source_channels(shards: Iterable[Shard]) -> int:
    """1 if the first readable image is gray, else 3.

    Raises:
        InputError: no image can be read.
    """
    for shard in shards:
        for row in shard.read():
            try:
                return 1 if _gray(opened(row.image)) else 3
            except Unusable:
                continue
    raise InputError("no image of the data set can be read.")


def held_out(id: int, fraction: float) -> bool:
    """Whether a row belongs to the test split: follows from its id alone."""
    return splitmix64(id) < fraction * 2**64


def _label(label: Any, numbers: dict[str, int] | None, labelled: bool) -> int | None:
    if label is None or label != label:  # pandas writes a missing number as NaN
        if labelled:
            raise Unusable("no label")
        return None
    if isinstance(label, str):
        if numbers is None or label not in numbers:
            raise Unusable(f"label {label!r} is not one of the classes")
        return numbers[label]
    if label != int(label):
        raise Unusable(f"label {label} is not a whole number")
    top = MAX_LABEL if numbers is None else len(numbers) - 1
    if not 0 <= label <= top:
        raise Unusable(f"label {label} is not in 0..{top}")
    return int(label)


def stored_image(image: bytes | np.ndarray | None, size: int, channels: int) -> tuple[bytes, str]:
    """The bytes that the images table stores for an image, `size` x `size` pixels, and their suffix, "png" or "jpg"."""
    picture = opened(image)
    try:
        if isinstance(image, bytes) and _fits(image, picture, size, channels):
            picture.load()
            return image, "png" if picture.format == "PNG" else "jpg"
        # Large JPEGs are decoded at 1/2, 1/4 or 1/8 of their size, which is much faster, but at no less than 3 times the target:
        # the bicubic filter then still has enough pixels.
        picture.draft(None, (3 * size, 3 * size))
        picture = eight_bits(ImageOps.exif_transpose(picture), channels)
        if picture.size != (size, size):
            picture = ImageOps.fit(picture, (size, size), Image.Resampling.BICUBIC)
        sink = io.BytesIO()
        picture.save(sink, "PNG")
        return sink.getvalue(), "png"
    except Unusable:
        raise
    except Exception as error:  # PIL's decoders raise errors of many types on damaged files
        raise Unusable(f"image cannot be decoded ({first_line(error)})") from None


def opened(image: bytes | np.ndarray | None) -> Image.Image:
    """Open an image; only its header is read. Raises Unusable."""
    if image is None:
        raise Unusable("no image")
    try:
        if isinstance(image, np.ndarray):
            return Image.fromarray(image[..., 0] if image.ndim == 3 and image.shape[2] == 1 else image)
        return Image.open(io.BytesIO(image), formats=FORMATS)
    except UnidentifiedImageError:
        raise Unusable(f"not an image ({', '.join(FORMATS)} are supported)") from None
    except Exception as error:
        raise Unusable(f"image cannot be decoded ({first_line(error)})") from None


def _fits(data: bytes, picture: Image.Image, size: int, channels: int) -> bool:
    """Whether every reader decodes the file to the same `channels` x 8 bits, so that its bytes can be kept."""
    return (
        picture.size == (size, size)
        and picture.mode == ("L" if channels == 1 else "RGB")
        and (picture.format == "JPEG" or (picture.format == "PNG" and data[24] == 8))  # byte 24 of a PNG: bit depth
        and "transparency" not in picture.info
        and picture.getexif().get(ORIENTATION, 1) == 1
    )


def _gray(picture: Image.Image) -> bool:
    return picture.mode in GRAY_MODES or picture.mode.startswith("I;16")


def eight_bits(picture: Image.Image, channels: int) -> Image.Image:
    """The picture in 8 bits per channel, gray or RGB; transparency is dropped, as torchvision and most loaders do."""
    if picture.mode.startswith("I"):  # 16 bits, which PIL's convert would clip instead of scale
        pixels = np.asarray(picture)
        if pixels.min() < 0 or pixels.max() > 0xFFFF:
            raise Unusable("image has more than 16 bits a pixel")
        picture = Image.fromarray((pixels >> 8).astype(np.uint8))
    if picture.mode == "F":
        raise Unusable("image has floating-point pixels")
    if picture.mode == "P":
        picture = picture.convert("RGBA")  # a palette may have transparent entries
    picture = picture.convert("L" if channels == 1 else "RGB")
    picture.info.clear()  # else metadata such as a transparent color would be saved again
    return picture
