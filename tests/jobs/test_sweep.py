"""Sweeps in this process: what trials there are, what is wrong with them, and what they leave."""

import re
from functools import partial
from pathlib import Path

import pyarrow.parquet as pq
import pytest
import torch
from clock import Clock
from running import REPOSITORY, SMALL, here, read

from dsopt import config as configuration
from dsopt import progress
from dsopt.config import Config
from dsopt.errors import InputError, JobError
from dsopt.jobs.sweep import grid, prepare, status
from dsopt.jobs.sweep import job as sweep
from dsopt.jobs.sweep.kinds.contract import PlannedTrial, Trial, kind_of
from dsopt.pipeline.plan import Plan
from dsopt.storage import Table

pytestmark = pytest.mark.usefixtures("unrendered")

TINY = (*SMALL, "cluster.workers=0", "data.limit=200", "train.steps=8", "autoencoder.steps=4", "sweep.seeds=2")


def load(storage: Path | str, *overrides: str) -> Config:
    return read(f"storage={storage}", *TINY, *overrides)


def run(storage: Path | str, *overrides: str) -> None:
    here(f"storage={storage}", *TINY, *overrides, job="sweep")


def planned(config: Config) -> list[PlannedTrial]:
    return grid.plans(Plan(config), grid.expand(config))


def listed(storage: Path) -> list[dict]:
    (file,) = storage.glob("sweep/*/trials.parquet")
    return pq.read_table(file).to_pylist()


GRID = ("sweep.grid.select.name=[random,random_balanced]", "sweep.grid.train.split=[0,1]")


def test_every_combination_with_every_seed() -> None:
    found = grid.expand(load("runs", *GRID, "seed=3"))
    assert [t.seed for t in found] == [3, 4] * 4
    expected = [(f"select.name={name}", f"train.split={split}") for name in ("random", "random_balanced") for split in (0, 1)]
    assert [t.overrides for t in found[::2]] == expected


def test_rows_beside_the_grid() -> None:
    found = grid.expand(load("runs", "sweep.grid.train.split=[1]", "sweep.also=[[train.steps=9,train.split=0]]", "sweep.seeds=1"))
    assert found == [Trial(("train.steps=9", "train.split=0"), 0), Trial(("train.split=1",), 0)]
    found = grid.expand(load("runs", "sweep.grid.train.split=[1]", "sweep.equal_cost=true", "sweep.seeds=1"))
    assert found == [Trial(("train.split=0",), 0), Trial(("train.split=1",), 0), Trial(("train.split=0",), 0, equal_cost=True)]


ROWS = "sweep.rows={FEW: [select.name=random, train.steps=4], MANY: [preset=many, train.steps=9]}"


@pytest.fixture
def many(tmp_path: Path) -> Path:
    (tmp_path / "many.yaml").write_text("- select.name=random_balanced\n- train.steps=400\n")
    return tmp_path


def test_named_rows_at_every_point_of_the_grid(many: Path) -> None:
    def rows(*more: str) -> list[tuple]:
        found = planned(configuration.load([*TINY, ROWS, "sweep.seeds=1", *more], many))
        return [(p.trial.row, p.config.select.name, p.config.train.steps, p.config.select.budget) for p in found]

    assert rows("sweep.grid.select.budget=[10,20]", "train.split=1") == [
        *(("FEW", "random", 4, budget) for budget in (10, 20)),
        *(("MANY", "random_balanced", 9, budget) for budget in (10, 20)),
    ]
    assert rows("sweep.rows.MANY=null", "sweep.also=[[preset=many]]") == [
        ("", "random_balanced", 400, 50),
        ("FEW", "random", 4, 50),
    ]


@pytest.mark.slow
def test_named_rows_have_their_names_in_table_and_page(many: Path, capsys: pytest.CaptureFixture[str]) -> None:
    threads = torch.get_num_threads()
    arguments = [f"storage={many}/runs", *TINY, ROWS, "sweep.grid.select.budget=[10,20]", "train.split=1", "sweep.seeds=1"]
    sweep.sweep(Plan(configuration.load(arguments, many)))
    torch.set_num_threads(threads)
    output = capsys.readouterr().out
    table = [line.split()[:4] for line in output.split("\n\n")[-2].splitlines()]
    assert table[0][:3] == ["row", "budget", "n"] and table[2:6] == [
        [name, budget, "1", budget] for name in ("FEW", "MANY") for budget in ("10", "20")
    ]
    assert "trial 1/4" in output and "FEW select.budget=10 seed=0: " in output
    rows = listed(many / "runs")
    assert [row["row"] for row in rows] == ["FEW", "FEW", "MANY", "MANY"]
    assert rows[3]["overrides"] == ["select.name=random_balanced", "train.steps=400", "train.steps=9", "select.budget=20"]


