"""Advice from pilots: which are run, what is said, and that the main job takes its word."""

import math
import re
from pathlib import Path
from typing import Any

import pytest
from running import here, read

from dsopt.errors import InputError
from dsopt.evaluation.learning_curves.advice import BreakEven, Interval
from dsopt.jobs.advise.findings import Facts, Found, find, verdict
from dsopt.jobs.advise.pilots import Pilot, design, pace, ways
from dsopt.jobs.main import DONE, WRONG, main
from dsopt.storage import Table

DIGITS = ("data.name=digits", "cluster.workers=0", "cluster.cpus_per_worker=1", "train.precision=fp32", "train.options.width=4")
SHORT = (
    *DIGITS,
    "train.steps=400",
    "train.batch_size=32",
    "advise.share=0.9",
    "advise.seeds=1",
    "advise.sizes=[0.03,0.3]",
    "train.learning_rate=0.02",
    "train.average=0.9",
)


pytestmark = pytest.mark.slow


@pytest.mark.slow
def test_pilots_are_as_long_as_their_share_allows_and_none_repeats_what_everything_tells() -> None:
    config = read("select.name=kcenter", "train.steps=100000", "train.batch_size=100", "advise.share=0.2")
    found = design(config, images=50_000, classes=10)
    assert sum(pilot.steps for pilot in found) <= 0.2 * 100_000
    lengths = sorted({pilot.steps for pilot in found})
    assert [length / lengths[0] for length in lengths] == [1, 2, 4, 8]
    assert {pilot.way.title for pilot in found if pilot.way} == {"random", "kcenter"}
    by = {title: [p for p in found if p.way and p.way.title == title] for title in ("random", "kcenter")}
    assert all(pilot.share * 50_000 < 100 * pilot.steps for pilot in by["random"])
    assert {pilot.share for pilot in by["kcenter"]} == {0.01, 0.03, 0.1, 0.3}  # chosen ones are others than all from the first step
    assert {pilot.share for pilot in by["kcenter"] if pilot.steps == 4 * lengths[0]} == {0.03, 0.3}
    assert {pilot.steps for pilot in found if pilot.way is None} == set(lengths)
    assert {pilot.way and pilot.way.title for pilot in found if pilot.steps == lengths[0]} == {None, "random"}
    assert {pilot.seed for pilot in found if pilot.steps == lengths[0]} == {0, 1}
    assert {pilot.seed for pilot in found if pilot.steps > lengths[0]} == {0}
    alone = design(read("train.steps=100000", "train.batch_size=100", "select.name=random"), 50_000, 10)
    assert max(pilot.steps for pilot in alone) > lengths[-1]  # fewer ways leave more steps for each


@pytest.mark.slow
def test_the_share_that_pays_soonest_is_told_though_everything_is_better_than_smaller_ones() -> None:
    """Chosen images are right where a part of the others has wrong labels: a tenth of them is as good as everything far sooner."""
    config = read("select.name=ccs", "train.steps=20000", "train.batch_size=100")
    found, ways_ = design(config, 50_000, 10), ways(config)

    def accuracy(pilot: Pilot) -> float:
        seen, images = 100 * pilot.steps, 50_000 * pilot.share
        worth = min(images, seen) * (6 - 5 * math.exp(-max(seen / images - 1, 0) / 5))
        return (0.66 if pilot.way and pilot.way.title == "ccs" else 0.57) - 0.4 * (worth / 500) ** -0.5

    facts = Facts(50_000, 100, 20_000, seconds=100.0, choosing={"ccs": 200.0}, within=0.01)
    told = find(found, [accuracy(pilot) for pilot in found], ways_, facts, seed=0, draws=60)
    assert told[0].saves is None and told[1].saving == 0.3
    assert told[1].saves and told[1].saves.trainings.middle < 20
    _, lines = verdict(told, facts, "ccs")
    assert "Choosing 30 % by ccs (200 s) has paid for itself after" in lines[1]


@pytest.mark.parametrize(
    ("trainings", "never", "says"),
    [
        (Interval(3, 6, math.inf), 0.15, "Choosing 30 % by ccs (200 s) has paid for itself after 6 trainings (80 %: 3 to never)"),
        (Interval(3, 1, 9), 0.0, "has paid for itself after 1 training (80 %"),
        (
            Interval(3, 6, math.inf),
            0.37,
            "the best size, 30 % of the images, it does in 63 % of the forecasts, after 3 trainings or more",
        ),
        (
            Interval(1, math.inf, math.inf),
            0.7,
            "it does in 30 % of the forecasts, after 1 training or more. In the others it never does",
        ),
        (Interval(5, math.inf, math.inf), 0.6, "it does in 40 % of the forecasts, after 5 trainings or more"),
        (Interval(math.inf, math.inf, math.inf), 0.93, "never pays for itself: in 93 % of the forecasts even the best size, 30 %"),
    ],
)
def test_whether_choosing_pays_is_said_only_where_most_forecasts_agree(trainings: Interval, never: float, says: str) -> None:
    way = ways(read("select.name=ccs"))[1]
    unused: Any = None
    found = Found(way, unused, {}, None, {}, BreakEven(trainings, never), 0.3)
    facts = Facts(50_000, 100, 20_000, seconds=100.0, choosing={"ccs": 200.0}, within=0.01)
    assert says in verdict([found], facts, "ccs")[1][1]


