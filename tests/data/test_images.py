"""The images table in memory, and the subset as a torch data set."""

import io
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import torch
from PIL import Image

import dsopt
import dsopt.data.images
from dsopt import storage
from dsopt.data import decoding
from dsopt.data.images import CHUNK, decode
from dsopt.data.loading import load
from dsopt.errors import InputError
from dsopt.files import write_table


def file(array: np.ndarray, kind: str = "PNG") -> dict[str, Any]:
    sink = io.BytesIO()
    Image.fromarray(array).save(sink, kind)
    return {"bytes": sink.getvalue(), "path": None}


def images(n: int, *shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (n, *shape), np.uint8)


def table(arrays: Any, labels: list[int | None] | None = None, kind: str = "PNG", first: int = 0) -> pa.Table:
    files = [file(array, kind) for array in arrays]
    rows = {"id": range(first, first + len(files)), "image": files, "label": labels or list(range(len(files)))}
    rows["key"] = [f"{i}.png" for i in rows["id"]]
    return pa.table({name: pa.array(rows[name], storage.IMAGES.field(name).type) for name in rows})


def stage(storage_uri: Path, parts: dict[str, list[pa.Table]], **notes: Any) -> str:
    """A finished stage with these parts by split."""
    notes = {"image_size": 6, "channels": 3} | notes
    made = storage.Stage(str(storage_uri), storage.Kind("select"), "test", notes)
    listed = []
    for split, tables in parts.items():
        for i, part in enumerate(tables):
            size = write_table(made.path("data", f"{split}-{i}.parquet"), part)
            listed.append({"path": f"data/{split}-{i}.parquet", "rows": len(part), "bytes": size, "split": split})
    schema = next((part.schema for tables in parts.values() for part in tables), storage.IMAGES)
    made.commit(listed, schema, seconds=0.0, **notes)
    return made.uri


@pytest.mark.parametrize("shape", [(9, 9), (9, 9, 3)])
def test_decode_gives_the_pixels_channels_last(shape):
    arrays = images(2 * CHUNK + 5, *shape)
    found = decode(table(arrays, [None, *range(1, len(arrays))]))
    expected = torch.from_numpy(arrays).view(len(arrays), 9, 9, -1)
    assert torch.equal(found.images.permute(0, 2, 3, 1), expected)
    assert found.images.dtype == torch.uint8 and found.images.is_contiguous(memory_format=torch.channels_last)
    assert found.ids.tolist() == list(range(len(arrays))) and found.labels[:3].tolist() == [-1, 1, 2]


def test_decode_reads_jpeg_as_pil_does():
    rows = table(images(1, 8, 8, 3).repeat(4, axis=1).repeat(4, axis=2), kind="JPEG")
    picture = Image.open(io.BytesIO(rows["image"][0]["bytes"].as_py()))
    assert np.array_equal(decode(rows).images[0].permute(1, 2, 0).numpy(), np.asarray(picture))


def test_decode_without_torchvision_gives_the_same(monkeypatch):
    for shape in ((9, 7), (9, 7, 3)):
        rows = table(images(5, *shape))
        expected = decode(rows).images
        with monkeypatch.context() as patch:
            patch.setattr(decoding, "_decode", decoding._decode_with_pil)
            assert torch.equal(decode(rows).images, expected)


def test_decode_takes_slices_chunks_and_large_binary():
    arrays = images(10, 5, 5)
    whole = table(arrays)
    pieces = pa.concat_tables([whole.slice(2, 3), whole.slice(7)])
    assert np.array_equal(decode(pieces).images[:, 0].numpy(), arrays[[2, 3, 4, 7, 8, 9]])
    large = pa.struct([("bytes", pa.large_binary()), ("path", pa.string())])
    cast = whole.set_column(1, "image", whole["image"].cast(large)).drop_columns(["label"])
    assert np.array_equal(decode(cast).images[:, 0].numpy(), arrays) and decode(cast).labels.tolist() == [-1] * 10


@pytest.mark.parametrize("other", [(9, 9, 3), (9, 9), (8, 9, 3)])
def test_images_of_different_shapes_are_refused(other):
    rows = table([*images(CHUNK, 9, 8, 3), *images(1, *other)])
    with pytest.raises(InputError, match=f"image {CHUNK} "):
        decode(rows)


def test_damaged_and_missing_images_are_refused():
    rows = table(images(2, 4, 4))
    damaged = [rows["image"][0].as_py(), {"bytes": b"junk", "path": None}]
    with pytest.raises(InputError, match=r"image 1 \(1.png\) cannot be decoded"):
        decode(rows.set_column(1, "image", pa.array(damaged, storage.IMAGE)))
    with pytest.raises(InputError, match="without an image"):
        decode(rows.set_column(1, "image", pa.array([damaged[0], None], storage.IMAGE)))
    with pytest.raises(InputError, match="no rows"):
        decode(rows.slice(0, 0))


def test_load_joins_the_parts_of_a_split(tmp_path):
    arrays = images(7, 6, 6, 3)
    parts = {"train": [table(arrays[:3]), table(arrays[3:5], first=3)], "test": [table(arrays[5:], first=5)]}
    uri = stage(tmp_path, parts)
    train = load(uri, "train")
    assert train.ids.tolist() == [0, 1, 2, 3, 4] and load(uri).ids.tolist() == [5, 6, 0, 1, 2, 3, 4]
    assert torch.equal(train.images, torch.from_numpy(arrays[:5]).permute(0, 3, 1, 2))
    assert train.images.is_contiguous(memory_format=torch.channels_last)
    assert load(uri, "train") is train
    with pytest.raises(InputError, match="no validation images"):
        load(uri, "validation")


