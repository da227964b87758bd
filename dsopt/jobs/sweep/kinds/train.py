"""Each trial trains a classifier."""

from dataclasses import replace

from dsopt.config import Config
from dsopt.jobs.sweep.kinds.contract import KINDS, PlannedTrial, SweepKind, Trial, by_features, planned, training_settings
from dsopt.pipeline.plan import Plan
from dsopt.reporting.tables import ACCURACY, KEPT_BEST
from dsopt.stages import classifier, ingest, measure, select
from dsopt.stages.classifier import Row


@KINDS.register
def train(config: Config) -> SweepKind:
    """One training run of a classifier."""
    others, note, (distance, by) = (), "", by_features(config)
    if config.measure.extra:
        others = (distance, f"{distance}_train", *measure.CAS, "coverage", "gan_test")
        note = (
            f"{distance} is the Fréchet distance between the extra images of a row and the test images, {by}; {distance}_train "
            "is that of as many training images. Both fall with the number of images: compare rows with equally many. coverage "
            "is the share of test images with an extra image in their neighborhood, gan_test the share of extra images that the "
            "classifier assigns to their class."
        )
    from_held_out = f"evaluates on held-out images, which extra.name={config.extra.name} would use for training"
    not_held_out = "" if config.extra.name == "none" else from_held_out
    if config.train.keep == "best":
        not_held_out = "tests the weights that are best on held-out images, which is no measure for choosing settings"
    return SweepKind(
        _plan,
        ACCURACY if config.train.keep == "last" else KEPT_BEST,
        training_settings(config.train.name, config.train),
        "One training run for every setting and seed.",
        others,
        note,
        needs_labels="without them the job goes up to select",
        held_out=config.train.validation if config.train.keep == "last" else 0.0,
        not_held_out=not_held_out,
        stoppable=True,
    )


def _plan(plan: Plan, trial: Trial) -> PlannedTrial:
    config, images = plan.config, ingest.images(plan)
    chosen = replace(config.select, content="working")  # nobody takes the subsets of trials away
    row = Row("full data", "full", 0.0, images)
    if trial.equal_cost:
        earlier = classifier.run(plan, row, trial.seed)
        row = Row("full data + choosing", "full", 0.0, images, extra=select.subset(plan, chosen, trial.seed))
        run = classifier.run(plan, row, trial.seed, earlier)
        return planned(plan, trial, row, run, first=run)
    if any(phase["data"] != "full" for phase in classifier.phases(config.train, config.train.split)):
        subset = select.subset(plan, chosen, trial.seed)
        row = Row(config.select.method, config.select.method, config.train.split, images, subset)
    row = classifier.beside(plan, row, trial.seed)
    run, beside = classifier.run(plan, row, trial.seed), []
    if config.measure.extra and row.added:
        beside = [measure.measured(plan, row.added, trial.seed)]
    return planned(plan, trial, row, run, first=run, beside=beside)
