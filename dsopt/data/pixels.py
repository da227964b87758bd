"""Pictures as people have them -> 8 bits a channel, gray or RGB, upright, on a background."""

import io
import warnings
from collections.abc import Callable
from importlib.util import find_spec

import numpy as np
from PIL import Image, ImageCms, UnidentifiedImageError

from dsopt.data import decoding, png
from dsopt.files import first_line

AVIF = ("AVIF",) * (find_spec("PIL._avif") is not None)  # which not every build of PIL reads
FORMATS = ("PNG", "JPEG", "WEBP", "BMP", "GIF", "TIFF", "PPM", *AVIF)  # not all of PIL's: for EPS, e.g., it starts Ghostscript
GRAY_MODES = ("1", "L", "LA", "La", "I", "F")
RANGES = (1, 255, 4095, 65535)  # masks and fractions, 8 bits, 12 bits (which microscopes and scanners write as 16), 16 bits
_MANY_BANDS = "a TIFF of a kind that Pillow does not read, such as of more than six bands"
_OTHERS = (  # where a file of another kind holds which bytes
    *((4, begins, "HEIC: convert it") for begins in (b"ftyphei", b"ftyphev", b"ftypmif1", b"ftypmsf1")),
    *((0, b"\xff\x0a", "JPEG XL: convert it"), (4, b"JXL ", "JPEG XL: convert it"), (4, b"jP  ", "JPEG 2000: convert it")),
    *((0, b"8BPS", "PSD: convert it"), (128, b"DICM", "DICOM: convert it"), (0, b"<", "a text, HTML or XML")),
    *((0, b"II*\0", _MANY_BANDS), (0, b"MM\0*", _MANY_BANDS)),
)
PHOTOMETRIC, BITS = 262, 258  # TIFF tags: what 0 stands for, and the bits a channel
ORIENTATION = 0x0112  # EXIF tag: how the camera was held
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}

# PIL warns of pictures of more than 89 million pixels, and refuses them from twice as many: scans and posters, no attacks.
warnings.simplefilter("ignore", Image.DecompressionBombWarning)

Color = tuple[int, int, int]


class Unusable(Exception):
    """A row cannot be used; the message is the reason."""


def opened(image: bytes | np.ndarray | None) -> Image.Image:
    """Open an image; only its header is read. Raises Unusable."""
    if image is None:
        raise Unusable("no image")
    try:
        if isinstance(image, np.ndarray):
            return Image.fromarray(image[..., 0] if image.ndim == 3 and image.shape[2] == 1 else image)
        return Image.open(io.BytesIO(image), formats=FORMATS)
    except UnidentifiedImageError:
        assert isinstance(image, bytes)
        kind = next(
            (f", but {kind}" for at, begins, kind in _OTHERS if image.startswith(begins, at)), "" if image else ", but empty"
        )
        raise Unusable(f"not an image ({', '.join(FORMATS)} are supported){kind}") from None
    except Exception as error:  # PIL raises errors of many types on damaged files
        raise Unusable(f"image cannot be decoded ({first_line(error)})") from None


def is_gray(picture: Image.Image) -> bool:
    """Whether a picture has no colors, by its kind: of an RGB picture that happens to be gray this is not so."""
    return picture.mode in GRAY_MODES or picture.mode.startswith("I;16")


def orientation(picture: Image.Image) -> int:
    """How the camera was held, 1 to 8; 1, upright, where the EXIF data are damaged, as every viewer takes it."""
    try:
        return picture.getexif().get(ORIENTATION, 1)
    except Exception:  # PIL raises errors of many types on damaged EXIF data
        return 1


def upright(picture: Image.Image) -> Image.Image:
    """The picture as the camera was held."""
    picture.load()  # which turns a TIFF, and drops its tag
    turn = _TURNS.get(orientation(picture))
    return picture if turn is None else picture.transpose(turn)


