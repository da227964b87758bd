"""Pictures as people have them: the working copy has the middle value that a person sees."""

import io
import random
import struct
import zlib
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from dsopt.config import DataConfig
from dsopt.data import png
from dsopt.data.images import decode
from dsopt.data.ingest import Broken, Ingested, ingest_shard, source_channels
from dsopt.data.pixels import AVIF, Unusable, opened
from dsopt.data.sources.source import Shard, SourceRow

RED, GRAY, WHITE = (200, 40, 40), (200, 200, 200), (255, 255, 255)
red = Image.new("RGB", (50, 50), RED)


def shard(files: Iterable[tuple[str, bytes]]) -> Shard:
    found = [SourceRow(data, None, name) for name, data in files]
    return Shard("train", 0, lambda: iter(found), len(found), labelled=False)


def saved(picture: Image.Image, kind: str, **how: object) -> bytes:
    sink = io.BytesIO()
    picture.save(sink, kind, **how)
    return sink.getvalue()


def array(value: float, type: type) -> Image.Image:
    return Image.fromarray(np.full((50, 50), value, type))


def tiff(value: int, photometric: int, bands: int = 1) -> bytes:
    """A TIFF of 16 bits a channel."""
    pixels, bits = np.full((50, 50, bands), value, "<u2").tobytes(), b"\x10\0" * bands
    ends = 8 + len(pixels)
    where = (ends, bands) if bands > 2 else (16, 1)
    short, long = {277: bands, 262: photometric, 259: 1, 284: 1}, {256: 50, 257: 50, 273: 8, 278: 50, 279: len(pixels)}
    tags = [(tag, 3, 1, number) for tag, number in short.items()] + [(tag, 4, 1, number) for tag, number in long.items()]
    tags.append((258, 3, where[1], where[0]))
    listed = b"".join(struct.pack("<HHII", *tag) for tag in sorted(tags))
    return b"II*\0" + struct.pack("<I", ends + len(bits)) + pixels + bits + struct.pack("<H", len(tags)) + listed + bytes(4)


def deep_png(pixels: np.ndarray, exif: Image.Exif) -> bytes:
    """A color PNG of 16 bits a channel."""
    height, width, _ = pixels.shape
    header = struct.pack(">IIBBBBB", width, height, 16, 2, 0, 0, 0)
    lines = zlib.compress(b"".join(b"\0" + line.astype(">u2").tobytes() for line in pixels))
    found = png.SIGNATURE
    for name, data in ((b"IHDR", header), (b"eXIf", exif.tobytes().removeprefix(b"Exif\0\0")), (b"IDAT", lines), (b"IEND", b"")):
        found += struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))
    return found


def noise(size: int) -> Image.Image:
    return Image.effect_noise((size, size), 80).convert("RGB")


def camera(tag: int) -> Image.Exif:
    exif = Image.Exif()
    exif[0x0112] = tag
    return exif


GOOD = {
    "cmyk.jpg": (saved(red.convert("CMYK"), "JPEG", quality=95), RED),
    "grey16.png": (saved(array(200 * 257, np.uint16), "PNG"), GRAY),
    "grey12in16.png": (saved(array(3200, np.uint16), "PNG"), GRAY),
    "int32_0_255.tif": (saved(array(200, np.int32), "TIFF"), GRAY),
    "float01.tif": (saved(array(0.78, np.float32), "TIFF"), GRAY),
    "palette.png": (saved(red.convert("P", palette=Image.Palette.ADAPTIVE), "PNG"), RED),
    "palette_transparent.png": (saved(red.convert("P", palette=Image.Palette.ADAPTIVE), "PNG", transparency=0), WHITE),
    "la.png": (saved(Image.new("LA", (50, 50), (200, 255)), "PNG"), GRAY),
    "la_transparent.png": (saved(Image.new("LA", (50, 50), (200, 0)), "PNG"), WHITE),
    "bit.png": (saved(Image.new("1", (50, 50), 1), "PNG"), WHITE),
    "all_transparent.png": (saved(Image.new("RGBA", (50, 50), (0, 0, 0, 0)), "PNG"), WHITE),
    "transparent_color.png": (saved(red, "PNG", transparency=RED), WHITE),
    "transparent_grey16.png": (saved(array(200 * 257, np.uint16), "PNG", transparency=200 * 257), WHITE),
    "transparent.webp": (saved(Image.new("RGBA", (50, 50), (9, 9, 9, 0)), "WEBP", lossless=True), WHITE),
    "transparent.tif": (saved(Image.new("RGBA", (50, 50), (9, 9, 9, 0)), "TIFF"), WHITE),
    "a.gif": (saved(red, "GIF", save_all=True, append_images=[Image.new("RGB", (50, 50), (0, 0, 255))]), RED),
    "a.webp": (saved(red, "WEBP", save_all=True, append_images=[Image.new("RGB", (50, 50), (0, 0, 255))]), RED),
    "progressive.jpg": (saved(red, "JPEG", progressive=True, quality=95), RED),
    "mpo.jpg": (saved(red, "MPO", save_all=True, append_images=[red], quality=95), RED),
    "png_called.jpg": (saved(red, "PNG"), RED),
    "bad_icc.jpg": (saved(red, "JPEG", icc_profile=b"\0" * 40, quality=95), RED),
    "bad_exif.jpg": (saved(red, "JPEG", exif=b"Exif\0\0MM\0*\0\0\0\x08\0\x05\x01\x12", quality=95), RED),
    "garbage_exif.jpg": (saved(red, "JPEG", exif=b"Exif\0\0garbage", quality=95), RED),
    "fit_bad_exif.jpg": (saved(red.resize((32, 32)), "JPEG", exif=b"Exif\0\0garbage", quality=95), RED),
    "ycbcr.tif": (saved(red.convert("YCbCr"), "TIFF"), RED),
    "lab.tif": (saved(red.convert("LAB"), "TIFF"), RED),
    "cmyk.tif": (saved(red.convert("CMYK"), "TIFF"), RED),
    "sliver.png": (saved(Image.new("L", (5, 3000), 200), "PNG"), GRAY),
    "zero_is_white.tif": (tiff(55 * 257, 0), GRAY),
    "zero_is_white12in16.tif": (tiff(4095 - 3212, 0), GRAY),
    "color16.tif": (tiff(200 * 257, 2, 3), GRAY),
    "a.bmp": (saved(red, "BMP"), RED),
    "a.ppm": (saved(red, "PPM"), RED),
    "a.pgm": (saved(array(200, np.uint8), "PPM"), GRAY),
} | ({"a.avif": (saved(red, "AVIF", quality=90), RED)} if AVIF else {})
BROKEN = {
    "truncated.jpg": saved(noise(200), "JPEG")[:9000],
    "empty.jpg": b"",
    "color12in16.tif": tiff(3200, 2, 3),
    "lfs.jpg": b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 12345\n",
}


