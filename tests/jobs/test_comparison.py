"""Which rows a comparison has."""

from pathlib import Path

import pytest
from running import SMALL, here, read

from dsopt.jobs.optimize import job as optimize
from dsopt.pipeline.plan import Plan


def titles(storage: Path, *overrides: str) -> list[str]:
    plan = Plan(read(f"storage={storage}", *SMALL, "cluster.workers=0", *overrides))
    return list(dict.fromkeys(row.title for row, _, _ in optimize.comparison(plan)))


def test_soft_labels_stand_beside_the_same_methods_with_hard_ones(tmp_path: Path) -> None:
    soft = ["select.soft_labels=teacher", "compare.methods=[random,random_balanced]"]
    assert titles(tmp_path, *soft, "select.name=kcenter") == [
        "full data",
        *("random, 50/50", "random_balanced, 50/50", "kcenter, 50/50"),
        *("random+soft, 50/50", "random_balanced+soft, 50/50", "kcenter+soft, 50/50"),
    ]


def test_methods_of_one_name_have_rows_of_their_own(tmp_path: Path) -> None:
    several = ["select.name=top_activation", "select.options.penalty=true", "select.per_class=true"]
    assert titles(tmp_path, *several, "compare.methods=[top_activation,random]")[1:] == [
        *("top_activation, 50/50", "random, 50/50", "top_activation per class penalty=True, 50/50")
    ]


def test_a_linear_probe_is_a_row_where_a_pretrained_encoder_is_used(tmp_path: Path) -> None:
    photos = ["embed.encoder=torchvision:resnet18", "select.name=kmeans", "compare.methods=[random]"]
    built_in = ["full data", "random, 50/50", "kmeans, 50/50"]
    probes = [f"linear probe, {name}" for name in ("full data", "random", "kmeans")]
    assert titles(tmp_path, *photos) == titles(tmp_path, *photos, "embed.encoder=filters") == [*built_in, *probes]
    for without in ("compare.probe=false", "embed.encoder=autoencoder"):
        assert titles(tmp_path, *photos, without) == built_in
    assert titles(tmp_path, *photos, "select.name=random_balanced")[2:] == ["random_balanced, 50/50"]


def test_a_chosen_baseline_is_one_row(tmp_path: Path) -> None:
    same = ["select.name=random_balanced", "compare.methods=[random_balanced]", "compare.splits=[1.0,0.5]"]
    assert titles(tmp_path, *same) == ["full data", "random_balanced, 100/0", "random_balanced, 50/50"]
    assert titles(tmp_path, *same, "select.soft_labels=proxy")[3:] == ["random_balanced+soft, 100/0", "random_balanced+soft, 50/50"]


@pytest.mark.slow
def test_a_target_is_on_held_out_images_and_all_rows_have_a_time(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    digits = [
        "data.name=digits",
        "data.limit=400",
        f"storage={tmp_path}",
        *SMALL,
        "cluster.workers=0",
        "select.name=random_balanced",
    ]
    here(*digits, "compare.target=0.3", "train.steps=40", "compare.splits=[1.0]")
    shown = capsys.readouterr().out
    assert "time to 30 %" in shown
    assert "Accuracy on the held-out training images" in shown
    lines = [line for line in shown.splitlines() if " of 1 " in line]
    assert len(lines) == 3
    page = next(tmp_path.glob("report/*/report.html")).read_text()
    assert "Time to 30 %" in page


@pytest.mark.slow
def test_a_sweep_has_the_same_times(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    digits = ["data.name=digits", "data.limit=400", f"storage={tmp_path}", *SMALL, "cluster.workers=0", "sweep.seeds=1"]
    here(
        *digits,
        "compare.target=0.99",
        "train.steps=10",
        "train.split=1",
        "sweep.grid.select.name=[random,random_balanced]",
        job="sweep",
    )
    shown = capsys.readouterr().out
    assert [line.split()[:5] for line in shown.splitlines() if " of 1 " in line] == [
        [name, "0", "of", "1", "–"] for name in ("random", "random_balanced")
    ]
