"""Ingest of single images, labels and ids."""

import io
import struct
import zlib
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image, ImageOps

import dsopt.data.ingest
from dsopt.config import DataConfig
from dsopt.data.copies import working_copy
from dsopt.data.ingest import held_out, ingest_shard, single, source_channels
from dsopt.data.pixels import Unusable, scaled
from dsopt.data.sources.source import Findings, Shard, SourceRow, find
from dsopt.errors import InputError
from dsopt.storage import IMAGES


def encoded(picture: Image.Image, kind: str = "PNG", **how: Any) -> bytes:
    sink = io.BytesIO()
    picture.save(sink, kind, **how)
    return sink.getvalue()


def stored(image: bytes | np.ndarray, channels: int = 3, size: int = 32, **settings: Any) -> np.ndarray:
    copy = working_copy(image, DataConfig(image_size=size, channels=channels, **settings))
    picture = Image.open(io.BytesIO(copy.data))
    assert picture.format == {"png": "PNG", "jpg": "JPEG"}[copy.suffix]
    assert picture.mode == ("L" if channels == 1 else "RGB") and min(picture.size) == size
    assert copy.uniform == (np.asarray(picture).reshape(-1, channels).std(0) == 0).all()
    return np.asarray(picture)


def noise(mode: str = "RGB", size: int = 32) -> Image.Image:
    shape = (size, size) if mode == "L" else (size, size, len(mode))
    return Image.fromarray(np.random.default_rng(0).integers(0, 256, shape, np.uint8), mode)


@pytest.mark.parametrize("mode, channels", [("RGB", 3), ("L", 1)])
@pytest.mark.parametrize("kind", ["PNG", "JPEG"])
def test_a_fitting_file_keeps_its_bytes(mode, channels, kind):
    data = encoded(noise(mode), kind)
    assert working_copy(data, DataConfig(channels=channels)).data == data


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
    assert working_copy(data, DataConfig(channels=3)).data != data


def test_colors_survive():
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
        (encoded(Image.fromarray(np.full((9, 9), np.nan, np.float32)), "TIFF"), "no pixel with a finite value"),
    ],
)
def test_unusable_images_say_why(image, reason):
    with pytest.raises(Unusable, match=reason):
        working_copy(image, DataConfig(channels=3))


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


@pytest.mark.slow
def test_digits_end_as_an_images_table():
    data = DataConfig(name="digits", channels=1)
    shards, classes = find(data).list_shards()
    found = ingest_shard(shards[0], data, classes)
    train, test = found.tables["train"], found.tables["test"]
    assert found.broken == [] and found.formats == {"array": 1797} and found.smallest == found.largest == (8, 8)
    assert found.uniform == 0 and train.schema.equals(IMAGES) and test.schema.equals(IMAGES)
    ids = set(train["id"].to_pylist()), set(test["id"].to_pylist())
    assert not ids[0] & ids[1] and ids[0] | ids[1] == set(range(1797))
    assert abs(len(test) / 1797 - data.test_fraction) < 0.03
    assert train["image"][0]["path"].as_py().endswith(".png") and train["key"][0].as_py().startswith("digits#")


def test_labels_of_every_kind_are_checked():
    image = np.zeros((4, 4), np.uint8)
    labels: list[Any] = [True, np.int64(1), 2**40, "a", "zebra", 1.0]
    shard = Shard("train", 10, lambda: iter([SourceRow(image, label, f"f#{i}") for i, label in enumerate(labels)]), len(labels))
    found = ingest_shard(shard, DataConfig(channels=1), ["a", "b"])
    assert dict(zip(*found.tables["train"].select(["id", "label"]).to_pydict().values(), strict=True)) == {
        10: 1,
        11: 1,
        13: 0,
        15: 1,
    }
    assert [(bad.id, bad.key) for bad in found.broken] == [(12, "f#2"), (14, "f#4")]


