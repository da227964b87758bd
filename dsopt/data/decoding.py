"""From an encoded file to pixels: one decoder for everything that is trained on, torchvision's where it is installed."""

import contextlib
import importlib.util
import io
from pathlib import Path

import numpy as np
import torch
from jaxtyping import UInt8
from PIL import Image
from torch import Tensor

SPARE = 1.5  # times the wanted size: a JPEG is decoded at 1/2, 1/4 or 1/8 of its size, but at no less than this

File = UInt8[Tensor, " _"]


def as_tensor(data: bytes) -> File:
    """The bytes of a file; a copy, as torch needs memory that may be written to."""
    return torch.frombuffer(bytearray(data), dtype=torch.uint8)


def decoded(file: File) -> Tensor:
    """The pixels of a file, uint8 [c, h, w] with its own channels (uint16 for 16 bits). Raises RuntimeError or OSError."""
    return _decode(file)


def decoded_at(file: File, size: int) -> UInt8[Tensor, "c s s"]:
    """The pixels of a file of 8 bits a channel, the whole picture resized (antialiased) to a square of `size` pixels.

    Raises RuntimeError or OSError.
    """
    if len(file) <= 4 * size * size:  # of a picture about as large as wanted; larger ones are decoded at a part of their size
        pixels = _decode(file)
        if pixels.shape[1:] == (size, size):
            return pixels
        picture = Image.fromarray(pixels.permute(1, 2, 0).squeeze(2).numpy())
    else:
        picture = Image.open(io.BytesIO(file.numpy()))  # type: ignore[arg-type]
        picture.draft(None, (int(SPARE * size), int(SPARE * size)))
    return pixels_of(picture if picture.size == (size, size) else picture.resize((size, size), Image.Resampling.BILINEAR))


def decoded_on_gpu(files: list[File], device: torch.device) -> list[UInt8[Tensor, "3 _ _"]]:
    """The pixels of color JPEGs on a GPU, by nvJPEG, at their full size. Raises RuntimeError if one of them fails."""
    return torch.ops.image.decode_jpegs_cuda(files, 3, device)  # 3: RGB


def _decode_with_torch(file: File) -> Tensor:
    return torch.ops.image.decode_image(file, 0, False)  # 0: channels unchanged; False: EXIF orientation not applied


def _decode_with_pil(file: File) -> Tensor:
    return pixels_of(Image.open(io.BytesIO(file.numpy())))  # type: ignore[arg-type]


def pixels_of(picture: Image.Image) -> UInt8[Tensor, "c h w"]:
    """The pixels of a picture of 8 bits a channel."""
    pixels = np.array(picture)
    return torch.from_numpy(pixels).view(*pixels.shape[:2], -1).permute(2, 0, 1)


def _load_operators() -> bool:
    """Load torchvision's C++ decoders without importing torchvision, which would also import torch's compiler (3 s per process).

    `torchvision.io.decode_image` itself spends a third of its time on a deprecation warning since 0.29.
    """
    found = importlib.util.find_spec("torchvision")
    for folder in found.submodule_search_locations or () if found else ():
        for library in Path(folder).glob("image*.so"):
            with contextlib.suppress(OSError):
                torch.ops.load_library(library)
    return hasattr(torch.ops.image, "decode_image")


_decode = _decode_with_torch if _load_operators() else _decode_with_pil
