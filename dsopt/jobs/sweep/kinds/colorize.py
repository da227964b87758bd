"""Trials that are trainings of a colorizer."""

from dsopt.config import Config
from dsopt.jobs.colorize import job, page
from dsopt.jobs.sweep.kinds.contract import KINDS, Kind, Planned, Trial, adversaries_of, by_features, planned
from dsopt.pipeline.plan import Plan
from dsopt.reporting.tables import Measure
from dsopt.stages import ingest
from dsopt.stages.classifier import Row


@KINDS.register
def colorize(config: Config) -> Kind:
    """One training run of a colorizer, judged by the images it colors."""
    distance, by = by_features(config)
    about = f"Fréchet distance ({distance}) of recolored {{images}} images from the true ones {by}"
    return Kind(
        _plan,
        Measure(distance, about, higher=False),
        adversaries_of(config.colorize),
        f"One colorizer for every setting and seed, judged by the {distance} of the images it colors.",
        ("ab_error", "psnr", "ssim", "colourfulness", "accuracy"),
        pictures=page.beside,
        adversarial=True,
        needs_labels="measure.extractor=inception takes none" if config.measure.extractor == "classifier" else None,
    )


def _plan(plan: Plan, trial: Trial) -> Planned:
    measured = job.measured(plan, trial.seed)
    row = Row("full data", "full", 0.0, ingest.images(plan))
    return planned(plan, trial, row, measured, first=measured.inputs["colorizer"])
