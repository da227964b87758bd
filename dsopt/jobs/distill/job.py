"""The distillation jobs: distill a data set, and train new networks on distilled sets or any small images table."""

import dataclasses
import statistics

from dsopt.config import Choice, Config
from dsopt.errors import InputError
from dsopt.files import exists, join
from dsopt.jobs.distill import page, ranking
from dsopt.jobs.distill.ranking import Rank
from dsopt.jobs.job import Job
from dsopt.pipeline.plan import Plan
from dsopt.pipeline.step import run
from dsopt.progress import say
from dsopt.reporting import beside
from dsopt.reporting.tables import aligned, percent
from dsopt.stages import distill as sets
from dsopt.stages.evaluate import Evaluation, accuracies, evaluation, has_recipe
from dsopt.storage import Stage, Table

HEADER = ["images of", "images", "network", "recipe", "pixels", "accuracy %", "n"]


def evaluations(config: Config, uris: list[str]) -> list[Evaluation]:
    """Every table with every network, by the table's own recipe if it has one and by the common one."""
    found, validation = [], validation_of(uris)
    for uri in uris:
        exact = "pixels" in Table(uri).manifest["schema"]
        for network in _networks(config, uris[0]):
            if has_recipe(uri):
                found.append(Evaluation(uri, network, "own", False, validation=validation))
            found.append(Evaluation(uri, network, "common", not exact, validation=validation))
            if exact:
                found.append(Evaluation(uri, network, "common", True, validation=validation))
    return found


def validation_of(uris: list[str]) -> float:
    """The share of the training images that was held out of all sets, for evaluation. Raises InputError if sets differ in it."""
    shares = {uri: Table(uri).manifest.get("validation", 0.0) for uri in uris}
    first, *others = shares.items()
    for uri, share in others:
        if share != first[1]:
            raise InputError(f"evaluate.beside: {uri} was made with distill.validation={share}, {first[0]} with {first[1]}.")
    return first[1]


def _networks(config: Config, uri: str) -> list[Choice]:
    if config.evaluate.networks:
        return [Choice(name) for name in config.evaluate.networks]
    made_with = Table(uri).manifest.get("network")
    return [Choice(**made_with) if made_with else config.distill.network]


def _images(config: Config, uri: str) -> Stage:
    """The images table that a set is evaluated on."""
    if config.evaluate.images:
        return Stage.existing(config.evaluate.images)
    table = Table(uri)
    beside = table.input("images")
    if not beside or not exists(join(beside, "_DONE")):
        where = beside or table.storage
        raise InputError(f"input={uri}: the images it was made from are not at {where}; give evaluate.images=<their folder>.")
    return Stage.existing(beside)


def targets_of_evaluate(plan: Plan) -> list[Stage]:
    """The trainings on `input` and on the tables beside it, and those for their ranking scores."""
    if not plan.config.input:
        raise InputError("input: must be the folder of a distilled set, or of any small images table.")
    sets.check(plan.config)
    rows, ranks = _planned(plan, [plan.config.input, *plan.config.evaluate.beside])
    return [stage for _, stage in rows] + [stage for rank in ranks for stage in rank.evaluations.values()]


def _planned(plan: Plan, uris: list[str]) -> tuple[list[tuple[Evaluation, Stage]], list[Rank]]:
    config, images, validation = plan.config, _images(plan.config, uris[0]), validation_of(uris)
    rows = [(wanted, evaluation(plan, wanted, images)) for wanted in evaluations(config, uris)]
    networks = _networks(config, uris[0]) if config.evaluate.ranking else []
    return rows, [ranking.rank(plan, uri, network, images, validation) for uri in uris for network in networks]


def evaluate(plan: Plan) -> None:
    """Train and test on every set, print the table, and write a page with the images."""
    config, stages = plan.config, targets_of_evaluate(plan)
    plan.run(*stages)
    assert config.input is not None
    uris = [config.input, *config.evaluate.beside]
    rows, ranks = _planned(plan, uris)
    found, evaluated = lines(rows), list({stage.hash: stage for stage in stages}.values())
    head = HEADER if not validation_of(uris) else [title.replace("accuracy", "held-out accuracy") for title in HEADER]
    report = page.page(plan, uris, evaluated, head, found, ranking.sections(ranks))
    run([plan.step(report)])
    print("\n" + aligned(head, found) + "\n")
    if ranks:
        print(ranking.text(ranks) + "\n")
    if cells := beside.lines(config, {"mean_accuracy": statistics.fmean(accuracies(rows[0][1]))}):
        print(aligned(beside.HEAD, cells) + "\n")
    say("report", report.path("report.html"))


def lines(rows: list[tuple[Evaluation, Stage]]) -> list[list[str]]:
    """The cells of the table, below `HEADER`."""
    found = []
    for wanted, evaluated in rows:
        table, values = Table(wanted.uri), accuracies(evaluated)
        sd = statistics.stdev(values) if len(values) > 1 else None
        pixels = "8 bits" if wanted.pictures else "exact"
        cells = [table.manifest["name"], f"{table.manifest['rows']:,}", wanted.network.name, wanted.recipe, pixels]
        found.append([*cells, percent(statistics.fmean(values), sd), str(len(values))])
    return found


def targets(plan: Plan) -> list[Stage]:
    """The distilled set."""
    return [sets.artefact(plan)]


def distill(plan: Plan) -> None:
    """Distill, then evaluate the set as `dsopt evaluate` does."""
    (stage,) = targets(plan)
    plan.run(stage)
    say("distill", stage.uri)
    evaluate(plan.having(dataclasses.replace(plan.config, input=stage.uri)))


JOB = Job(
    about="""Condense a data set into a few synthetic images, and test networks trained on them.

    dsopt distill data.name=digits distill.name=dd distill.per_class=1
    dsopt distill preset=distill_matching data.name=cifar10 data.root=...

Finished stages are reused; after an interruption, the same command resumes.
""",
    keys="""
    distill data.name data.root data.image_size evaluate.networks evaluate.repeats evaluate cluster.workers cluster.gpu
    storage seed
""",
    targets=targets,
    run=distill,
)