def test_null_takes_a_key_out_and_any_value_comes_through() -> None:
    config = load("runs", *GRID, "sweep.grid.train.split=null", "sweep.grid.train.augment=[[crop],[]]", "sweep.seeds=1")
    assert [(p.config.select.name, p.config.train.augment) for p in planned(config)] == [
        (name, augment) for name in ("random", "random_balanced") for augment in (["crop"], [])
    ]
    phases = "sweep.grid.train.phases=[[{data: full, steps: 3}],[{data: subset, steps: 2}]]"
    config = load("runs", phases, "sweep.seeds=1")
    assert [trial.row.title for trial in planned(config)] == ["full data", "top_activation"]


def test_what_a_preset_grids_can_be_a_dotted_key_too() -> None:
    config = load("runs", "sweep.grid={train.split: [0.5], select: {name: [random]}}", "sweep.seeds=1")
    assert grid.expand(config) == [Trial(("train.split=0.5", "select.name=random"), 0)]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("overrides", "says"),
    [
        ([], "sweep.grid: is empty"),
        (["sweep.grid.select.name=kcenter"], "must be a list"),
        (["sweep.grid.select.name=[]"], "must be a list"),
        (["sweep.grid.select.nmae=[random]"], "Did you mean 'name'"),
        (["sweep.grid.select.name=[randm]"], "Did you mean 'random'"),
        (["sweep.grid.train.split=[0,2]"], "train.split=2"),
        (["sweep.grid.seed=[0,1]"], "sweep.seeds"),
        (["sweep.grid.cluster.workers=[1]"], "cannot be swept"),
        (["sweep.grid.train.split=[0]", "sweep.also=[[train.stepz=3]]"], "Did you mean 'steps'"),
        (["sweep.grid.train.split=[0]", "sweep.also=[[seed=3]]"], "sweep.seeds"),
        (["sweep.rows={A: [train.stepz=3]}"], "Did you mean 'steps'"),
        (["sweep.rows={A: [sweep.seeds=3]}"], "sweep.rows.A: sweep.seeds=3: sweep.seeds cannot be swept"),
        (["sweep.grid.train.split=[0]", "sweep.x=train.splt"], "Did you mean 'train.split'"),
        (["sweep.grid.train.split=[0]", "sweep.seeds=0"], "at least 1"),
        (["sweep.grid.train.split=[0]", "sweep.title=a/b"], "must be a word of letters, digits"),
        (["sweep.grid.train.split=[0]", "sweep.space.train.learning_rate={log: [0.1, 1]}"], "sweep.searcher"),
        (["sweep.searcher=random"], "sweep.space: is empty"),
        (["sweep.searcher=random", *GRID], "sweep.space"),
        (["sweep.searcher=random", "sweep.space.train.learning_rate={log: [0, 1]}"], "above 0"),
        (["sweep.searcher=random", "sweep.space.train.momentum={uniform: [0.5, 1]}"], "train.momentum"),
        (["sweep.searcher=random", "sweep.space.train.name=[lenett]"], "classifier 'lenett' is not known"),
        (["sweep.searcher=grids"], "sweep.searcher"),
        ([*GRID, "sweep.scheduler=asha", "extra.name=copies"], "sweep.scheduler=asha: evaluates on held-out images, which extra"),
        ([*GRID[:1], "sweep.grid.extra.name=[none,copies]", "sweep.scheduler=asha"], "train.validation=0.1: must be 0 with extra"),
        (
            ["sweep.searcher=random", "sweep.space.train.momentum={uniform: [0.5, 0.9]}", "extra.name=copies"],
            "sweep.searcher=random: eval",
        ),
    ],
)
def test_wrong_sweeps_are_told_before_any_trial(overrides: list[str], says: str, tmp_path: Path) -> None:
    with pytest.raises(InputError) as error:
        sweep.sweep(Plan(load(tmp_path, *overrides)))
    assert says in str(error.value) and "\n" not in str(error.value)
    assert not list(tmp_path.iterdir())


def test_random_samples_are_the_same_every_time_and_in_their_range() -> None:
    spaces = ("sweep.space.train.learning_rate={log: [0.001, 0.1]}", "sweep.space.select.name=[random,random_balanced]")
    config = load("runs", "sweep.searcher=random", *spaces, "sweep.samples=12", "sweep.space.train.momentum={uniform: [0, 0.9]}")
    found = grid.expand(config)
    assert found == grid.expand(config) and len(set(found)) == 12 and {t.seed for t in found} == {0}
    drawn = [configuration.variant(config, trial.overrides) for trial in found]
    rates = sorted(c.train.learning_rate for c in drawn)
    assert 0.001 <= rates[0] < 0.01 < rates[-1] <= 0.1  # half of them below the geometric mean
    assert {c.select.name for c in drawn} == {"random", "random_balanced"}
    assert all(0 <= c.train.momentum <= 0.9 for c in drawn)