@pytest.mark.parametrize("size", [32, 100])
def test_every_kind_of_picture_has_the_value_that_a_person_sees(size: int) -> None:
    files = [(name, data) for name, (data, _) in GOOD.items()]
    found = ingest_shard(shard([*files, *BROKEN.items()]), DataConfig(image_size=size, channels=3), None)
    assert [row.key for row in found.broken] == list(BROKEN) and all(row.reason for row in found.broken)
    images = decode(found.tables["train"], size=size).images
    seen = {name: tuple(image[:, size // 2, size // 2].tolist()) for name, image in zip(GOOD, images, strict=True)}
    wrong = {name: seen[name] for name, (_, value) in GOOD.items() if np.abs(np.subtract(seen[name], value)).max() > 6}
    assert not wrong
    assert found.uniform >= len(GOOD) - 1  # they all are, up to what JPEG does to a color; as those with noise are not


def test_a_picture_is_turned_as_the_camera_was_held() -> None:
    halves = np.concatenate([np.full((50, 25, 3), RED, np.uint8), np.full((50, 25, 3), (0, 0, 200), np.uint8)], 1)
    files = [(kind, saved(Image.fromarray(halves), kind, exif=camera(6))) for kind in ("PNG", "TIFF")]
    files.append(("PNG of 16 bits", deep_png(halves.astype(">u2") * 257, camera(6))))
    images = decode(ingest_shard(shard(files), DataConfig(channels=3), None).tables["train"]).images
    assert len(images) == 3
    for image in images:
        assert image[:, 8, 16].tolist() == list(RED) and image[:, 24, 16].tolist() == [0, 0, 200]


@pytest.mark.parametrize(
    "data, kind", [(b"\0\0\0\x18ftypheic", "HEIC"), (b"\xff\x0a\0", "JPEG XL"), (b"<!DOCTYPE html>", "a text"), (b"", "empty")]
)
def test_what_is_called_a_picture_and_is_none_is_named(data: bytes, kind: str) -> None:
    with pytest.raises(Unusable, match=rf"not an image .*, but {kind}"):
        opened(data)


def test_one_gray_scan_first_of_all_leaves_a_set_in_color() -> None:
    files = [("apple/00.png", saved(Image.new("L", (40, 40), 99), "PNG"))]
    files += [(f"{i % 3}/{i:02}.png", saved(Image.new("RGB", (40, 40), (220, 20 + i, 20)), "PNG")) for i in range(35)]
    assert source_channels([shard(files)]) == 3


def damaged(count: int) -> list[tuple[str, bytes]]:
    """JPEGs and PNGs of the right size with a few bytes changed, some cut off."""
    noise = np.random.default_rng(3).normal(128, 90, (32, 32, 1)).clip(0, 255).astype(np.uint8).repeat(3, 2)
    numbers, picture, files = random.Random(3), Image.fromarray(noise), []
    for n in range(count):
        kind = ("JPEG", "PNG")[n % 2]
        data = bytearray(saved(picture, kind))
        for _ in range(numbers.choice((1, 1, 2, 4))):
            data[numbers.randrange(20, len(data))] = numbers.randrange(256)
        files.append((f"{n:03}.{kind.lower()}", bytes(data[: len(data) - (numbers.randrange(1, 60) if n % 7 == 0 else 0)])))
    return files


@pytest.mark.parametrize("size", [32, 24, 80])
def test_what_ingest_lets_through_can_be_trained_on(size: int, tmp_path: Path) -> None:
    found: Ingested = ingest_shard(shard(damaged(400)), DataConfig(image_size=size, channels=3), None)
    images = decode(found.tables["train"], size=size)  # a changed header may make a picture longer
    assert len(images.ids) > 20 and len(images.ids) + len(found.broken) == 400
    assert all(isinstance(row, Broken) and row.reason for row in found.broken)
    assert decode(found.tables["train"], size=20).images.shape == (len(images.ids), 3, 20, 20)