def test_load_refuses_parts_of_different_channels(tmp_path):
    uri = stage(tmp_path, {"train": [table(images(2, 6, 6)), table(images(2, 6, 6, 3), first=2)]}, channels=1)
    with pytest.raises(InputError, match="image 2 "):
        load(uri)


def gradient(width: int, height: int) -> np.ndarray:
    """Dark at the left and the top, bright at the right and the bottom."""
    across, down = np.linspace(0, 255, width), np.linspace(0, 255, height)
    pixels = np.zeros((height, width, 3), np.uint8)
    pixels[..., 0], pixels[..., 1] = across, down[:, None]
    return pixels


@pytest.mark.parametrize("kind", ["PNG", "JPEG"])
@pytest.mark.parametrize("width, height", [(6, 6), (96, 60), (60, 400)])
def test_load_resizes_whole_pictures_to_squares(tmp_path, kind, width, height):
    uri = stage(tmp_path, {"train": [table([gradient(width, height)] * 3, kind=kind)]})
    (found, *_), expected = load(uri).images, gradient(6, 6)
    assert found.shape == (3, 6, 6)
    assert np.abs(found.permute(1, 2, 0).numpy().astype(int) - expected).max() <= 40  # the outer pixels are means


def test_load_at_a_size_is_cached_by_it(tmp_path):
    uri = stage(tmp_path, {"train": [table([gradient(90, 60)] * 3)]}, image_size=60)
    whole, small = load(uri, "train"), load(uri, "train", size=20)
    assert whole.images.shape == (3, 3, 60, 60) and small.images.shape == (3, 3, 20, 20)
    assert load(uri, "train", size=60) is whole and load(uri, "train", size=99) is whole and load(uri, "train", size=20) is small
    streamed = load(uri, "train", streamed=True, size=20)
    assert torch.equal(streamed.images, small.images)
    assert load(uri, "train", streamed=True, size=60).images.shape == whole.images.shape


def test_an_unreadable_row_is_named_by_its_key():
    rows = table(images(2, 4, 4))
    damaged = [rows["image"][0].as_py(), {"bytes": b"junk", "path": None}]
    for size in (None, 4):
        with pytest.raises(InputError, match=r"image 1 \(1.png\) cannot be decoded"):
            decode(rows.set_column(1, "image", pa.array(damaged, storage.IMAGE)), size=size)


def subset(arrays: np.ndarray) -> pa.Table:
    rows = table(arrays, [1, 0, None])
    rows = rows.append_column("rank", pa.array([0, 1, 2], pa.int32()))
    return rows.append_column("score", pa.array([0.5, 0.25, 0.125], pa.float32()))


def test_load_subset_is_a_map_style_data_set(tmp_path):
    arrays = images(3, 6, 6, 3)
    found = dsopt.load_subset(stage(tmp_path, {"train": [subset(arrays)]}, classes=["cat", "dog"]))
    assert len(found) == 3 and found.classes == ["cat", "dog"] and found.ids.tolist() == [0, 1, 2]
    assert found.ranks is not None and found.ranks.tolist() == [0, 1, 2] and found.ranks.dtype == torch.int32
    assert found.scores is not None and found.scores.tolist() == [0.5, 0.25, 0.125]
    image, label = found[0]
    assert label == 1 and isinstance(label, int) and torch.equal(image, torch.from_numpy(arrays[0]).permute(2, 0, 1))
    batches = list(torch.utils.data.DataLoader(found, batch_size=2))
    assert batches[0][0].shape == (2, 3, 6, 6) and batches[1][1].tolist() == [-1]
    with pytest.raises(IndexError):
        found[3]


@pytest.mark.parametrize("shape, mode", [((6, 6, 3), "RGB"), ((6, 6), "L")])
def test_load_subset_hands_pil_images_to_a_transform(tmp_path, shape, mode):
    arrays = images(3, *shape)
    found = dsopt.load_subset(stage(tmp_path, {"train": [subset(arrays)]}), transform=lambda picture: picture)
    picture, _ = found[1]
    assert picture.mode == mode and np.array_equal(np.asarray(picture), arrays[1])


def test_load_subset_gives_soft_labels(tmp_path):
    soft = pa.array([[0.25, 0.75], [1, 0], [0.5, 0.5]], pa.list_(pa.float32(), 2))
    rows = table(images(3, 4, 4)).append_column("soft_label", soft)
    found = dsopt.load_subset(stage(tmp_path, {"train": [rows]}))
    assert torch.equal(torch.as_tensor(found[0][1]), torch.tensor([0.25, 0.75])) and found.ranks is None and found.scores is None


def test_load_subset_says_when_nothing_is_there(tmp_path):
    with pytest.raises(InputError, match="no finished stage"):
        dsopt.load_subset(str(tmp_path))


def test_importing_dsopt_and_naming_data_sets_does_not_import_torch():
    code = "import sys, dsopt; from dsopt.registry import DATASETS as d; d.names(); assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)
    with pytest.raises(AttributeError, match="nothing"):
        _ = dsopt.nothing


@pytest.mark.parametrize("channels", [1, 3])
def test_encode_is_what_decode_reads(channels: int) -> None:
    pixels = torch.from_numpy(images(5, 9, 7, channels)).permute(0, 3, 1, 2)
    given = dsopt.data.images.Images(torch.arange(5) + 3, pixels, torch.tensor([0, 1, -1, 2, 0]), torch.rand(5, 3))
    rows = dsopt.data.images.encode(given, list("abcde"))
    assert rows["label"].null_count == 1 and rows["key"].to_pylist() == list("abcde")
    assert rows.select(storage.IMAGES.names).schema.equals(storage.IMAGES)
    found = decode(rows)
    for name in ("ids", "images", "labels", "soft"):
        assert torch.equal(getattr(found, name), getattr(given, name)), name