def test_a_search_never_looks_at_the_test_images() -> None:
    space = ("sweep.searcher=random", "sweep.space.distill.options.learning_rate={log: [0.001, 0.1]}")
    config = sweep.with_held_out(load("runs", "sweep.of=distill", *space))
    assert config.distill.validation == 0.1 and kind_of(config).held_out
    assert sweep.with_held_out(load("runs", "sweep.of=distill", *space, "distill.validation=0.3")).distill.validation == 0.3
    assert not kind_of(sweep.with_held_out(load("runs", "sweep.of=distill", "sweep.grid.distill.steps=[1,2]"))).held_out


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """A sweep in which one trial of eight diverges: (storage, what the job said at its end)."""
    storage = tmp_path_factory.mktemp("sweep")
    with pytest.raises(JobError) as error:
        run(storage, *GRID, "sweep.also=[[train.split=0,train.learning_rate=1e30]]", "sweep.seeds=2", "train.test_every=4")
    return storage, str(error.value)


@pytest.mark.slow
def test_a_failed_trial_is_a_row_and_the_others_go_on(done: tuple[Path, str]) -> None:
    storage, said = done
    assert "2 of 8 trials failed" in said
    rows = listed(storage)
    failed = [row for row in rows if row["status"] == "failed"]
    assert len(rows) == 10 and len(failed) == 2 and all("diverged at step" in row["reason"] for row in failed)
    assert all(row["accuracy"] is None for row in failed)
    assert all(row["status"] == "done" and 0 < row["accuracy"] <= 1 for row in rows if row not in failed)
    (page,) = storage.glob("sweep/*/report.html")
    html = page.read_text()
    assert "diverged at step" in html and html.count("data:image/png") == 5
    assert "Test accuracy over training" in html
    assert not list(storage.glob("sweep/*/_DONE"))


def test_runs_that_are_the_same_are_run_once(done: tuple[Path, str]) -> None:
    storage, _ = done
    full = [row for row in listed(storage) if "train.split=0" in row["overrides"] and row["status"] == "done"]
    assert len(full) == 4 and len({row["stage"] for row in full}) == 2  # both methods at 0/100 are the full data
    assert len(list(storage.glob("train/*-full-*/_DONE"))) == 2