def eight_bits(picture: Image.Image, channels: int, background: Color | None = None) -> Image.Image:
    """The picture in 8 bits a channel, gray or RGB.

    Integers of more than 8 bits and floating-point numbers are scaled by the range that they use (`scaled`).

    Args:
        background: the color on which transparent pictures lie; None: transparency is dropped.
    """
    if picture.mode == "F" or picture.mode.startswith("I"):
        values, nothing = np.asarray(picture), picture.info.get("transparency")
        picture = Image.fromarray(scaled(values))
        if background is not None and isinstance(nothing, int):  # the value of a transparent pixel
            picture.putalpha(Image.fromarray(np.where(values == nothing, 0, 255).astype(np.uint8)))
    if picture.mode == "LAB":
        profiles = ImageCms.createProfile("LAB"), ImageCms.createProfile("sRGB")
        converted = ImageCms.profileToProfile(picture, *profiles, outputMode="RGB")
        assert converted is not None  # it would be None only for a conversion in place
        picture = converted
    if background is not None and picture.has_transparency_data:
        above = picture.convert("LA").convert("RGBA") if picture.mode == "La" else picture.convert("RGBA")
        picture = Image.alpha_composite(Image.new("RGBA", above.size, background), above)
    elif picture.mode == "P":
        picture = picture.convert("RGBA")  # a palette may have transparent entries
    picture = picture.convert("L" if channels == 1 else "RGB")
    picture.info.clear()  # else metadata such as a transparent color would be saved again
    return picture


def rgb(image: bytes, background: Color, drafted: Callable[[Image.Image], None] = lambda picture: None) -> Image.Image:
    """The picture of a file in 8 bits a channel, RGB, upright, on a background.

    Args:
        drafted: called with the picture before it is decoded; may have a JPEG decoded at a part of its size.

    Raises:
        Unusable: it is no picture. PIL's decoders raise errors of many types on damaged files.
    """
    picture = opened(image)
    drafted(picture)
    return eight_bits(upright(deep(image) or picture), 3, background)


def deep(image: bytes | np.ndarray) -> Image.Image | None:
    """A color PNG of 16 bits a channel, or a gray TIFF whose 0 is white, in 8, scaled by its range; None for any other image.

    PIL itself drops the low bits, and a picture that uses 12 of 16 bits would become nearly black; and it does not invert.

    Raises:
        Unusable: a color TIFF whose low bits are all that it has.
    """
    if isinstance(image, bytes) and image[:4] in (b"II*\0", b"MM\0*"):
        return _deep_tiff(opened(image))
    # Bytes 24 and 25 of a PNG are the bits a channel and the kind: 2, 4 and 6 are RGB, gray with alpha, and RGB with alpha.
    if not isinstance(image, bytes) or image[24:26] not in (b"\x10\2", b"\x10\4", b"\x10\6") or not png.sound(image):
        return None
    pixels = decoding.decoded(decoding.as_tensor(image)).permute(1, 2, 0).numpy()
    if pixels.dtype == np.uint8:  # without torchvision
        return None
    colors = pixels.shape[2] - (pixels.shape[2] in (2, 4))
    opacity = (pixels[..., colors:] >> 8).astype(np.uint8)
    picture = Image.fromarray(np.concatenate([scaled(pixels[..., :colors]), opacity], 2))
    picture.info |= {key: value for key, value in opened(image).info.items() if key == "exif"}
    return picture


def _deep_tiff(picture: Image.Image) -> Image.Image | None:
    tags = getattr(picture, "tag_v2", {})
    if picture.mode.startswith("I;16") and tags.get(PHOTOMETRIC) == 0:
        return Image.fromarray(255 - scaled(np.asarray(picture)))
    if tags.get(BITS, ())[:3] == (16, 16, 16) and np.asarray(picture)[..., :3].max() < 16:
        raise Unusable("a color TIFF that uses 12 or fewer of its 16 bits, of which Pillow keeps the upper 8: save it as PNG")
    return None


def scaled(values: np.ndarray) -> np.ndarray:
    """Numbers of any range in 8 bits: from 0 to the smallest of `RANGES` that holds them, else from the smallest to the largest.

    Raises:
        Unusable: none is finite.
    """
    finite = np.isfinite(values)
    if not finite.all():
        if not finite.any():
            raise Unusable("image has no pixel with a finite value")
        values = np.where(finite, values, values[finite].min())
    low, high = float(values.min()), float(values.max())
    if low >= 0:
        low, high = 0.0, float(next((top for top in RANGES if high <= top), high))
    factor = 255 / (high - low) if high > low else 0.0
    return ((values.astype(np.float64) - low) * factor).round().astype(np.uint8)


def uniform(picture: Image.Image) -> bool:
    """Whether all pixels of a gray or RGB picture have the same value."""
    return all(low == high for low, high in (band.getextrema() for band in picture.split()))
