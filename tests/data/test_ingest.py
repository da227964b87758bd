"""Ingest of single images, labels and ids."""

import io
from typing import Any

import numpy as np
import pytest
from PIL import Image

from dsopt.config import DataConfig
from dsopt.data.ingest import Unusable, held_out, ingest_shard, source_channels, stored_image
from dsopt.data.source import Shard, SourceRow, find
from dsopt.storage import IMAGES


def encoded(picture: Image.Image, kind: str = "PNG", **how: Any) -> bytes:
    sink = io.BytesIO()
    picture.save(sink, kind, **how)
    return sink.getvalue()


def stored(image: bytes | np.ndarray, channels: int = 3, size: int = 32) -> np.ndarray:
    data, suffix = stored_image(image, size, channels)
    picture = Image.open(io.BytesIO(data))
    assert picture.format == {"png": "PNG", "jpg": "JPEG"}[suffix]
    assert picture.mode == ("L" if channels == 1 else "RGB") and picture.size == (size, size)
    return np.asarray(picture)


def noise(mode: str = "RGB", size: int = 32) -> Image.Image:
    shape = (size, size) if mode == "L" else (size, size, len(mode))
    return Image.fromarray(np.random.default_rng(0).integers(0, 256, shape, np.uint8), mode)


@pytest.mark.parametrize("mode, channels", [("RGB", 3), ("L", 1)])
@pytest.mark.parametrize("kind", ["PNG", "JPEG"])
def test_a_fitting_file_keeps_its_bytes(mode, channels, kind):
    data = encoded(noise(mode), kind)
    assert stored_image(data, 32, channels)[0] == data


@pytest.mark.parametrize(
    "data",
    [
        encoded(noise("L")),
        encoded(noise(size=33)),
        encoded(noise("RGBA")),
        encoded(noise().quantize(16)),
        encoded(noise(), "BMP"),
        encoded(noise(), "WEBP"),
        encoded(noise(), "GIF"),
        encoded(noise(), "TIFF"),
        encoded(noise(), "PPM"),
        encoded(noise("L"), "PPM"),
        encoded(noise("CMYK"), "JPEG"),
        encoded(noise("L").convert("1")),
        encoded(noise("L").convert("LA")),
        encoded(noise(), "PNG", transparency=(0, 0, 0)),
    ],
)
def test_other_files_become_plain_png(data):
    assert stored(data).shape == (32, 32, 3)
    assert stored_image(data, 32, 3)[0] != data


def test_colours_survive():
    red = Image.new("RGB", (50, 50), (250, 10, 20))
    for picture in (red, red.convert("RGBA"), red.quantize(4), red.convert("CMYK")):
        kind = "TIFF" if picture.mode == "CMYK" else "PNG"
        assert np.abs(stored(encoded(picture, kind)).astype(int) - (250, 10, 20)).max() <= 3


@pytest.mark.parametrize("kind", ["PNG", "PPM"])
def test_sixteen_bits_are_scaled_not_clipped(kind):
    ramp = np.linspace(0, 65535, 32 * 32).reshape(32, 32).astype(np.uint16)
    data = encoded(Image.fromarray(ramp), kind)
    assert np.abs(stored(data, channels=1).astype(int) - (ramp >> 8)).max() <= 1
    assert source_channels([Shard(None, 0, lambda: iter([SourceRow(data, 0, "")]), 1)]) == 1


def test_the_shorter_side_is_resized_and_the_centre_kept():
    wide = np.zeros((40, 120, 3), np.uint8)
    wide[:, 40:80] = 255  # the central square
    assert stored(wide).min() > 200
    assert stored(np.ascontiguousarray(wide.transpose(1, 0, 2))).min() > 200


def test_resizing_averages_instead_of_picking_pixels():
    checks = np.indices((128, 128)).sum(0) % 2 * np.uint8(255)
    assert np.abs(stored(checks.astype(np.uint8), channels=1).astype(int) - 127).max() <= 8


