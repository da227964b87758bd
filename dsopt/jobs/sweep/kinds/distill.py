"""Trials that are distillations."""

from dsopt.config import Config
from dsopt.jobs.distill import page
from dsopt.jobs.sweep.kinds.contract import KINDS, Kind, Planned, Trial, planned, training_settings
from dsopt.pipeline.plan import Plan
from dsopt.reporting.tables import Measure
from dsopt.stages import distill as sets
from dsopt.stages import evaluate, ingest
from dsopt.stages.classifier import Row


@KINDS.register
def distill(config: Config) -> Kind:
    """One distilled set, judged by networks trained on it."""
    about = "Mean accuracy on the {images} images, after the last step, of networks trained on the few images"
    needs = "distillation is for labelled images"
    return Kind(
        _plan,
        Measure("mean_accuracy", about, percent=True),
        training_settings(config.distill.network.name, config.distill),
        "One distillation for every setting and seed, judged by the accuracy of networks trained on its images.",
        pictures=page.beside,
        needs_labels=needs,
        held_out=config.distill.validation,
    )


def _plan(plan: Plan, trial: Trial) -> Planned:
    made, name = sets.artefact(plan, trial.seed), plan.config.distill.name
    evaluated = evaluate.of_trial(plan, made, trial.seed)
    row = Row(name, name, 1.0, ingest.images(plan), made)
    return planned(plan, trial, row, evaluated, first=made, trained=evaluated)