@pytest.mark.parametrize("shape, expected", [((300, 400), (224, 299)), ((400, 300), (299, 224)), ((100, 100), (224, 224))])
def test_a_large_copy_holds_the_whole_picture_as_jpeg(shape, expected):
    across = np.linspace(0, 255, shape[1])
    picture = np.tile(across, (shape[0], 1)).astype(np.uint8)
    copy = working_copy(picture, DataConfig(image_size=224, channels=1))
    found = np.asarray(Image.open(io.BytesIO(copy.data)))
    assert copy.suffix == "jpg" and found.shape == expected
    assert found[:, :2].mean() < 5 and found[:, -2:].mean() > 250  # from edge to edge
    again = working_copy(copy.data, DataConfig(image_size=224, channels=1))
    assert again.data == copy.data  # it is one already


def test_fit_and_store_are_as_asked_for():
    wide = Image.fromarray(np.random.default_rng(0).integers(0, 256, (120, 240, 3), np.uint8))
    assert stored(encoded(wide), size=100).shape == (100, 200, 3)
    assert stored(encoded(wide), size=100, fit="square").shape == (100, 100, 3)
    assert stored(encoded(wide), size=32).shape == (32, 32, 3) and stored(encoded(wide), size=32, fit="whole").shape == (32, 64, 3)
    kinds = {"auto": "jpg", "jpeg": "jpg", "png": "png"}
    for store, suffix in kinds.items():
        assert working_copy(encoded(wide), DataConfig(image_size=100, channels=3, store=store)).suffix == suffix  # type: ignore[arg-type]
    assert working_copy(encoded(wide), DataConfig(channels=3)).suffix == "png"
    assert working_copy(encoded(wide), DataConfig(channels=3, store="jpeg")).suffix == "jpg"


def test_a_strip_is_squeezed_to_eight_times_its_short_side():
    assert stored(np.full((3000, 5), 9, np.uint8), channels=1, size=100).shape == (800, 100)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_whole_picture_of_any_orientation(orientation):
    pixels = np.zeros((50, 100), np.uint8)
    pixels[:, :50] = 200
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = encoded(Image.fromarray(pixels), "JPEG", exif=exif, quality=95)
    expected = np.asarray(ImageOps.exif_transpose(Image.open(io.BytesIO(data))))
    found = stored(data, channels=1, size=50, fit="whole")
    assert found.shape == expected.shape and np.abs(found.astype(int) - expected).max() <= 8


@pytest.mark.parametrize("background, expected", [("white", (255, 255, 255)), ("black", (0, 0, 0)), ("10,20,30", (10, 20, 30))])
def test_transparency_lies_on_the_background(background, expected):
    clear = Image.new("RGBA", (32, 32), (200, 0, 0, 0))
    palette = Image.new("P", (32, 32), 3)
    palette.putpalette([0, 0, 0] * 3 + [200, 0, 0])
    for data in (encoded(clear), encoded(palette, transparency=3), encoded(clear, "WEBP", lossless=True)):
        assert (stored(data, background=background) == expected).all()
    half = stored(encoded(Image.new("RGBA", (32, 32), (200, 0, 0, 128))), background=background)[0, 0]
    assert np.abs(half - np.mean([expected, (200, 0, 0)], 0)).max() <= 1


@pytest.mark.parametrize(
    "values, expected",
    [
        (np.array([[0, 1]], np.int32), [0, 255]),
        (np.array([[0, 200]], np.int32), [0, 200]),
        (np.array([[0, 3200]], np.uint16), [0, 199]),
        (np.array([[0, 51400]], np.uint16), [0, 200]),
        (np.array([[0, 1 << 30]], np.int32), [0, 255]),
        (np.array([[-1000, 0, 1000]], np.int32), [0, 128, 255]),
        (np.array([[0, 0.5, 1]], np.float32), [0, 128, 255]),
        (np.array([[0, 130.4]], np.float32), [0, 130]),
        (np.array([[-1, 0, 1]], np.float32), [0, 128, 255]),
        (np.array([[np.nan, 0, 1]], np.float32), [0, 0, 255]),
        (np.array([[7e9, 7e9]], np.float32), [255, 255]),
        (np.array([[-7, -7]], np.float32), [0, 0]),
    ],
)
def test_numbers_are_scaled_by_the_range_that_they_use(values, expected):
    assert scaled(values)[0].tolist() == expected