def test_again_without_what_failed(
    done: tuple[Path, str], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    storage, _ = done
    before = {
        path: path.stat().st_mtime_ns for path in storage.glob("train/*/*") if path.is_file() and (path.parent / "_DONE").exists()
    }
    run(storage, *GRID, "train.test_every=4")
    output = capsys.readouterr().out
    assert "6 trials known, 6 of them ended before" in output and "trial " not in output.split("\n\n")[0]
    assert {path: path.stat().st_mtime_ns for path in before} == before
    (manifest,) = storage.glob("sweep/*/_DONE")
    metrics = Table(str(manifest.parent)).read()
    assert len(set(metrics["run"].to_pylist())) == 6
    lines = output.split("\n\n")[-2].splitlines()
    assert lines[0].split()[:5] == ["training", "data", "split", "n", "images"]
    assert [line.split()[0] for line in lines[2:5]] == ["full", "random", "random_balanced"]
    assert all(" 2 " in line and "±" in line for line in lines[2:5])
    run(storage, *GRID, "train.test_every=4")
    assert capsys.readouterr().out.split("\n\n")[-2] == output.split("\n\n")[-2]  # the same table of a sweep that is done


@pytest.mark.slow
def test_full_data_given_the_seconds_of_choosing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(prepare, "Progress", partial(progress.Progress, every=0.0))
    grid = "sweep.grid.select.name=[top_activation,kcenter]"  # both see the same embeddings
    run(tmp_path, grid, "train.split=1", "sweep.equal_cost=true", "sweep.seeds=1")
    rows = {(row["equal_cost"], *row["overrides"]): row for row in listed(tmp_path)}
    plain, longer = rows[False, "train.split=0"], rows[True, "train.split=0"]
    steps = {key: Table(f"{tmp_path}/{row['stage']}").manifest["steps"] for key, row in rows.items()}
    assert plain["stage"] != longer["stage"] and steps[True, "train.split=0"] > steps[False, "train.split=0"] == 8
    output = capsys.readouterr().out
    assert "full data + choosing" in output
    # the autoencoder, its embeddings and two subsets
    shared = re.findall(r"^sweep +(\d)/4 stages that trials need +\d+ %  \S+ .*left$", output, re.MULTILINE)
    assert shared == ["1", "2", "3"]


@pytest.mark.slow
def test_random_search_never_sees_the_test_images(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    search = ("sweep.searcher=random", "sweep.samples=3", "sweep.space.train.learning_rate={log: [0.01, 0.1]}", "train.split=0")
    run(tmp_path, *search)
    output = capsys.readouterr().out
    assert "held-out" in output and "\nbest " in output
    (folder,) = (path.parent for path in tmp_path.glob("sweep/*/_DONE"))
    assert set(Table(str(folder)).read()["split"].to_pylist()) == {"train", "validation"}


@pytest.mark.slow
def test_asha_stops_trials_for_good(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    halving = ("sweep.scheduler=asha", "sweep.grace=0.25", "sweep.reduction=2", "sweep.seeds=1", "train.split=0", "train.steps=80")
    grid = ("sweep.grid.train.learning_rate=[0.05,0.0000001,0.00000011]", "train.validate_every=20", "train.average=0.5")
    run(tmp_path, *halving, *grid)
    rows = listed(tmp_path)
    assert rows[0]["status"] == "done" and {row["status"] for row in rows[1:]} <= {"stopped", "done"}
    stopped = [row for row in rows if row["status"] == "stopped"]
    assert stopped and all(row["reason"].startswith("stopped at step") and row["accuracy"] < rows[0]["accuracy"] for row in stopped)
    output = capsys.readouterr().out
    assert "stopped at step" in output.split("\n\n")[-2]
    (mark,) = tmp_path.glob("sweep/*/_DONE")
    mark.unlink()  # as if it had been killed just before
    monkeypatch.setattr("dsopt.jobs.sweep.job.run_trial", lambda *_, **__: pytest.fail("nothing is to run"))
    run(tmp_path, *halving, *grid)
    assert listed(tmp_path) == rows


STUDIES = sorted(path.stem for path in (REPOSITORY / "dsopt" / "presets").rglob("study_*.yaml"))


@pytest.mark.slow
@pytest.mark.parametrize("preset", [name for name in STUDIES if not name.endswith("_full")])  # the same at full size
def test_study_presets(preset: str, tmp_path: Path) -> None:
    own = [one for one in TINY if not one.startswith(("train.options", "sweep.seeds"))]  # a study has its own network and seeds
    given = [f"storage={tmp_path}", *own, f"preset={preset}", "data.limit=null", "data.name=digits"]
    plan, trials, stage = sweep.planned(Plan(configuration.load(given)))
    config = plan.config
    assert config.reference and stage.name == f"digits-{config.sweep.title}"
    assert len({trial.evaluated.hash for trial in trials}) > 6
    if config.sweep.equal_cost:
        titles = {(trial.row.title, trial.config.train.sampler.name) for trial in trials}
        assert {("full data", "shuffle"), ("full data", "rs2"), ("full data + choosing", "shuffle")} <= titles
        assert ("random_balanced", "shuffle") in titles and config.sweep.seeds >= 2


@pytest.mark.slow
def test_a_long_trial_tells_how_far_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sweep, "STATUS_SECONDS", 0.0)
    monkeypatch.setattr(status, "STATUS_SECONDS", 0.0)
    monkeypatch.setattr(progress.Progress.__init__, "__kwdefaults__", {"done": 0, "every": 0.0})
    run(tmp_path, "sweep.grid.select.name=[random]", "train.split=1", "train.steps=60", "sweep.seeds=1")
    told = re.findall(
        r"^  select.name=random seed=0 +train random, seed 0  ([\d,]+)/1,920 images .* left", capsys.readouterr().out, re.M
    )
    assert told == ["640", "1,280"]


def test_the_time_left_is_that_of_trials_not_of_what_was_made_for_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    plan, trials, stage = sweep.planned(Plan(load(tmp_path, *GRID, "sweep.seeds=1")))
    clock = Clock(monkeypatch, "dsopt.jobs.sweep.status")
    found = status.SweepStatus(stage, plan, trials)
    first, second, third = found.runs.values()  # both methods at 0/100 are the same
    clock.now = 1000.0
    found.fail(first, "its data cannot be made")
    found.started(second.point)
    clock.now = 1020.0
    found.ended(second.point, "lost")
    found.started(third.point)
    found.waiting()
    assert capsys.readouterr().out.splitlines()[-1].split(maxsplit=1)[1] == "2 failed  1 running  20 s left"
    clock.now = 1035.0
    found.waiting()
    assert capsys.readouterr().out.splitlines()[-1].split(maxsplit=1)[1] == "2 failed  1 running  5 s left"
    clock.now = 1045.0  # longer than others took: nobody knows
    found.waiting()
    assert capsys.readouterr().out.splitlines()[-1].split(maxsplit=1)[1] == "2 failed  1 running"
