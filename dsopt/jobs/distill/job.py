"""evaluate: a distilled set, or any small images table -> the accuracy of fresh networks trained on it, after the last step."""

import dataclasses
import statistics

from dsopt.config import Choice, Config, plain
from dsopt.errors import InputError
from dsopt.files import exists, join
from dsopt.jobs.distill import page as distill_page
from dsopt.jobs.distill import ranking as evaluate_ranking
from dsopt.jobs.job import Job
from dsopt.pipeline.step import Step, run, unique
from dsopt.progress import say
from dsopt.reporting.tables import aligned, percent
from dsopt.stages import distill as distilling
from dsopt.stages.evaluate import Trial, accuracies, common, has_recipe, step_of, work
from dsopt.storage import Stage, Table
from dsopt.training.worker import Worker

HEADER = ["images of", "images", "network", "recipe", "pixels", "accuracy %", "n"]


def trials(config: Config, uris: list[str]) -> list[Trial]:
    """Every table with every network, by its own recipe where it has one and by the common one."""
    found, validation = [], validation_of(uris)
    for uri in uris:
        exact = "pixels" in Table(uri).manifest["schema"]
        for network in _networks(config, uris[0]):
            if has_recipe(uri):
                found.append(Trial(uri, network, "own", False, validation=validation))
            found.append(Trial(uri, network, "common", not exact, validation=validation))
            if exact:
                found.append(Trial(uri, network, "common", True, validation=validation))
    return found


def validation_of(uris: list[str]) -> float:
    """The share of the training images that sets were made without, and are judged by. Raises InputError if it differs."""
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
    """The images table that a set is tested on."""
    if config.evaluate.images:
        return Stage.existing(config.evaluate.images)
    table = Table(uri)
    folder = table.manifest["inputs"].get("images")
    beside = join(table.uri.rpartition("/")[0].rpartition("/")[0], folder or "")
    if not folder or not exists(join(beside, "_DONE")):
        raise InputError(f"input={uri}: the images it was made from are not at {beside}; say evaluate.images=<their folder>.")
    return Stage.existing(beside)


def plan(config: Config) -> list[Step]:
    """The trainings of `input` and of the tables beside it, and those that they are ranked by."""
    if not config.input:
        raise InputError("input: must be the folder of a distilled set, or of any small images table.")
    distilling.check(config)
    rows, ranks = _plan(config, [config.input, *config.evaluate.beside])
    return [step for _, step in rows] + [step for rank in ranks for step in rank.steps.values()]


def _plan(config: Config, uris: list[str]) -> tuple[list[tuple[Trial, Step]], list[evaluate_ranking.Rank]]:
    images = _images(config, uris[0])
    rows = [(trial, step_of(config, trial, images)) for trial in trials(config, uris)]
    networks = _networks(config, uris[0]) if config.evaluate.ranking else []
    validation = validation_of(uris)
    return rows, [evaluate_ranking.rank(config, uri, network, images, validation) for uri in uris for network in networks]


def judge(config: Config, made: Stage, seed: int) -> Step:
    """The trainings of one set, which need not be there yet, by the recipe it is made with or the common one; with their mean."""
    if len(config.evaluate.networks) > 1:
        raise InputError(f"evaluate.networks={config.evaluate.networks}: a trial of a sweep trains one of them; give one.")
    network = Choice(config.evaluate.networks[0]) if config.evaluate.networks else config.distill.network
    made_of = {"network": plain(network), "recipe": "own", "pictures": False, "seed": seed, "mean": True} | common(config)
    validation = config.distill.validation  # `made`'s hash has it
    stage = Stage(config.storage, "evaluate", made.name, made_of, {"table": made, "images": made.inputs["images"]})
    return Step(stage, _judge, (Trial(made.uri, network, "own", False, validation=validation), seed))


def _judge(worker: Worker, stage: Stage, config: Config, trial: Trial, seed: int) -> None:
    work(worker, stage, dataclasses.replace(config, seed=seed), trial)


def evaluate(config: Config) -> None:
    """Train, test, print the table, and leave a page with the images."""
    steps = plan(config)
    run(steps, config)
    assert config.input is not None
    uris = [config.input, *config.evaluate.beside]
    rows, ranks = _plan(config, uris)
    found, made = lines(rows), [step.stage for step in unique(steps)]
    head = HEADER if not validation_of(uris) else [title.replace("accuracy", "held-out accuracy") for title in HEADER]
    page = distill_page.page(config, uris, made, head, found, evaluate_ranking.sections(ranks))
    run([page], config)
    print("\n" + aligned(head, found) + "\n")
    if ranks:
        print(evaluate_ranking.text(ranks) + "\n")
    say("report", page.stage.path("report.html"))


def lines(rows: list[tuple[Trial, Step]]) -> list[list[str]]:
    """The cells of the table, below `HEADER`."""
    found = []
    for trial, made in rows:
        table, values = Table(trial.uri), accuracies(made)
        sd = statistics.stdev(values) if len(values) > 1 else None
        pixels = "8 bits" if trial.pictures else "exact"
        cells = [table.manifest["name"], f"{table.manifest['rows']:,}", trial.network.name, trial.recipe, pixels]
        found.append([*cells, percent(statistics.fmean(values), sd), str(len(values))])
    return found


def plan_distill(config: Config) -> list[Step]:
    return distilling.artefact(config)[1]


def distill(config: Config) -> None:
    """Distil, then evaluate the set as `jobs/evaluate.py` would."""
    stage, steps = distilling.artefact(config)
    run(steps, config)
    say("distill", stage.uri)
    evaluate(dataclasses.replace(config, input=stage.uri))


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
    plan=plan_distill,
    run=distill,
)
