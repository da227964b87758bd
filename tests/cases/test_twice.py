"""No row twice: links, caches of the hub, and this package's own results below the data."""

import os
from pathlib import Path

import pytest
from reading import found, write, write_parquet

from dsopt.data.sources import listing
from dsopt.data.sources.listing import list_data, stage_folders
from dsopt.errors import InputError


@pytest.mark.parametrize("target", ["..", "../..", "../dog", "."])
def test_links_to_folders_that_are_read_already_are_skipped(tmp_path: Path, target: str) -> None:
    write(tmp_path / "set", *(f"{c}/{i}.png" for c in ("cat", "dog") for i in range(3)))
    write(tmp_path, "elsewhere/1.png")
    (tmp_path / "set/cat/again").symlink_to(target)
    read = found("folder", tmp_path / "set")
    assert read.sizes() == {"": 6} and read.classes == ["cat", "dog"]
    assert [(one.reason, one.examples) for one in read.findings.passed_over] == [
        ("a link to a folder that is read already", ("cat/again",))
    ]


def test_links_to_other_folders_are_followed_once(tmp_path: Path) -> None:
    write(tmp_path, "store/cats/1.png", "store/cats/2.png", "set/dog/1.png")
    (tmp_path / "set/cat").symlink_to("../store/cats")
    (tmp_path / "set/kitten").symlink_to("../store/cats")
    read = found("folder", tmp_path / "set")
    assert read.labels() == ["cat", "dog", "cat"]
    (tmp_path / "link").symlink_to("set")
    assert found("folder", tmp_path / "link").labels() == ["cat", "dog", "cat"]


def test_dead_links_are_counted_with_the_class_that_vanished(tmp_path: Path) -> None:
    write(tmp_path, "cat/1.png", "dog/1.png")
    (tmp_path / "owl").mkdir()
    for i in range(3):
        (tmp_path / f"owl/{i}.png").symlink_to(f"../.git/annex/objects/{i}")
    (over,) = found("folder", tmp_path).findings.passed_over
    assert (over.reason, over.count, over.lost_classes) == ("a dead link", 3, ("owl",))


# --- results below the data ------------------------------------------------------------------------------------------


def stage(folder: Path, done: bool = True) -> None:
    write_parquet(folder / "data/part-00000.parquet", [0, 1])
    write(folder, "page/figure.png")
    (folder / "config.yaml").write_text("")
    if done:
        for name in ("manifest.json", "_DONE"):
            (folder / name).write_text("{}")


@pytest.mark.parametrize("storage", ["runs", "deep/results"])
def test_results_below_the_data_are_no_input(tmp_path: Path, storage: str) -> None:
    write_parquet(tmp_path / "flowers.parquet", [0, 1, 0, 1])
    write(tmp_path, "cat/1.png", "dog/1.png")
    before = found("parquet", tmp_path), found("folder", tmp_path)
    stage(tmp_path / storage / "ingest/flowers-0123456789ab")
    stage(tmp_path / storage / "proxy/flowers-ba9876543210", done=False)
    after = found("parquet", tmp_path), found("folder", tmp_path)
    for one, other in zip(before, after, strict=True):
        assert one.rows == other.rows and one.source.fingerprint == other.source.fingerprint
    assert "in a result of dsopt" in [over.reason for over in after[0].findings.passed_over]
    assert not any(over.lost_classes for one in after for over in one.findings.passed_over)


def test_a_result_that_is_named_itself_is_read(tmp_path: Path) -> None:
    stage(tmp_path / "select/flowers-0123456789ab")
    assert found("parquet", tmp_path / "select/flowers-0123456789ab/data").sizes() == {"": 2}
    assert found("parquet", tmp_path / "select/flowers-0123456789ab").sizes() == {"": 2}


def test_a_configuration_beside_data_is_no_stage(tmp_path: Path) -> None:
    assert stage_folders(["flowers/config.yaml", "flowers/data/1.png", "manifest.json", "_DONE"]) == set()
    assert stage_folders(["runs/ingest/x-0123456789ab/config.yaml"]) == {"runs/ingest"}
    assert stage_folders(["a/manifest.json", "a/_DONE"]) == {"a"}


# --- caches of the hub -----------------------------------------------------------------------------------------------


