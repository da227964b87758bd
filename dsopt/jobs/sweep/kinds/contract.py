"""A kind of sweep: what its trials train, by what measure they are compared, and what its page shows.

A new kind is one registered function `(config) -> SweepKind` in a file of its own in this folder; `sweep.of` names it.
"""

from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc

from dsopt.config import Config
from dsopt.errors import InputError
from dsopt.pipeline.plan import Plan
from dsopt.pipeline.step import Step
from dsopt.registry import Registry
from dsopt.reporting.page import Section
from dsopt.reporting.tables import Measure
from dsopt.stages.classifier import TRAIN, Row
from dsopt.storage import METRICS, Stage, Table

KINDS = Registry("dsopt.jobs.sweep.kinds", "kind of sweep (sweep.of)")


@dataclass(frozen=True)
class Trial:
    """One training run of a sweep.

    Args:
        overrides: its point of the grid, or those of a row beside the grid.
        equal_cost: the run on full data whose budget is extended by the seconds of selection.
        row: the name of its row in `sweep.rows`, if any.
        given: the overrides of that row, applied first.
    """

    overrides: tuple[str, ...]
    seed: int
    equal_cost: bool = False
    row: str = ""
    given: tuple[str, ...] = ()

    @property
    def all(self) -> tuple[str, ...]:
        """All its overrides on the base configuration."""
        return self.given + self.overrides


@dataclass(frozen=True)
class PlannedTrial:
    """A trial with its own configuration and its steps.

    Args:
        row: its training data.
        trained: the stage of its training.
        shared: steps that other trials may need too: data, subsets, the classifiers of the measures.
        own: its training and all that depends on it or is measured beside it; the last one is the evaluation.
    """

    trial: Trial
    config: Config
    row: Row
    trained: Stage
    shared: list[Step]
    own: list[Step]

    @property
    def evaluated(self) -> Stage:
        """The stage whose metrics are its result; trials with the same one are the same."""
        return self.own[-1].stage

    def done(self) -> bool:
        return all(step.stage.done() for step in self.own)

    def metrics(self) -> pa.Table:
        """All metrics of its own stages, as one run."""
        # Not those of a classifier trained for a measure: the measure has its accuracy, and its losses are not the generator's.
        stages = [step.stage for step in self.own if step.stage is self.evaluated or step.stage.kind != TRAIN]
        tables = [Table(stage.uri) for stage in stages]
        found = pa.concat_tables([table.read() for table in tables if set(table.manifest["schema"]) == set(METRICS.names)])
        return found.set_column(0, "run", pa.array([self.evaluated.folder] * len(found)))

    def outcome(self) -> dict[str, float]:
        """Its final metrics by name: on held-out images if it has any, else on the test images."""
        final = self.metrics().filter(pc.field("split") != "train").sort_by([("step", "ascending"), ("split", "descending")])
        return dict(zip(final["name"].to_pylist(), final["value"].to_pylist(), strict=True))


def planned(
    plan: Plan,
    trial: Trial,
    row: Row,
    evaluated: Stage,
    *,
    first: Stage,
    trained: Stage | None = None,
    beside: Sequence[Stage] = (),
) -> PlannedTrial:
    """A trial from its stages.

    Args:
        evaluated: the stage whose metrics are its result.
        first: the first stage of its own; all that depends on it is its own too.
        trained: the stage of its training, if that is not `first`.
        beside: further stages of its own, made before `evaluated`.
    """
    steps = plan.to(*beside, evaluated)
    own_hashes = {stage.hash for stage in (first, *beside)}
    for step in steps:  # inputs come first
        if any(needed.hash in own_hashes for needed in step.stage.inputs.values()):
            own_hashes.add(step.stage.hash)
    shared = [step for step in steps if step.stage.hash not in own_hashes]
    own = [step for step in steps if step.stage.hash in own_hashes]
    return PlannedTrial(trial, plan.config, row, trained or first, shared, own)


