"""Every job, as a person runs it."""

import json
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from running import REPOSITORY, SMALL, one_line, shell, tables

from dsopt.jobs.job import described, find
from dsopt.jobs.main import command
from dsopt.storage import Table
from dsopt.version import __version__

HERE = ("cluster.workers=0", *SMALL)
TINY = (*HERE, "autoencoder.steps=6", "train.steps=6")


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, str]:
    """The main job on digits, from the shell: (storage, output)."""
    storage = str(tmp_path_factory.mktemp("done"))
    ended = shell("optimize", f"storage={storage}", *TINY)
    assert (ended.returncode, ended.stderr) == (0, "")
    return storage, ended.stdout


def files(storage: str | Path) -> dict[str, int]:
    return {str(path): path.stat().st_mtime_ns for path in Path(storage).rglob("*")}


@pytest.mark.slow
def test_ends_with_the_table_and_the_report(done: tuple[str, str]) -> None:
    storage, output = done
    for title in ("full data", "random, 50/50", "top_activation, 50/50"):
        assert any(line.startswith(title) for line in output.splitlines()), title
    report = output.splitlines()[-1].split()[-1]
    assert report.startswith(storage) and "<html" in Path(report).read_text()
    subset = next(line.split()[-1] for line in output.splitlines() if line.startswith("subset "))
    assert Table(subset).rows() == 50
    for title in ("Results", "Accuracy", "Chosen and passed over", "Classes", "Map of the embeddings", "Autoencoder"):
        assert f"<h2>{title}</h2>" in Path(report).read_text(), title
    (data,) = re.findall('<script type="application/json">(.*?)</script>', Path(report).read_text(), re.S)
    points, chosen = json.loads(data), Table(subset).read()
    images = next(Table(str(path)) for path in Path(storage).glob("ingest/*"))
    assert sorted(points["id"]) == sorted(images.read("train")["id"].to_pylist())  # they are few
    ranked = {id: rank for id, rank in zip(points["id"], points["rank"], strict=True) if rank >= 0}
    assert ranked == dict(zip(chosen["id"].to_pylist(), chosen["rank"].to_pylist(), strict=True))


@pytest.mark.slow
def test_again_does_nothing_twice(job, done: tuple[str, str]) -> None:
    storage, output = done
    before = files(storage)
    status, again, errors = job("optimize", f"storage={storage}", *TINY)
    assert (status, errors) == (0, "") and files(storage) == before
    lines = again.splitlines()
    reused = [line for line in lines if "done before, reused" in line]
    assert len(reused) == len(tables(storage)) and not any("done in" in line for line in lines)
    assert lines[-8:] == output.splitlines()[-8:]  # the same table, and the report's path


@pytest.mark.slow
def test_dry_run_writes_nothing(job, done: tuple[str, str], tmp_path: Path) -> None:
    status, output, errors = job("optimize", f"storage={tmp_path / 'new'}", *TINY, "dry_run=true")
    assert (status, errors) == (0, "") and not list(tmp_path.iterdir())
    stages = [line for line in output.splitlines() if line.startswith(("to do", "done"))]
    kinds = ["ingest", "train", "select", "train", "autoencoder", "embed", "select", "train"]  # inputs first
    kinds += ["looks", "audit", "issues", "report"]
    assert [line[7:].split()[0] for line in stages] == kinds and all(line.startswith("to do") for line in stages)
    assert "steps: 6" in output  # the resolved configuration
    before = files(done[0])
    status, output, _ = job("optimize", f"storage={done[0]}", *TINY, "train.steps=7", "dry_run=true")
    shown = [line[:5] for line in output.splitlines() if line.startswith(("to do", "done"))]
    expected = ["to do" if kind in ("train", "report") else "done " for kind in kinds]
    assert (status, shown) == (0, expected) and files(done[0]) == before


