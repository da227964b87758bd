"""A script of the user takes part in the main job."""

import json
import re
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from PIL import Image
from running import REPOSITORY, SMALL, here, one_line, read

from dsopt.errors import JobError
from dsopt.jobs.optimize import job as optimize
from dsopt.pipeline.plan import Plan
from dsopt.stages import classifier, script
from dsopt.storage import Table

pytestmark = pytest.mark.usefixtures("unrendered")

Job = Callable[..., tuple[int, str, str]]
PAGE = REPOSITORY / "docs" / "own_script.md"
ROWS = (*SMALL, "cluster.workers=0", "select.name=random_balanced")  # no embeddings: seconds

# Trains nothing, and fails on the subsets unless the environment says otherwise.
FAILING = """
import os, pathlib, signal, sys
data, ids, seed, out = sys.argv[1:]
keys = pathlib.Path(ids).read_text().splitlines()[1:]
files = [file for file in pathlib.Path(data).glob("*/*") if file.parent.name in list("0123456789")]
assert len(keys) == len(files) and not os.listdir(out)
print("a line", flush=True)
if "random_balanced" in data and "FIXED" not in os.environ:
    os.kill(os.getpid(), signal.SIGKILL)
if len(files) == 50 and "FIXED" not in os.environ:
    raise ValueError("too <few> images")
pathlib.Path(out, "notes.txt").write_text(seed)
print("accuracy=0.1\\rx\\naccuracy = 0.75\\n")
"""


def command(folder: Path, code: str, arguments: str) -> str:
    (folder / "own.py").write_text(code)
    return f"compare.command={sys.executable} {folder}/own.py {arguments}"


@pytest.fixture
def failing(tmp_path: Path) -> list[str]:
    return [*ROWS, f"storage={tmp_path}/runs", command(tmp_path, FAILING, "{subset} {ids} {seed} {out}")]


@pytest.mark.long
@pytest.mark.slow
def test_the_example_of_the_page(job: Job, tmp_path: Path) -> None:
    found = re.search(r"^```python\n(.*?)^```", PAGE.read_text(), re.DOTALL | re.MULTILINE)
    assert found
    own = command(tmp_path, found[1], "--data {subset} --test {test} --seed {seed} --out {out}")
    settings = [*ROWS, f"storage={tmp_path}", own, "compare.methods=[]"]  # each row is a process that imports torch
    status, output, errors = job("optimize", *settings)
    assert (status, errors) == (0, "")
    rows = [line.split("  ")[0] for line in output.splitlines() if re.match(r"(full data|random\w*, 100/0)  ", line)]
    assert rows == ["full data", "random_balanced, 100/0"] and "Accuracy as the command gave it" in output
    html = Path(output.split()[-1]).read_text()
    assert "python" in html and "random_balanced, 100/0" in html and "Failed" not in html and "Loss" not in html
    for run in tmp_path.glob("script/*"):
        metrics = dict(zip(*(Table(str(run)).read()[name].to_pylist() for name in ("name", "value")), strict=True))
        assert 0.5 < metrics["accuracy"] <= 1
        assert (run / "out" / "network.pt").exists() and "step 200: loss" in (run / "output.txt").read_text()
    assert job("optimize", *settings)[1].splitlines()[-9:] == output.splitlines()[-9:]


