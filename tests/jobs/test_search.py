"""Searches in this process: what they leave, what they refuse, and that an interruption changes nothing."""

import itertools
import json
import os
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from statistics import fmean

import numpy as np
import pytest
import running
import torch
from running import start, until
from scipy import stats

from dsopt.augment.inputs import make_inputs
from dsopt.cluster import tune
from dsopt.config import Config
from dsopt.data.batches import Batch
from dsopt.data.loading import load
from dsopt.errors import InputError, JobError
from dsopt.jobs.search import bundles, study
from dsopt.jobs.search import child as search_child
from dsopt.jobs.search import children as search_children
from dsopt.jobs.search import job as search
from dsopt.jobs.search import page as search_page
from dsopt.jobs.search.child import material
from dsopt.jobs.search.children import proxy_of
from dsopt.jobs.search.page import SearchStages
from dsopt.jobs.search.study import Ranking, Studied, choose, measures_of
from dsopt.jobs.search.trials import FULL, Trials, ranked, source
from dsopt.pipeline.plan import Plan
from dsopt.search import rank_quality
from dsopt.search.enas.shared import SharedWeights
from dsopt.search.exported import load_child
from dsopt.seeds import derive
from dsopt.storage import Stage, Table
from dsopt.training.worker import Worker

pytestmark = pytest.mark.usefixtures("unrendered")

TINY = (
    *("data.image_size=8", "data.limit=300", "cluster.workers=0", "cluster.cpus_per_worker=1"),
    *("search.children=6", "search.known=5", "search.seeds=2", "search.finalists=2", "search.bundle=2", "search.ahead=3"),
    *("search.train.steps=8", "search.train.batch_size=16", "search.space.options.width=[4,8]"),
)
STUDY = "search.proxies=[{data: full, steps: 3}, {data: random_balanced, images: 20, steps: 4, draws: 2}]"
CPU = torch.device("cpu")


def read(storage: Path | str, *overrides: str) -> Config:
    return running.read(f"storage={storage}", *TINY, *overrides)


def go(storage: Path | str, *overrides: str) -> None:
    running.here(f"storage={storage}", *TINY, *overrides, job="search")


def planned(storage: Path | str, *overrides: str) -> SearchStages:
    return search.planned(Plan(read(storage, *overrides)))


def studied(plan: Plan) -> list[Studied]:
    """The proxies of a study, with the images and the subsets that their children are trained on."""
    found = study.planned(plan)[1]
    plan.run(*(needed for one in found for stage in one.draws for needed in stage.inputs.values()))
    return found


def children(stage: Stage) -> list[dict]:
    rows = Table(stage.uri).read().to_pylist()
    return [{key: value for key, value in row.items() if key != "seconds"} for row in rows]


def exported(child: Stage) -> str:
    return child.path(Table(child.uri).manifest["exported"])


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> Path:
    storage = tmp_path_factory.mktemp("search")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(study, "DRAWS", 20)
        go(storage, STUDY, "search.strategy.name=evolution", "search.strategy.options.population=2")
    return storage


def made(storage: Path) -> SearchStages:
    return planned(storage, STUDY, "search.strategy.name=evolution", "search.strategy.options.population=2")


@pytest.mark.slow
def test_proxies_rank_the_children_of_the_truth(done: Path) -> None:
    stages = made(done)
    assert stages.truth
    truth = children(stages.truth)
    assert len(truth) == 5 and all(len(row["accuracies"]) == 2 and row["steps"] == 8 for row in truth)
    assert [len(one.draws) for one in stages.studied] == [1, 2]
    for one in stages.studied:
        for stage in one.draws:
            rows = children(stage)
            assert [row["child"] for row in rows] == [row["child"] for row in truth]
            assert {row["steps"] for row in rows} == {one.proxy.steps}
    first, second = (children(stage) for stage in stages.studied[1].draws)
    assert [row["accuracy"] for row in first] != [row["accuracy"] for row in second]  # other images
    (folder,) = done.glob("search/*/_DONE")
    table = Table(str(folder.parent)).read().to_pylist()
    measures = {(row["proxy"], row["measure"]): row for row in table if row["children"] == "all"}
    rho = measures["random_balanced 20, 4 steps", "spearman"]
    assert rho["low"] <= rho["value"] <= rho["high"] and rho["making_seconds"] > 0
    assert measures["chance", "regret_at_1"]["value"] >= measures["chance", "regret_at_5"]["value"] == pytest.approx(0)
    assert (folder.parent / "report.html").read_text().count("data:image/png") == 2


