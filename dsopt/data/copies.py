"""Working copies: what the images table stores of a picture, small, checked, and decoded without surprises."""

import io
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageOps

from dsopt.config import DataConfig
from dsopt.data import decoding, png
from dsopt.data.pixels import Color, Unusable, deep, eight_bits, opened, orientation, uniform, upright
from dsopt.files import first_line

SMALL = 64  # pixels: up to this size a copy is a square PNG, if the configuration does not say otherwise
LONGEST = 8  # times the short side: the long side of a narrower picture is squeezed to it, or a strip of 5 x 3000 would be huge
QUALITY = 92  # of JPEG, with colors at full resolution
SPARE = 3  # times the wanted size: a JPEG is decoded at 1/2, 1/4 or 1/8 of its size, but bicubic filters then have enough pixels
COLORS: dict[str, Color] = {"white": (255, 255, 255), "black": (0, 0, 0)}

Size = tuple[int, int]  # width, height


class Copy(NamedTuple):
    """A working copy.

    Args:
        suffix: "png" or "jpg".
        uniform: all its pixels have the same value.
    """

    data: bytes
    suffix: str
    uniform: bool


def working_copy(image: bytes | np.ndarray | None, data: DataConfig) -> Copy:
    """The working copy of a picture, as `data` says; a file that is one already keeps its bytes.

    Args:
        data: with `channels` set.

    Raises:
        Unusable: the picture cannot be decoded.
    """
    assert data.channels is not None
    picture = opened(image)
    try:
        if isinstance(image, bytes) and (kept := _kept(image, picture, data)):
            return kept
        assert image is not None
        picture = _resized(deep(image) or picture, data)
        return Copy(*_encoded(picture, data), uniform(picture))
    except Unusable:
        raise
    except Exception as error:  # PIL's decoders raise errors of many types on damaged files
        raise Unusable(f"image cannot be decoded ({first_line(error)})") from None


def whole(data: DataConfig) -> bool:
    """Whether copies hold the whole picture, with its short side of the configured size, and not its central square."""
    return data.fit == "whole" or (data.fit == "auto" and data.image_size > SMALL)


def background(data: DataConfig) -> Color:
    """The color on which transparent pictures lie."""
    red, green, blue = COLORS.get(data.background) or map(int, data.background.split(","))
    return red, green, blue


def _target(size: Size, data: DataConfig) -> Size:
    """The size of the copy of a picture."""
    side = data.image_size
    if not whole(data):
        return side, side
    short = min(size)
    width, height = (min(round(length * side / short), LONGEST * side) for length in size)
    return width, height


def _kept(image: bytes, picture: Image.Image, data: DataConfig) -> Copy | None:
    """The bytes of a file that every reader decodes to the pixels of a copy."""
    if not (
        picture.size == _target(picture.size, data)
        and picture.mode == ("L" if data.channels == 1 else "RGB")
        and (picture.format == "JPEG" or (image[24:25] == b"\x08" and png.sound(image)))  # byte 24 of a PNG: bits a channel
        and "transparency" not in picture.info
        and orientation(picture) == 1
    ):
        return None
    picture.load()
    try:
        pixels = decoding.decoded(decoding.as_tensor(image))  # training uses this decoder, and it is stricter than PIL's
    except RuntimeError:
        return None
    if tuple(pixels.shape) != (data.channels, picture.height, picture.width):
        return None
    return Copy(image, "png" if picture.format == "PNG" else "jpg", uniform(picture))


def _resized(picture: Image.Image, data: DataConfig) -> Image.Image:
    width, height = _target(picture.size, data)
    picture.draft(None, (SPARE * width, SPARE * height))  # of a JPEG that was only opened; nothing else has such a thing
    picture = eight_bits(upright(picture), data.channels or 3, background(data))
    target = _target(picture.size, data)
    if picture.size == target:
        return picture
    if whole(data):
        return picture.resize(target, Image.Resampling.BICUBIC)
    return ImageOps.fit(picture, target, Image.Resampling.BICUBIC)


def _encoded(picture: Image.Image, data: DataConfig) -> tuple[bytes, str]:
    sink = io.BytesIO()
    if data.store == "png" or (data.store == "auto" and data.image_size <= SMALL):
        picture.save(sink, "PNG")
        return sink.getvalue(), "png"
    picture.save(sink, "JPEG", quality=QUALITY, subsampling=0)
    return sink.getvalue(), "jpg"
