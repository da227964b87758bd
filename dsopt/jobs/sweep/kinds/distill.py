"""Each trial distills a data set."""

from dsopt.config import Config
from dsopt.jobs.distill import page
from dsopt.jobs.sweep.kinds.contract import KINDS, PlannedTrial, SweepKind, Trial, by_features, planned, training_settings
from dsopt.pipeline.plan import Plan
from dsopt.reporting.tables import Measure
from dsopt.stages import distill as sets
from dsopt.stages import evaluate, ingest, measure
from dsopt.stages.classifier import Row


@KINDS.register
def distill(config: Config) -> SweepKind:
    """One distilled set, evaluated by networks trained on it."""
    (distance, by), others, note = by_features(config), (), ""
    if config.measure.extra:
        others = (distance, "coverage")
        note = f"{distance} is the Fréchet distance between a set's images and the test images, {by}: compare sets of equal size."
    about = "Mean accuracy on the {images} images, after the last step, of networks trained on the distilled images"
    return SweepKind(
        _plan,
        Measure("mean_accuracy", about, percent=True),
        training_settings(config.distill.network.name, config.distill),
        "One distillation for every setting and seed, evaluated by the accuracy of networks trained on its images.",
        others,
        note,
        pictures=page.beside,
        needs_labels="distillation is for labelled images",
        held_out=config.distill.validation,
        measured=True,
    )


def _plan(plan: Plan, trial: Trial) -> PlannedTrial:
    distilled, name = sets.artefact(plan, trial.seed), plan.config.distill.name
    evaluated = evaluate.of_trial(plan, distilled, trial.seed)
    row = Row(name, name, 1.0, ingest.images(plan), distilled)
    beside = [measure.measured(plan, distilled, trial.seed)] if plan.config.measure.extra else []
    return planned(plan, trial, row, evaluated, first=distilled, trained=evaluated, beside=beside)