def test_a_large_jpeg_is_as_if_it_was_read_whole():
    smooth = Image.fromarray(np.random.default_rng(0).integers(0, 256, (8, 8, 3), np.uint8)).resize((1024, 1024))
    data = encoded(smooth, "JPEG", quality=95)
    whole = np.asarray(Image.open(io.BytesIO(data)).resize((32, 32), Image.Resampling.BICUBIC))
    assert np.abs(stored(data).astype(int) - whole).mean() < 2


def test_photographs_are_turned_as_the_camera_was_held():
    picture = Image.new("L", (32, 32))
    picture.paste(255, (0, 0, 32, 16))  # bright above
    exif = Image.Exif()
    exif[0x0112] = 3  # upside down
    turned = stored(encoded(picture, "JPEG", exif=exif), channels=1)
    assert turned[:12].max() < 50 and turned[20:].min() > 200


@pytest.mark.parametrize("shape", [(8, 8), (8, 8, 1), (8, 8, 3)])
def test_arrays(shape):
    array = np.full(shape, 99, np.uint8)
    assert np.all(stored(array, channels=1) == 99) and np.all(stored(array, channels=3) == 99)


@pytest.mark.parametrize(
    "image, reason",
    [
        (None, "no image"),
        (b"", "not an image"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "not an image"),
        (encoded(noise(size=64))[:-700], "(?i)truncated"),
        (encoded(noise(size=64), "JPEG")[:-700], "(?i)truncated"),
        (encoded(noise())[:-700], "(?i)truncated"),
        (np.zeros((4, 4, 7), np.uint8), "cannot be decoded"),
        (encoded(Image.new("F", (9, 9)), "TIFF"), "floating-point"),
        (encoded(Image.fromarray(np.full((9, 9), -5, np.int32)), "TIFF"), "16 bits"),
    ],
)
def test_unusable_images_say_why(image, reason):
    with pytest.raises(Unusable, match=reason):
        stored_image(image, 32, 3)


def test_held_out_is_a_steady_share_of_the_ids():
    for fraction in (0.1, 0.2, 0.5):
        out = [held_out(id, fraction) for id in range(20_000)]
        assert abs(np.mean(out) - fraction) < 0.01
    assert {id for id in range(1000) if held_out(id, 0.1)} < {id for id in range(1000) if held_out(id, 0.2)}
    assert [id for id in range(30) if held_out(id, 0.2)] == [id for id in range(30) if held_out(id, 0.2)]


def test_splitmix64_is_the_published_one():
    # the first outputs of the reference implementation for the seed 0
    for id, value in enumerate([0xE220A8397B1DCDAF, 0x6E789E6AA1B965F4, 0x06C45D188009454F]):
        assert held_out(id, (value + 2**12) / 2**64) and not held_out(id, (value - 2**12) / 2**64)


def test_digits_end_as_an_images_table():
    data = DataConfig(name="digits", channels=1)
    shards, classes = find(data).list_shards()
    tables, broken = ingest_shard(shards[0], data, classes)
    train, test = tables["train"], tables["test"]
    assert broken == [] and train.schema.equals(IMAGES) and test.schema.equals(IMAGES)
    ids = set(train["id"].to_pylist()), set(test["id"].to_pylist())
    assert not ids[0] & ids[1] and ids[0] | ids[1] == set(range(1797))
    assert abs(len(test) / 1797 - data.test_fraction) < 0.03
    assert train["image"][0]["path"].as_py().endswith(".png") and train["key"][0].as_py().startswith("digits#")


def test_labels_of_every_kind_are_checked():
    image = np.zeros((4, 4), np.uint8)
    labels: list[Any] = [True, np.int64(1), 2**40, "a", "zebra", 1.0]
    shard = Shard("train", 10, lambda: iter([SourceRow(image, label, f"f#{i}") for i, label in enumerate(labels)]), len(labels))
    tables, broken = ingest_shard(shard, DataConfig(channels=1), ["a", "b"])
    assert dict(zip(*tables["train"].select(["id", "label"]).to_pydict().values(), strict=True)) == {
        10: 1,
        11: 1,
        13: 0,
        15: 1,
    }
    assert [(bad.id, bad.key) for bad in broken] == [(12, "f#2"), (14, "f#4")]
