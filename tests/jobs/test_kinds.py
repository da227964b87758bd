"""Sweeps whose trials are generators, colorizers or distilled sets: what they share, what they are judged by."""

from pathlib import Path

import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from running import here, read

from dsopt.config import Config
from dsopt.errors import InputError, JobError
from dsopt.jobs.sweep import job as sweep
from dsopt.jobs.sweep.kinds.contract import PlannedTrial, common_steps
from dsopt.pipeline.plan import Plan
from dsopt.pipeline.step import Step
from dsopt.storage import Table

pytestmark = pytest.mark.usefixtures("unrendered")

GENERATORS = (
    *(
        "cluster.workers=0",
        "cluster.cpus_per_worker=1",
        "data.limit=200",
        "proxy.steps=8",
        "proxy.batch_size=32",
        "proxy.options.width=8",
    ),
    *("sweep.of=generate", "generate.generator.name=mlp_generator", "generate.discriminator.name=mlp_discriminator"),
    *("generate.generator.options={width: 16, condition: concat}", "generate.discriminator.options={width: 20, condition: concat}"),
    *("generate.latent=8", "generate.batch_size=16", "generate.steps=4", "generate.samples=20", "sweep.seeds=2"),
)
ROWS = "sweep.rows={SLOW: [generate.learning_rate=0.00001], FAST: [generate.learning_rate=0.01]}"


def load(storage: Path | str, *overrides: str) -> Config:
    return read(f"storage={storage}", *GENERATORS, *overrides)


def run(storage: Path, *overrides: str) -> None:
    here(f"storage={storage}", *GENERATORS, *overrides, job="sweep")


def planned(storage: Path | str, *overrides: str) -> list[PlannedTrial]:
    return sweep.planned(Plan(load(storage, *overrides)))[1]


def stages(steps: list[Step]) -> list[str]:
    return [step.stage.kind.name for step in steps]


def test_what_a_generator_is_made_of_is_its_trials_own_and_what_judges_it_is_shared() -> None:
    trials = planned("runs", ROWS, "sweep.grid.generate.samples=[10,20]")
    assert len(trials) == 8 and all(stages(trial.own) == ["generator", "samples", "measure"] for trial in trials)
    shared = {step.stage.hash: step.stage.kind.name for trial in trials for step in trial.shared}
    assert sorted(shared.values()) == ["features", "ingest", "proxy"]
    assert stages(common_steps(trials)) == ["generator"] * 4  # a row and seed has one for both numbers of samples


def test_a_generator_of_a_subset_counts_its_images(tmp_path: Path) -> None:
    trials = planned(tmp_path, ROWS, "generate.images=subset", "select.name=random")
    assert {(trial.row.title, trial.row.split, trial.row.subset is not None) for trial in trials} == {("random", 1.0, True)}


def test_colorizers_are_trials_too() -> None:
    trials = planned("runs", "sweep.of=colorize", "sweep.rows={L1: [colorize.loss.name=none], GAN: []}")
    assert [stages(trial.own) for trial in trials] == [["colorizer", "measure_colors"]] * 4


PROBES = (
    *("sweep.of=probe", "embed.encoder=filters", "select.per_class=true", "select.budget=40", "sweep.seeds=2"),
    "sweep.rows={RANDOM: [select.name=random_balanced], KMEANS: [select.name=kmeans], ALL: [train.split=0]}",
)


