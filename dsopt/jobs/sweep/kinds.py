"""What a trial of a sweep is: the training of a classifier, a generator or a colorizer, or a distillation; and what judges it."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace

import pyarrow as pa
import pyarrow.compute as pc

from dsopt.config import Config
from dsopt.errors import InputError
from dsopt.jobs.colorize import job as colorize
from dsopt.jobs.distill import job as evaluate
from dsopt.jobs.generate import job as generate
from dsopt.losses.terms import TRAINED
from dsopt.pipeline.step import Step
from dsopt.reporting.tables import ACCURACY, Measure
from dsopt.stages import classifier, distill, ingest, measure, select
from dsopt.stages.classifier import Row
from dsopt.storage import METRICS, Stage, Table


@dataclass(frozen=True)
class Trial:
    """One training run of a sweep.

    Args:
        overrides: its place in the grid, or what a row beside the grid says.
        equal_cost: the run on full data that is given the seconds of choosing on top.
        row: one of `sweep.rows`, by name.
        given: the overrides of that row, which come first.
    """

    overrides: tuple[str, ...]
    seed: int
    equal_cost: bool = False
    row: str = ""
    given: tuple[str, ...] = ()

    @property
    def all(self) -> tuple[str, ...]:
        """What makes it from the base configuration."""
        return self.given + self.overrides


@dataclass(frozen=True)
class Planned:
    """A trial with its own configuration and what it takes.

    Args:
        row: what it learns from.
        steps: what it may share with others: data, subsets, networks that judge.
        own: its training and all that is made of it or measured beside it; the last leaves what it is judged by.
    """

    trial: Trial
    config: Config
    row: Row
    steps: list[Step]
    own: list[Step]

    @property
    def run(self) -> Step:
        return self.own[-1]

    @property
    def trained(self) -> Stage:
        """What was trained for it; a distilled set that something trains on is the row's own."""
        return next(step.stage for step in self.own if step.stage is not self.row.subset and step.stage.kind != "measure")

    def done(self) -> bool:
        return all(step.stage.done() for step in self.own)

    def metrics(self) -> pa.Table:
        """All that was written down of its training and of what was made of it, as one run."""
        # A classifier that only judges has told its accuracy to the measure; its losses are no generator's.
        stages = [step.stage for step in self.own if step is self.run or step.stage.kind != "train"]
        tables = [Table(stage.uri) for stage in stages]
        found = pa.concat_tables([table.read() for table in tables if set(table.manifest["schema"]) == set(METRICS.names)])
        return found.set_column(0, "run", pa.array([self.run.stage.folder] * len(found)))


@dataclass(frozen=True)
class Kind:
    """What the trials of a sweep are.

    Args:
        measure: what they are compared by.
        others: further numbers of the table.
        lead: what the page says of them.
        note: what it says of the further numbers.
    """

    plan: Callable[[Config, Trial], Planned]
    measure: Measure
    others: tuple[str, ...]
    lead: str
    note: str = ""


def kind(config: Config) -> Kind:
    """What the trials of a configuration's sweep are: see `sweep.of`."""
    distance, features = measure.DISTANCE[config.measure.extractor], {"classifier": "a classifier", "inception": "Inception"}
    by = f"by the features of {features[config.measure.extractor]}, less is better"
    if config.sweep.of == "train":
        others, note = (), ""
        if config.measure.extra:
            others = (distance, f"{distance}_train", *measure.CAS, "coverage", "gan_test")
            note = (
                f"{distance} is the Fréchet distance of the extra images of a row from the test images, {by}; {distance}_train is "
                "that of as many training images. Both fall as images get more: compare rows of equally many. coverage is the "
                "share of test images that an extra one comes near to, gan_test that of extra images whose class a classifier sees."
            )
        return Kind(_classifier, ACCURACY, others, "One training run for every setting and seed.", note)
    if config.sweep.of == "distill":
        about = "Mean accuracy on the {images} images, after the last step, of networks trained on the few images"
        judged = Measure("mean_accuracy", about, percent=True)
        return Kind(_distilled, judged, (), "One distillation for every setting and seed, judged by what networks learn from it.")
    if config.sweep.of == "generate":
        judged = Measure(distance, f"Fréchet distance ({distance}) of made images from {{images}} images {by}", higher=False)
        others = (*measure.CAS, "kid", "precision", "recall", "density", "coverage", "gan_test", "copied")
        return Kind(_generator, judged, others, f"One generator for every setting and seed, judged by its images' {distance}.")
    about = f"Fréchet distance ({distance}) of recoloured {{images}} images from the true ones {by}"
    others = ("ab_error", "psnr", "ssim", "colourfulness", "accuracy")
    lead = f"One colorizer for every setting and seed, judged by the {distance} of the images it colours."
    return Kind(_colorizer, Measure(distance, about, higher=False), others, lead)


