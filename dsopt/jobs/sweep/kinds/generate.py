"""Each trial trains a generator."""

from dsopt.config import Config
from dsopt.jobs.generate import job, page
from dsopt.jobs.sweep import critics
from dsopt.jobs.sweep.kinds.contract import KINDS, PlannedTrial, SweepKind, Trial, adversaries_of, by_features, planned
from dsopt.losses.terms import TRAINED_CLASSIFIERS
from dsopt.pipeline.plan import Plan
from dsopt.reporting.tables import Measure
from dsopt.stages import ingest, measure
from dsopt.stages.classifier import Row


@KINDS.register
def generate(config: Config) -> SweepKind:
    """One training run of a generator, evaluated by its images."""
    distance, by = by_features(config)
    about = f"Fréchet distance ({distance}) between generated images and {{images}} images {by}"
    return SweepKind(
        _plan,
        Measure(distance, about, higher=False),
        adversaries_of(config.generate),
        f"One generator for every setting and seed, evaluated by the {distance} of its images.",
        (*measure.CAS, "kid", "precision", "recall", "density", "coverage", "gan_test", "copied"),
        pictures=page.beside,
        further=lambda done, reached: critics.sections(done, reached, distance),
        adversarial=True,
        needs_labels="measure.extractor=inception takes none" if config.measure.extractor == "classifier" else None,
    )


def _plan(plan: Plan, trial: Trial) -> PlannedTrial:
    config, measured, images = plan.config, job.measured(plan, trial.seed), ingest.images(plan)
    trained = measured.inputs["samples"].inputs["generator"]
    base, guides = trained.inputs["base"], tuple(trained.inputs[role] for role in TRAINED_CLASSIFIERS if role in trained.inputs)
    row = Row("full data", "full", 0.0, images, guides=guides)
    if base.hash != images.hash:
        row = Row(config.select.method, config.select.method, 1.0, images, base, guides=guides)
    return planned(plan, trial, row, measured, first=trained)
