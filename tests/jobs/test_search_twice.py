"""Two drivers of one command: what the first declared stands, and the second leaves nothing that anybody would read."""

from dataclasses import replace
from pathlib import Path

import pytest
import running

from dsopt.config import Config
from dsopt.jobs.search import best, study, trials
from dsopt.jobs.search import page as search_page
from dsopt.jobs.search.children import proxy_of
from dsopt.jobs.search.page import SearchStages
from dsopt.pipeline.plan import Plan
from dsopt.search.exported import load_child
from dsopt.stages import ingest, proxy
from dsopt.storage import Kind, Stage, Table
from dsopt.training.worker import Worker

pytestmark = pytest.mark.usefixtures("unrendered")

TINY = (
    *("data.image_size=8", "data.limit=300", "cluster.workers=0", "cluster.cpus_per_worker=1", "cluster.checkpoint_seconds=0"),
    *("search.train.batch_size=16", "search.space.options.width=[4,8]"),
    *("proxy.batch_size=64", "proxy.options.width=8", "proxy.precision=fp32", "proxy.steps=21"),
)
LONG = 21  # steps: one more than there are to the first checkpoint


def read(storage: Path, *overrides: str) -> Config:
    return running.read(f"storage={storage}", *TINY, f"search.train.steps={LONG}", *overrides)


def made_of(stage: Stage) -> dict[str, bytes]:
    folder = Path(stage.uri)
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def images(plan: Plan) -> Stage:
    stage = ingest.images(plan)
    plan.run(stage)
    return stage


def rows(config: Config, seconds: float) -> list[dict]:
    space = trials.space_of(config)
    about = {"steps": LONG, "accuracy": 0.5, "accuracies": [0.5], "reason": "", "seconds": seconds}
    cost = space.cost(space.at(0), 1, 10, 8)._asdict()
    return [{"child": space.encode(space.at(number)), "order": number} | about | cost for number in range(3)]


def finalists(plan: Plan) -> Stage:
    stage = Stage(plan.config.storage, Kind("children"), "toy", {}, {"images": images(plan)})
    trials.commit(stage, plan.config, rows(plan.config, 1.0), {"the first's device"})
    return stage


def test_a_table_of_children_stands(tmp_path: Path) -> None:
    config = read(tmp_path)
    stage = finalists(Plan(config))
    before = made_of(stage)
    trials.commit(stage, config, rows(config, 2.0), {"the second's device"})
    assert made_of(stage).items() >= before.items()
    table = Table(stage.uri)
    assert table.manifest["seconds"] == 3 and table.read()["seconds"].to_pylist() == [1.0] * 3


def make(plan: Plan, stage: Stage, config: Config | None = None) -> None:
    """What the step of a stage does, also where the stage is done: a second driver that began before."""
    plan.step(stage).work(Worker(), stage, config or plan.config)


def test_an_exported_child_stands_and_no_checkpoint_is_left(tmp_path: Path) -> None:
    plan = Plan(read(tmp_path))
    stage = best.best(plan, finalists(plan))
    make(plan, stage)
    first = made_of(stage)
    assert Table(stage.uri).manifest["exported"] in first
    make(plan, stage, read(tmp_path, "search.train.learning_rate=0.01"))  # other weights
    assert made_of(stage) == first


def test_the_exported_file_is_the_one_of_the_attempt_that_got_to_its_manifest(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = Plan(read(tmp_path))
    stage = best.best(plan, finalists(plan))
    with monkeypatch.context() as patched:
        patched.setattr(best, "finish", lambda *_, **__: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            make(plan, stage)
    (lost,) = Path(stage.uri).glob("child*.pt")
    lost.write_bytes(b"of an attempt that did not get as far as its manifest")
    make(plan, stage)
    exported = Table(stage.uri).manifest["exported"]
    assert exported != lost.name and load_child(stage.path(exported))[1].child == rows(plan.config, 1.0)[0]["child"]


def test_a_proxy_stands_and_no_checkpoint_is_left(tmp_path: Path) -> None:
    plan = Plan(read(tmp_path, "data.image_size=24"))
    images(plan)
    stage = proxy.model(plan, "proxy")
    make(plan, stage)
    first = made_of(stage)
    make(plan, stage, replace(plan.config, proxy=replace(plan.config.proxy, learning_rate=0.01)))
    assert made_of(stage) == first


def test_the_rankings_of_a_study_stand(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(study, "DRAWS", 2)
    plan = Plan(read(tmp_path, "search.seeds=1", "search.proxies=[{data: full, steps: 3}]"))
    child, tables = best.best(plan, finalists(plan)), list[Stage]()
    make(plan, child)
    for name in ("truth", "proxy"):
        tables.append(Stage(plan.config.storage, Kind("children"), name, {"name": name}, {"images": child.inputs["images"]}))
        trials.commit(tables[-1], plan.config, rows(plan.config, 1.0), {"a device"})
    truth, ranked = tables
    one = study.Studied("early", proxy_of({"data": "full", "steps": 3}, ""), [ranked])
    page = search_page.page(plan, SearchStages(truth, child.inputs["finalists"], child, truth, [one]))
    make(plan, page)
    before = made_of(page)
    monkeypatch.setattr(search_page, "_listed", lambda *_: [])  # a second driver that found something else
    make(plan, page)
    assert Table(page.uri).rows() > 0 and made_of(page).items() >= before.items()