def held_out(config: Config) -> float | None:
    """The share of the training images that trials are judged by; None where they cannot but be judged by the test images."""
    return {"train": config.train.validation, "distill": config.distill.validation}.get(config.sweep.of)


def check(config: Config) -> None:
    """Raises InputError for what is only for trials that are classifiers."""
    sweep = config.sweep
    if sweep.of != "train":
        for wrong, key in [(sweep.equal_cost, "sweep.equal_cost=true"), (sweep.scheduler == "asha", "sweep.scheduler=asha")]:
            if wrong:
                raise InputError(f"{key}: is for sweep.of=train; trials of sweep.of={sweep.of} are measured only at their end.")
        if config.measure.extra:
            raise InputError(f"measure.extra=true: is for sweep.of=train; trials of sweep.of={sweep.of} train on no extra images.")


def check_labels(config: Config, labelled: bool) -> None:
    """Raises InputError for images without labels where trials need some."""
    rights = {"train": "without them the job goes up to select", "distill": "distillation is for labelled images"}
    if not labelled and (config.sweep.of in rights or config.measure.extractor == "classifier"):
        right = rights.get(config.sweep.of, "measure.extractor=inception takes none")
        raise InputError(f"{config.sweep.of}: the data set has no labels; {right}.")


def outcome(trial: Planned) -> dict[str, float]:
    """What a trial reached, by name: its metrics at their last step on held-out images if it has them, else on the test images."""
    final = trial.metrics().filter(pc.field("split") != "train").sort_by("step")
    return dict(zip(final["name"].to_pylist(), final["value"].to_pylist(), strict=True))


def _classifier(own: Config, trial: Trial) -> Planned:
    images, steps = ingest.images(own)
    full = Row("full data", "full", 0.0, images)
    if trial.equal_cost:
        chosen, steps = select.subset(own, own.select, trial.seed)
        row = Row("full data + choosing", "full", 0.0, images, extra=chosen)
        plain_run = classifier.run(own, full, trial.seed).stage
        steps = [*steps, *classifier.scores(own, 0.0)[1]]
        return Planned(trial, own, row, steps, [classifier.run(own, row, trial.seed, plain_run)])
    row = full
    if any(phase["data"] != "full" for phase in classifier.phases(own.train, own.train.split)):
        subset, steps = select.subset(own, own.select, trial.seed)
        row = Row(own.select.name, own.select.name, own.train.split, images, subset)
    row, more = classifier.beside(own, row, trial.seed)
    steps, mine = [*steps, *more, *classifier.scores(own, row.split)[1]], [classifier.run(own, row, trial.seed)]
    if own.measure.extra and row.added:
        *before, measuring = measure.measured(own, row.added, trial.seed)[1]
        steps, mine = [*steps, *before], [measuring, *mine]
    return Planned(trial, own, row, steps, mine)


def _generator(own: Config, trial: Trial) -> Planned:
    return _chain(own, trial, generate.trial(own, trial.seed), "generator")


def _colorizer(own: Config, trial: Trial) -> Planned:
    return _chain(own, trial, colorize.trial(own, trial.seed), "colorizer")


def _distilled(own: Config, trial: Trial) -> Planned:
    made, steps = distill.artefact(own, trial.seed)
    row = Row(own.distill.name, own.distill.name, 1.0, ingest.images(own)[0], made)
    return Planned(trial, own, row, steps[:-1], [steps[-1], evaluate.judge(own, made, trial.seed)])


def _chain(own: Config, trial: Trial, steps: list[Step], trained: str) -> Planned:
    """A trial whose network is trained by the step of the kind `trained`, and whose last step measures it."""
    mine = [step for step in steps if trained in _kinds(step.stage)]
    inputs, images = mine[0].stage.inputs, ingest.images(own)[0]
    subset, guides = inputs.get("subset"), tuple(inputs[role] for role in TRAINED if role in inputs)
    row = Row(own.select.name, own.select.name, 1.0, images, subset) if subset else Row("full data", "full", 0.0, images)
    row = replace(row, guides=guides)
    return Planned(trial, own, row, [step for step in steps if step not in mine], mine)


def _kinds(stage: Stage) -> set[str]:
    """The kinds of a stage and of everything that it is made from."""
    return {stage.kind}.union(*map(_kinds, stage.inputs.values()))


def made_alike(trials: Iterable[Planned]) -> list[tuple[Step, Config]]:
    """Steps that several trials have as their own, such as one generator with samples of several sizes: to be made once, before."""
    makers: dict[str, set[str]] = {}
    found: dict[str, tuple[Step, Config]] = {}
    for trial in trials:
        for step in trial.own[:-1]:
            makers.setdefault(step.stage.hash, set()).add(trial.run.stage.hash)
            found.setdefault(step.stage.hash, (step, trial.config))
    return [made for hash, made in found.items() if len(makers[hash]) > 1]