def test_a_proxy_is_chosen_on_one_half_and_judged_on_the_other(done: Path) -> None:
    """The table's figures of either half are scipy's, found from the tables of children."""
    stages = made(done)
    (folder,) = done.glob("search/*/_DONE")
    rankings = Table(str(folder.parent)).read().to_pylist()
    assert stages.truth and len({row["proxy"] for row in rankings if row["chosen"]}) == 1
    truth = children(stages.truth)
    dev = rank_quality.halves(len(truth), derive(0, "dev children"))
    for part, rows in {"dev": dev, "held_out": ~dev}.items():
        places = rows.nonzero().flatten().tolist()
        true = [truth[place]["accuracy"] for place in places]
        for one in stages.studied:
            tables = [[children(stage)[place]["accuracy"] for place in places] for stage in one.draws]
            found = {r["measure"]: r["value"] for r in rankings if r["proxy"] == one.title and r["children"] == part}
            known = [stats.spearmanr(given, true).statistic if len(set(given)) > 1 < len(set(true)) else 0.0 for given in tables]
            assert found["spearman"] == pytest.approx(sum(known) / len(known))
            picked = [max(true[i] for i in np.argsort([-value for value in given], kind="stable")[:1]) for given in tables]
            assert found["regret_at_1"] == pytest.approx(max(true) - sum(picked) / len(picked))


def ranking(title: str, given: torch.Tensor, truth: torch.Tensor, parts: dict[str, torch.Tensor], total: float) -> Ranking:
    return Ranking(title, None, None, given.numpy(), measures_of([given], truth, parts), total=total)


