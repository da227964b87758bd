"""Photographs as people have them, of any size, grey or colour, 8 or 16 bits, transparent, turned by their camera; and as files."""

import io
from typing import Any, NamedTuple

import numpy as np
import torch
from jaxtyping import UInt8
from PIL import Image, ImageOps
from torch import Tensor

from dsopt.data.ingest import Unusable, eight_bits, opened
from dsopt.files import first_line

# What is written as it was read, and how; everything else becomes PNG: a GIF would lose most of its colours.
_WRITTEN: dict[str, dict[str, Any]] = {
    ".png": {"format": "PNG"},
    ".jpg": {"format": "JPEG", "quality": 95},
    ".jpeg": {"format": "JPEG", "quality": 95},
    ".webp": {"format": "WEBP", "quality": 95},
    ".tif": {"format": "TIFF", "compression": "tiff_deflate"},
    ".tiff": {"format": "TIFF", "compression": "tiff_deflate"},
    ".bmp": {"format": "BMP"},
    ".ppm": {"format": "PPM"},
}
KINDS = tuple(_WRITTEN)
_TRANSPARENT = ("PNG", "WEBP", "TIFF")


class Photo(NamedTuple):
    """A photograph the right way up, grey or not; `alpha` is its transparency, where it has any."""

    pixels: UInt8[Tensor, "3 h w"]
    alpha: UInt8[Tensor, "1 h w"] | None = None


def read(data: bytes) -> Photo:
    """A file's photograph. Raises `dsopt.data.ingest.Unusable`: why it cannot be used."""
    picture = opened(data)
    try:
        picture = ImageOps.exif_transpose(picture)
        alpha = picture.convert("RGBA").getchannel("A") if picture.has_transparency_data else None
        return Photo(_tensor(eight_bits(picture, 3)), None if alpha is None else _tensor(alpha))
    except Unusable:
        raise
    except Exception as error:  # PIL's decoders raise nearly anything at damaged files
        raise Unusable(f"image cannot be decoded ({first_line(error)})") from None


def written_name(name: str) -> str:
    """What a photograph read from `name` is written to: the same, or with .png behind it where its own kind is not written."""
    return name if _suffix(name) in _WRITTEN else name + ".png"


def write(photo: Photo, name: str) -> bytes:
    """The file of a photograph, of the kind that the name's suffix says; transparency is left out where that kind has none."""
    options = _WRITTEN[_suffix(name)]
    keep = photo.alpha is not None and options["format"] in _TRANSPARENT
    pixels = torch.cat([photo.pixels, photo.alpha]) if keep and photo.alpha is not None else photo.pixels
    sink = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(pixels.permute(1, 2, 0).numpy())).save(sink, **options)
    return sink.getvalue()


def _suffix(name: str) -> str:
    file = name.rpartition("/")[2].lower()
    return "." + file.rpartition(".")[2] if "." in file else ""


def _tensor(picture: Image.Image) -> UInt8[Tensor, "c h w"]:
    pixels = torch.from_numpy(np.array(picture))
    return pixels.view(*pixels.shape[:2], -1).permute(2, 0, 1)
