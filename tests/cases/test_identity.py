"""What a data set is follows from its content; a part of it shows all classes; memory follows bytes."""

import gzip
import os
import shutil
import struct
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from reading import IMAGE, found, picture, write, write_parquet

from dsopt.config import DataConfig
from dsopt.data.sources.source import find


def mnist(folder: Path, labels: np.ndarray, pack: bool = False, image: int = 0) -> dict:
    folder.mkdir(exist_ok=True)
    for split, n in (("train", 20), ("t10k", 5)):
        images = np.random.default_rng(n).integers(0, 256, (n, 28, 28), np.uint8)
        images[0, 0, 0] = image
        some = labels if split == "train" else np.arange(n, dtype=np.uint8)
        for name, data in (
            (f"{split}-images-idx3-ubyte", struct.pack(">IIII", 2051, n, 28, 28) + images.tobytes()),
            (f"{split}-labels-idx1-ubyte", struct.pack(">II", 2049, n) + some.tobytes()),
        ):
            (folder / name).write_bytes(gzip.compress(data, mtime=0) if pack else data)
    return find(DataConfig(name="mnist", root=str(folder))).fingerprint


def test_a_copy_with_other_labels_or_images_is_another_set(tmp_path: Path) -> None:
    clean = np.arange(20, dtype=np.uint8) % 10
    noisy = np.where(np.arange(20) % 3 == 0, 3, clean).astype(np.uint8)
    first = mnist(tmp_path / "clean", clean)
    assert first == mnist(tmp_path / "copy", clean)  # wherever and whenever it was written
    assert first != mnist(tmp_path / "noisy", noisy) and first != mnist(tmp_path / "image", clean, image=9)


def test_a_copy_of_a_known_set_in_parquet_with_other_labels_is_another(tmp_path: Path) -> None:
    prints = []
    for name, labels in (("clean", [0, 1, 2, 1, 0]), ("copy", [0, 1, 2, 1, 0]), ("noisy", [0, 2, 1, 1, 0])):
        write_parquet(tmp_path / name / "train.parquet", labels)
        write_parquet(tmp_path / name / "test.parquet", [0])
        prints.append(find(DataConfig(name="cifar10", root=str(tmp_path / name))).fingerprint)
    assert prints[0] == prints[1] != prints[2]


FILES = {"parquet": "a.parquet", "folder": "cat/1.png", "table": "all.csv", "webdataset": "a.tar"}


@pytest.mark.parametrize("name, file", FILES.items())
def test_a_file_of_the_same_size_at_the_same_time_or_later(tmp_path: Path, name: str, file: str) -> None:
    """A footer is content; other files are known by their time."""
    write(tmp_path, "cat/1.png", "dog/1.png")
    write_parquet(tmp_path / "a.parquet", [0, 1])
    (tmp_path / "all.csv").write_text("path,label\ncat/1.png,0\n")
    shutil.make_archive(str(tmp_path / "a"), "tar", tmp_path, "cat")
    data = DataConfig(name=name, root=str(tmp_path / file if name == "table" else tmp_path))
    first, time = find(data).fingerprint, os.stat(tmp_path / file)
    assert first == find(data).fingerprint
    os.utime(tmp_path / file, ns=(time.st_atime_ns, time.st_mtime_ns + 1))
    assert first != find(data).fingerprint
    if name == "parquet":
        write_parquet(tmp_path / file, [0, 9])
        os.utime(tmp_path / file, ns=(time.st_atime_ns, time.st_mtime_ns))
        assert first != find(data).fingerprint


# --- data.limit ------------------------------------------------------------------------------------------------------


def test_a_part_of_files_sorted_by_class_has_all_classes(tmp_path: Path) -> None:
    write_parquet(tmp_path / "train-0.parquet", [0] * 50 + [1] * 30)
    write_parquet(tmp_path / "train-1.parquet", [1] * 10 + [2] * 5 + [3])
    write_parquet(tmp_path / "test-0.parquet", [0, 1, 2, 3])
    read = found("parquet", tmp_path, limit=20)
    assert read.findings.counts == {"train": {"0": 7, "1": 7, "2": 5, "3": 1}, "test": {"0": 1, "1": 1, "2": 1, "3": 1}}
    assert read.sizes() == {"train": 20, "test": 4}
    assert [label for label in read.labels("train")] == sorted(read.labels("train"))


