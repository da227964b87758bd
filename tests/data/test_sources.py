"""Well-known sets, limits and splits: where they are found, and the errors if they are not."""

import dataclasses
import gzip
import io
import os
import pickle
import subprocess
import sys
import tarfile
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torchvision.datasets
from sklearn.datasets import load_digits

from dsopt.config import DataConfig
from dsopt.data.ingest import ingest_shard, source_channels
from dsopt.data.sets import mnist
from dsopt.data.sets.digits import read_digits
from dsopt.data.sources.downloads import Known, find_known, without_downloads
from dsopt.data.sources.layout import decide_splits, named_split
from dsopt.data.sources.source import Shard, SourceRow, find, limit_shards
from dsopt.errors import InputError
from dsopt.registry import DATASETS

CIFAR10 = Path(os.environ.get("DSOPT_TEST_DATA") or Path(__file__).parents[3] / "shared/data") / "cifar10"
FASHION = Path("/usr/share/datasets/fashion-mnist")


@pytest.fixture(autouse=True)
def no_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


@pytest.fixture
def no_download(monkeypatch):
    def fail(root, download):
        raise RuntimeError("Error downloading\nno route to host")

    for name in ("MNIST", "FashionMNIST", "CIFAR10", "CIFAR100"):
        monkeypatch.setattr(torchvision.datasets, name, fail)


def idx(array: np.ndarray) -> bytes:
    return bytes([0, 0, 8, array.ndim]) + np.array(array.shape, ">u4").tobytes() + array.tobytes()


def write_mnist(folder: Path, pack=lambda data: data, suffix: str = "") -> np.ndarray:
    """Write 6 training and 4 test images; returns the training images."""
    random = np.random.default_rng(0)
    folder.mkdir(parents=True, exist_ok=True)
    images = random.integers(0, 256, (10, 28, 28), np.uint8)
    parts = {"train": slice(0, 6), "t10k": slice(6, 10)}
    for name, part in parts.items():
        (folder / f"{name}-images-idx3-ubyte{suffix}").write_bytes(pack(idx(images[part])))
        (folder / f"{name}-labels-idx1-ubyte{suffix}").write_bytes(pack(idx(np.arange(10, dtype=np.uint8)[part])))
    return images[:6]


def write_cifar10(folder: Path) -> np.ndarray:
    """Write 2 images per batch; returns the training images [10, 32, 32, 3]."""
    folder.mkdir(parents=True, exist_ok=True)
    images = np.random.default_rng(0).integers(0, 256, (12, 3, 32, 32), np.uint8)
    for i, name in enumerate([*(f"data_batch_{i}" for i in range(1, 6)), "test_batch"]):
        batch = {"data": images[2 * i : 2 * i + 2].reshape(2, -1), "labels": [i, 9]}
        (folder / name).write_bytes(pickle.dumps(batch, protocol=2))
    return images[:10].transpose(0, 2, 3, 1)


def rows(shards: list[Shard], split: str | None) -> list[SourceRow]:
    return [row for shard in shards if shard.split == split for row in shard.read()]


def pixels(rows: list[SourceRow]) -> np.ndarray:
    return np.array([row.image for row in rows])


def test_every_data_set_is_registered():
    wanted = ["cifar10", "cifar100", "digits", "fashion_mnist", "folder", "mnist", "parquet", "table", "webdataset"]
    assert DATASETS.names() == wanted
    assert all(DATASETS.summary(name) for name in wanted)


def test_digits_are_scaled_grey_images_without_a_split():
    shards, classes = find(DataConfig(name="digits")).list_shards()
    found = rows(shards, None)
    assert classes is not None and len(classes) == 10
    assert len(found) == sum(shard.rows for shard in shards) == 1797
    image = found[0].image
    assert isinstance(image, np.ndarray) and image.shape == (8, 8) and image.dtype == np.uint8 and image.max() > 230
    assert {row.label for row in found} == set(range(10))
    assert source_channels(shards) == 1


def test_digits_are_those_of_scikit_learn_without_its_import():
    code = "import sys; from dsopt.data.sets.digits import read_digits; read_digits(); assert 'sklearn' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)
    (images, labels), expected = read_digits()[None], load_digits()
    assert np.array_equal(images, (expected["images"] * 255 / 16).round()) and np.array_equal(labels, expected["target"])


@pytest.mark.parametrize("below, pack, suffix", [("MNIST/raw", bytes, ""), (".", gzip.compress, ".gz"), (".", bytes, "")])
def test_mnist_is_found_as_torchvision_lays_it_and_directly(tmp_path, below, pack, suffix):
    images = write_mnist(tmp_path / below, pack, suffix)
    source = find(DataConfig(name="mnist", root=str(tmp_path)))
    shards, classes = pickle.loads(pickle.dumps(source)).list_shards()
    train = rows(shards, "train")
    assert [row.label for row in train] == [0, 1, 2, 3, 4, 5]
    assert np.array_equal(pixels(train), images)
    assert [shard.first_id for shard in shards] == [0, 6] and len(rows(shards, "test")) == 4
    assert classes == [str(i) for i in range(10)]
    assert len(source.fingerprint["files"]) == 4