def test_the_first_steps_of_short_pilots_do_not_make_a_full_training_look_slow() -> None:
    start, each = pace([20, 40, 40, 80], [5.2, 5.4, 5.4, 5.8])
    assert start == pytest.approx(5.0) and each == pytest.approx(0.01)
    assert pace([], []) == (0.0, 0.0) and pace([20, 20], [1.0, 3.0]) == (0.0, 0.1)
    assert pace([20, 40], [1.0, 0.5]) == (0.0, 0.025)  # no line that falls


def test_what_is_compared() -> None:
    soft = read("select.name=kcenter", "select.soft_labels=proxy", "select.per_class=true")
    assert [way.title for way in ways(soft)] == ["random", "kcenter", "random+soft", "kcenter+soft"]
    assert [way.select.per_class for way in ways(soft)] == [False, True, False, True]
    assert [way.title for way in ways(read("select.name=random"))] == ["random"]


def test_trainings_too_short_for_pilots_and_budgets_in_seconds_are_refused() -> None:
    with pytest.raises(InputError, match=r"advise\.share=0\.2: 50 steps .* leave 10 to pilots") as refused:
        design(read("train.steps=50"), 50_000, 10)
    enough = re.search(r"expected ([\d,]+) steps", str(refused.value))
    assert enough
    steps = int(enough[1].replace(",", ""))
    assert sum(pilot.steps for pilot in design(read(f"train.steps={steps}"), 50_000, 10)) <= 0.2 * steps
    with pytest.raises(InputError, match=f"expected {enough[1]} steps"):
        design(read(f"train.steps={steps - 1}"), 50_000, 10)
    with pytest.raises(InputError, match=r"train\.seconds: advise needs to know the steps"):
        design(read("train.seconds=50"), 50_000, 10)


@pytest.fixture(scope="module")
def advised(tmp_path_factory: pytest.TempPathFactory) -> Path:
    storage = tmp_path_factory.mktemp("runs")
    here(*SHORT, f"storage={storage}", "select.name=random", job="advise")
    return storage


@pytest.mark.slow
def test_the_advice_has_intervals_for_all_sizes_and_a_page(advised: Path) -> None:
    (folder,) = advised.glob("advice/*")
    rows = Table(str(folder)).read().to_pylist()
    assert [(row["way"], row["share"]) for row in rows] == [("random", share) for share in (0.01, 0.03, 0.1, 0.3, 1.0)]
    assert all(0 <= row["low"] <= row["accuracy"] <= row["high"] <= 1 for row in rows)
    assert rows[0]["accuracy"] < rows[-1]["accuracy"]
    page = (folder / "report.html").read_text()
    assert "What to expect" in page and page.count("data:image/png") == 2
    manifest = Table(str(folder)).manifest
    assert 0.01 <= manifest["budget"] <= 1 and manifest["told"]


@pytest.mark.slow
def test_a_finished_advice_trains_nothing_again(advised: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = sorted(advised.glob("train/*"))
    here(*SHORT, f"storage={advised}", "select.name=random", job="advise")
    assert sorted(advised.glob("train/*")) == before
    assert "images by" in capsys.readouterr().out


@pytest.mark.slow
def test_the_main_job_takes_its_word_and_only_if_there_is_one(advised: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder,) = advised.glob("advice/*")
    asked = [*SHORT, f"storage={advised}", "select.name=random", "select.budget=advise", "dry_run=true"]
    assert main("select", asked) == DONE
    assert f"select.budget={Table(str(folder)).manifest['budget']:g}" in capsys.readouterr().out
    assert main("select", [*asked, "train.overlap=true", "train.overlap_easiest=0.5"]) == DONE  # as pilots never overlap
    assert main("select", [*asked, "select.name=kcenter"]) == WRONG
    assert "expected `dsopt advise` with the same settings before" in capsys.readouterr().err


def test_a_pilot_says_what_it_is() -> None:
    assert Pilot(None, 1.0, 50, 0).words == ("train.split=0", "train.steps=50")
    (way,) = ways(read("select.name=random"))
    assert Pilot(way, 0.03, 50, 0).words == ("select.name=random", "select.budget=0.03", "train.steps=50")
