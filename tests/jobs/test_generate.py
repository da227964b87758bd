"""The generating job: its measures and its page, with labels and without."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from running import here, read

from dsopt.errors import InputError
from dsopt.jobs.generate import job as generate
from dsopt.pipeline.plan import Plan
from dsopt.storage import Table

pytestmark = pytest.mark.usefixtures("unrendered")

TINY = [
    *("cluster.workers=0", "generate.generator.name=mlp_generator", "generate.generator.options.width=16"),
    *("generate.discriminator.name=mlp_discriminator", "generate.discriminator.options.width=20"),
    *("generate.latent=8", "generate.batch_size=16", "generate.steps=40", "generate.samples=60", "measure.samples=60"),
    *("proxy.steps=8", "proxy.batch_size=64", "proxy.options.width=4", "data.image_size=24"),
]
CONDITIONAL = [f"generate.{kind}.options.condition=concat" for kind in ("generator", "discriminator")]


@pytest.mark.slow
def test_measures_and_the_page(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    settings = [f"storage={tmp_path}", "data.name=digits", "data.limit=300", *TINY, *CONDITIONAL]
    here(*settings, job="generate")
    first = capsys.readouterr().out
    (page,) = tmp_path.glob("report/*/report.html")
    html = page.read_text()
    assert html.count("<figure>") == 3 and "mlp_generator against mlp_discriminator, with the loss non_saturating." in html
    stage = Table(str(next(tmp_path.glob("measure/*"))))
    assert f"60 generated images against {stage.manifest['n_real']} real ones of the split test" in html
    (fcd,) = (line.split() for line in first.splitlines() if line.startswith("fcd "))
    measured = {row["name"]: row["value"] for row in stage.read().to_pylist()}
    assert float(fcd[1]) == pytest.approx(measured["fcd"], rel=1e-3)
    assert float(fcd[2]) == pytest.approx(measured["fcd_train"], rel=1e-3) and measured["fcd"] > 0
    losses = Table(str(page.parent)).read()
    assert set(losses["name"].to_pylist()) == {"loss", "generator_loss"}
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")}
    here(*settings, job="generate")
    again = capsys.readouterr().out
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")} == before and "done in" not in again


def test_without_labels(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    numbers, folder = np.random.default_rng(0), tmp_path / "images"
    folder.mkdir()
    for i in range(30):
        Image.fromarray(numbers.integers(0, 255, (24, 24, 3), np.uint8)).save(folder / f"{i}.png")
    settings = [f"storage={tmp_path}/runs", "data.name=folder", f"data.root={folder}", *TINY]
    here(*settings, job="generate")
    assert "no labels to measure by" in capsys.readouterr().out
    (page,) = tmp_path.glob("runs/report/*/report.html")
    assert page.read_text().count("<figure>") == 3 and not list(tmp_path.glob("runs/measure/*"))
    with pytest.raises(InputError, match="is class-conditional, but the images have no labels"):
        here(*settings, *CONDITIONAL, job="generate")


def test_a_study_takes_its_measures_one_after_another(tmp_path: Path) -> None:
    plan = Plan(read(f"storage={tmp_path}", "data.name=digits", *TINY))
    kinds = [step.stage.kind.name for step in plan.to(generate.measured(plan, 3))]
    assert kinds[0] == "ingest" and kinds[-1] == "measure" and {"generator", "samples"} < set(kinds)
    one, other = (generate.measured(plan, seed) for seed in (3, 4))
    assert one.inputs["features"].hash == other.inputs["features"].hash and one.hash != other.hash