def test_a_part_that_has_all_classes_is_the_first_rows(tmp_path: Path) -> None:
    write_parquet(tmp_path / "a.parquet", [0, 1, 0, 0, 0, 1, 1, 1])
    assert found("parquet", tmp_path, limit=4).rows[""] == {f"a.parquet#{i}": label for i, label in enumerate([0, 1, 0, 0])}


def test_a_part_of_known_sets_and_folders(tmp_path: Path) -> None:
    write(tmp_path, *(f"{c}/{i}.png" for c, n in (("common", 30), ("rare", 2), ("single", 1)) for i in range(n)))
    read = found("folder", tmp_path, limit=6)
    assert sorted(read.labels()) == ["common"] * 3 + ["rare"] * 2 + ["single"]
    counts = found("digits", "", limit=30).findings.counts
    assert counts and len(counts[None]) == 10 and sum(counts[None].values()) == 30  # type: ignore[union-attr]


# --- memory ----------------------------------------------------------------------------------------------------------

MEASURE = """
import resource, sys
from dsopt.config import DataConfig
from dsopt.data.sources.source import find
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
shards, _ = find(DataConfig(name=sys.argv[1], root=sys.argv[2])).list_shards()
rows = sum(1 for shard in shards for row in shard.read())
print(rows, (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) >> 10)
"""


@pytest.mark.long
@pytest.mark.slow
@pytest.mark.parametrize("name", ["parquet", "folder"])
def test_memory_follows_bytes_not_rows(tmp_path: Path, name: str) -> None:
    """40 pictures of 9 MB: in one row group, or as files."""
    noise = np.random.default_rng(0)
    images = [picture() + noise.bytes(9 << 20) for _ in range(40)]
    if name == "parquet":
        pq.write_table(pa.table({"image": images, "label": list(range(40))}), tmp_path / "a.parquet", compression="none")
    else:
        for i, image in enumerate(images):
            (tmp_path / f"{i}.png").write_bytes(image)
    done = subprocess.run([sys.executable, "-c", MEASURE, name, str(tmp_path)], capture_output=True, text=True, check=True)
    rows, megabytes = map(int, done.stdout.split())
    assert rows == 40 and megabytes < 200


def same_time(path: Path, data: bytes) -> None:
    """Write other content of the same size and, as far as the disk tells, of the same time."""
    before = os.stat(path)
    assert len(data) == before.st_size
    path.write_bytes(data)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


@pytest.mark.parametrize("name, table", [("table", "all.csv"), ("folder", "metadata.csv")])
def test_other_labels_in_a_table_of_the_same_size_and_time(tmp_path: Path, name: str, table: str) -> None:
    write(tmp_path, "1.png", "2.png")
    (tmp_path / table).write_text("file_name,label\n1.png,x\n2.png,y\n")
    data = DataConfig(name=name, root=str(tmp_path / table if name == "table" else tmp_path))
    first = find(data).fingerprint
    same_time(tmp_path / table, b"file_name,label\n1.png,y\n2.png,x\n")
    assert first != find(data).fingerprint


def test_other_labels_in_parquet_of_the_same_footer_and_time(tmp_path: Path) -> None:
    write_parquet(tmp_path / "a.parquet", [0, 1, 0, 1])
    write_parquet(tmp_path / "other/a.parquet", [1, 0, 0, 1])
    data = DataConfig(name="parquet", root=str(tmp_path / "a.parquet"))
    first = find(data).fingerprint
    same_time(tmp_path / "a.parquet", (tmp_path / "other/a.parquet").read_bytes())
    assert first != find(data).fingerprint


@pytest.mark.parametrize("struct", [True, False])
def test_an_image_that_is_named_and_changes(tmp_path: Path, struct: bool) -> None:
    write(tmp_path, "1.png", "2.png")
    (tmp_path / "all.csv").write_text("path,label\n1.png,0\n2.png,1\ngone.png,1\n\n")
    paths = ["1.png", "2.png", None]
    images = pa.array([{"bytes": None, "path": path} for path in paths], IMAGE) if struct else pa.array(paths)
    pq.write_table(pa.table({"image": images, "label": [0, 1, 1]}), tmp_path / "all.parquet")
    sources = [DataConfig(name=name, root=f"{tmp_path}/all.{end}") for name, end in (("table", "csv"), ("parquet", "parquet"))]
    first = [find(data).fingerprint for data in sources]
    assert first == [find(data).fingerprint for data in sources]
    write(tmp_path, "2.png", kind="JPEG")
    assert all(one != find(data).fingerprint for one, data in zip(first, sources, strict=True))