def cache(root: Path, revisions: tuple[str, ...], main: str | None = None) -> Path:
    hub = root / "datasets--me--flowers"
    for split, rows in (("train", 4), ("test", 2)):
        write_parquet(hub / f"blobs/{split}sha", [i % 2 for i in range(rows)])
        for revision in revisions:
            (hub / f"snapshots/{revision}/data").mkdir(parents=True, exist_ok=True)
            os.symlink(f"../../../blobs/{split}sha", hub / f"snapshots/{revision}/data/{split}-00000-of-00001.parquet")
    if main:
        (hub / "refs").mkdir()
        (hub / "refs/main").write_text(main)
    return hub


def test_the_links_of_a_snapshot_are_read(tmp_path: Path) -> None:
    hub = cache(tmp_path, ("aaa111",))
    for root in (tmp_path, hub, hub / "snapshots/aaa111"):
        assert found("parquet", root).sizes() == {"train": 4, "test": 2}


def test_two_revisions_are_refused_with_both_named(tmp_path: Path) -> None:
    hub = cache(tmp_path, ("aaa111", "bbb222"))
    for root in (tmp_path, hub):
        with pytest.raises(InputError, match=r"several revisions of one data set, \S*snapshots/aaa111 and \S*snapshots/bbb222"):
            found("parquet", root)
    with pytest.raises(InputError, match="two data sets, aaa111 and bbb222"):
        found("parquet", hub / "snapshots")


def test_the_revision_of_the_main_branch_is_taken(tmp_path: Path) -> None:
    hub = cache(tmp_path, ("aaa111", "bbb222"), main="bbb222\n")
    assert {file.name.split("/")[1] for file in list_data(str(hub)).files if "parquet" in file.name} == {"bbb222"}
    assert found("parquet", tmp_path).sizes() == {"train": 4, "test": 2}


def test_images_in_a_cache_are_read_once(tmp_path: Path) -> None:
    write(tmp_path, "datasets--me--x/blobs/1", "datasets--me--x/blobs/2")
    for i, name in enumerate(("cat", "dog"), 1):
        (tmp_path / f"datasets--me--x/snapshots/abc/{name}").mkdir(parents=True)
        os.symlink(f"../../../blobs/{i}", tmp_path / f"datasets--me--x/snapshots/abc/{name}/1.png")
    assert found("folder", tmp_path).labels() == ["cat", "dog"]


def test_a_folder_under_two_names_is_read_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As a mount shows it: another real path, the same device and inode."""
    write(tmp_path, "cat/1.png", "dog/2.png", "mounted/1.png")
    identity = listing._identity
    monkeypatch.setattr(listing, "_identity", lambda folder: identity(str(folder).replace("mounted", "cat")))
    read = found("folder", tmp_path)
    assert read.classes == ["cat", "dog"] and read.sizes() == {"": 2}
    (over,) = read.findings.passed_over
    assert (over.reason, over.examples) == ("a folder that is read already under another name", ("mounted",))


def test_what_is_neither_file_nor_folder_is_counted(tmp_path: Path) -> None:
    write(tmp_path, "cat/1.png", "dog/2.png")
    os.symlink("itself", tmp_path / "itself")
    os.mkfifo(tmp_path / "cat/pipe.png")
    over = {one.reason: one.examples for one in found("folder", tmp_path).findings.passed_over}
    assert over == {"a dead link": ("itself",), "neither a file nor a folder": ("cat/pipe.png",)}


@pytest.mark.parametrize("other", ["train.bak", "train_masks"])
def test_two_folders_of_one_split_with_the_same_files_are_refused(tmp_path: Path, other: str) -> None:
    write(tmp_path, "train/cat/1.png", "train/dog/2.png", f"{other}/cat/1.jpg", f"{other}/dog/2.jpg", "test/cat/3.png")
    with pytest.raises(InputError, match=rf"has train and {other} with files of the same names, a copy or masks"):
        found("folder", tmp_path)


def test_two_configurations_of_other_numbers_of_shards_are_refused(tmp_path: Path) -> None:
    for name in ("full/train-00000-of-00002", "full/train-00001-of-00002", "small/train-00000-of-00001"):
        write_parquet(tmp_path / f"{name}.parquet", [0, 1])
    with pytest.raises(InputError, match="holds two data sets, full and small"):
        found("parquet", tmp_path)
    os.rename(tmp_path / "small/train-00000-of-00001.parquet", tmp_path / "small/train-00002-of-00003.parquet")
    assert found("parquet", tmp_path).sizes() == {"": 6}
