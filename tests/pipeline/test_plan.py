"""Plans: every step once, inputs first, and nothing to do for what was given finished."""

import dataclasses
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pytest
from running import read

from dsopt.config import Config, variant
from dsopt.pipeline.plan import Plan
from dsopt.stages import embed, generator, ingest, proxy, samples, select
from dsopt.storage import Kind, Stage
from dsopt.training.worker import Worker

TOY = Kind("toy")
SCHEMA = pa.schema([("id", pa.int64())])


@pytest.fixture
def plan(tmp_path: Path) -> Plan:
    return Plan(read(f"storage={tmp_path}", "cluster.workers=0", "data.name=digits", "select.name=kcenter"))


def toy(plan: Plan, name: str, *inputs: Stage, log: list[str] | None = None) -> Stage:
    """A planner: its step logs the stage's name, and commits it."""

    def work(worker: Worker, stage: Stage, config: Config) -> None:
        assert all(needed.done() for needed in stage.inputs.values())
        if log is not None:
            log.append(stage.name)
        stage.commit([], SCHEMA, seconds=0.0)

    return plan.add(TOY, name, {"name": name}, {needed.name: needed for needed in inputs}, work)


def names(plan: Plan, *stages: Stage) -> list[str]:
    return [step.stage.name for step in plan.to(*stages)]


def test_inputs_come_first_and_each_stage_once(plan: Plan) -> None:
    first = toy(plan, "first")
    left, right = toy(plan, "left", first), toy(plan, "right", first)
    last, beside = toy(plan, "last", right, left), toy(plan, "beside")
    assert names(plan, last) == ["first", "right", "left", "last"]
    assert names(plan, left, last, left) == ["first", "left", "right", "last"]
    assert names(plan, beside) == ["beside"] and names(plan) == []


def test_the_step_that_was_entered_first_stays(plan: Plan) -> None:
    """However often a planner is asked, and under whatever configuration that changes nothing of the stage."""
    log: list[str] = []
    stage = toy(plan, "one", log=log)
    again = toy(plan.having(variant(plan.config, ["train.steps=7"])), "one", log=log)
    assert stage.hash == again.hash and plan.step(again).config == plan.config
    plan.run(stage, again)
    plan.run(stage)
    assert log == ["one"]


PLANNERS: dict[str, Callable[[Plan], Stage]] = {
    "images": ingest.images,
    "proxy": lambda plan: proxy.model(plan, "proxy"),
    "embeddings": embed.embeddings,
    "subset": lambda plan: select.subset(plan, plan.config.select, 0),
    "samples": lambda plan: samples.images(plan, generator.base(plan), 1.0, 0),
}


@pytest.mark.parametrize("name", PLANNERS)
def test_a_planner_that_is_asked_twice_adds_its_steps_once(name: str, plan: Plan) -> None:
    planner = PLANNERS[name]
    stage = planner(plan)
    before = [id(step) for step in plan.to(stage)]
    again = planner(plan)
    assert again.hash == stage.hash and [id(step) for step in plan.to(stage, again)] == before
    hashes = [step.stage.hash for step in plan.to(stage, again)]
    assert len(set(hashes)) == len(hashes) and hashes[-1] == stage.hash
    for position, step in enumerate(plan.to(stage)):
        assert all(needed.hash in hashes[:position] for needed in step.stage.inputs.values())


def test_a_plan_under_another_configuration_shares_steps_and_data_sets(plan: Plan, monkeypatch: pytest.MonkeyPatch) -> None:
    found: list[str] = []
    original = ingest.find
    monkeypatch.setattr(ingest, "find", lambda data: found.append(data.name) or original(data))
    other = plan.having(variant(plan.config, ["train.steps=7", "select.name=herding"]))
    one, two = (select.subset(each, each.config.select, 0) for each in (plan, other))
    assert one.hash != two.hash and one.inputs["images"] is two.inputs["images"] and found == ["digits"]
    assert one.inputs["embeddings"].hash == two.inputs["embeddings"].hash
    assert [step.stage.kind.name for step in plan.to(one, two)] == ["ingest", "autoencoder", "embed", "select", "select"]
    assert plan.step(two) is other.step(two) and plan.step(two).config.select.name == "herding"
    smaller = plan.having(variant(plan.config, ["data.limit=50"]))
    assert ingest.images(smaller).hash != one.inputs["images"].hash and found == ["digits"] * 2


def test_a_plan_without_steps_knows_the_data_sets(plan: Plan, monkeypatch: pytest.MonkeyPatch) -> None:
    stage = select.subset(plan, plan.config.select, 0)
    bare = plan.without_steps()
    monkeypatch.setattr(ingest, "find", lambda data: pytest.fail("the data set is known"))
    assert bare.to(stage) == []
    assert select.subset(bare, bare.config.select, 0).hash == stage.hash
    assert [step.stage.kind.name for step in bare.to(stage)] == ["autoencoder", "embed", "select"]  # no step of the images


def test_what_was_given_finished_has_no_step(plan: Plan, tmp_path: Path) -> None:
    elsewhere = Plan(dataclasses.replace(plan.config, storage=f"{tmp_path}/elsewhere"))
    given = toy(elsewhere, "given", toy(elsewhere, "before"))
    elsewhere.run(given)
    found = Stage.existing(given.uri)
    assert found.hash == given.hash and not found.inputs
    needy = toy(plan, "needy", found)
    assert names(plan, needy) == ["needy"] and names(plan, found) == []
    plan.run(needy)
    assert needy.done() and needy.uri.startswith(plan.config.storage) and found.uri == given.uri


def test_a_stage_done_before_is_mentioned_once(plan: Plan, capsys: pytest.CaptureFixture[str]) -> None:
    first = toy(plan, "first")
    plan.run(first)
    later = Plan(plan.config)
    last = toy(later, "last", toy(later, "first"))
    capsys.readouterr()
    later.run(first)
    later.having(plan.config).run(last)
    later.run(last)
    told = capsys.readouterr().out
    assert told.count("done before, reused") == 1 and "toy first" in told and told.count("done in") == 1
