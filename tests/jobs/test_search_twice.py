"""Two drivers of one command: what the first declared stands, and the second leaves nothing that anybody would read."""

from dataclasses import replace
from pathlib import Path

import pytest
import running

from dsopt.config import Config
from dsopt.jobs.search import best as search_best
from dsopt.jobs.search import children as search_trials
from dsopt.jobs.search import job as search
from dsopt.jobs.search import page as search_page
from dsopt.jobs.search.page import Made
from dsopt.pipeline.step import Step, run
from dsopt.stages import ingest, proxy
from dsopt.storage import Stage, Table
from dsopt.training.worker import Worker

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


def images(config: Config) -> Stage:
    stage, steps = ingest.images(config)
    run(steps, config)
    return stage


def rows(config: Config, seconds: float) -> list[dict]:
    space = search_trials.space_of(config)
    about = {"steps": LONG, "accuracy": 0.5, "accuracies": [0.5], "reason": "", "seconds": seconds}
    cost = space.cost(space.at(0), 1, 10, 8)._asdict()
    return [{"child": space.encode(space.at(number)), "order": number} | about | cost for number in range(3)]


def finalists(config: Config) -> Stage:
    stage = Stage(config.storage, "children", "toy", {}, {"images": images(config)})
    search_trials.commit(stage, config, rows(config, 1.0), {"the first's device"})
    return stage


def test_a_table_of_children_stands(tmp_path: Path) -> None:
    config = read(tmp_path)
    stage = finalists(config)
    before = made_of(stage)
    search_trials.commit(stage, config, rows(config, 2.0), {"the second's device"})
    assert made_of(stage).items() >= before.items()
    table = Table(stage.uri)
    assert table.manifest["seconds"] == 3 and table.read()["seconds"].to_pylist() == [1.0] * 3


def child(config: Config) -> Step:
    return search_best.best(config, finalists(config))


def test_an_exported_child_stands_and_no_checkpoint_is_left(tmp_path: Path) -> None:
    config = read(tmp_path)
    step = child(config)
    step.work(Worker(), step.stage, config)
    first = made_of(step.stage)
    assert "child.pt" in first
    step.work(Worker(), step.stage, read(tmp_path, "search.train.learning_rate=0.01"))  # other weights
    assert made_of(step.stage) == first


def test_a_childs_file_of_an_interrupted_attempt_is_replaced(tmp_path: Path) -> None:
    config = read(tmp_path)
    step = child(config)
    Path(step.stage.uri).mkdir(parents=True)
    Path(step.stage.path("child.pt")).write_bytes(b"of an attempt that did not get as far as its manifest")
    step.work(Worker(), step.stage, config)
    assert search_best.restore(Path(step.stage.path("child.pt")).read_bytes())[1].child == rows(config, 1.0)[0]["child"]


def test_a_proxy_stands_and_no_checkpoint_is_left(tmp_path: Path) -> None:
    config = read(tmp_path, "data.image_size=24")
    images(config)
    stage, _ = proxy.judge(config, "proxy")
    proxy._train(Worker(), stage, config)
    first = made_of(stage)
    proxy._train(Worker(), stage, replace(config, proxy=replace(config.proxy, learning_rate=0.01)))
    assert made_of(stage) == first


def test_the_rankings_of_a_study_stand(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(search.search_study, "DRAWS", 2)
    config = read(tmp_path, "search.seeds=1", "search.proxies=[{data: full, steps: 3}]")
    step, tables = child(config), list[Stage]()
    step.work(Worker(), step.stage, config)
    for name in ("truth", "proxy"):
        tables.append(Stage(config.storage, "children", name, {}, {"images": step.stage.inputs["images"]}))
        search_trials.commit(tables[-1], config, rows(config, 1.0), {"a device"})
    truth, ranked = tables
    one = search.search_study.Studied("early", search_trials.proxy_of({"data": "full", "steps": 3}, ""), [ranked])
    page = search_page.page(config, Made(truth, step.stage.inputs["finalists"], step.stage, truth, [one]))
    page.work(page.stage, config, *page.arguments)
    before = made_of(page.stage)
    monkeypatch.setattr(search_page, "_listed", lambda *_: [])  # a second driver that found something else
    page.work(page.stage, config, *page.arguments)
    assert Table(page.stage.uri).rows() > 0 and made_of(page.stage).items() >= before.items()