@pytest.mark.parametrize("name", described())
def test_help(job, name: str) -> None:
    """The keys of the job alone, on a screen or two; `JOB` says the same as what is read without importing it."""
    status, output, errors = job(name, "help=true")
    assert (status, errors) == (0, "") and len(output.splitlines()) <= 90
    assert output.startswith(f"usage: dsopt {name} ") and f"dsopt {name} " in output.partition("\n\n")[2]
    assert "storage=runs" in output and "  storage=runs" in output
    without = ("ingest", "audit", "embed", "evaluate", "export", "colorize", "distill", "search")
    assert ("select.budget" in output) == (name not in without)
    found = find(name)
    assert (found.about, found.keys) == (described()[name].about, described()[name].keys)
    assert (REPOSITORY / "jobs" / f"{name}.py").is_file()


def test_help_on_something(job) -> None:
    status, output, errors = job("select", "help=selectors")
    assert (status, errors) == (0, "") and "top_activation" in output and "usage" not in output
    assert "train.phases=" in job("select", "help=train")[1]
    status, output, errors = job("select", "help=selecters")
    assert (status, output) == (2, "") and "Did you mean 'selectors'" in one_line(errors)


def dsopt(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, *arguments: str) -> tuple[int, str, str]:
    monkeypatch.setattr(sys, "argv", ["dsopt", *arguments])
    status = command()
    return status, *capsys.readouterr()


def test_the_command_lists_the_jobs(capsys, monkeypatch) -> None:
    status, output, errors = dsopt(capsys, monkeypatch, "help")
    assert (status, errors) == (0, "") and len(output.splitlines()) < 40
    for name, job in described().items():
        assert any(line.split() == [name, *job.about.strip().splitlines()[0].split()] for line in output.splitlines())
    assert "dsopt optimize preset=demo" in output
    assert dsopt(capsys, monkeypatch, "--help") == dsopt(capsys, monkeypatch, "-h") == (0, output, "")
    assert dsopt(capsys, monkeypatch, "--version") == (0, f"dsopt {__version__}\n", "")


def test_the_command_helps_with_a_job_and_a_section(capsys, monkeypatch) -> None:
    status, output, _ = dsopt(capsys, monkeypatch, "help", "select")
    assert status == 0 and (status, output, "") == dsopt(capsys, monkeypatch, "select", "--help")
    assert dsopt(capsys, monkeypatch, "help", "cluster")[1].startswith("cluster: the Ray cluster\n")
    assert "\n  demo " in dsopt(capsys, monkeypatch, "help", "presets")[1]


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ([], "error: expected dsopt JOB key=value ...; see dsopt help. Jobs: advise, audit, colorize, "),
        (["optimise"], "error: job 'optimise' is not known. Did you mean 'optimize'? Valid: advise, audit, colorize, "),
        (["preset=demo"], "error: job 'preset=demo' is not known."),
        (["optimise", "help=true"], "error: job 'optimise' is not known. Did you mean 'optimize'?"),
        (["help", "optimise"], "error: help topic 'optimise' is not known. Did you mean 'optimize'?"),
        (["ingest", "sed=1"], "error: sed=1: key 'sed' is not known. Did you mean 'seed'?"),
    ],
)
def test_the_command_says_what_is_wrong(capsys, monkeypatch, arguments: list[str], says: str) -> None:
    status, output, errors = dsopt(capsys, monkeypatch, *arguments)
    assert (status, output) == (2, "") and one_line(errors).startswith(says)


@pytest.mark.slow
def test_help_imports_no_torch() -> None:
    code = "import sys; from dsopt.jobs.main import command; sys.argv[1:] = {}; command(); assert 'torch' not in sys.modules"
    for arguments in (["help"], ["optimize", "help=true"], ["select", "help=train"], ["help", "presets"]):
        ended = subprocess.run([sys.executable, "-c", code.format(arguments)], cwd=REPOSITORY, capture_output=True, text=True)
        assert (ended.returncode, ended.stderr) == (0, "") and ended.stdout.count("\n") > 20
    ended = subprocess.run([sys.executable, "-m", "dsopt", "help"], cwd=REPOSITORY, capture_output=True, text=True)
    assert ended.returncode == 0 and "optimize" in ended.stdout


@pytest.mark.parametrize("yes", ["dry_run=True", "dry_run=1", "dry_run=yes"])
def test_a_dry_run_in_other_words(job, tmp_path: Path, yes: str) -> None:
    status, output, errors = job("ingest", f"storage={tmp_path}", *TINY, "dry_run=false", yes, "help=0")
    assert (status, errors) == (0, "") and "to do  ingest digits" in output and not list(tmp_path.iterdir())


