"""Test accuracy over the steps of a training, for runs that wrote it down (`train.test_every`): the thesis's figures 4.1 to 4.3."""

from collections.abc import Iterable

import pyarrow.compute as pc

from dsopt.jobs.sweep.kinds.contract import PlannedTrial
from dsopt.reporting.lines import Series, lines
from dsopt.reporting.page import Section
from dsopt.reporting.tables import Spread
from dsopt.stages.classifier import TRAIN
from dsopt.storage import Stage, Table

ABOUT = "Accuracy on the test images during training: mean over seeds; whiskers are one standard deviation. It decided nothing."


def sections(done: Iterable[PlannedTrial]) -> list[Section]:
    """The figure of all classifiers that trials trained, those on generated images beside those on real ones."""
    found: dict[str, dict[int, dict[str, float]]] = {}
    for trial in done:
        for title, stage in _trained(trial):
            for step, accuracy in _tests(stage):
                found.setdefault(title, {}).setdefault(step, {})[stage.hash] = accuracy  # trainings that trials share count once
    series: Series = {
        title: {step: Spread.of(list(values.values())) for step, values in sorted(at.items())}
        for title, at in found.items()
        if len(at) > 1
    }
    return [Section("Test accuracy over training", ABOUT, png=lines(series, {}, "steps"))] if series else []


def _trained(trial: PlannedTrial) -> list[tuple[str, Stage]]:
    """The classifiers of a trial, by the row that they are drawn as."""
    row = trial.trial.row or trial.row.title
    if trial.trained.kind == TRAIN:
        return [(row, trial.trained)]
    inputs = trial.evaluated.inputs
    named = [(row, inputs.get("cas")), ("real images", inputs.get("cas_train"))]
    return [(title, stage) for title, stage in named if stage is not None]


def _tests(stage: Stage) -> list[tuple[int, float]]:
    rows = Table(stage.uri).read().filter((pc.field("split") == "test") & (pc.field("name") == "accuracy"))
    return list(zip(rows["step"].to_pylist(), rows["value"].to_pylist(), strict=True))
