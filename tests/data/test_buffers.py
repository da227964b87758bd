"""Buffers on disk for images that do not fit in memory: filled once for all processes of a machine, and never used half filled."""

import errno
import os
import tempfile
import threading
from pathlib import Path

import pytest
import torch
from digits import CPU
from slow_reader import ROWS, digits_stage, shut

from dsopt.data import buffers, room
from dsopt.data import loading as reading
from dsopt.data.background import BackgroundLoader
from dsopt.data.batches import Batches, take
from dsopt.data.images import Images, joined, rows
from dsopt.data.loading import load
from dsopt.errors import InputError, JobError
from dsopt.training.samplers.shuffle import shuffle

SHAPE = (2, 3, 3, 1)


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The temporary folder in which these tests create buffers."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setattr(buffers, "_used", [])
    return tmp_path


def files(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.rglob("[!.]*") if path.is_file())


def on_disk(images: torch.Tensor) -> bool:
    return images.untyped_storage().filename is not None


def fresh() -> None:
    """Clear the cache, to act as a new process."""
    reading._kept.cache_clear()


def test_the_first_fills_it_and_the_next_finds_it_filled(folder: Path) -> None:
    with buffers.shared("a", SHAPE) as (pixels, filled):
        assert not filled and pixels.shape == SHAPE
        pixels.copy_(torch.arange(18, dtype=torch.uint8).view(SHAPE))
    with buffers.shared("a", SHAPE) as (again, filled):
        assert filled and torch.equal(again, pixels) and again.flatten().tolist() == list(range(18))
    assert files(folder) == ["a"]


def test_others_wait_while_it_is_filled() -> None:
    entered, found = threading.Event(), []

    def other() -> None:
        entered.set()
        with buffers.shared("a", SHAPE) as (pixels, filled):
            found.append((filled, pixels.unique().tolist()))

    thread = threading.Thread(target=other)
    with buffers.shared("a", SHAPE) as (pixels, _):
        thread.start()
        entered.wait(10)
        thread.join(0.2)
        assert thread.is_alive() and not found
        pixels.fill_(7)
    thread.join(10)
    assert found == [(True, [7])]


@pytest.mark.parametrize("ended", ["raised", "killed"])
def test_what_was_not_filled_to_the_end_is_filled_again(ended: str) -> None:
    if ended == "raised":
        with pytest.raises(InputError), buffers.shared("a", SHAPE) as (pixels, _):
            pixels.fill_(9)
            raise InputError("image 7 cannot be decoded")
    else:
        child = os.fork()
        if not child:
            with buffers.shared("a", SHAPE) as (pixels, _):
                pixels.fill_(9)
                os._exit(9)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 9
    with buffers.shared("a", SHAPE) as (pixels, filled):
        assert not filled
        pixels.fill_(1)
    with buffers.shared("a", SHAPE) as (pixels, filled):
        assert filled and pixels.unique().tolist() == [1]


def test_what_nobody_uses_any_more_makes_room_for_others(folder: Path) -> None:
    with buffers.shared("used", SHAPE):
        pass
    with buffers.shared("left", SHAPE):
        pass
    os.close(buffers._used.pop())
    with buffers.shared("new", SHAPE):
        assert files(folder) == ["new", "used"]


def test_a_full_disk_is_told_and_leaves_nothing(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "posix_fallocate", full)
    large = (1000, 1024, 1024, 3)
    for ask in (lambda: buffers.shared("a", large).__enter__(), lambda: buffers.private(large)):
        with pytest.raises(JobError, match=r"2\.9 GiB for decoded images in .*: No space left on device; set TMPDIR"):
            ask()
    assert sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()) == 0


def test_private_room_is_gone_with_its_process(folder: Path) -> None:
    pixels = buffers.private(SHAPE)
    assert files(folder) == [] and pixels.fill_(3).sum() == 54


def test_a_streamed_set_is_the_set_and_decoded_once_on_a_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    uri = digits_stage(tmp_path / "stage", parts=3)
    fresh()
    kept = load(uri, "train", streamed=False)
    gate = shut(monkeypatch)
    gate.open(3)
    for _ in range(2):
        found = load(uri, "train", streamed=True)
        assert on_disk(found.images) and not on_disk(kept.images)
        for name in ("ids", "images", "labels"):
            assert torch.equal(getattr(found, name), getattr(kept, name)), name
        fresh()
    assert gate.decoded == 3


def test_another_set_in_the_same_place_is_decoded_anew(tmp_path: Path) -> None:
    first = load(digits_stage(tmp_path / "stage", parts=2), "train", streamed=True)
    fresh()
    manifest = tmp_path / "stage" / "ingest"
    (path,) = manifest.rglob("manifest.json")
    path.write_text(path.read_text().replace('"seconds": 0.0', '"seconds": 1.0'))
    with buffers.shared("another", SHAPE):
        pass
    again = load(str(path.parent), "train", streamed=True)
    assert torch.equal(first.images, again.images) and first.images.data_ptr() != again.images.data_ptr()