def test_help_in_other_words_and_neither_yes_nor_no(job) -> None:
    for words in ("help=True", "help", "--help", "-h"):
        status, output, errors = job("ingest", words)
        assert (status, errors) == (0, "") and "data.root" in output
    for wrong in ("dry_run=maybe", "dry_run"):
        status, output, errors = job("ingest", wrong)
        assert (status, output) == (2, "") and one_line(errors) == f"error: {wrong}: expected dry_run=true or dry_run=false."
    assert job("ingest", "help=")[0] == 2


def test_a_dry_run_downloads_nothing(job, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr("torchvision.datasets.CIFAR10", lambda root, download: pytest.fail("it was downloaded"))
    status, _, errors = job("optimize", f"storage={tmp_path}", "data.name=cifar10", "dry_run=true")
    assert status == 2 and "a dry run downloads nothing" in one_line(errors) and not list(tmp_path.iterdir())


def test_storage_elsewhere_is_refused_at_once(job) -> None:
    for arguments, says in (
        (["storage=gs://bucket"], "storage=gs://bucket: expected a folder or s3://bucket/prefix"),
        (["data.name=cifar10", "data.root=gs://bucket"], "gs://bucket: gs:// needs "),
    ):
        status, _, errors = job("optimize", *arguments, "dry_run=true")
        assert status == 2 and says in one_line(errors)


@pytest.mark.slow
def test_each_job_alone(job, tmp_path: Path) -> None:
    def made(name: str, *more: str) -> set[str]:
        before = set(tables(str(tmp_path)))
        status, _, errors = job(name, f"storage={tmp_path}", *TINY, *more)
        assert (status, errors) == (0, ""), name
        return set(tables(str(tmp_path))) - before

    assert made("ingest") == {"ingest/digits"}
    assert made("train", "train.learner=autoencoder") == {"autoencoder/digits"}
    assert made("embed") == {"embed/digits-autoencoder"}
    assert made("select") == {"select/digits-top_activation"}
    assert made("train") == {"train/digits-top_activation"}
    subset = next(str(path) for path in tmp_path.glob("select/*"))
    assert made("train", f"train.subset={subset}", "train.split=1") == {"train/digits-given"}
    status, output, errors = job("report", f"storage={tmp_path}", *TINY)  # the run on the subset is one of the comparison's
    assert (status, errors) == (0, "") and "top_activation, 50/50" in output and "full data" not in output
    status, _, errors = job("report", f"storage={tmp_path}/empty", *TINY)
    assert status == 2 and "no training run" in one_line(errors)


@pytest.mark.slow
def test_report_alone_on_what_is_done(job, done: tuple[str, str]) -> None:
    status, output, errors = job("report", f"storage={done[0]}", *TINY, "compare.methods=[]")
    assert (status, errors) == (0, "")
    assert "full data" in output and "random, 50/50" not in output
    chance = ("compare.methods=[]", "select.name=random", "select.content=working")
    status, output, errors = job("report", f"storage={done[0]}", *TINY, *chance)
    page = Path(output.split()[-1]).read_text()
    assert (status, errors) == (0, "") and "random, 50/50" in output
    assert "Chosen and passed over" in page and "Map of the embeddings" not in page  # there are no embeddings


@pytest.mark.slow
@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["select.budgte=10"], "Did you mean 'budget'"),
        (["data.name=digist"], "Did you mean 'digits'"),
        (["select.name=top"], "Valid:"),
        (["select.options.k=1"], "option"),
        (["preset=demmo"], "Did you mean 'demo'"),
        (["train.steps=many"], "train.steps"),
        (["train.steps=0"], "at least 1"),
        (["steps"], "key=value"),
        (["data.name=folder"], "data.root"),
        (["data.name=folder", "data.root=/nowhere/at/all"], "/nowhere/at/all"),
        (["data.name=parquet", "data.root=/nowhere/at/all.parquet"], "/nowhere/at/all.parquet"),
        (["train.subset=/nowhere/at/all"], "/nowhere/at/all"),
        (["select.budget=100000"], "select.budget"),
        (["data.image_size=16"], "data.image_size"),
    ],
)
def test_wrong_input_is_one_line(job, tmp_path: Path, arguments: list[str], says: str) -> None:
    name = "train" if any(a.startswith("train.subset") for a in arguments) else "optimize"
    status, _, errors = job(name, f"storage={tmp_path}", *TINY, *arguments)
    assert status == 2 and says in one_line(errors)


