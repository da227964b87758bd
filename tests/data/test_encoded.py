"""Images that stay encoded: the same batches as of decoded ones, decoded ahead of their step by a bounded number of threads."""

import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pytest
import torch
from slow_reader import ROWS, digits_stage
from torch import Tensor

from dsopt.data import buffers, decoding, room
from dsopt.data import loading as reading
from dsopt.data.batches import Batches, in_order, take
from dsopt.data.encoded import AHEAD, Encoded
from dsopt.data.images import Images, joined, rows
from dsopt.data.loading import load
from dsopt.errors import InputError
from dsopt.training.samplers.shuffle import shuffle

PARTS = 3
CPU = torch.device("cpu")


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The temporary folder, and a process that has loaded nothing."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    reading._kept.cache_clear()
    return tmp_path


@pytest.fixture
def uri(tmp_path: Path) -> str:
    return digits_stage(tmp_path / "stage", parts=PARTS)


def encoded(uri: str, streamed: bool = False, size: int | None = None) -> tuple[Images, Encoded]:
    whole = load(uri, "train", streamed=streamed, size=size, decoded=False)
    assert isinstance(whole.images, Encoded)
    return whole, whole.images


@pytest.mark.parametrize("size", [None, 20])
@pytest.mark.parametrize("streamed", [False, True])
@pytest.mark.parametrize("world", [1, 2])
def test_batches_are_those_of_decoded_images(uri: str, streamed: bool, world: int, size: int | None) -> None:
    def source(images: Images, rank: int) -> Batches:
        draw = shuffle(PARTS * ROWS, 5, 0)
        return Batches(images.images, images.labels, draw, lambda step: step, lambda part, *_: part, rank, world)

    decoded = load(uri, "train", size=size)
    for rank in range(world):
        there, here = source(encoded(uri, streamed, size)[0], rank), source(decoded, rank)
        for step in [*range(12), 3, 4, 30]:  # and back, as when a run resumes
            mine, theirs = there(step), here(step)
            assert torch.equal(mine.images, theirs.images) and torch.equal(mine.labels, theirs.labels)
            assert mine.images.is_contiguous(memory_format=torch.channels_last)


def test_an_evaluation_parts_and_unions_are_the_same(uri: str) -> None:
    decoded, (whole, images) = load(uri, "train"), encoded(uri)

    def inputs(of: Images) -> Tensor:
        return torch.cat([batch.images for batch in in_order(of.images, of.labels, 7, lambda part: part, CPU)])

    assert images.shape == decoded.images.shape and torch.equal(inputs(whole), inputs(decoded))
    chosen = torch.tensor([5, 0, 5, 23])
    for mine, theirs in [
        (rows(whole, chosen), rows(decoded, chosen)),
        (joined(rows(whole, chosen), whole, 10), joined(rows(decoded, chosen), decoded, 10)),
    ]:
        assert torch.equal(inputs(mine), inputs(theirs)) and torch.equal(mine.ids, theirs.ids)
    assert torch.equal(take(decoded.images, chosen), images.take(chosen))


def test_the_next_batches_are_ready(uri: str, monkeypatch: pytest.MonkeyPatch) -> None:
    seen, decode = [], decoding.decoded_at
    monkeypatch.setattr(decoding, "decoded_at", lambda file, size: seen.append(len(seen)) or decode(file, size))
    whole, images = encoded(uri)
    batches = Batches(images, whole.labels, shuffle(PARTS * ROWS, 4, 0), lambda step: step, lambda part, *_: part)

    def decoded_by(step: int) -> int:
        batches(step)
        for batch in images._ahead.values():
            batch.decoded()
        return len(seen)

    assert [decoded_by(step) for step in range(3)] == [4 * (1 + AHEAD + step) for step in range(3)]  # one more each, none twice
    unforeseen = Batches(*[getattr(batches, name) for name in ("images", "labels", "sampler", "seed", "transform")], foreseen=False)
    before = len(seen)
    unforeseen(9)
    assert len(seen) == before + 4 and not images._ahead


def test_no_more_threads_decode_than_allowed(uri: str, monkeypatch: pytest.MonkeyPatch) -> None:
    at_work, most, lock = [0], [0], threading.Lock()

    def decode(file: Tensor, size: int, real: Callable = decoding.decoded_at) -> Tensor:
        with lock:
            at_work[0] += 1
            most[0] = max(most[0], at_work[0])
        time.sleep(0.002)
        found = real(file, size)
        with lock:
            at_work[0] -= 1
        return found

    monkeypatch.setattr(decoding, "decoded_at", decode)
    whole, images = encoded(uri)
    few = Encoded(images.files, whole.ids, images.each, threads=2)
    few.take(torch.arange(24), [torch.arange(24).flip(0), torch.arange(20)])
    assert most[0] == 2


def test_what_has_no_room_is_kept_encoded_and_told(
    uri: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def kept(decoded: bool | None = None, streamed: bool | None = None) -> bool:
        reading._kept.cache_clear()
        return isinstance(load(uri, "train", decoded=decoded, streamed=streamed).images, Encoded)

    assert not kept()
    monkeypatch.setattr(room, "SHARE", 0.0)
    assert not kept() and "encoded" not in capsys.readouterr().out  # in a file
    monkeypatch.setattr(room, "DISK_SHARE", 0.0)
    assert not kept()  # the file is there
    monkeypatch.setattr(buffers, "_used", [])
    for path in tmp_path.glob("dsopt-streamed-*/*"):
        path.unlink()
    assert kept() and "decoded they have no room: kept encoded in a file" in capsys.readouterr().out
    load(uri, "train", decoded=None)
    assert "encoded" not in capsys.readouterr().out  # told once
    assert not kept(streamed=False) and not kept(decoded=True, streamed=False)


def test_what_cannot_be_decoded_is_named(uri: str) -> None:
    whole, images = encoded(uri)
    files = pa.chunked_array([[b"no picture"] if i == 3 else [images.files[i].as_py()] for i in range(8)], type=pa.large_binary())
    broken = Encoded(files, whole.ids[:8], images.each)
    assert len(broken.take(torch.tensor([0, 1]), [torch.tensor([2, 3])])) == 2  # not its own, so not told yet
    with pytest.raises(InputError, match=r"image 109 cannot be decoded"):
        broken.take(torch.tensor([2, 3]))
    with pytest.raises(InputError, match=r"image 100 has shape \(1, 32, 32\), expected \(3, 32, 32\)"):
        Encoded(files, whole.ids[:8], (3, 32, 32)).take(torch.tensor([0]))
