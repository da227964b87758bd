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
_PROFILED = ("PNG", "JPEG", "WEBP", "TIFF")
_MEASURED = ("PNG", "JPEG", "TIFF", "BMP")
# EXIF tags that people may want: camera, date, artist, copyright, how and where it was taken.
_TOLD = (0x010F, 0x0110, 0x0132, 0x013B, 0x8298, 0x8769, 0x8825)


class Photo(NamedTuple):
    """A photograph with its EXIF orientation applied.

    Args:
        alpha: its opacity channel if it has transparency.
        profile: the ICC profile that says what its colors look like.
        resolution: dots per inch, across and down.
        lost: what else the file has, which is not read: further pages, and the like.
    """

    pixels: UInt8[Tensor, "3 h w"]
    alpha: UInt8[Tensor, "1 h w"] | None = None
    profile: bytes | None = None
    resolution: tuple[float, float] | None = None
    lost: tuple[str, ...] = ()


class Written(NamedTuple):
    """An encoded photograph, and what of it the file's format cannot hold."""

    data: bytes
    lost: tuple[str, ...]


def read(data: bytes) -> Photo:
    """The photograph of a file. Raises `dsopt.data.pixels.Unusable` with the reason if it cannot be used."""
    picture = opened(data)
    try:
        pages, deep = getattr(picture, "n_frames", 1), picture.mode.startswith(("I", "F"))
        profile, resolution = picture.info.get("icc_profile"), _resolution(picture)
        dated = any(tag in picture.getexif() for tag in _TOLD)
        turned = ImageOps.exif_transpose(picture)
        if resolution and turned.size != picture.size:
            resolution = resolution[::-1]
        alpha = turned.convert("RGBA").getchannel("A") if turned.has_transparency_data else None
        fits = profile is None or profile[16:20] == b"RGB "  # one for gray or for print says nothing of the new colors
        lost = {
            f"{pages - 1} further page{'s' * (pages > 2)}": pages > 1,
            "more than 8 bits a pixel": deep,
            "an ICC profile that is not for RGB": not fits,
            "EXIF data": dated,
        }
        photo = Photo(_tensor(eight_bits(turned, 3)), None if alpha is None else _tensor(alpha))
        kept = tuple(what for what, so in lost.items() if so)
        return photo._replace(profile=profile if fits else None, resolution=resolution, lost=kept)
    except Unusable:
        raise
    except Exception as error:  # PIL's decoders raise nearly anything at damaged files
        raise Unusable(f"image cannot be decoded ({first_line(error)})") from None


def _resolution(picture: Image.Image) -> tuple[float, float] | None:
    """Dots per inch, if the file says so and the values make sense."""
    try:
        across, down = (float(each) for each in picture.info["dpi"])
    except (KeyError, TypeError, ValueError, ZeroDivisionError):
        return None
    return (across, down) if 1 <= across < 65536 and 1 <= down < 65536 else None


def written_name(name: str) -> str:
    """The file name for writing a photograph read from `name`: the same, or with ".png" added if that format is not written."""
    return name if _suffix(name) in _WRITTEN else name + ".png"


def write(photo: Photo, name: str) -> Written:
    """Encode a photograph in the format of the name's suffix, with all that the format can hold."""
    options = _WRITTEN[_suffix(name)]
    pixels, about, lost = photo.pixels, dict[str, Any](), []
    if photo.alpha is not None and options["format"] in _TRANSPARENT:
        pixels = torch.cat([pixels, photo.alpha])
    elif photo.alpha is not None:
        lost.append("transparency")
    for what, key, value, formats in (
        ("the ICC profile", "icc_profile", photo.profile, _PROFILED),
        ("the resolution", "dpi", photo.resolution, _MEASURED),
    ):
        if value is not None and options["format"] in formats:
            about[key] = value
        elif value is not None:
            lost.append(what)
    sink = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(pixels.permute(1, 2, 0).numpy())).save(sink, **options, **about)
    return Written(sink.getvalue(), tuple(lost))


def _suffix(name: str) -> str:
    file = name.rpartition("/")[2].lower()
    return "." + file.rpartition(".")[2] if "." in file else ""


def _tensor(picture: Image.Image) -> UInt8[Tensor, "c h w"]:
    pixels = torch.from_numpy(np.array(picture))
    return pixels.view(*pixels.shape[:2], -1).permute(2, 0, 1)