@pytest.mark.slow
def test_failed_runs_are_rows_and_are_tried_again(
    job: Job, failing: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    status, output, errors = job("optimize", *failing)
    assert status == 1 and one_line(errors) == (
        "error: optimize: 2 of 3 runs failed: random, 100/0 (1 of 1); random_balanced, 100/0 (1 of 1). "
        "The same command tries them again."
    )
    for row in (r"full data +1,445 +75.00", r"random, 100/0 +50 +failed$", r"random_balanced, 100/0 +50 +failed$"):
        assert re.search(f"^{row}", output, re.MULTILINE), row
    assert "random, 100/0, seed 0: failed: exit status 1: ValueError: too <few> images\n  a line\n  Traceback" in output
    assert "random_balanced, 100/0, seed 0: failed: killed by SIGKILL: a line\n" in output
    (page,) = (tmp_path / "runs").glob("report/*/report.html")
    html = page.read_text()
    assert "ValueError: too &lt;few&gt; images" in html and "killed by SIGKILL" in html and "<pre>a line\nTraceback" in html
    assert not (page.parent / "_DONE").exists()
    status, again, errors = job("report", *failing)
    assert (status, errors) == (0, "") and again.endswith(output[output.index("training data") :])

    monkeypatch.setenv("FIXED", "1")
    status, output, errors = job("optimize", *failing)
    assert (status, errors) == (0, "") and "full data, seed 0                      done before, reused" in output
    assert output.count("accuracy 0.7500 in") == 2 and (page.parent / "_DONE").exists() and "Failed runs" not in page.read_text()
    runs = list((tmp_path / "runs").glob("script/*"))
    assert len(runs) == 3 and all((run / "out" / "notes.txt").read_text() == "0" for run in runs)
    assert not list((tmp_path / "runs").glob("script/*/failed.txt"))


@pytest.mark.slow
@pytest.mark.parametrize("content", ["originals", "none", "working"])
def test_all_rows_get_files_of_one_kind(job: Job, failing: list[str], tmp_path: Path, monkeypatch, content: str) -> None:
    """The user's own, whatever the subset of the configuration holds; working copies only where these are asked for."""
    monkeypatch.setenv("FIXED", "1")
    numbers, photos = np.random.default_rng(0), tmp_path / "photos"
    for i in range(40):
        (photos / str(i % 2)).mkdir(parents=True, exist_ok=True)
        Image.fromarray(numbers.integers(0, 256, (40, 50, 3), np.uint8)).save(photos / str(i % 2) / f"{i}.jpg")
    own = ["data.name=folder", f"data.root={photos}", "select.budget=8", f"select.content={content}", "compare.seeds=2"]
    status, _, errors = job("optimize", *failing, *own)
    assert (status, errors) == (0, "")
    given = {path.read_bytes() for path in photos.glob("*/*")}
    exports = [folder for folder in (tmp_path / "runs").glob("export/*") if any(folder.glob("files/*"))]
    for folder in exports:
        files = {path.read_bytes() for path in folder.glob("files/*/*")}
        assert (len(files) == 8 or len(files) > 20) and (not files & given if content == "working" else files < given)
    assert len(exports) == 5


@pytest.mark.long
@pytest.mark.slow
def test_on_object_storage_it_works_with_local_copies(job: Job, failing: list[str], s3_storage: str, monkeypatch) -> None:
    monkeypatch.setenv("FIXED", "1")
    status, output, errors = job("optimize", *failing, f"storage={s3_storage}", "data.limit=200")  # each is a file there
    assert (status, errors) == (0, "") and output.count("accuracy 0.7500 in") == 3


@pytest.mark.long
@pytest.mark.ray
@pytest.mark.slow
def test_on_ray(ray_local: ModuleType, failing: list[str], capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(JobError, match="2 of 3 runs failed"):
        here(*failing, "cluster.workers=1", "compare.cpus=1")
    output = capfd.readouterr().out
    assert "full data, seed 0                      accuracy 0.7500 in" in output
    assert "failed: killed by SIGKILL: a line" in output and "ValueError: too <few> images" in output


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        (
            ["compare.command=python train.py --out {out}"],
            "must have {out}, an empty folder for its results, and {subset} or",
        ),
        (["compare.command=python train.py {subset}"], "must have {out}"),
        (["compare.command=python train.py {subset} {out} {sed}"], "placeholder '{sed}' is not known. Did you mean '{seed}'?"),
        (["compare.command=python 'train.py {subset} {out}"], "no closing quotation."),
        (["compare.command=t {ids} {out}", "extra.name=copies"], "extra.name=copies: must be none with compare.command"),
        (["compare.command=t {ids} {out}", "select.soft_labels=proxy"], "compare.export=folder: must be webdataset or parquet"),
        (["compare.gpus=1.5"], "compare.gpus=1.5: must be a share in [0, 1] or a whole number."),
    ],
)
def test_wrong_commands_are_refused_before_anything_starts(job: Job, tmp_path: Path, settings: list[str], says: str) -> None:
    status, output, errors = job("optimize", f"storage={tmp_path}/runs", *settings)
    assert (status, output) == (2, "") and says in one_line(errors) and not list(tmp_path.iterdir())