def test_only_the_dev_half_chooses(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a poor, a good and a perfect ranking, each dearer, the good one; whatever is done to the others' truth."""
    monkeypatch.setattr(study, "DRAWS", 2)
    generator = torch.Generator().manual_seed(0)
    truth, noise = torch.rand(2, 60, generator=generator, dtype=torch.float64)
    dev = rank_quality.halves(60, 0)
    parts = {"all": torch.ones_like(dev), "dev": dev, "held_out": ~dev}

    def chosen(truth: torch.Tensor, ceiling: float) -> Ranking:
        given = [("poor", noise, 1.0), ("good", true + 0.2 * noise, 2.0), ("perfect", true, 3.0)]
        return choose([ranking(title, values, truth, parts, total) for title, values, total in given], ceiling)

    true = truth.clone()
    assert chosen(truth, 1.0).title == "good"
    assert chosen(truth, 2.0).title == "perfect"  # none has 0.9 of it
    other = torch.where(dev, truth, truth.flip(0).roll(7))
    assert chosen(other, 1.0).title == "good" and chosen(other, 1.0).measures["held_out"]["spearman"].value < 0.5
    turned = torch.where(dev, 1 - truth, truth)
    assert chosen(turned, 1.0).title == "poor"  # now none is worth anything where it is chosen


@pytest.mark.slow
def test_all_tables_but_the_finalists_are_made_by_one_run_of_the_workers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(study, "DRAWS", 2)
    runs: list[set[int]] = []
    original = tune.run

    def counted(
        work: tune.Work, points: list[tune.Point], config: Config, watch: tune.TrialListener, asker: tune.PointSource
    ) -> None:
        runs.append(set())

        def noted(worker: Worker, point: tune.Point, report: tune.Report) -> tune.Numbers:
            runs[-1].add(point["table"])
            return work(worker, point, report)

        original(noted, points, config, watch, asker)

    monkeypatch.setattr(tune, "run", counted)
    go(tmp_path, STUDY)
    assert runs == [{0, 1, 2, 3, 4}, {0}]  # the truth, three draws of proxies and the search; the finalists


@pytest.mark.parametrize(("workers", "sizes"), [(0, [2]), (1, [2]), (2, [1, 1]), (5, [1, 1])])
def test_every_worker_has_some_of_the_finalists(
    workers: int, sizes: list[int], done: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given: list[int] = []

    def asked(work: object, points: object, config: Config, watch: object, asker: tune.PointSource) -> None:
        while point := asker.ask():
            given.append(len(point["children"]))

    monkeypatch.setattr(tune, "run", asked)
    config = read(done, f"cluster.workers={workers}", "search.train.steps=9", "search.bundle=8")
    plan, wanted = Plan(config), Trials("finalists", FULL, config.search.strategy, 2, 2, 2)
    with pytest.raises(JobError, match="were lost"):
        plan.run(search_children.children(plan, wanted, search=made(done).search))
    assert given == sizes


def test_the_best_child_is_built_from_its_file(done: Path) -> None:
    stages = made(done)
    best = ranked(stages.finalists)[0]["child"]
    assert {row["child"] for row in children(stages.finalists)} <= {row["child"] for row in children(stages.search)}
    network, about = load_child(exported(stages.child))
    assert about.child == best == Table(stages.child.uri).manifest["child"]
    tested = load(stages.search.inputs["images"].uri, "test")
    with torch.no_grad():
        found = network(make_inputs([], about.size, about.standardise).test(tested.images)).argmax(1)
    metrics = Table(stages.child.uri).read().to_pylist()
    (accuracy,) = (row["value"] for row in metrics if row["split"] == "test" and row["name"] == "accuracy")
    assert accuracy == pytest.approx(float((found == tested.labels).double().mean()))
    with pytest.raises(InputError, match="is not an exported child"):
        load_child(str(done / "children" / ".." / stages.child.folder / "manifest.json"))


@pytest.mark.slow
def test_what_is_done_is_not_done_again(done: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(bundles, "train_child", lambda *_: pytest.fail("nothing is to be trained"))
    monkeypatch.setattr(study, "DRAWS", 20)
    go(done, STUDY, "search.strategy.name=evolution", "search.strategy.options.population=2")
    output = capsys.readouterr().out
    assert "regret@5" in output and "parameters" in output and "exported" in output
    stages = made(done)
    best = max(row["accuracy"] for row in children(stages.finalists))
    truths = [row["accuracy"] for row in children(stages.truth)]
    chance = fmean(max(pair) for pair in itertools.combinations(truths, 2))
    assert (
        f"best of the 2 finalists has {100 * best:.2f} %" in output
        and f"The best of 2 random children is expected to have {100 * chance:.2f} %" in " ".join(output.split())
    )


@pytest.mark.slow
def test_a_truth_that_ranks_nothing_is_told(done: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(study, "DRAWS", 20)
    stages = made(done)
    assert stages.truth
    found = study.study(read(done, STUDY), stages.truth, stages.studied)
    for ceiling, told in ((-0.1, True), (0.4, True), (0.9, False), (float("nan"), False)):
        assert ("The ceiling is low" in search_page._note(replace(found, ceilings={"all": ceiling}))) == told


@pytest.mark.slow
@pytest.mark.parametrize(("strategy", "tell_seconds", "kept"), [("evolution", 99.0, 4), ("evolution", -1.0, 5), ("asha", 99.0, 4)])
def test_an_interrupted_search_resumes_to_the_same_children(
    strategy: str,
    tell_seconds: float,
    kept: int,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """What bundles were told of is kept: of whole ones, or of each child."""
    monkeypatch.setattr(bundles, "REPORT_SECONDS", tell_seconds)
    options = ["search.strategy.options.population=2"] if strategy == "evolution" else ["search.strategy.options.rungs=2"]
    how = [f"search.strategy.name={strategy}", *options]

    def only_search(storage: Path) -> list[dict]:
        plan = Plan(read(storage, *how))
        stage = search_children.children(plan, Trials("search", FULL, plan.config.search.strategy, 6))
        plan.run(stage)
        return children(stage)

    undisturbed = only_search(tmp_path / "undisturbed")
    train, trained = bundles.train_child, []

    def interrupted(*arguments: object) -> object:
        if len(trained) == 5:
            raise KeyboardInterrupt
        trained.append(1)
        return train(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(bundles, "train_child", interrupted)
    with pytest.raises(KeyboardInterrupt):
        only_search(tmp_path / "interrupted")
    monkeypatch.setattr(bundles, "train_child", train)
    capsys.readouterr()
    assert only_search(tmp_path / "interrupted") == undisturbed
    assert f"resumes after {kept} children" in capsys.readouterr().out


@pytest.mark.long
@pytest.mark.slow
def test_a_killed_job_resumes_to_the_same_children(done: Path, tmp_path: Path) -> None:
    how = [STUDY, "search.strategy.name=evolution", "search.strategy.options.population=2"]
    process = start("search", f"storage={tmp_path}", *TINY, *how)
    until(lambda: list(tmp_path.glob("children/*/_journal/*.json")))
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    go(tmp_path, *how)
    for stage, undisturbed in ((made(tmp_path).search, made(done).search), (made(tmp_path).finalists, made(done).finalists)):
        assert children(stage) == children(undisturbed)


@pytest.mark.slow
def test_no_proxy_has_a_held_out_image(tmp_path: Path) -> None:
    config = read(tmp_path, "search.proxies=[{data: random_balanced, images: 40}, {data: random, images: 30}]")
    found = studied(Plan(config))
    for one, count in zip(found, (40, 30), strict=True):
        given_from = source(one.draws[0], config, one.proxy)
        given = material(given_from, CPU)
        used = load(given_from.subset or "").ids[given.rows]
        assert len(used) == count and not torch.isin(used, given.held_out.ids).any()
    balanced = material(source(found[0].draws[0], config, found[0].proxy), CPU)
    assert balanced.labels[balanced.rows].bincount().tolist() == [4] * 10
    full = material(source(found[0].draws[0], config, FULL), CPU)
    assert 0.1 < len(full.held_out.ids) / 240 < 0.3


@pytest.mark.parametrize("method", ["random", "random_balanced"])
def test_a_proxy_may_have_all_images_that_are_not_held_out(method: str, tmp_path: Path) -> None:
    """The selection is asked for more than are wanted, and here for more than there are."""
    config = read(tmp_path, f"search.proxies=[{{data: {method}, images: 230}}]")
    (one,) = studied(Plan(config))
    given = material(source(one.draws[0], config, one.proxy), CPU)
    assert Table(one.draws[0].inputs["subset"].uri).rows() == 244  # all there are
    assert 0.95 * (244 - len(given.held_out.ids)) < len(given.rows) <= 244 - len(given.held_out.ids)  # balanced ones a few less
    again = study.planned(Plan(config))[1][0].draws[0]
    assert again.hash == one.draws[0].hash  # a dry run, before the images are counted, shows the folder that will be


@pytest.mark.slow
def test_more_images_than_there_are_is_the_users_to_mend(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Told before anything starts where the images are counted, and never by a worker, which would be tried again."""
    monkeypatch.setattr(tune, "run", lambda *_: pytest.fail("no worker is to start"))
    plan = Plan(read(tmp_path, "search.proxy={data: random, images: 300}"))
    made = search.planned(plan)
    with pytest.raises(InputError, match=r"\{data: random, images: 300\}: images: there are 244; give 1 to 244, or a share"):
        plan.run(made.search)
    with pytest.raises(InputError, match="images: there are 244"):
        search.planned(plan)
    folder = with_rates(read(tmp_path, "search.proxies=[{data: random_balanced, images: 20}]"), tmp_path / "sets")
    rows, given = Table(folder).rows(), f"search.proxy={{data: {folder}, bound_rates: ignore, images: "
    planned(tmp_path, f"{given}{rows}}}")
    with pytest.raises(InputError, match=f"images: there are {rows}; give 1 to {rows}"):
        planned(tmp_path, f"{given}{rows + 1}}}")


def with_rates(config: Config, folder: Path) -> str:
    """A subset as a distilled set that brings learning rates."""
    stage = studied(Plan(config))[0].draws[0].inputs["subset"]
    target = folder / "distill" / "set-1"
    target.mkdir(parents=True)
    (target / "data").symlink_to(Path(stage.uri) / "data")
    manifest = Table(stage.uri).manifest | {
        "stage": "distill",
        "recipe": {"rates": [[0.02, 0.01], [0.03, 0.04]]},
        "hash": "0" * 12,
        "inputs": {},
    }
    (target / "manifest.json").write_text(json.dumps(manifest))
    (target / "_DONE").touch()
    return str(target)


@pytest.mark.slow
def test_learned_rates_are_refused_unless_allowed(tmp_path: Path) -> None:
    folder = with_rates(read(tmp_path, "search.proxies=[{data: random_balanced, images: 20}]"), tmp_path / "sets")
    with pytest.raises(InputError, match="bound_rates: ignore"):
        planned(tmp_path, f"search.proxies=[{{data: {folder}}}]")
    config = read(tmp_path, "search.known=2", f"search.set={folder}", "search.proxies=[{data: '${search.set}', bound_rates: use}]")
    plan = Plan(config)
    (bound,) = study.planned(plan)[1]
    given = material(source(bound.draws[0], config, bound.proxy), CPU)
    assert bound.proxy.steps == 4
    rate = search_child.rate(config.search.train, given.rates, 4)
    assert [rate(step / 4) for step in range(4)] == [0.02, 0.01, 0.03, 0.04]
    batches = search_child.feed(given, 16, 0, Worker())
    assert torch.equal(batches(0).images, batches(2).images) and len(batches(0).images) == len(given.rows) / 2
    assert torch.equal(torch.cat([batches(0).labels, batches(1).labels]), given.labels[given.rows])
    plan.run(bound.draws[0])
    assert all(row["accuracy"] is not None for row in children(bound.draws[0]))
    ignored = read(tmp_path, f"search.proxies=[{{data: {folder}, bound_rates: ignore}}]")
    (repaired,) = study.planned(Plan(ignored))[1]
    assert material(source(repaired.draws[0], ignored, repaired.proxy), CPU).rates == ()


@pytest.mark.parametrize(
    ("overrides", "says"),
    [
        (["search.proxies=[{data: fll}]"], "Did you mean 'full'"),
        (["search.proxies=[{data: full, step: 3}]"], "Did you mean 'steps'"),
        (["search.proxies=[{images: 3}]"], "needs data"),
        (["search.proxies=[{data: random}]"], "needs images"),
        (["search.proxies=[{data: random, images: 1.5}]"], "a count above 0"),
        (["search.proxies=[{data: full, images: 3}]"], "full data has all"),
        (["search.proxies=[{data: ./nowhere}]"], "no finished stage"),
        (["search.proxy={data: full, shared: uniform}"], "search.space.name=cell201"),
        (["search.proxy={data: full, shared: lstm}"], "reinforce, uniform"),
        (["search.space.name=mini261"], "Did you mean 'mini216'"),
        (["search.space.options.widht=[3]"], "Did you mean 'width'"),
        (["search.strategy.name=evolutoin"], "Did you mean 'evolution'"),
        (
            ["search.strategy.name=asha", "search.strategy.options.reduction=2", "search.strategy.options.rungs=9"],
            "not all different",
        ),
        (["search.children=0"], "at least 1"),
        (["search.validation=1"], "must be in (0, 1)"),
        (["search.known=1", "search.proxies=[{data: full, steps: 3}]"], "with 2 children or more"),
    ],
)
def test_wrong_searches_are_told_before_anything_starts(overrides: list[str], says: str, tmp_path: Path) -> None:
    with pytest.raises(InputError) as error:
        planned(tmp_path, *overrides)
    assert says in str(error.value) and "\n" not in str(error.value)


def test_images_too_small_and_children_that_all_fail(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"set data\.image_size"):
        go(tmp_path, "search.space.name=dc720", "search.space.options.width=[32]")
    with pytest.raises(JobError, match="diverged"):
        go(tmp_path, "search.train.learning_rate=1e30", "search.children=2")


def search_on_ray(storage: str) -> None:
    how = ("search.strategy.name=evolution", "search.strategy.options.population=2", "cluster.workers=2")
    plan = Plan(read(storage, *how))
    stage = search_children.children(plan, Trials("search", FULL, plan.config.search.strategy, 6))
    plan.run(stage)
    print(json.dumps(children(stage)))


@pytest.mark.long
@pytest.mark.ray
@pytest.mark.slow
def test_workers_find_the_same_children(ray_joined: dict[str, str], done: Path, tmp_path: Path) -> None:
    """In a process of its own: Ray Tune cannot pickle a searcher whose types are checked as those of the tests are."""
    paths = [str(Path(__file__).parent), str(Path(__file__).parents[1]), str(Path(__file__).parents[2])]
    code = f"import sys; sys.path[:0] = {paths}; import test_search; test_search.search_on_ray({str(tmp_path)!r})"
    ended = subprocess.run([sys.executable, "-c", code], env=os.environ | ray_joined, capture_output=True, text=True, timeout=300)
    assert ended.returncode == 0, ended.stderr
    assert json.loads(ended.stdout.splitlines()[-1]) == json.loads(json.dumps(children(made(done).search)))


CELLS = ("search.space.name=cell201", "search.space.options.width=4", "search.space.options.cells=1", "search.seeds=1")
SHARED = ("search.shared.steps=8", "search.shared.rounds=2", "search.shared.updates=2", "search.shared.samples=3")
FEW = ("search.shared.candidates=12", "search.shared.batches=1", "search.known=3", "search.finalists=1", "search.train.steps=2")


@pytest.mark.slow
def test_a_search_with_shared_weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(study, "DRAWS", 20)
    how = [f for f in TINY if "width" not in f] + [*CELLS, *SHARED, *FEW]
    proxies = "search.proxies=[{data: full, shared: reinforce}, {data: full, shared: uniform}]"
    arguments = [f"storage={tmp_path}", *how, "search.proxy={data: full, shared: reinforce}", proxies]
    running.here(*arguments, job="search")
    stages = search.planned(Plan(running.read(*arguments)))
    named = Table(stages.search.uri)
    rows = named.read().to_pylist()
    assert len({row["child"] for row in rows}) == len(rows) >= 10
    assert sum(row["steps"] == 8 for row in rows) == 10  # judged on all held-out images
    assert len(named.manifest["rewards"]) == 2 * 2
    assert stages.truth
    expected = [row["child"] for row in children(stages.truth)]
    assert all([row["child"] for row in children(one.draws[0])] == expected for one in stages.studied)
    assert load_child(exported(stages.child))[1].space == "cell201"
    (page,) = tmp_path.glob("search/*/report.html")
    assert page.read_text().count("data:image/png") == 4 and "of its edges are skip connections or nothing" in page.read_text()


@pytest.mark.long
@pytest.mark.slow
def test_an_interruption_changes_neither_shared_weights_nor_their_cost(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By a clock that only training moves: killed in the middle, and again when all but the table was there."""
    how = [f for f in TINY if "width" not in f] + [
        *CELLS,
        *SHARED[1:],
        *FEW,
        "search.shared.steps=40",
        "cluster.checkpoint_seconds=0",
    ]
    update, commit, done, killed_at = SharedWeights.update, search_children.commit, list[int](), list[int]()

    def trained(self: SharedWeights, batch: Batch) -> dict[str, torch.Tensor]:
        if killed_at == [self.step]:
            raise KeyboardInterrupt
        done.append(self.step)
        return update(self, batch)

    def made(storage: Path) -> tuple[Stage, list[dict]]:
        plan = Plan(running.read(f"storage={storage}", *how))
        proxy = proxy_of({"data": "full", "shared": "reinforce"}, "search.proxy")
        stage = search_children.children(plan, Trials("search", proxy, plan.config.search.strategy, 0))
        plan.run(stage)
        return stage, Table(stage.uri).read().to_pylist()

    monkeypatch.setattr(SharedWeights, "update", trained)
    monkeypatch.setattr(Worker, "device_seconds", lambda self: float(len(done)))
    _, undisturbed = made(tmp_path / "undisturbed")
    assert sum(row["seconds"] for row in undisturbed) == pytest.approx(44) and done == list(range(44))  # 40 and 2 rounds of 2
    done.clear()
    killed_at.append(25)
    with pytest.raises(KeyboardInterrupt):
        made(tmp_path / "disturbed")
    killed_at.clear()
    monkeypatch.setattr(search_children, "commit", lambda *_, **__: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        made(tmp_path / "disturbed")
    monkeypatch.setattr(search_children, "commit", commit)
    stage, found = made(tmp_path / "disturbed")
    assert done == [*range(25), *range(20, 44), *range(40, 44)]
    assert found == undisturbed and not Path(stage.path("checkpoint.pt")).exists()
