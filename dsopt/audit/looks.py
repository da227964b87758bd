"""What the pixels of an image tell: which others are the same or nearly so, and how light, sharp and full it is."""

import hashlib
import math

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int64, UInt8
from torch import Tensor

SIDE, LOW = 32, 8  # the perceptual hash: of the image at 32 x 32 pixels, the 8 x 8 lowest frequencies
THUMB = 8  # pixels a side of the thumbnail that confirms what hashes suggest
PIXELS = 1 << 22  # looked at at a time: some 100 MB
LUMA = (0.299, 0.587, 0.114)  # of red, green and blue (ITU-R BT.601)
COLUMNS = ("light", "shade", "contrast", "sharpness")  # the numbers of `looks`


def looks(images: UInt8[Tensor, "n c h w"]) -> dict[str, Tensor]:
    """What is to be seen of images of one size.

    Returns:
        light: the 99th percentile of the brightness of the pixels, in 0..1: a dark image has no light pixel.
        shade: the 5th percentile: a bright image has no dark pixel.
        contrast: the standard deviation over the pixels, of the channel where it is largest, in 0..0.5.
        sharpness: the variance of the brightness' Laplacian over the variance of the brightness, which does not depend on the
            contrast; 0 for an image of one color, some 20 for noise.
        hash: the perceptual hash, int64.
        thumb: the brightness at 8 x 8 pixels, less its mean, scaled to length 1 (zeros for an image of one color), float16 [n, 64].
    """
    step = max(1, PIXELS // images[0].numel())
    found = [_some(block) for block in images.split(step)]
    return {name: torch.cat([each[name] for each in found]) for name in found[0]}


def _some(images: UInt8[Tensor, "n c h w"]) -> dict[str, Tensor]:
    colors = images.float() / 255
    gray = colors if images.shape[1] == 1 else (colors * colors.new_tensor(LUMA)[:, None, None]).sum(1, keepdim=True)
    pixels = gray.flatten(1)
    count, (height, width) = pixels.shape[1], gray.shape[2:]
    variance = pixels.var(1, correction=0)
    if min(height, width) > 2:
        inner = gray[:, :, 1:-1, 1:-1]
        around = gray[:, :, :-2, 1:-1] + gray[:, :, 2:, 1:-1] + gray[:, :, 1:-1, :-2] + gray[:, :, 1:-1, 2:]
        edges = (around - 4 * inner).flatten(1).var(1, correction=0)
    else:
        edges = 20 * variance  # too small to be blurred
    return {
        "light": pixels.kthvalue(max(1, math.ceil(0.99 * count)), dim=1).values,
        "shade": pixels.kthvalue(max(1, math.ceil(0.05 * count)), dim=1).values,
        "contrast": colors.flatten(2).std(2, correction=0).amax(1),
        "sharpness": torch.where(variance > 0, edges / variance.clamp(min=1e-12), 0.0),
        "hash": perceptual_hash(gray),
        "thumb": thumbnail(gray).half(),
    }


def perceptual_hash(gray: Float[Tensor, "n 1 h w"]) -> Int64[Tensor, " n"]:
    """64 bits that hardly change when an image is resized, compressed or made lighter (Zauner 2010, "pHash", section 3.2.1).

    Which of the 8 x 8 lowest frequencies of the discrete cosine transform of the image at 32 x 32 pixels are above their median;
    the first one, the mean of the image, has no part in the median.
    """
    small = F.interpolate(gray, (SIDE, SIDE), mode="bilinear", antialias=True, align_corners=False).squeeze(1)
    steps = torch.arange(SIDE, dtype=torch.float32, device=gray.device)
    cosines = torch.cos(math.pi / SIDE * torch.outer(torch.arange(LOW, device=gray.device), steps + 0.5))
    frequencies = (cosines @ small @ cosines.T).flatten(1)
    above = frequencies > frequencies[:, 1:].median(1, keepdim=True).values
    weights = torch.tensor([1 << bit for bit in range(63)] + [-(1 << 63)], device=gray.device)
    return (above * weights).sum(1)


def thumbnail(gray: Float[Tensor, "n 1 h w"]) -> Float[Tensor, "n 64"]:
    """The brightness at 8 x 8 pixels, less its mean and scaled to length 1: lighter or paler images of the same are equal."""
    small = F.interpolate(gray, (THUMB, THUMB), mode="bilinear", antialias=True, align_corners=False).flatten(1)
    return F.normalize(small - small.mean(1, keepdim=True), dim=1, eps=1e-4)


def content(
    image: UInt8[Tensor, "c h w"], width: int | None, height: int | None, digest: str | None, lossless: bool = True
) -> bytes:
    """16 bytes that are equal for equal images: of the original's size and the working copy's pixels, or of the original's bytes.

    The pixels decide where the copy shows all of the original: then a file that was saved anew without loss is known, too. Where
    the copy is smaller, cut or a JPEG of something else, the bytes decide; the pixels again where there is no file, as for arrays.

    Args:
        image: the working copy.
        width, height, digest: of the original; None where they are not known.
        lossless: the copy is stored without loss, or is the original itself.
    """
    _, h, w = image.shape
    all_of_it = width is None or height is None or (w >= width and h >= height and (w != h or width == height))
    if digest is not None and not (all_of_it and lossless):
        return bytes.fromhex(digest)
    found = hashlib.blake2b(repr((width, height, *image.shape)).encode(), digest_size=16)
    found.update(image.contiguous().numpy().tobytes())
    return found.digest()
