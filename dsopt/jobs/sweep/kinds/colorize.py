"""Each trial trains a colorizer."""

from functools import partial

from dsopt.config import Config
from dsopt.jobs.colorize import job, page
from dsopt.jobs.sweep.kinds.contract import KINDS, PlannedTrial, SweepKind, Trial, adversaries_of, by_features, planned
from dsopt.pipeline.plan import Plan
from dsopt.reporting.tables import Measure
from dsopt.stages import ingest
from dsopt.stages.classifier import Row


@KINDS.register
def colorize(config: Config) -> SweepKind:
    """One training run of a colorizer, evaluated by the images it colors."""
    distance, by = by_features(config)
    about = f"Fréchet distance ({distance}) between recolored {{images}} images and the true ones {by}"
    return SweepKind(
        _plan,
        Measure(distance, about, higher=False),
        adversaries_of(config.colorize),
        f"One colorizer for every setting and seed, evaluated by the {distance} of the images it colors.",
        ("ab_error", "psnr", "ssim", "colorfulness", "accuracy"),
        pictures=partial(page.beside, photo=config.input),
        adversarial=True,
        needs_labels="measure.extractor=inception takes none" if config.measure.extractor == "classifier" else None,
    )


def _plan(plan: Plan, trial: Trial) -> PlannedTrial:
    measured = job.measured(plan, trial.seed)
    row = Row("full data", "full", 0.0, ingest.images(plan))
    return planned(plan, trial, row, measured, first=measured.inputs["colorizer"])