def test_linear_probes_are_trials_in_seconds(tmp_path: Path) -> None:
    trials = planned(tmp_path, *PROBES)
    assert [stages(trial.own) for trial in trials] == [["linear"]] * 6
    assert {kind for trial in trials for kind in stages(trial.shared)} == {"ingest", "embed", "select"}
    run(tmp_path, *PROBES, "reference=selection_split")
    (file,) = tmp_path.glob("sweep/digits-sweep-*/trials.parquet")
    assert "selection paper" not in file.with_name("report.html").read_text()  # whose numbers are of networks
    rows = pq.read_table(file).to_pylist()
    found = {(row["row"], row["seed"]): row["accuracy"] for row in rows}
    # They are judged by the test images, each by what it was trained on: all images tell more than 40 of them.
    assert all(found["ALL", seed] > max(found[name, seed] for name in ("RANDOM", "KMEANS")) > 0.5 for seed in (0, 1))
    assert {row["row"]: row["images"] for row in rows} == {
        "RANDOM": 40,
        "KMEANS": 40,
        "ALL": Table(trials[-1].row.images.uri).rows("train"),
    }


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        (
            ["select.soft_labels=teacher"],
            "select.soft_labels=teacher: sweep.of=probe learns the labels of the images; expected none",
        ),
        (["embed.source=table", "embed.table=own.parquet"], "embed.source=table: has no embeddings of test images to judge by"),
    ],
)
def test_what_linear_probes_cannot_learn(wrong: list[str], says: str) -> None:
    with pytest.raises(InputError, match=f"^{says}"):
        planned("runs", *PROBES, *wrong)


@pytest.mark.parametrize("wrong", ["sweep.scheduler=asha", "sweep.equal_cost=true", "measure.extra=true"])
def test_what_only_classifiers_have(wrong: str) -> None:
    with pytest.raises(InputError, match=f"^{wrong}: is for sweep.of=train"):
        planned("runs", ROWS, wrong)


