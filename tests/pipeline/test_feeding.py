"""How phases are fed, from the command line to the metrics."""

from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from running import SMALL

from dsopt.augment.inputs import make_inputs
from dsopt.config import Config, load
from dsopt.data import loading as reading
from dsopt.data import room
from dsopt.data.background import BackgroundLoader
from dsopt.data.encoded import Encoded
from dsopt.data.subsets.subset import load_subset
from dsopt.errors import InputError
from dsopt.files import write_table
from dsopt.jobs import train as job
from dsopt.jobs.optimize import page as report
from dsopt.pipeline import feeding
from dsopt.pipeline.feeding import Feeder
from dsopt.pipeline.plan import Plan
from dsopt.pipeline.step import Step, run
from dsopt.stages import classifier, ingest, select
from dsopt.stages.classifier import Row
from dsopt.storage import METRICS, Kind, Stage, Table
from dsopt.training.loop import State
from dsopt.training.worker import Worker

SCORED = ("weighted", "easy_to_hard")


@pytest.fixture(scope="module")
def storage(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(tmp_path_factory.mktemp("storage"))


def small(storage: str, *overrides: str) -> Config:
    """Some 240 digits to train on, and a random subset of 50."""
    base = [*SMALL, "cluster.workers=0", "data.limit=300", "select.name=random", "proxy.steps=9", "proxy.options.width=4"]
    base += ["proxy.batch_size=32", "proxy.precision=fp32", "train.options.width=4", "train.steps=10", "train.split=0"]
    return load([*base, f"storage={storage}", *overrides])


def prepared(config: Config) -> Step:
    """The training step, everything before it done."""
    plan = Plan(config)
    (stage,) = job.targets(plan)
    plan.run(*stage.inputs.values())
    return plan.step(stage)


def rows(stage: Stage) -> list[tuple[int, str, str, float]]:
    return [(row["step"], row["split"], row["name"], row["value"]) for row in Table(stage.uri).read().to_pylist()]


def trained(storage: str, *overrides: str) -> Stage:
    plan = Plan(small(storage, *overrides))
    (stage,) = job.targets(plan)
    plan.run(stage)
    return stage


@pytest.mark.slow
@pytest.mark.parametrize("name", ["rs2", "infobatch", "loss_topk", *SCORED])
def test_a_sampler_feeds_the_full_data(storage: str, name: str) -> None:
    options = {"rs2": "{replacement: true}", "loss_topk": "{width: 4}"}.get(name, "{}")
    stage = trained(storage, f"train.sampler={{name: {name}, options: {options}}}")
    assert ("scores" in Table(stage.uri).manifest["inputs"]) == (name in SCORED)
    assert stage.hash != prepared(small(storage)).stage.hash
    plain = dict(((step, split, key), value) for step, split, key, value in rows(trained(storage)))
    assert all(value != plain[step, split, key] for step, split, key, value in rows(stage) if key == "loss")


@pytest.mark.slow
@pytest.mark.parametrize(
    "overrides", [("train.split=0.5",), ("train.split=0.5", "train.validation=0.25")], ids=["phases", "validation"]
)
def test_a_streamed_run_is_the_run(storage: str, overrides: tuple[str, ...]) -> None:
    config = small(storage, *overrides, "train.streamed=true")
    stage, kept = trained(storage, *overrides, "train.streamed=true"), trained(storage, *overrides)
    assert rows(stage) == rows(kept) and stage.hash != kept.hash  # in a budget of seconds it may take other steps
    feeder = Feeder(stage, config.train, 0, make_inputs([], 24, "deviation"), Worker())
    assert feeder.full.images.untyped_storage().filename and not feeder.subset.images.untyped_storage().filename


@pytest.mark.slow
@pytest.mark.parametrize(
    "overrides",
    [
        ("train.split=0.5", "train.validation=0.25"),
        ("train.sampler.name=infobatch",),
        ("extra.name=copies", "extra.augment=[rotate]"),
    ],
    ids=["validation", "losses", "extra"],
)
def test_a_run_on_encoded_images_is_the_run(storage: str, overrides: tuple[str, ...]) -> None:
    config = small(storage, *overrides, "train.decoded=false")
    stage, kept = trained(storage, *overrides, "train.decoded=false"), trained(storage, *overrides)
    assert rows(stage) == rows(kept) and stage.hash != kept.hash
    feeder = Feeder(stage, config.train, 0, make_inputs([], 24, "deviation"), Worker())
    assert isinstance(feeder.full.images, Encoded)


@pytest.mark.slow
def test_what_does_not_fit_in_memory_is_streamed_through_the_whole_job(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = []
    for share in (room.SHARE, 0.0):
        reading._kept.cache_clear()
        monkeypatch.setattr(room, "SHARE", share)
        overrides = ["train.sampler.name=weighted", "select.name=top_activation", "train.split=0.5", "autoencoder.steps=3"]
        stage = trained(str(tmp_path / str(share)), *overrides)
        found.append((stage.hash, rows(stage)))
    assert found[0] == found[1]


class Killed(Exception):
    pass


class Arrived(BackgroundLoader):
    """All there from the beginning: when parts come is a matter of speed."""

    def __init__(self, *given: Any, **named: Any) -> None:
        super().__init__(*given, **named)
        self.wait(self.n)


OVERLAP = "train.phases=[{data: overlap, steps: 25}, {data: full, steps: 25, sampler: {name: infobatch}}]"


@pytest.mark.slow
@pytest.mark.parametrize(
    "overrides",
    [
        ("train.sampler.name=infobatch", "train.steps=45"),
        ("train.sampler={name: loss_topk, options: {width: 4}}", "train.steps=45"),
        (OVERLAP,),
    ],
    ids=["infobatch", "loss_topk", "overlap"],
)
def test_an_interrupted_run_is_fed_as_an_undisturbed_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, overrides: tuple[str, ...]
) -> None:
    monkeypatch.setattr(feeding, "BackgroundLoader", Arrived)
    found = []
    for name, stops in (("undisturbed", False), ("interrupted", True)):
        config = small(str(tmp_path / name), *overrides)
        step = prepared(config)

        def watch(share: float, state: State, stops: bool = stops) -> None:
            if stops and state.total == 40:
                raise Killed

        if stops:
            with pytest.raises(Killed):
                step.work(Worker(watch=watch), step.stage, step.config)
        step.work(Worker(), step.stage, step.config)
        found.append(rows(step.stage))
    assert found[0] == found[1]


def test_easy_images_are_a_run_of_their_own_only_where_something_overlaps(storage: str) -> None:
    config = small(storage, "train.overlap=true", "train.split=0.5", "train.overlap_easiest=0.5")
    plain = small(storage, "train.overlap=true", "train.split=0.5")
    assert prepared(config).stage.uri != prepared(plain).stage.uri
    full, alone = (prepared(replace(one, train=replace(one.train, split=0.0))).stage.uri for one in (config, plain))
    assert full == alone
    stage, inputs = prepared(config).stage, make_inputs([], 24, "deviation")
    with closing(Feeder(stage, config.train, 0, inputs, Worker())) as feeder:
        assert feeder(1, {"data": "overlap", "steps": 5}, 5).source.sampler.share == 0.5  # pyright: ignore[reportFunctionMemberAccess]


@pytest.mark.slow
def test_overlapping_decodes_the_full_set_once_and_keeps_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = small(str(tmp_path), "train.overlap=true", "train.split=0.5", "train.steps=20")
    step = prepared(config)
    assert [phase["data"] for phase in step.stage.made_of["phases"]] == ["subset", "overlap"]
    reading._kept.cache_clear()
    decoded, decode = [], reading.decode
    monkeypatch.setattr(reading, "decode", lambda table, *more, **how: decoded.append(len(table)) or decode(table, *more, **how))
    run([step])
    assert Table(step.stage.uri).manifest["steps"] == 20
    full = reading.load(step.stage.inputs["images"].uri, "train")
    assert sum(decoded) == 50 + len(full.ids) + Table(step.stage.inputs["images"].uri).rows("test")


@pytest.mark.slow
def test_validation_takes_the_place_of_the_test_images(storage: str) -> None:
    stage = trained(storage, "train.validation=0.25", "train.validate_every=4", "train.split=0.5")
    judged = [(step, name) for step, split, name, _ in rows(stage) if split == "validation"]
    assert judged == [(step, name) for step in (4, 8, 10) for name in ("accuracy", "loss")]
    assert {split for _, split, _, _ in rows(stage)} == {"train", "validation"}


def test_workers_meet_where_all_images_have_arrived(storage: str) -> None:
    """Each waits for its own: the first batch of what had been arriving is drawn by all at once."""
    config = small(storage, "train.phases=[{data: overlap, steps: 5}, {data: full, steps: 5}]")
    stage, inputs, arrived = prepared(config).stage, make_inputs([], 24, "deviation"), []
    worker = Worker(meet=lambda: arrived.append(feeder.arriving and feeder.arriving.rows()))
    with closing(Feeder(stage, config.train, 0, inputs, worker)) as feeder:
        feeder.load()
        source = feeder(1, {"data": "full", "steps": 5}, 5).source
        assert arrived == []
        source(0)
        source(1)
        assert feeder.arriving and arrived == [feeder.arriving.n]


def test_what_is_held_out_is_not_drawn_as_it_arrives(storage: str) -> None:
    config = small(storage, "train.validation=0.25", "train.overlap=true", "train.split=0.5", "train.batch_size=16")
    stage, inputs = prepared(config).stage, make_inputs([], 24, "deviation")
    with closing(Feeder(stage, config.train, 0, inputs, Worker())) as feeder:
        assert feeder.arriving is not None
        feeder.arriving.wait(feeder.arriving.n)
        source = feeder(1, {"data": "overlap", "steps": 40}, 40).source
        drawn = torch.cat([source.sampler(step)[0] for step in range(40)]) - feeder.arriving.subset  # pyright: ignore[reportFunctionMemberAccess]
        ids, held = reading.load(stage.inputs["images"].uri, "train").ids, feeder.held_out().ids
        assert set(ids[drawn.unique()].tolist()) == set(ids.tolist()) - set(held.tolist()) and len(held) > 0
        assert set(feeder.full.ids.tolist()) == set(ids.tolist()) - set(held.tolist())


@pytest.mark.slow
def test_what_is_held_out_is_not_trained_on(storage: str) -> None:
    config = small(storage, "train.validation=0.25", "train.split=0.5")
    stage, inputs = prepared(config).stage, make_inputs([], 24, "deviation")
    feeder = Feeder(stage, config.train, 0, inputs, Worker())
    held, full, subset = (set(images.ids.tolist()) for images in (feeder.held_out(), feeder.full, feeder.subset))
    everything = reading.load(stage.inputs["images"].uri, "train")
    assert held | full == set(everything.ids.tolist()) and not held & full
    assert subset <= full and 0 < len(subset) < 50
    at = {id: row for row, id in enumerate(everything.ids.tolist())}
    rows_of = torch.tensor([at[id] for id in feeder.full.ids.tolist()])
    assert torch.equal(feeder.full.images, everything.images[rows_of])
    assert torch.equal(feeder.full.labels, everything.labels[rows_of])
    other = Feeder(stage, config.train, 1, inputs, Worker())
    assert set(other.held_out().ids.tolist()) != held  # every run has its own
    with pytest.raises(InputError, match="none is left to validate on"):
        Feeder(stage, replace(config.train, validation=1e-9), 0, inputs, Worker()).held_out()
    with pytest.raises(InputError, match="none is left to train on"):
        _ = Feeder(stage, replace(config.train, validation=1 - 1e-9), 0, inputs, Worker()).full


def ingested(config: Config) -> Stage:
    plan = Plan(config)
    images = ingest.images(plan)
    plan.run(images)
    return images


def test_of_a_table_with_splits_only_its_training_images_are_trained_on(storage: str) -> None:
    images = ingested(small(storage))
    config = small(storage, f"train.subset={images.uri}", "train.split=1")
    step = prepared(config)
    feeder = Feeder(step.stage, config.train, 0, make_inputs([], 24, None), Worker())
    assert sorted(feeder.subset.ids.tolist()) == sorted(Table(images.uri).read("train")["id"].to_pylist())
    assert len(load_subset(images.uri)) == Table(images.uri).rows("train") < Table(images.uri).rows()


def test_images_of_another_data_set_are_told(storage: str) -> None:
    images = ingested(small(storage, "data.image_size=28"))
    with pytest.raises(InputError, match=r"train\.subset: \S+ has image_size 28, \S+ 32; give its own data\.name"):
        trained(storage, f"train.subset={images.uri}", "train.split=1")


def test_a_table_of_other_things_is_told(storage: str) -> None:
    stage = trained(storage)
    with pytest.raises(InputError, match=r"train/\S+: is no table of images; it has run, seed, "):
        trained(storage, f"train.subset={stage.uri}", "train.split=1")


def test_scores_are_charged_as_choosing_and_what_is_shared_once(tmp_path: Path) -> None:
    storage = str(tmp_path)
    images = Stage(storage, ingest.INGEST, "toy", {})
    proxy = Stage(storage, Kind("proxy"), "toy", {}, {"images": images})
    subset = Stage(storage, Kind("select"), "toy", {}, {"images": images, "scores": proxy})
    phases = [{"data": "full", "steps": 10}]
    fed = Stage(storage, classifier.TRAIN, "fed", {"phases": phases}, {"images": images, "scores": proxy})
    for stage, seconds in ((images, 100.0), (proxy, 7.0), (subset, 2.0), (fed, 20.0)):
        parts = [{"path": "data/a.parquet", "rows": 9, "bytes": 1, "split": "train"}]
        write_table(stage.path("data/a.parquet"), METRICS.empty_table())
        stage.commit(parts, METRICS, seconds=seconds, seed=0)
    assert select.cost(subset) == 9.0 and select.cost(subset, proxy) == 9.0 and select.cost() == 0.0
    assert report.info(Row("fed", "full", 0.0, images), 0, fed).choosing_seconds == 7.0
    assert report.info(Row("both", "toy", 0.5, images, subset), 0, fed).choosing_seconds == 9.0
    # A row at equal cost pays for its own scores, and is given what choosing cost beyond them.
    longer = replace_inputs(fed, extra=subset, earlier=fed)
    assert report.info(Row("longer", "full", 0.0, images, extra=subset), 0, fed).choosing_seconds == 7.0
    assert classifier._with_extra(longer, phases) == [{"data": "full", "steps": 11}]


def replace_inputs(stage: Stage, **more: Stage) -> Stage:
    return Stage(stage.storage, stage.kind, stage.name, stage.made_of, {**stage.inputs, **more})


def test_nobody_validates_on_the_test_images(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"give train\.validation"):
        job.targets(Plan(small(str(tmp_path), "train.validate_every=5")))


def test_a_sampler_that_must_know_the_steps_is_refused_seconds(tmp_path: Path) -> None:
    for overrides in (
        ["train.sampler.name=infobatch", "train.seconds=3"],
        ["train.phases=[{data: full, seconds: 3, sampler: {name: easy_to_hard}}]"],
    ):
        with pytest.raises(InputError, match="give it steps or epochs"):
            job.targets(Plan(small(str(tmp_path), *overrides)))
    job.targets(Plan(small(str(tmp_path), "train.sampler.name=infobatch", "train.split=1", "train.seconds=3")))


@pytest.mark.parametrize(
    ("override", "told"),
    [
        ("train.phases=[{data: fll, steps: 5}]", "data 'fll' is not known. Did you mean 'full'?"),
        ("train.phases=[{data: full, steps: 5, smpler: {name: rs2}}]", "key 'smpler' is not known. Did you mean 'sampler'?"),
        ("train.phases=[{data: full, steps: 5, sampler: rs2}]", "sampler: expected {name: shuffle}"),
        ("train.phases=[{data: full, steps: 5, sampler: {nme: rs2}}]", "sampler: expected {name: shuffle}"),
        ("train.phases=[{data: full, steps: 5, sampler: {name: rs3}}]", "sampler 'rs3' is not known. Did you mean 'rs2'?"),
        (
            "train.phases=[{data: full, steps: 5, sampler: {name: rs2, option: {}}}]",
            "key 'option' is not known. Did you mean 'options'?",
        ),
        (
            "train.phases=[{data: full, steps: 5, sampler: {name: rs2, options: {fractoin: 0.5}}}]",
            "sampler rs2: option 'fractoin' is not known. Did you mean 'fraction'?",
        ),
        ("train.phases=[{data: overlap, steps: 5, sampler: {name: rs2}}]", "an overlap phase always shuffles"),
        ("train.sampler.name=rs3", "train.sampler: sampler 'rs3' is not known. Did you mean 'rs2'?"),
        ("train.sampler={name: weighted, options: {score: el3n}}", "train.sampler: sampler weighted: score: Invalid value 'el3n'"),
        ("train.validate_every=-1", "train.validate_every=-1: must be at least 0."),
    ],
)
def test_what_is_wrong_with_a_feeding_is_told(override: str, told: str) -> None:
    with pytest.raises(InputError) as error:
        load([override])
    assert told in str(error.value) and str(error.value).startswith(override.partition("=")[0].partition(".name")[0])


@pytest.mark.parametrize(
    "overrides",
    [
        ("train.overlap=true", "train.phases=[{data: full, steps: 5}]"),
        ("train.overlap=true", "train.sampler.name=rs2"),
        ("train.overlap=true", "train.decoded=false"),
        ("train.overlap_easiest=0.5",),
        ("train.progressive=0.5", "train.name=classifier24"),
        ("train.progressive=0.5", "train.name=whitened", "train.compile=auto"),
    ],
)
def test_what_does_not_go_together_is_told(overrides: tuple[str, ...]) -> None:
    with pytest.raises(InputError, match=r"train\.(overlap|overlap_easiest|decoded|progressive)=.*: must be "):
        load(overrides)


def phases(*overrides: str) -> list[dict[str, Any]]:
    config = load(overrides)
    return classifier.phases(config.train, config.train.split)


def test_an_overlap_takes_the_place_of_the_full_phase_after_a_subset() -> None:
    assert phases("train.overlap=true", "train.steps=10") == [{"data": "subset", "steps": 5}, {"data": "overlap", "steps": 5}]
    assert phases("train.overlap=true", "train.steps=10", "train.split=0") == [{"data": "full", "steps": 10}]
    assert phases("train.overlap=true", "train.steps=10", "train.split=1") == [{"data": "subset", "steps": 10}]
