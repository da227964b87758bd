import time

import pytest

from dsopt import progress


@pytest.mark.parametrize(
    ("seconds", "told"), [(7.2, "7 s"), (99.4, "99 s"), (200, "3 min 20 s"), (3599.6, "1 h 00 min"), (7500, "2 h 05 min")]
)
def test_durations_are_for_people(seconds: float, told: str) -> None:
    assert progress.duration(seconds) == told


@pytest.mark.parametrize(
    ("rate", "told"),
    [(1203.6, "1,204/s"), (10, "10/s"), (3.52, "3.5/s"), (1, "1.0/s"), (0.075, "13 s each"), (0.004, "4 min 10 s each")],
)
def test_what_is_slow_is_told_by_the_piece(rate: float, told: str) -> None:
    assert progress.speed(rate) == told


def test_lines_say_how_far_how_fast_and_how_long_still(monkeypatch: pytest.MonkeyPatch) -> None:
    lines, now = list[str](), [100.0]
    monkeypatch.setattr(progress, "output", lines.append)
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    found = progress.Progress("embed digits", 1000, "images", done=200)
    for seconds, done in ((1.0, 300), (4.0, 400), (5.0, 500), (8.0, 600), (99.0, 1000)):
        now[0] = 100 + seconds
        found.update(done, "all well")
    assert [line.split(maxsplit=2)[2] for line in lines] == [
        "400/1,000 images   40 %  50/s  12 s left  all well",  # the 200 of before are not counted in the speed
        "600/1,000 images   60 %  50/s  8 s left  all well",  # not after 5 s, too soon, nor at the end
    ]
