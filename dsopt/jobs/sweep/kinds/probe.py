"""Each trial trains a linear classifier of the embeddings."""

from dataclasses import replace

from dsopt.config import Config
from dsopt.errors import InputError
from dsopt.jobs.sweep.kinds.contract import KINDS, PlannedTrial, SweepKind, Trial, planned
from dsopt.pipeline.plan import Plan
from dsopt.reporting.tables import ACCURACY
from dsopt.stages import ingest, linear, select
from dsopt.stages.classifier import Row


@KINDS.register
def probe(config: Config) -> SweepKind:
    """One linear probe, in seconds: of a subset, or with train.split=0 of all images."""
    return SweepKind(
        _plan,
        ACCURACY,
        f"linear classifiers of embeddings by {', '.join(config.embed.encoder)}, {config.probe.epochs} passes",
        "A linear classifier of the embeddings for every setting and seed, trained on the images of its row.",
        needs_labels="without them the job goes up to select",
        published=False,
    )


def _plan(plan: Plan, trial: Trial) -> PlannedTrial:
    config, images = plan.config, ingest.images(plan)
    if config.select.soft_labels != "none":
        labels = f"select.soft_labels={config.select.soft_labels}"
        raise InputError(f"{labels}: sweep.of=probe learns the labels of the images; expected none, or sweep.of=train.")
    if config.embed.source == "table":
        raise InputError("embed.source=table: has no embeddings of test images to judge by; expected encoder with sweep.of=probe.")
    row = Row("full data", "full", 0.0, images)
    if config.train.split > 0:
        subset = select.subset(plan, replace(config.select, content="working"), trial.seed)
        row = Row(config.select.method, config.select.method, 1.0, images, subset)
    run = linear.run(plan, row, trial.seed)
    return planned(plan, trial, row, run, first=run)