Pictures = Callable[[dict[str, Stage]], list[Section]]  # the evaluated stage of every row's first seed, by row -> sections
Further = Callable[[Collection[PlannedTrial], Sequence[float]], list[Section]]  # finished trials, the result of each -> sections


@dataclass(frozen=True)
class SweepKind:
    """What the trials of a sweep train, and how they are compared.

    Args:
        plan: (a trial's own plan, the trial) -> its steps.
        measure: by which trials are compared.
        network: what is trained, for the page.
        lead: the page's first sentence on the trials.
        others: further columns of the table.
        note: explains the further columns on the page.
        pictures: sections with the images that the rows generated, colored or distilled.
        further: more sections.
        adversarial: whether the page shows the losses of a generator and a discriminator.
        needs_labels: the reason to refuse a data set without labels; None if trials need no labels.
        held_out: the share of the training images to evaluate on; None if only test images are possible.
        not_held_out: why no images can be held out with this configuration; "" if they can.
        measured: whether measure.extra has a meaning though trials are not stoppable.
        stoppable: whether trials report a score during training, so that ASHA can stop them, and can have a row at equal cost.
        published: whether the numbers of papers are of such trials.
    """

    plan: Callable[[Plan, Trial], PlannedTrial]
    measure: Measure
    network: str
    lead: str
    others: tuple[str, ...] = ()
    note: str = ""
    pictures: Pictures | None = None
    further: Further | None = None
    adversarial: bool = False
    needs_labels: str | None = None
    held_out: float | None = None
    not_held_out: str = ""
    stoppable: bool = False
    measured: bool = False
    published: bool = True

    def check(self, config: Config) -> None:
        """Raises InputError for settings that only stoppable trials can have."""
        if self.stoppable:
            return
        sweep = config.sweep
        stoppable = {"sweep.equal_cost=true": sweep.equal_cost, "sweep.scheduler=asha": sweep.scheduler == "asha"}
        for key, wrong in (stoppable | {"compare.target": config.compare.target is not None}).items():
            if wrong:
                raise InputError(f"{key}: is for sweep.of=train; trials of sweep.of={sweep.of} have a score only at their end.")
        if config.measure.extra and not self.measured:
            raise InputError(f"measure.extra=true: is for sweep.of=train; trials of sweep.of={sweep.of} train on no extra images.")

    def check_labels(self, config: Config, labelled: bool) -> None:
        """Raises InputError for images without labels where trials need some."""
        if not labelled and self.needs_labels is not None:
            raise InputError(f"{config.sweep.of}: the data set has no labels; {self.needs_labels}.")


def kind_of(config: Config) -> SweepKind:
    """The kind of a configuration's sweep. Raises InputError for an unknown one."""
    return KINDS.build(config.sweep.of)(config)


def common_steps(trials: Iterable[PlannedTrial]) -> list[Step]:
    """Steps that are several trials' own, such as a generator with samples of several sizes: they run once, before the trials."""
    users: dict[str, set[str]] = {}
    found: dict[str, Step] = {}
    for trial in trials:
        for step in trial.own[:-1]:
            users.setdefault(step.stage.hash, set()).add(trial.evaluated.hash)
            found.setdefault(step.stage.hash, step)
    return [step for hash, step in found.items() if len(users[hash]) > 1]


def by_features(config: Config) -> tuple[str, str]:
    """The name of the Fréchet distance of `measure.extractor`, and a phrase that names its features."""
    from dsopt.stages.measure import DISTANCE

    network = {"classifier": "a classifier", "inception": "Inception"}[config.measure.extractor]
    return DISTANCE[config.measure.extractor], f"by the features of {network}, less is better"


def training_settings(network: str, settings: object) -> str:
    """What is trained, for the page: "vgg, batches of 64, cosine schedule"."""
    return f"{network}, batches of {settings.batch_size}, {settings.schedule.name} schedule"  # type: ignore[attr-defined]


def adversaries_of(settings: object) -> str:
    names = (settings.generator.name, settings.discriminator.name, f"{settings.loss.name} loss")  # type: ignore[attr-defined]
    return training_settings(", ".join(names), settings)
