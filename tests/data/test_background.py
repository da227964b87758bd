"""Loading in the background: which rows are available when, and that they equal those of `load`."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from digits import CPU, digits
from slow_reader import ROWS, digits_stage, shut

from dsopt.data import background
from dsopt.data import loading as reading
from dsopt.data.background import BackgroundLoader, _side_stream
from dsopt.data.images import Images
from dsopt.data.loading import load
from dsopt.errors import InputError


def some(rows: list[int], uri: str) -> Images:
    """Those rows of a table, as a subset of it."""
    reading._kept.cache_clear()
    whole = load(uri, "train")
    reading._kept.cache_clear()
    return Images(whole.ids[rows], whole.images[rows].contiguous(memory_format=torch.channels_last), whole.labels[rows])


@contextmanager
def arriving(uri: str, subset: Images, classes: int = 10) -> Iterator[BackgroundLoader]:
    made = BackgroundLoader(uri, "train", subset, classes, CPU)
    try:
        yield made
    finally:
        made.close()


def test_parts_come_one_by_one_and_the_subset_is_there_before_any(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    uri = digits_stage(tmp_path, parts=3)
    subset = some([3, ROWS + 1, 2 * ROWS], uri)
    gate = shut(monkeypatch)
    with arriving(uri, subset) as made:
        assert made.rows() == 0 and made.row_of.tolist() == [3 * ROWS] * 3
        assert torch.equal(made.images[:3], subset.images) and torch.equal(made.labels[:3], subset.labels)
        for parts, known in enumerate([[3, 3 * ROWS, 3 * ROWS], [3, ROWS + 1, 3 * ROWS], [3, ROWS + 1, 2 * ROWS]], 1):
            gate.open()
            made.wait(parts * ROWS)
            assert made.rows() == parts * ROWS and made.row_of.tolist() == known
        whole = made.whole()
        expected = load(uri, "train")  # decoded once: the same memory
        assert whole.images.data_ptr() == expected.images.data_ptr() == made.images[3:].data_ptr()
        assert gate.decoded == 3
        assert torch.equal(whole.images, digits()[0][: 3 * ROWS])
        assert torch.equal(whole.labels, expected.labels) and torch.equal(whole.ids, expected.ids)


def test_a_set_that_is_here_already_arrives_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    uri = digits_stage(tmp_path, parts=2)
    subset = some([4], uri)
    gate = shut(monkeypatch)
    gate.open(2)
    expected = load(uri, "train")
    with arriving(uri, subset) as made:
        assert made.rows() == 0
        gate.open(2)
        assert torch.equal(made.whole().images, expected.images) and gate.decoded == 4


def test_what_is_loaded_during_a_pause_arrives_as_much_later(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    uri = digits_stage(tmp_path, parts=2)
    subset, clock = some([0], uri), SimpleNamespace(now=10.0)
    gate = shut(monkeypatch)
    monkeypatch.setattr(background, "time", SimpleNamespace(perf_counter=lambda: clock.now, sleep=lambda seconds: None))
    with arriving(uri, subset) as made:
        with made.paused():
            clock.now = 11.0
            gate.open()
            made.wait(ROWS)
            clock.now = 14.0
        assert made.rows() == 0
        clock.now = 15.0  # four seconds after it was loaded: as long as the pause
        assert made.rows() == ROWS
        gate.open()


@pytest.mark.parametrize("softened", ["subset", "none"])
def test_labels_are_probabilities_where_the_subset_has_them(tmp_path: Path, softened: str):
    uri = digits_stage(tmp_path, parts=2)
    subset = some([1, 4], uri)
    if softened == "subset":
        subset.soft = torch.full((2, 10), 0.1)
    with arriving(uri, subset) as made:
        whole = made.whole()
        if softened == "none":
            assert made.labels.dtype == torch.int64 and whole.soft is None
        else:
            assert torch.equal(made.labels[:2], subset.soft)
            assert torch.equal(made.labels[2:].argmax(1), whole.labels) and (made.labels[2:].sum(1) == 1).all()
            assert torch.equal(whole.soft, made.labels[2:])


def test_what_ends_the_reading_is_told_to_whoever_asks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    uri = digits_stage(tmp_path, parts=2)
    subset = some([0], uri)
    gate = shut(monkeypatch)
    with arriving(uri, subset) as made:
        gate.open()
        made.wait(ROWS)
        gate.fail(InputError("image 7 cannot be decoded"))
        for ask in (lambda: made.wait(2 * ROWS), made.whole, made.rows):
            with pytest.raises(InputError, match="image 7"):
                ask()
    gate.error = None
    gate.open(2)
    assert len(load(uri, "train").ids) == 2 * ROWS  # the failed attempt was not cached


def test_images_of_another_size_are_refused(tmp_path: Path):
    uri = digits_stage(tmp_path, parts=1)
    subset = some([0], uri)
    subset.images = subset.images[:, :, :16, :16]
    with arriving(uri, subset) as made, pytest.raises(InputError, match="alike"):
        made.whole()


def test_closing_ends_the_thread(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    uri = digits_stage(tmp_path, parts=3)
    subset = some([0], uri)
    gate = shut(monkeypatch)
    before = threading.active_count()
    with arriving(uri, subset) as made:
        assert threading.active_count() == before + 1
        threading.Timer(0.05, gate.open).start()  # lets the current part finish
    made._thread.join(5)
    assert not made._thread.is_alive() and gate.decoded == 1


def test_copies_to_a_gpu_begin_after_what_was_done_with_their_memory(monkeypatch: pytest.MonkeyPatch):
    """The allocator gives memory that kernels of the current stream may still use."""
    told = []
    stream = SimpleNamespace(wait_stream=lambda other: told.append(("waits for", other)))
    monkeypatch.setattr(torch.cuda, "Stream", lambda device: stream)
    monkeypatch.setattr(torch.cuda, "current_stream", lambda device: f"the current one of {device}")
    assert _side_stream(torch.device("cuda", 1)) is stream  # type: ignore[comparison-overlap]
    assert told == [("waits for", "the current one of cuda:1")]