def deep(pixels: np.ndarray) -> bytes:
    """A PNG of 16 bits a channel."""
    height, width, channels = pixels.shape

    def chunk(name: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))

    head = struct.pack(">IIBBBBB", width, height, 16, {2: 4, 3: 2, 4: 6}[channels], 0, 0, 0)
    lines = b"".join(b"\0" + line.astype(">u2").tobytes() for line in pixels)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(lines)) + chunk(b"IEND", b"")


@pytest.mark.parametrize("top", [4095, 65535])
def test_colors_of_sixteen_bits_are_scaled_too(top):
    pixels = np.zeros((32, 32, 4), np.uint16)
    pixels[...] = (top * 0.8, top * 0.2, 0, 65535)
    pixels[0, 0] = (top, 0, 0, 0)
    assert stored(deep(pixels[..., :3]))[9, 9].tolist() == [204, 51, 0]
    found = stored(deep(pixels))
    assert found[9, 9].tolist() == [204, 51, 0] and found[0, 0].tolist() == [255, 255, 255]
    assert np.abs(stored(deep(pixels[..., [0, 3]]), channels=1)[9, 9].astype(int) - 204).max() <= 1


def rows(pictures: list[bytes], labels: list[Any] | None = None, first_id: int = 0) -> Shard:
    found = [
        SourceRow(data, label, f"{i}.png")
        for i, (data, label) in enumerate(zip(pictures, labels or [0] * len(pictures), strict=True))
    ]
    return Shard(None, first_id, lambda: iter(found), len(found))


def test_a_set_is_color_if_any_of_a_sample_is():
    grey, color = encoded(Image.new("L", (4, 4), 99)), encoded(Image.new("RGB", (4, 4), (9, 99, 9)))
    assert source_channels([rows([grey, color, grey])]) == 3 and source_channels([rows([grey, b"junk", grey])]) == 1
    assert source_channels([rows([grey] * 500 + [color] * 100)]) == 3
    assert source_channels([rows([grey])] * 150 + [rows([color])] * 50) == 3
    assert source_channels([rows([b"junk"] * 3), rows([b"junk", grey])]) == 1
    assert source_channels([rows([b"junk"] * 1024), rows([b"junk"] * 99 + [color])]) == 3
    with pytest.raises(InputError, match="no image of the data set can be read"):
        source_channels([rows([b"junk"])])


def test_what_a_shard_held_is_counted():
    pictures = [encoded(noise(size=40)), encoded(Image.new("RGB", (90, 20), (1, 2, 3)), "JPEG"), b"junk", encoded(noise(size=3))]
    found = ingest_shard(rows(pictures), DataConfig(channels=3), None)
    assert found.formats == {"PNG": 2, "JPEG": 1} and found.uniform == 1 and len(found.broken) == 1
    assert found.smallest == (3, 3) and found.largest == (90, 20)


def test_a_class_with_one_image_keeps_it_in_training():
    ids = [id for id in range(200) if held_out(id, 0.2)][:3]
    data = DataConfig(channels=3)
    shards = [rows([encoded(noise())], [name], id) for id, name in zip(ids, ("rare", "often", "often"), strict=True)]
    alone = single(Findings(counts={None: {"often": 2, "rare": 1}}))
    assert alone == {"rare"} and single(Findings()) == single(Findings(counts={None: 3, "train": {"a": 1}})) == frozenset()
    splits = [set(ingest_shard(shard, data, ["often", "rare"], alone).tables) for shard in shards]
    assert splits == [{"train"}, {"test"}, {"test"}]


@pytest.mark.parametrize("threads", [1, 3])
def test_a_table_is_in_order_and_in_blocks(monkeypatch, threads):
    monkeypatch.setattr(torch, "get_num_threads", lambda: threads)
    monkeypatch.setattr(dsopt.data.ingest, "BLOCK", 9000)
    monkeypatch.setattr(dsopt.data.ingest, "AHEAD", 9000)
    found = ingest_shard(rows([encoded(noise(size=32))] * 50), DataConfig(channels=3, test_fraction=1e-9), None).tables["train"]
    assert found["id"].to_pylist() == list(range(50)) and found["image"].num_chunks > 10
    assert max(chunk.nbytes for chunk in found["image"].chunks) < 20_000
