"""Workers load their images before they wait for each other: the wait of a collective operation has a time limit."""

from collections.abc import Callable

import pytest

from dsopt import config as configuration
from dsopt.data import loading
from dsopt.pipeline.plan import Plan
from dsopt.stages import autoencoder, classifier, colorizer, distill, generator, ingest, proxy
from dsopt.storage import Stage, Table
from dsopt.training.worker import Worker

STAGES: dict[str, Callable[[Plan], Stage]] = {
    "autoencoder": autoencoder.model,
    "classifier": classifier.alone,
    "colorizer": lambda plan: colorizer.model(plan, 0),
    "distill": distill.artefact,
    "generator": lambda plan: generator.model(plan, ingest.images(plan), 0),
    "proxy": lambda plan: proxy.model(plan, "proxy"),
}


class Met(Exception):
    """Raised where workers meet."""


@pytest.fixture(scope="module")
def storage(tmp_path_factory: pytest.TempPathFactory) -> str:
    """All learn from the same digits."""
    return str(tmp_path_factory.mktemp("storage"))


@pytest.mark.parametrize("stage", STAGES)
def test_all_is_loaded_and_nothing_is_sent_before_workers_meet(stage: str, storage: str) -> None:
    """There is no process group here: any collective operation of one of two workers would fail."""
    plan = Plan(configuration.load([f"storage={storage}", "cluster.workers=0", "train.split=0", "data.limit=100"]))
    planned = STAGES[stage](plan)
    for step in plan.to(*planned.inputs.values()):
        if not step.stage.done():
            step.work(Worker(), step.stage, step.config)
    loading._kept.cache_clear()

    def meet() -> None:
        assert loading._kept.cache_info().currsize == 1
        raise Met

    with pytest.raises(Met):
        plan.step(planned).work(Worker(0, 2, meet=meet), planned, plan.config)


def test_all_that_is_looked_at_between_steps_is_loaded_before_workers_meet(storage: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """One worker looks, while the others wait in a step, which has a time limit."""
    looks = ["train.validation=0.2", "train.validate_every=2", "train.test_every=1", "train.phases=[{data: subset, steps: 4}]"]
    small = ["cluster.workers=0", "data.limit=100", "select.name=random", "select.budget=40", "train.options.width=4"]
    plan = Plan(configuration.load([f"storage={storage}", *small, *looks]))
    planned = classifier.alone(plan)
    for step in plan.to(*planned.inputs.values()):
        if not step.stage.done():
            step.work(Worker(), step.stage, step.config)
    loading._kept.cache_clear()
    decoded, before, decode = [], [], loading.decode
    monkeypatch.setattr(loading, "decode", lambda table, *more, **how: decoded.append(len(table)) or decode(table, *more, **how))
    plan.step(planned).work(Worker(meet=lambda: before.append(len(decoded))), planned, plan.config)
    splits = set(Table(planned.uri).read(columns=["split"])["split"].to_pylist())
    assert splits == {"train", "validation", "test"} and before == [len(decoded)]