def test_images_too_small_for_the_network_are_told_before_anything_is_done(job, tmp_path: Path) -> None:
    status, _, errors = job(
        "sweep", f"storage={tmp_path}", "sweep.grid.train.split=[0,1]", "train.name=lenet", "data.image_size=28"
    )
    assert status == 2 and "data.image_size=28: lenet takes 32 pixels" in one_line(errors) and not list(tmp_path.iterdir())


@pytest.mark.slow
def test_wrong_input_from_the_shell(tmp_path: Path) -> None:
    ended = shell("optimize", f"storage={tmp_path}", "select.budgte=10")
    assert ended.returncode == 2 and "Did you mean 'budget'" in one_line(ended.stderr) and not ended.stdout


def test_storage_that_is_a_file(job, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    status, _, errors = job("optimize", f"storage={tmp_path}/file", *TINY)
    assert status == 2 and "cannot be written" in one_line(errors) and (tmp_path / "file").read_text() == "mine"


@pytest.mark.slow
def test_diverging_run(job, tmp_path: Path) -> None:
    status, _, errors = job("train", f"storage={tmp_path}", *TINY, "train.learning_rate=1e30", "train.split=0")
    assert status == 1 and "diverged at step" in one_line(errors)
    assert not [name for name in tables(str(tmp_path)) if name.startswith("train/")]


def write_folder(root: Path, *, classes: bool) -> None:
    numbers = np.random.default_rng(0)
    for i in range(40):
        folder = root / f"class{i % 2}" if classes else root
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray(numbers.integers(0, 255, (24, 30, 3), np.uint8)).save(folder / f"{i}.png")


@pytest.mark.slow
def test_without_labels_up_to_select(job, tmp_path: Path) -> None:
    write_folder(tmp_path / "images", classes=False)
    arguments = ["data.name=folder", f"data.root={tmp_path}/images", f"storage={tmp_path}/runs", *TINY, "select.budget=7"]
    status, output, errors = job("optimize", *arguments)
    assert (status, errors) == (0, "") and "no labels" in output.splitlines()[-1]
    found = tables(f"{tmp_path}/runs")
    assert set(found) == {f"{stage}/folder" for stage in ("ingest", "autoencoder")} | {
        "embed/folder-autoencoder",
        "select/folder-top_activation",
    }
    assert len(found["select/folder-top_activation"]) == 7
    assert job("optimize", *arguments)[0] == 0  # again: also nothing to train
    status, _, errors = job("select", *arguments, "select.name=random_balanced")
    assert status == 2 and "labels" in one_line(errors)
    status, _, errors = job("train", *arguments)
    assert status == 2 and "labels" in one_line(errors)


@pytest.mark.slow
def test_broken_images_are_left_out_and_listed(job, tmp_path: Path) -> None:
    write_folder(tmp_path / "images", classes=True)
    (tmp_path / "images" / "class0" / "broken.png").write_bytes(b"\x89PNG and no more")
    (tmp_path / "images" / "class1" / "2.jpg").write_text("a text")
    arguments = ["data.name=folder", f"data.root={tmp_path}/images", f"storage={tmp_path}/runs", *HERE]
    status, output, errors = job("ingest", *arguments)
    assert (status, errors) == (0, "") and "left out 2 broken rows" in output
    (stage,) = (tmp_path / "runs").glob("ingest/*")
    broken = Table(str(stage)).manifest["broken"]
    assert broken["count"] == 2 and {row["key"] for row in broken["rows"]} == {"class0/broken.png", "class1/2.jpg"}
    assert Table(str(stage)).rows() == 40
    status, _, errors = job("ingest", *arguments, "data.on_error=fail")
    assert status == 2 and "class" in one_line(errors)
