"""Test accuracy over training: of trained classifiers, and of those trained on generated images beside those on real ones."""

from pathlib import Path
from typing import Any

import pytest

from dsopt.config import Config
from dsopt.jobs.sweep import curves
from dsopt.jobs.sweep.kinds.contract import PlannedTrial, Trial
from dsopt.pipeline import outputs
from dsopt.pipeline.step import Step
from dsopt.reporting.lines import Series
from dsopt.stages.classifier import TRAIN, Row
from dsopt.storage import Kind, Stage


def _trained(folder: Path, name: str, *accuracies: float) -> Stage:
    """A classifier tested every 10 steps."""
    stage = Stage(str(folder), TRAIN, name, {"name": name})
    rows: list[Any] = [(name, 0, 10 * (i + 1), 1.0, "test", "accuracy", value) for i, value in enumerate(accuracies)]
    rows += [(name, 0, 10, 1.0, "train", "accuracy", 0.9), (name, 0, 10, 1.0, "test", "loss", 2.0)]
    outputs.commit(stage, outputs.metrics(rows), seconds=1.0)
    return stage


def _trial(folder: Path, row: str, trained: Stage, **inputs: Stage) -> PlannedTrial:
    evaluated = Stage(str(folder), Kind("measure"), row, {}, inputs)
    step = Step(evaluated, Config(), lambda *_: None)
    return PlannedTrial(Trial((), 0, row=row), Config(), Row(row, "full", 0.0, trained), trained, [], [step])


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> list[Series]:
    found: list[Series] = []
    monkeypatch.setattr(curves, "lines", lambda series, *_: (found.append(series), b"")[1])
    return found


def test_generated_images_beside_real_ones(tmp_path: Path, drawn: list[Series]) -> None:
    """The classifier of real images serves several trials and counts once."""
    real = _trained(tmp_path, "real", 0.5, 0.9)
    made = [_trained(tmp_path, name, *values) for name, values in (("a", (0.2, 0.4)), ("b", (0.4, 0.6)), ("c", (0.1, 0.3)))]
    trials = [
        _trial(tmp_path, row, Stage(str(tmp_path), Kind("generator"), row, {}), cas=stage, cas_train=real)
        for row, stage in (("BASELINE", made[0]), ("BASELINE", made[1]), ("DIFF-D-1.0", made[2]))
    ]
    (section,) = curves.sections(trials)
    assert section.title == "Test accuracy over training"
    means = {row: {step: round(spread.mean, 6) for step, spread in points.items()} for row, points in drawn[0].items()}
    assert means == {"BASELINE": {10: 0.3, 20: 0.5}, "real images": {10: 0.5, 20: 0.9}, "DIFF-D-1.0": {10: 0.1, 20: 0.3}}
    assert drawn[0]["BASELINE"][10].sd is not None and drawn[0]["real images"][10].sd is None


def test_tested_at_the_end_alone_there_is_no_curve(tmp_path: Path, drawn: list[Series]) -> None:
    assert curves.sections([_trial(tmp_path, "ORIG", _trained(tmp_path, "once", 0.5))]) == [] and not drawn
