"""Reading and writing photographs: of any size, gray or color, 8 or 16 bits, with transparency, with EXIF orientation."""

import io
from typing import Any, NamedTuple

import numpy as np
import torch
from jaxtyping import UInt8
from PIL import Image, ImageOps
from torch import Tensor

from dsopt.data.pixels import Unusable, eight_bits, opened
from dsopt.files import first_line

# Formats that are written as they were read, and how. Every other format becomes PNG: a GIF, e.g., would lose most colors.
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
    """A photograph with its EXIF orientation applied; `alpha` is its opacity channel if it has transparency."""

    pixels: UInt8[Tensor, "3 h w"]
    alpha: UInt8[Tensor, "1 h w"] | None = None


def read(data: bytes) -> Photo:
    """The photograph of a file. Raises `dsopt.data.pixels.Unusable` with the reason if it cannot be used."""
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
    """The file name for writing a photograph read from `name`: the same, or with ".png" added if that format is not written."""
    return name if _suffix(name) in _WRITTEN else name + ".png"


def write(photo: Photo, name: str) -> bytes:
    """Encode a photograph in the format of the name's suffix; transparency is dropped if the format has none."""
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