def test_a_missing_file_is_named(tmp_path, no_download):
    write_mnist(tmp_path)
    (tmp_path / "t10k-labels-idx1-ubyte").unlink()
    with pytest.raises(InputError, match="lacks t10k-labels-idx1-ubyte"):
        find(DataConfig(name="mnist", root=str(tmp_path)))


@pytest.mark.parametrize("damage", [lambda data: data[:-5], lambda data: b"<html>" + data, lambda data: b"\x1f\x8b" + data])
def test_a_damaged_idx_file_is_named(tmp_path, damage):
    write_mnist(tmp_path)
    file = tmp_path / "train-images-idx3-ubyte"
    file.write_bytes(damage(file.read_bytes()))
    with pytest.raises(InputError, match="train-images-idx3-ubyte: not a complete IDX file"):
        find(DataConfig(name="mnist", root=str(tmp_path))).list_shards()


@pytest.mark.parametrize("name, file", [("mnist", "t10k-images-idx3-ubyte"), ("cifar100", "cifar-100-python.tar.gz")])
def test_an_impossible_download_says_which_files_belong_where(tmp_path, no_download, name, file):
    with pytest.raises(InputError, match="no route to host") as caught:
        find(DataConfig(name=name, root=str(tmp_path)))
    assert file in str(caught.value) and str(tmp_path) in str(caught.value) and "\n" not in str(caught.value)
    assert not list(tmp_path.iterdir())


def test_a_download_goes_to_the_cache_once(tmp_path, monkeypatch):
    calls = []

    def download(root, download):
        calls.append(root)
        write_cifar10(Path(root) / "cifar-10-batches-py")

    monkeypatch.setattr(torchvision.datasets, "CIFAR10", download)
    first, second = find(DataConfig(name="cifar10")), find(DataConfig(name="cifar10"))
    assert len(calls) == 1 and first.fingerprint == second.fingerprint
    assert [path.name for path in (tmp_path / "cache/dsopt").iterdir()] == ["cifar-10-batches-py"]


@pytest.mark.parametrize("name", ["cifar10", "cifar100", "mnist", "fashion_mnist"])
@pytest.mark.parametrize("below", ["nowhere", "nowhere/*.parquet"])
def test_a_root_that_is_not_there_is_refused_and_not_made(tmp_path, no_download, name, below):
    with pytest.raises(InputError, match=f"data.root={tmp_path}/nowhere.*: does not exist; without data.root, {name} ") as caught:
        find(DataConfig(name=name, root=f"{tmp_path}/{below}"))
    assert "\n" not in str(caught.value) and f"downloaded into {tmp_path}/cache/dsopt." in str(caught.value)
    assert (name == "fashion_mnist") == (str(FASHION) in str(caught.value)) and not list(tmp_path.iterdir())


def test_a_root_that_is_not_on_s3_is_refused(s3_storage, no_download):
    with pytest.raises(InputError, match=f"data.root={s3_storage}: does not exist"):
        find(DataConfig(name="cifar10", root=s3_storage))


def test_nothing_is_downloaded_where_that_is_forbidden(tmp_path, monkeypatch):
    monkeypatch.setattr(torchvision.datasets, "CIFAR10", lambda root, download: pytest.fail("it was downloaded"))
    for root in (None, str(tmp_path)):
        with without_downloads(), pytest.raises(InputError, match="a dry run downloads nothing") as caught:
            find(DataConfig(name="cifar10", root=root))
        assert "\n" not in str(caught.value) and str(root or tmp_path / "cache/dsopt") in str(caught.value)
    assert not list(tmp_path.iterdir())


def test_the_package_of_the_system_is_found_after_the_root(tmp_path, no_download):
    write_mnist(tmp_path / "installed", gzip.compress, ".gz")
    (tmp_path / "empty").mkdir()
    known = Known("mnist", "MNIST", "MNIST/raw", mnist.FILES, mnist.read_idx_files, ("0",), installed=str(tmp_path / "installed"))
    source = find_known(known, DataConfig(name="mnist", root=str(tmp_path / "empty")))
    assert sum(shard.rows for shard in source.list_shards()[0]) == 10
    write_mnist(tmp_path / "empty")
    assert (
        "train-labels-idx1-ubyte" in find_known(known, DataConfig(name="mnist", root=str(tmp_path / "empty"))).fingerprint["files"]
    )


def test_cifar10_from_its_python_files_and_its_archive(tmp_path):
    images = write_cifar10(tmp_path / "files/cifar-10-batches-py")
    (tmp_path / "archive").mkdir()
    with tarfile.open(tmp_path / "archive/cifar-10-python.tar.gz", "w:gz") as tar:
        tar.add(tmp_path / "files/cifar-10-batches-py", "cifar-10-batches-py")
    for root in ("files", "files/cifar-10-batches-py", "archive"):
        shards, classes = find(DataConfig(name="cifar10", root=str(tmp_path / root))).list_shards()
        train = rows(shards, "train")
        assert np.array_equal(pixels(train), images)
        assert [row.label for row in train] == [0, 9, 1, 9, 2, 9, 3, 9, 4, 9]
        assert [row.label for row in rows(shards, "test")] == [5, 9]
        assert classes is not None and len(classes) == 10
        assert source_channels(shards) == 3


