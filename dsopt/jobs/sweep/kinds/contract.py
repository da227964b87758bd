"""A kind of sweep: what a trial of it is, what it is judged by, and what its page shows.

A new kind is one registered function `(config) -> Kind` in a file of its own in this folder; `sweep.of` names it.
"""

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
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
    """A trial with its own configuration and the steps that it takes.

    Args:
        row: what it learns from.
        trained: the stage of its training.
        shared: steps that other trials may need too: data, subsets, networks that judge.
        own: its training and all that is made of it or measured beside it; the last leaves what it is judged by.
    """

    trial: Trial
    config: Config
    row: Row
    trained: Stage
    shared: list[Step]
    own: list[Step]

    @property
    def judged(self) -> Stage:
        """The stage whose metrics it is judged by; trials that come to the same one are the same."""
        return self.own[-1].stage

    def done(self) -> bool:
        return all(step.stage.done() for step in self.own)

    def metrics(self) -> pa.Table:
        """All metrics of its training and of what was made of it, as one run."""
        # A classifier that only judges has told its accuracy to the measure; its losses are no generator's.
        stages = [step.stage for step in self.own if step.stage is self.judged or step.stage.kind != TRAIN]
        tables = [Table(stage.uri) for stage in stages]
        found = pa.concat_tables([table.read() for table in tables if set(table.manifest["schema"]) == set(METRICS.names)])
        return found.set_column(0, "run", pa.array([self.judged.folder] * len(found)))

    def outcome(self) -> dict[str, float]:
        """What it reached, by name: its metrics at their last step on held-out images if it has them, else on the test images."""
        final = self.metrics().filter(pc.field("split") != "train").sort_by("step")
        return dict(zip(final["name"].to_pylist(), final["value"].to_pylist(), strict=True))


def planned(
    plan: Plan, trial: Trial, row: Row, judged: Stage, *, first: Stage, trained: Stage | None = None, beside: Sequence[Stage] = ()
) -> Planned:
    """A trial from its stages.

    Args:
        judged: the stage that it is judged by.
        first: the first stage that is the trial's own; so is all that depends on it.
        trained: the stage of its training, if that is not `first`.
        beside: stages that are its own, too, and are made before.
    """
    steps = plan.to(*beside, judged)
    mine = {stage.hash for stage in (first, *beside)}
    for step in steps:  # inputs come first
        if any(needed.hash in mine for needed in step.stage.inputs.values()):
            mine.add(step.stage.hash)
    shared, own = [step for step in steps if step.stage.hash not in mine], [step for step in steps if step.stage.hash in mine]
    return Planned(trial, plan.config, row, trained or first, shared, own)


Pictures = Callable[[dict[str, Stage]], list[Section]]  # the judged stage of every row's first seed, by row -> sections
Further = Callable[[Collection[Planned], Sequence[float]], list[Section]]  # finished trials, what each reached -> sections


@dataclass(frozen=True)
class Kind:
    """What the trials of a sweep are.

    Args:
        plan: a trial's own plan and its place in the sweep -> what it takes.
        measure: what they are compared by.
        network: what is trained, for the page.
        lead: what the page says of the trials.
        others: further numbers of the table.
        note: what the page says of the further numbers.
        pictures: sections with what the rows generated, colored or distilled.
        further: further sections.
        adversarial: the losses of both sides are shown instead of one.
        needs_labels: what to say of a data set without labels; None where trials need none.
        held_out: the share of the training images that trials are judged by; None where only test images can judge.
        not_held_out: why no images can be held out with this configuration.
        stoppable: trials tell their score as they train, so that ASHA can stop them; and have a row at equal cost.
    """

    plan: Callable[[Plan, Trial], Planned]
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

    def check(self, config: Config) -> None:
        """Raises InputError for settings that only stoppable trials can have."""
        if self.stoppable:
            return
        sweep = config.sweep
        for wrong, key in [(sweep.equal_cost, "sweep.equal_cost=true"), (sweep.scheduler == "asha", "sweep.scheduler=asha")]:
            if wrong:
                raise InputError(f"{key}: is for sweep.of=train; trials of sweep.of={sweep.of} are measured only at their end.")
        if config.measure.extra:
            raise InputError(f"measure.extra=true: is for sweep.of=train; trials of sweep.of={sweep.of} train on no extra images.")

    def check_labels(self, config: Config, labelled: bool) -> None:
        """Raises InputError for images without labels where trials need some."""
        if not labelled and self.needs_labels is not None:
            raise InputError(f"{config.sweep.of}: the data set has no labels; {self.needs_labels}.")


def kind_of(config: Config) -> Kind:
    """What the trials of a configuration's sweep are. Raises InputError for a kind that is not known."""
    return KINDS.build(config.sweep.of)(config)


def common_steps(trials: Iterable[Planned]) -> list[Step]:
    """Steps that several trials have as their own, such as one generator with samples of several sizes: to be made once, before."""
    users: dict[str, set[str]] = {}
    found: dict[str, Step] = {}
    for trial in trials:
        for step in trial.own[:-1]:
            users.setdefault(step.stage.hash, set()).add(trial.judged.hash)
            found.setdefault(step.stage.hash, step)
    return [step for hash, step in found.items() if len(users[hash]) > 1]


def by_features(config: Config) -> tuple[str, str]:
    """The Fréchet distance of `measure.extractor`: its name, and by whose features it is."""
    from dsopt.stages.measure import DISTANCE

    whose: Mapping[str, str] = {"classifier": "a classifier", "inception": "Inception"}
    return DISTANCE[config.measure.extractor], f"by the features of {whose[config.measure.extractor]}, less is better"


def training_settings(network: str, settings: object) -> str:
    """What is trained, for the page: "vgg, batches of 64, cosine schedule"."""
    return f"{network}, batches of {settings.batch_size}, {settings.schedule.name} schedule"  # type: ignore[attr-defined]


def adversaries_of(settings: object) -> str:
    names = (settings.generator.name, settings.discriminator.name, f"{settings.loss.name} loss")  # type: ignore[attr-defined]
    return training_settings(", ".join(names), settings)
