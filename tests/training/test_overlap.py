"""Training goes over from a subset to the full set as that comes, and does so again after an interruption."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import torch
from digits import CPU, digits
from slow_reader import ROWS, digits_stage, shut
from torch import Tensor

from dsopt.data.background import BackgroundLoader
from dsopt.data.images import Images
from dsopt.errors import InputError
from dsopt.training import overlap
from dsopt.training.easiest import easiest, few_pixels
from dsopt.training.overlap import CHECK_EVERY, MAX_GROWTHS, Overlap

PARTS, BATCH = 3, 5
N = PARTS * ROWS
SUBSET = [2, ROWS + 4, 2 * ROWS + 1]  # one of each part


def subset() -> Images:
    pixels, labels = digits()
    rows = torch.tensor(SUBSET)
    return Images(100 + 3 * rows, pixels[rows].contiguous(memory_format=torch.channels_last), labels[rows])


@contextmanager
def arriving(folder: Path) -> Iterator[BackgroundLoader]:
    made = BackgroundLoader(digits_stage(folder, PARTS), "train", subset(), 10, CPU)
    try:
        yield made
    finally:
        made.close()


def images(indices: Tensor) -> list[int]:
    """Which of the digits they are, in the subset or in the full set."""
    return [SUBSET[i] if i < len(SUBSET) else i - len(SUBSET) for i in indices.tolist()]


def test_workers_meet_where_the_rows_of_an_interrupted_run_have_arrived(tmp_path: Path):
    """Before the collective operation of the first step, which has a time limit."""
    met: list[int] = []
    with arriving(tmp_path) as made:
        draw = Overlap(made, BATCH, 0, meet=lambda: met.append(made.rows()))
        draw.load_state_dict({"growths": [(0, 0), (10, 2 * ROWS)], "looked": 10, "chosen": []})
        draw(12)
        draw(13)
        assert len(met) == 1 and met[0] >= 2 * ROWS


def test_what_is_there_is_drawn_from(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    gate = shut(monkeypatch)
    with arriving(tmp_path) as made:
        draw, step = Overlap(made, BATCH, 0), 0
        for parts in range(PARTS + 1):
            there = range(parts * ROWS)
            waiting = [i for i in SUBSET if i >= parts * ROWS]
            shown = [i for s in range(step, step + CHECK_EVERY) for i in images(draw(s).indices)]
            pool = [*there, *waiting]
            for start in range(0, len(shown) - len(pool) + 1, len(pool)):
                assert sorted(shown[start : start + len(pool)]) == pool  # each once before any again
            step += CHECK_EVERY
            if parts < PARTS:
                gate.open()
                made.wait((parts + 1) * ROWS)
        assert all(int(draw(s).indices.min()) >= len(SUBSET) for s in range(step - CHECK_EVERY, step))  # the full set alone
        assert torch.equal(made.images[draw(step).indices], digits()[0][images(draw(step).indices)])
        assert draw.growths == [(0, 0), (CHECK_EVERY, ROWS), (2 * CHECK_EVERY, 2 * ROWS), (3 * CHECK_EVERY, N)]


def test_training_has_begun_long_before_all_is_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    gate = shut(monkeypatch)
    with arriving(tmp_path) as made:
        draw = Overlap(made, BATCH, 0)
        for step in range(10 * CHECK_EVERY):
            assert set(images(draw(step).indices)) <= set(SUBSET)
        assert gate.decoded == 0
        gate.open(PARTS)


def test_a_resumed_run_waits_for_what_it_had_and_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    gate = shut(monkeypatch)
    with arriving(tmp_path) as made:
        draw = Overlap(made, BATCH, 0)
        draw(0)
        gate.open(2)
        made.wait(2 * ROWS)
        for step in range(CHECK_EVERY, CHECK_EVERY + 3):
            draw(step)
        state = draw.state_dict()
        expected = [draw(step).indices for step in range(2 * CHECK_EVERY)]
        gate.open()
    gate = shut(monkeypatch)
    with arriving(tmp_path) as made:
        resumed = Overlap(made, BATCH, 0)
        resumed.load_state_dict(state)
        asked = Asked(made)
        monkeypatch.setattr(made, "wait", asked)
        for step in range(CHECK_EVERY + 3, 2 * CHECK_EVERY):
            assert torch.equal(resumed(step).indices, expected[step])
            gate.open(PARTS)
        assert asked.rows[0] == 2 * ROWS and asked.before == [0]  # it did wait, as nothing was there
        resumed(2 * CHECK_EVERY)
        assert resumed.growths[:2] == [(0, 0), (CHECK_EVERY, 2 * ROWS)]


@dataclass
class Asked:
    """Stands for `wait`: opens the gate for the first two parts only when it is asked for them."""

    made: BackgroundLoader
    rows: list[int] = field(default_factory=list)
    before: list[int] = field(default_factory=list)

    def __call__(self, rows: int) -> None:
        from dsopt.data import loading

        if not self.rows:
            self.before.append(self.made.rows())
            loading.decode.open(2)  # type: ignore[attr-defined]
        self.rows.append(rows)
        BackgroundLoader.wait(self.made, rows)


def test_an_error_of_the_reader_is_the_error_of_the_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    gate = shut(monkeypatch)
    with arriving(tmp_path) as made:
        draw = Overlap(made, BATCH, 0)
        draw(0)
        gate.fail(InputError("image 7 cannot be decoded"))
        made._thread.join(10)
        with pytest.raises(InputError, match="image 7"):
            draw(CHECK_EVERY)


def test_many_small_parts_come_in_few_shuffles():
    class Many(BackgroundLoader):
        def __init__(self) -> None:
            self.subset, self.n, self.labels, self.row_of, self.there = 2, 1000, torch.empty(0), torch.tensor([5, 900]), 0

        def rows(self) -> int:
            self.there = min(self.n, self.there + 7)
            return self.there

        def wait(self, rows: int) -> None: ...

    draw = Overlap(Many(), 4, 0)
    for step in range(0, 200 * CHECK_EVERY, CHECK_EVERY):
        draw(step)
    assert draw.growths[-1][1] == 1000 and len(draw.growths) - 1 <= MAX_GROWTHS


def test_easy_images_alone_until_all_have_arrived(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    gate = shut(monkeypatch)
    held = torch.zeros(N, dtype=torch.bool)
    held[3:7] = True
    pixels, labels = digits()
    with arriving(tmp_path) as made:
        draw = Overlap(made, BATCH, 0, held, share=0.5)
        draw(0)
        for parts in range(1, PARTS + 1):
            gate.open()
            made.wait(parts * ROWS)
            first = parts * CHECK_EVERY * 100
            shown = {i for step in range(first, first + 2 * N // BATCH) for i in images(draw(step).indices)}
            rows = (~held).nonzero().squeeze(1)
            each = [
                some[easiest(few_pixels(pixels[some]), labels[some], 0.5)]
                for some in (rows[rows // ROWS == part] for part in range(parts))
            ]
            assert shown == {*torch.cat([rows] if parts == PARTS else each).tolist(), *SUBSET}


def test_a_resumed_run_draws_from_what_it_had_found_easy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """However the numbers are rounded then."""
    gate = shut(monkeypatch)
    with arriving(tmp_path) as made:
        draw = Overlap(made, BATCH, 0, share=0.5)
        draw(0)
        gate.open(2)
        made.wait(2 * ROWS)
        expected = [draw(step).indices for step in range(CHECK_EVERY, 2 * CHECK_EVERY)]
        state = draw.state_dict()
        monkeypatch.setattr(overlap, "easiest", lambda *given: pytest.fail("it chose again"))
        resumed = Overlap(made, BATCH, 0, share=0.5)
        resumed.load_state_dict(state)
        assert all(torch.equal(resumed(CHECK_EVERY + i).indices, indices) for i, indices in enumerate(expected))
        gate.open()