def test_a_pickle_that_calls_something_is_refused(tmp_path):
    class Evil:
        def __reduce__(self):
            return os.mkdir, (str(tmp_path / "hacked"),)

    write_cifar10(tmp_path)
    (tmp_path / "test_batch").write_bytes(pickle.dumps({"data": Evil(), "labels": [1]}))
    with pytest.raises(InputError, match="damaged"):
        find(DataConfig(name="cifar10", root=str(tmp_path))).list_shards()
    assert not (tmp_path / "hacked").exists()


def test_cifar100_from_parquet_uses_the_fine_labels_and_their_names(tmp_path):
    sink = io.BytesIO()
    from PIL import Image

    Image.new("RGB", (32, 32)).save(sink, "PNG")
    image = {"bytes": sink.getvalue(), "path": None}
    table = pa.table({"img": [image] * 2, "fine_label": [99, 3], "coarse_label": [1, 2]})
    for split in ("train", "test"):
        pq.write_table(table, tmp_path / f"{split}-00000-of-00001.parquet")
    source = find(DataConfig(name="cifar100", root=str(tmp_path)))
    shards, classes = source.list_shards()
    assert [row.label for row in rows(shards, "train")] == [99, 3]
    assert classes is not None and len(classes) == 100 and classes[99] == "worm" and classes[3] == "bear"
    assert source.fingerprint["set"] == "cifar100"


@pytest.mark.skipif(not CIFAR10.is_dir(), reason="CIFAR-10's Parquet files are not there (DSOPT_TEST_DATA)")
def test_the_real_cifar10_keeps_its_bytes():
    data = DataConfig(name="cifar10", root=str(CIFAR10), channels=3, limit=300)
    full, classes = find(dataclasses.replace(data, limit=None)).list_shards()
    assert {s: sum(shard.rows for shard in full if shard.split == s) for s in ("train", "test")} == {
        "train": 50000,
        "test": 10000,
    }
    assert classes is not None and classes[9] == "truck"
    shards, _ = find(data).list_shards()
    assert [(shard.split, shard.first_id, shard.rows) for shard in shards] == [("train", 0, 300), ("test", 50000, 300)]
    found = ingest_shard(shards[0], data, classes)
    tables = found.tables
    assert found.broken == [] and len(tables["train"]) == 300
    raw = pq.ParquetFile(CIFAR10 / "train-00000-of-00001.parquet").read_row_group(0)
    assert tables["train"]["image"][7]["bytes"] == raw["img"][7]["bytes"]
    assert tables["train"]["label"].to_pylist() == raw["label"].to_pylist()[:300]
    assert tables["train"]["key"][7].as_py() == "train-00000-of-00001.parquet#7"


@pytest.mark.skipif(not FASHION.is_dir(), reason="Debian's package dataset-fashion-mnist is not installed")
def test_the_real_fashion_mnist_of_debian():
    source = find(DataConfig(name="fashion_mnist", limit=50))
    shards, classes = source.list_shards()
    assert classes is not None and classes[9] == "Ankle boot" and not source.remote
    train = rows(shards, "train")
    assert len(train) == 50 and train[0].label == 9
    assert sum(shard.rows for shard in find(DataConfig(name="fashion_mnist")).list_shards()[0]) == 70000


def test_limit_cuts_every_split_and_keeps_ids():
    def shard(split, first_id):
        return Shard(split, first_id, lambda: iter([SourceRow(None, i, "") for i in range(first_id, first_id + 4)]), 4)

    shards = limit_shards([shard("train", 0), shard("train", 4), shard("train", 8), shard("test", 12)], 6)
    assert [(s.split, [row.label for row in s.read()], s.rows) for s in shards] == [
        ("train", [0, 1, 2, 3], 4),
        ("train", [4, 5], 2),
        ("test", [12, 13, 14, 15], 4),
    ]


@pytest.mark.parametrize(
    "path, split",
    [
        ("train-00000-of-00001.parquet", "train"),
        ("plain_text/test-0.parquet", "test"),
        ("test/part-0.parquet", "test"),
        ("val/0.parquet", "validation"),
        ("validation-0.parquet", "validation"),
        ("cifar_training_1.parquet", "train"),
        ("latest.parquet", None),
        ("contest/trainer.parquet", None),
    ],
)
def test_named_split(path, split):
    assert named_split(path) == split


def test_decide_splits():
    assert decide_splits({"train", "test", "validation"}) == {"train": "train", "test": "test"}
    assert decide_splits({"train", "validation"}) == {"train": "train", "validation": "test"}
    assert decide_splits({None, "test"}) == {None: "train", "test": "test"}
    assert decide_splits({"train"}) == {"train": None}
    assert decide_splits({"test"}) == {"test": None}
    assert decide_splits({None}) == {None: None}
