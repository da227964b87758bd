"""What changes the hash of a stage, and with it whether finished work is found again: shown on the plans of whole jobs."""

import dataclasses
import functools
import importlib
import operator
from itertools import chain
from typing import Any

import pytest

from dsopt.config import Choice, Config, load, variant
from dsopt.config.keys import key
from dsopt.jobs.job import find
from dsopt.jobs.search.children import children
from dsopt.jobs.search.trials import Trials
from dsopt.pipeline.plan import Plan
from dsopt.search.proxies import Proxy
from dsopt.stages import proxy
from dsopt.storage import Kind, Stage

COMPARED = ("compare.seeds=1", "compare.methods=[random]", "compare.splits=[0.5]")
JOBS = [  # together they have stages of every kind
    ("optimize", [*COMPARED, "select.soft_labels=teacher", "extra.name=interpolated"]),
    ("optimize", [*COMPARED, "select.name=kcenter", "embed.encoder=proxy", "extra.name=copies", "train.augment=[crop]"]),
    ("train", ["train.split=0", "train.sampler.name=weighted", "train.steps=7"]),
    ("generate", ["preset=cdcgan", "generate.images=subset", "measure.cas=true"]),
    ("distill", ["preset=cdcgan", "distill.stored.name=latent"]),
    ("colorize", ["colorize.steps=7"]),
    ("search", ["search.proxies=[{data: random, images: 100}, {data: full, steps: 20}]", "search.strategy.name=evolution"]),
    ("sweep", ["sweep.grid.train.learning_rate=[0.1,0.2]", "sweep.grid.select.name=[random]"]),
    ("sweep", ["sweep.of=distill", "sweep.grid.distill.per_class=[1,2]", "sweep.seeds=1"]),
]
KINDS = [
    *(f"stages.{name}" for name in ("ingest", "autoencoder", "embed", "select", "classifier", "extra", "interpolated", "distill")),
    *(f"stages.{name}" for name in ("evaluate", "generator", "samples", "features", "measure", "colorizer", "measure_colors")),
    *("jobs.search.children", "jobs.search.best", "jobs.search.page", "jobs.sweep.job", "pipeline.outputs"),
]


@functools.cache
def configurations() -> tuple[tuple[str, Config], ...]:
    return tuple((job, load(["data.name=digits", "data.image_size=32", *overrides])) for job, overrides in JOBS)


def stages(job: str, config: Config) -> list[Stage]:
    """All stages that a job would make, inputs first."""
    plan = Plan(config)
    return [step.stage for step in plan.to(*find(job).targets(plan))]


def planned() -> list[list[Stage]]:
    return [stages(job, config) for job, config in configurations()]


@functools.cache
def as_they_are() -> list[list[Stage]]:
    """The stages of each job; planning all of them takes a second."""
    return planned()


def assert_anew(kind: Kind) -> None:
    """The stages of a kind, and those made from them, have other hashes than before, and no other stage has."""

    def leads_to(stage: Stage) -> bool:
        return stage.kind.name == kind.name or any(map(leads_to, stage.inputs.values()))

    before = list(chain.from_iterable(as_they_are()))
    expected = [leads_to(stage) for stage in before]
    assert [now.hash != then.hash for now, then in zip(chain.from_iterable(planned()), before, strict=True)] == expected
    assert any(expected) and all(expected) == (kind.name == "ingest")


@pytest.mark.slow
@pytest.mark.parametrize("module", KINDS)
def test_a_new_version_of_a_kind_makes_its_stages_and_those_made_from_them_anew(
    module: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    defined = importlib.import_module(f"dsopt.{module}")
    ((name, kind),) = [(name, value) for name, value in vars(defined).items() if name.isupper() and isinstance(value, Kind)]
    as_they_are()
    monkeypatch.setattr(defined, name, dataclasses.replace(kind, version=kind.version + 1))
    assert_anew(kind)


@pytest.mark.slow
@pytest.mark.parametrize("role", proxy.KINDS)
def test_a_new_version_of_a_judge(role: proxy.Role, monkeypatch: pytest.MonkeyPatch) -> None:
    kind = proxy.KINDS[role]
    as_they_are()
    monkeypatch.setitem(proxy.KINDS, role, dataclasses.replace(kind, version=kind.version + 1))
    assert_anew(kind)


@functools.cache
def later_type(kind: type) -> type:
    """A section as a later release has it: with a new key, as has every section in it."""
    sections = [
        (item.name, item.type, later_field(item)) for item in dataclasses.fields(kind) if is_section(getattr(kind(), item.name))
    ]
    name = f"Later{kind.__name__}"
    made = dataclasses.make_dataclass(name, [*sections, ("new", int, key(0, "a new key"))], bases=(kind,))
    made.__module__ = __name__  # so that it is found when a configuration is unpickled
    globals()[name] = made
    return made


def later_field(item: dataclasses.Field[Any]) -> Any:
    default = item.default_factory
    assert default is not dataclasses.MISSING
    return dataclasses.field(default_factory=lambda: later(default()), metadata=item.metadata)


def is_section(value: Any) -> bool:
    return dataclasses.is_dataclass(value) and type(value) is not Choice


def later(section: Any) -> Any:
    """The same settings in a later release."""
    values = {item.name: getattr(section, item.name) for item in dataclasses.fields(section)}
    return later_type(type(section))(**{name: later(value) if is_section(value) else value for name, value in values.items()})


def test_a_new_key_at_its_default_changes_no_hash() -> None:
    for (job, config), before in zip(configurations(), as_they_are(), strict=True):
        assert [stage.hash for stage in stages(job, later(config))] == [stage.hash for stage in before]


@pytest.mark.parametrize(
    ("section", "kind"),
    [
        *(("data", "ingest"), ("autoencoder", "autoencoder"), ("proxy", "proxy"), ("select", "select"), ("train", "train")),
        *(("generate", "generator"), ("distill", "distill"), ("colorize", "colorizer"), ("search.train", "children")),
    ],
)
def test_a_new_key_that_is_given_is_in_the_hash_of_what_it_shapes(section: str, kind: str) -> None:
    found = 0
    for (job, config), then in zip(configurations(), as_they_are(), strict=True):
        changed = later(config)
        operator.attrgetter(section)(changed).new = 1
        for now, before in zip(stages(job, changed), then, strict=True):
            if now.kind.name == kind:
                found += 1
                assert now.hash != before.hash and now.made_of[section]["new"] == 1
            elif now.kind.name == "ingest":
                assert now.hash == before.hash
    assert found


@pytest.mark.slow
def test_tracking_changes_no_hash() -> None:
    for (job, config), before in zip(configurations(), as_they_are(), strict=True):
        tracked = variant(config, ["track=tensorboard", "track_to=elsewhere"])
        assert [stage.hash for stage in stages(job, tracked)] == [stage.hash for stage in before]


def test_a_new_key_of_a_proxy_changes_no_hash_either() -> None:
    @dataclasses.dataclass(frozen=True)
    class LaterProxy(Proxy):
        new: int = 0

    plan = Plan(next(config for job, config in configurations() if job == "search"))
    now, same, other = (
        children(plan, Trials("", made, plan.config.search.strategy, 5))
        for made in (Proxy("full", steps=7), LaterProxy("full", steps=7), LaterProxy("full", steps=7, new=1))
    )
    assert now.hash == same.hash != other.hash