def test_sets_too_large_for_memory_are_streamed_unasked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    uri = digits_stage(tmp_path / "stage", parts=1)
    fresh()
    assert not on_disk(load(uri, "train").images)
    fresh()
    monkeypatch.setattr(room, "SHARE", 0.0)
    assert on_disk(load(uri, "train").images) and not on_disk(load(uri, "train", streamed=False).images)


def full(file: int, start: int, size: int) -> None:
    """In place of `os.posix_fallocate`."""
    os.ftruncate(file, size // 2)
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def test_processes_of_a_machine_decode_a_set_once(tmp_path: Path, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    uri, parts = digits_stage(tmp_path / "stage", parts=2), []
    fresh()
    monkeypatch.setattr(room, "processes", 2)
    assert on_disk(load(uri, "train").images)
    fresh()
    assert not on_disk(load(uri, "train", streamed=False).images)
    # Its parts are wanted as they come, and not when another process is through with all of them.
    assert not on_disk(load(uri, "train", lambda images, rows: parts.append(rows)).images) and parts == [ROWS, 2 * ROWS]
    fresh()
    for path in folder.rglob("*"):
        path.unlink() if path.is_file() and "dsopt-streamed" in str(path.parent) else None
    monkeypatch.setattr(os, "posix_fallocate", full)
    assert not on_disk(load(uri, "train").images)  # it fits in memory, and the disk is full


def test_batches_are_the_same_from_disk(tmp_path: Path) -> None:
    uri = digits_stage(tmp_path / "stage", parts=3)
    fresh()

    def source(streamed: bool) -> Batches:
        found = load(uri, "train", streamed=streamed)
        draw = shuffle(3 * ROWS, 5, 0)
        return Batches(found.images, found.labels, draw, lambda step: step, lambda part, *_: part.float())

    for step in range(12):
        here, there = source(False)(step), source(True)(step)
        assert torch.equal(here.images, there.images) and torch.equal(here.labels, there.labels)
        assert there.images.is_contiguous(memory_format=torch.channels_last)


def test_a_set_arrives_on_disk_too(tmp_path: Path, folder: Path) -> None:
    uri = digits_stage(tmp_path / "stage", parts=3)
    before = files(folder)
    fresh()
    whole = load(uri, "train")
    subset = rows(whole, torch.tensor([3, 9]))
    fresh()
    arriving = BackgroundLoader(uri, "train", subset, 10, CPU, streamed=True)
    try:
        arriving.wait(3 * ROWS)
        assert on_disk(arriving.images) and files(folder) == before
        assert torch.equal(arriving.images[:2], subset.images) and torch.equal(arriving.whole().images, whole.images)
    finally:
        arriving.close()


def test_processes_of_a_machine_share_parts_and_unions_too(tmp_path: Path, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Such as what is left to train on, and what is held out."""
    uri, chosen, other = digits_stage(tmp_path / "stage", parts=2), torch.tensor([3, 5, 0]), torch.tensor([1, 2])
    monkeypatch.setattr(room, "processes", 2)
    for _ in range(2):  # as two processes
        fresh()
        whole = load(uri, "train")
        some, few = rows(whole, chosen), rows(whole, other)
        both = joined(some, few, 10)
        assert on_disk(some.images) and on_disk(few.images) and on_disk(both.images)
        assert torch.equal(some.images, whole.images[chosen]) and torch.equal(both.images[3:], whole.images[other])
        assert len(list(folder.glob("dsopt-streamed-*/[!.]*"))) == 4
    assert not on_disk(rows(whole, chosen, streamed=False).images)


@pytest.mark.parametrize("streamed", [True, False])
def test_parts_and_unions_of_sets_lie_where_they_are_told(tmp_path: Path, streamed: bool) -> None:
    uri = digits_stage(tmp_path / "stage", parts=2)
    whole, chosen = load(uri, "train"), torch.tensor([5, 0, 5])
    some = rows(whole, chosen, streamed)
    assert torch.equal(some.images, take(whole.images, chosen)) and torch.equal(some.labels, whole.labels[chosen])
    assert torch.equal(some.ids, whole.ids[chosen]) and some.images.is_contiguous(memory_format=torch.channels_last)
    both = joined(whole, some, 10, streamed)
    assert torch.equal(both.images, torch.cat([whole.images, some.images]))
    assert on_disk(some.images) == on_disk(both.images) == streamed
    soft = Images(whole.ids, whole.images, whole.labels, torch.rand(2 * ROWS, 10))
    assert torch.equal(rows(soft, chosen, streamed).soft, soft.soft[chosen])  # type: ignore[index,arg-type]