def test_quotes_at_one_end_belong_to_the_command() -> None:
    for text in ("bash -c 'python train.py {ids} {out}'", "t {ids} {out} 'a b'"):
        assert read(f"compare.command={text}").compare.command == text
        assert read(f'compare.command="{text}"').compare.command == text


def test_another_script_is_another_run(tmp_path: Path) -> None:
    def hashes(code: str) -> set[str]:
        plan = Plan(read(*ROWS, f"storage={tmp_path}", command(tmp_path, code, "{ids} {out}")))
        return {stage.hash for _, _, stage in optimize.comparison(plan)}

    first = hashes("1")
    assert len(first) == 3 and hashes("1") == first and not hashes("2") & first


@pytest.mark.parametrize(
    ("given", "reason"),
    [
        (None, "no accuracy: expected"),
        ("{", "is not valid JSON"),
        ("[1]", "no accuracy: expected"),
        ('{"accuracy": "0.5"}', "no accuracy: expected"),
        ('{"accuracy": NaN}', "no accuracy: expected"),
        ('{"accuracy": 93.1}', "accuracy=93.1: expected a share"),
    ],
)
def test_no_accuracy_is_a_failure(tmp_path: Path, given: str | None, reason: str) -> None:
    if given is not None:
        (tmp_path / "metrics.json").write_text(given)
    with pytest.raises(JobError, match=re.escape(reason)):
        script._measured(0, ["accuracy is 0.5", "accuracy=lots", "accuracy=nan"], tmp_path)


def test_what_a_command_measured(tmp_path: Path) -> None:
    assert script._measured(0, ["accuracy=0.5", " accuracy = 7e-1", "bye"], tmp_path) == {"accuracy": 0.7}
    (tmp_path / "metrics.json").write_text(json.dumps({"accuracy": 1, "f1": 0.5, "seconds": 3, "name": "x", "loss": float("inf")}))
    assert script._measured(0, ["accuracy=0.5"], tmp_path) == {"accuracy": 1.0, "f1": 0.5, "seconds": 3.0}


@pytest.mark.long
@pytest.mark.slow
def test_a_built_in_run_that_diverges_is_a_row(job: Job, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    train = classifier.train

    def steep(worker: Any, stage: Any, config: Any, seed: int, title: str) -> None:
        settings = replace(config.train, learning_rate=1e30) if title == "train random, 50/50, seed 1" else config.train
        train(worker, stage, replace(config, train=settings), seed, title)

    monkeypatch.setattr(classifier, "train", steep)
    settings = [*ROWS, f"storage={tmp_path}", "train.steps=20", "compare.seeds=2"]
    status, output, errors = job("optimize", *settings)
    assert status == 1 and "1 of 6 runs failed: random, 50/50 (1 of 2)." in one_line(errors)
    assert "random, 50/50 (1 of 2 failed)" in output
    assert "random, 50/50, seed 1: failed: diverged at step 10 (loss is not finite); lower the learning rate." in output
    (page,) = tmp_path.glob("report/*/report.html")
    assert "diverged at step 10" in page.read_text() and page.read_text().count("data:image/png") == 5
    monkeypatch.setattr(classifier, "train", train)
    status, output, errors = job("optimize", *settings)
    assert (status, errors) == (0, "") and output.count("done before, reused: train/") == 5 and "failed" not in output