@pytest.fixture(scope="module")
def storage(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("generators")


@pytest.mark.slow
def test_rows_of_generators(storage: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run(storage, ROWS, "sweep.grid.generate.samples=[20,25]", "sweep.title=rows")
    output = capsys.readouterr().out
    assert "trial 8/8" in output and "FAST generate.samples=25 seed=1: fcd " in output
    crossed, table = output.split("\n\n")[-3:-1]
    assert crossed.splitlines()[0].split() == ["fcd", "over", "generate.samples", "20", "25"]
    assert table.splitlines()[0].split()[:8] == ["row", "samples", "n", "images", "fcd", "kid", "precision", "recall"]
    (file,) = storage.glob("sweep/digits-rows-*/trials.parquet")
    rows = pq.read_table(file).to_pylist()
    for name in ("SLOW", "FAST"):
        values = [row["fcd"] for row in rows if row["row"] == name and "generate.samples=20" in row["overrides"]]
        mean = sum(values) / 2
        assert next(line for line in table.splitlines() if line.startswith(name)).split()[4] == f"{mean:.{_places(table)}f}"
    for row in rows:
        found = Table(f"{storage}/{row['stage']}").read().to_pylist()
        assert row["fcd"] == next(metric["value"] for metric in found if metric["name"] == "fcd") and row["coverage"] is not None
        assert row["images"] == 161 and row["training_seconds"] > 0
    html = next(file.parent.glob("report.html")).read_text()
    assert "One generator for every setting and seed" in html and "less is better" in html and html.count("image/png") == 4
    assert "Losses" in html and "Generated images" in html
    metrics = Table(str(file.parent)).read()
    assert {"loss", "fcd"} <= set(metrics["name"].to_pylist()) and len(set(metrics["run"].to_pylist())) == 8


def _places(table: str) -> int:
    return len(table.splitlines()[2].split()[4].partition(".")[2])


@pytest.mark.slow
def test_the_accuracy_of_what_learns_from_generated_images_stands_beside_their_distance(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    teacher = '["generate.terms=[{name: gradient_difference, side: both, options: {network: teacher}}]"]'
    own = ("measure.cas=true", "train.steps=6", "train.options.width=8", "teacher.steps=8", "teacher.options.width=8")
    given = [f"sweep.rows={{BASELINE: [], TEACHER: {teacher}}}", *own, "sweep.seeds=1", "train.batch_size=16"]
    trials = planned(tmp_path, *given)
    assert all(stages(trial.own) == ["generator", "samples", "train", "measure"] for trial in trials)
    assert [stages(trial.shared).count("train") for trial in trials] == [1, 1]  # on real images, shared
    run(tmp_path, *given)
    lines = [line.split() for line in capsys.readouterr().out.split("\n\n")[-2].splitlines()]
    assert lines[0][:6] == ["row", "n", "images", "fcd", "cas", "cas_train"]
    (file,) = tmp_path.glob("sweep/*/trials.parquet")
    for row, line in zip(pq.read_table(file).to_pylist(), lines[2:4], strict=True):
        inputs = Table(f"{tmp_path}/{row['stage']}").manifest["inputs"]
        for name in ("cas", "cas_train"):
            rows = Table(f"{tmp_path}/{inputs[name]}").read().to_pylist()
            assert row[name] == next(r["value"] for r in rows if (r["split"], r["name"]) == ("test", "accuracy"))
        assert float(line[4]) == pytest.approx(row["cas"], abs=1e-3)
    (teacher,) = tmp_path.glob("teacher/*")
    seconds = Table(str(teacher)).manifest["seconds"]
    assert [row["choosing_seconds"] for row in pq.read_table(file).to_pylist()] == [0, pytest.approx(seconds)]
    metrics = Table(str(file.parent)).read()  # the losses of the classifiers are not the generators'
    losses = metrics.filter((pc.field("name") == "loss") & (pc.field("split") == "train"))
    assert set(losses["step"].to_pylist()) <= {1, 2, 3, 4} and "accuracy" not in metrics["name"].to_pylist()


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        (
            ["generate.generator.options.condition=none", "generate.discriminator.options.condition=none"],
            "measure.cas=true: images of",
        ),
        (["train.validation=0.1"], "train.validation=0.1: must be 0 with measure.cas=true"),
        (["train.phases=[{data: full, steps: 3}]"], "train.phases=.*: must be .. with measure.cas=true"),
    ],
)
def test_what_has_no_accuracy_of_generated_images(wrong: list[str], says: str) -> None:
    with pytest.raises(InputError, match=f"^{says}"):
        planned("runs", ROWS, "measure.cas=true", *wrong)


EXTRA = (
    *("sweep.of=train", "train.steps=4", "train.batch_size=16", "train.options.width=8", "train.split=1", "sweep.seeds=1"),
    *("select.name=stratified", "select.budget=60", "autoencoder.steps=2"),
    "sweep.rows={ORIG: [], COPIES: [extra.name=copies], LIGHT: [extra.name=copies,'train.augment=[]'], "
    "MADE: [extra.name=generated], BETWEEN: [extra.name=interpolated,extra.amount=0.5]}",
)


@pytest.mark.slow
def test_extra_images_are_measured_where_asked_and_their_trainings_stay_the_same(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    plain, asked = planned(tmp_path, *EXTRA), planned(tmp_path, *EXTRA, "measure.extra=true")
    assert [stages(trial.own) for trial in plain] == [["train"]] * 5
    assert [stages(trial.own) for trial in asked] == [["train"], *[["measure", "train"]] * 4]
    assert [trial.evaluated.hash for trial in plain] == [trial.evaluated.hash for trial in asked]
    assert len({step.stage.hash for trial in asked for step in trial.own[:-1]}) == 3  # of COPIES and LIGHT, the same images
    shared = {kind for trial in asked for kind in stages(trial.shared)}
    assert {"proxy", "features"} <= shared and not {"proxy", "features"} & {kind for t in plain for kind in stages(t.shared)}

    run(tmp_path, *EXTRA)
    trained = {path: path.stat().st_mtime_ns for path in tmp_path.glob("train/*/_DONE")}
    before = capsys.readouterr().out.split("\n\n")[-2].splitlines()
    run(tmp_path, *EXTRA, "measure.extra=true")
    assert trained == {path: path.stat().st_mtime_ns for path in tmp_path.glob("train/*/_DONE")}
    after = capsys.readouterr().out.split("\n\n")[-2].splitlines()
    assert "fcd" not in before[0] and after[0].split()[5:9] == ["fcd", "fcd_train", "coverage", "gan_test"]
    assert [line.split()[-3:] for line in after[2:7]] == [line.split()[-3:] for line in before[2:7]]  # seconds are of training
    (file,) = (path for path in tmp_path.glob("sweep/*/trials.parquet") if "fcd" in pq.read_schema(path).names)
    rows = {row["row"]: row for row in pq.read_table(file).to_pylist()}
    assert rows["ORIG"]["fcd"] is None and rows["COPIES"]["fcd"] == rows["LIGHT"]["fcd"] < rows["MADE"]["fcd"]
    for trial in asked[1:]:
        table = Table(trial.own[0].stage.uri)
        found = dict(zip(*(table.read()[name].to_pylist() for name in ("name", "value")), strict=True))
        row = rows[trial.trial.row]
        assert {name: row[name] for name in found} == found and row["accuracy"] is not None
        count = 30 if trial.trial.row == "BETWEEN" else 60
        assert (table.manifest["n_fake"], table.manifest["n_learned_from"], table.manifest["reference"]) == (count, 60, "test")
    assert rows["COPIES"]["copied"] == rows["COPIES"]["copied_pixels"] == 1 and rows["MADE"]["copied_pixels"] < 1
    assert "fcd is the Fréchet distance between the extra images of a row" in file.with_name("report.html").read_text()


@pytest.mark.slow
def test_too_few_extra_images_fail_their_row_alone(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = "sweep.rows={ORIG: [], FEW: [extra.name=copies,extra.amount=0.05], LIGHT: null, COPIES: null, MADE: null, BETWEEN: null}"
    with pytest.raises(JobError, match="1 of 2 trials failed"):
        run(tmp_path, *EXTRA, rows, "measure.extra=true")
    assert "FEW seed=0: failed: measure.neighbours=5: needs more images than that" in capsys.readouterr().out


@pytest.mark.slow
def test_a_search_takes_the_least_distance_for_the_best(storage: Path, capsys: pytest.CaptureFixture[str]) -> None:
    search = (
        "sweep.searcher=random",
        "sweep.space.generate.learning_rate={log: [0.00001, 0.1]}",
        "sweep.samples=3",
        "sweep.title=s",
    )
    run(storage, *search)
    output = capsys.readouterr().out
    (file,) = storage.glob("sweep/digits-s-*/trials.parquet")
    rows = sorted(pq.read_table(file).to_pylist(), key=lambda row: row["fcd"])
    said = next(line for line in output.splitlines() if line.startswith("best "))
    assert rows[0]["overrides"][0] in said and f"fcd {rows[0]['fcd']:.4g} against test images" in said
    lines = output.split("\n\n")[-2].splitlines()[2:5]
    assert [line.split()[2] for line in lines] == [row["overrides"][0].partition("=")[2] for row in rows]


@pytest.mark.slow
def test_distilled_sets_are_judged_by_what_networks_learn_from_them(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = "sweep.rows={REAL: [distill.name=random], DISTILLED: [distill.name=dm, distill.steps=2, distill.batch_size=50]}"
    more = ("sweep.of=distill", "sweep.grid.distill.per_class=[1,2]", "evaluate.repeats=2", "evaluate.steps=3")
    trials = planned(tmp_path, rows, *more)
    assert len(trials) == 8 and all(stages(trial.own) == ["distill", "evaluate"] for trial in trials)
    run(tmp_path, rows, *more)
    table = capsys.readouterr().out.split("\n\n")[-2]
    assert table.splitlines()[0].split()[:6] == ["row", "per_class", "n", "images", "mean_accuracy", "%"]
    assert [line.split()[:4] for line in table.splitlines()[2:6]] == [
        [row, number, "2", images] for row in ("REAL", "DISTILLED") for number, images in (("1", "10"), ("2", "20"))
    ]
    (file,) = tmp_path.glob("sweep/digits-sweep-*/trials.parquet")
    for row in pq.read_table(file).to_pylist():
        found = Table(f"{tmp_path}/{row['stage']}").read().to_pylist()
        each = [metric["value"] for metric in found if metric["name"] == "accuracy"]
        assert len(each) == 2 and row["mean_accuracy"] == pytest.approx(sum(each) / 2)
        assert row["choosing_seconds"] >= 0 and row["images"] in (10, 20)
    html = next(file.parent.glob("report.html")).read_text()
    assert html.count("image/png") == 2 + 4 and "DISTILLED distill.per_class=2" in html and "One distillation for every" in html


def test_a_trial_trains_one_network_on_a_distilled_set() -> None:
    with pytest.raises(InputError, match="a trial of a sweep trains one of them"):
        planned("runs", "sweep.of=distill", "sweep.rows={A: []}", "evaluate.networks=[lenet,convnet]")
