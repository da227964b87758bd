"""evaluate: a distilled set, or any small images table -> the accuracy of fresh networks trained on it, after the last step."""

import dataclasses
import statistics
import time
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow.compute as pc
import torch
from torch import Tensor, nn

from dsopt.augment.geometry import centre_crop
from dsopt.config import Choice, Config, plain
from dsopt.data.images import decode, load
from dsopt.distillation.recipe import Recipe, accuracy, train
from dsopt.errors import InputError
from dsopt.progress import say
from dsopt.registry import MODELS
from dsopt.reporting.distilled import columns
from dsopt.reporting.tables import percent
from dsopt.seeds import derive
from dsopt.stages import distill as distilling
from dsopt.stages import distill_page, outputs
from dsopt.stages.distill import Normalisation, fresh
from dsopt.stages.step import Step, run
from dsopt.storage import Stage, Table, exists, join
from dsopt.training.worker import Worker

_ELSEWHERE = ("beside", "images", "networks")  # keys that the stage of one training says in another way
HEADER = ["images of", "images", "network", "recipe", "pixels", "accuracy %", "n"]


@dataclass(frozen=True)
class Trial:
    """Networks trained on one table in one way.

    Args:
        recipe: "own", the one that the table was made with, or "common", that of the configuration, with whole-number labels.
        pictures: train on the table's 8-bit pictures instead of its exact pixels.
    """

    uri: str
    network: Choice
    recipe: str
    pictures: bool


def trials(config: Config, uris: list[str]) -> list[Trial]:
    """Every table with every network, by its own recipe where it has one and by the common one."""
    found = []
    for uri in uris:
        manifest = Table(uri).manifest
        own = manifest.get("recipe") not in (None, dataclasses.asdict(Recipe()))
        exact = "pixels" in manifest["schema"]
        for network in _networks(config, uris[0]):
            if own:
                found.append(Trial(uri, network, "own", False))
            found.append(Trial(uri, network, "common", not exact))
            if exact:
                found.append(Trial(uri, network, "common", True))
    return found


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
    """The trainings of `input` and of the tables beside it."""
    if not config.input:
        raise InputError("input: must be the folder of a distilled set, or of any small images table.")
    distilling.check(config)
    return [step for _, step in _plan(config, [config.input, *config.evaluate.beside])]


def _plan(config: Config, uris: list[str]) -> list[tuple[Trial, Step]]:
    images = _images(config, uris[0])
    common = {key: value for key, value in plain(config.evaluate).items() if key not in _ELSEWHERE}
    found = []
    for trial in trials(config, uris):
        table = Stage.existing(trial.uri)
        made_of = {"network": plain(trial.network), "recipe": trial.recipe, "pictures": trial.pictures, "seed": config.seed}
        made_of |= {"repeats": common["repeats"]} if trial.recipe == "own" else common
        stage = Stage(config.storage, "evaluate", table.name, made_of, {"table": table, "images": images})
        label = f"evaluate {table.name}, {trial.network.name}, {trial.recipe}{', pictures' * trial.pictures}"
        found.append((trial, Step(stage, _work, (trial,), parallel=True, title=label)))
    return found


def judge(config: Config, made: Stage, seed: int) -> Step:
    """The trainings of one set, which need not be there yet, by the recipe it is made with or the common one; with their mean."""
    if len(config.evaluate.networks) > 1:
        raise InputError(f"evaluate.networks={config.evaluate.networks}: a trial of a sweep trains one of them; give one.")
    network = Choice(config.evaluate.networks[0]) if config.evaluate.networks else config.distill.network
    common = {key: value for key, value in plain(config.evaluate).items() if key not in _ELSEWHERE}
    made_of = {"network": plain(network), "recipe": "own", "pictures": False, "seed": seed, "mean": True} | common
    stage = Stage(config.storage, "evaluate", made.name, made_of, {"table": made, "images": made.inputs["images"]})
    return Step(stage, _judge, (Trial(made.uri, network, "own", False), seed))


def _judge(worker: Worker, stage: Stage, config: Config, trial: Trial, seed: int) -> None:
    _work(worker, stage, dataclasses.replace(config, seed=seed), trial)


def evaluate(config: Config) -> None:
    """Train, test, print the table, and leave a page with the images."""
    run(plan(config), config)
    assert config.input is not None
    uris = [config.input, *config.evaluate.beside]
    rows = _plan(config, uris)
    found = lines(rows)
    step = distill_page.page(config, uris, [step.stage for _, step in rows], HEADER, found)
    run([step], config)
    print("\n" + columns(HEADER, found) + "\n")
    say("report", step.stage.path("report.html"))


def lines(rows: list[tuple[Trial, Step]]) -> list[list[str]]:
    """The cells of the table, below `HEADER`."""
    found = []
    for trial, step in rows:
        table, metrics = Table(trial.uri), Table(step.stage.uri).read()
        values = metrics.filter(pc.field("name") == "accuracy")["value"].to_pylist()
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


def read_set(uri: str, normalisation: Normalisation, pictures: bool) -> tuple[Tensor, Tensor, Tensor | None]:
    """Images as a network takes them [m, c, h, w], their labels, and soft labels [m, classes] where there are any."""
    table = Table(uri)
    rows = table.read()
    decoded = decode(rows)
    if pictures:
        images = normalisation.inputs(min(decoded.images.shape[-2:])).test(decoded.images)
    else:
        values = rows["pixels"].combine_chunks().flatten().to_numpy().astype(np.float32)
        images = torch.from_numpy(values).view(-1, *table.manifest["shape"])
    return images, decoded.labels, decoded.soft


def _work(worker: Worker, stage: Stage, config: Config, trial: Trial) -> None:
    started = time.monotonic()
    table, whole = Table(trial.uri), Table(stage.inputs["images"].uri)
    made = table.manifest.get("normalisation")
    normalisation = Normalisation(**made) if made else Normalisation.of(load(whole.uri, "train").images)
    size = MODELS.traits(trial.network.name).input_size
    images, labels, soft = read_set(trial.uri, normalisation, trial.pictures)
    if min(images.shape[-2:]) < size:
        raise InputError(f"evaluate.networks={trial.network.name}: takes {size} pixels; {trial.uri} has {images.shape[-1]}.")
    recipe = _recipe(trial, config, table)
    targets = labels if soft is None or trial.recipe == "common" else soft
    test = load(whole.uri, "test")
    held_out = normalisation.inputs(size).test(test.images.to(worker.device))
    given, wanted = centre_crop(images, size).to(worker.device), targets.to(worker.device)
    make, found = fresh(trial.network, whole, worker.device), []
    for repeat in range(config.evaluate.repeats):
        torch.manual_seed(derive(config.seed, "evaluate", repeat))
        network = _with_weights(make(), trial, table)
        train(network, given, wanted, recipe, derive(config.seed, "evaluate", "draws", repeat))
        found.append(accuracy(network.eval(), held_out, test.labels.to(worker.device)))
    steps = sum(map(len, recipe.rates)) if recipe.rates else recipe.steps
    seconds = time.monotonic() - started
    rows = [(stage.folder, repeat, steps, seconds, "test", "accuracy", value) for repeat, value in enumerate(found)]
    rows.append((stage.folder, config.seed, steps, seconds, "test", "mean_accuracy", statistics.fmean(found)))
    about = {"recipe": dataclasses.asdict(recipe), "device": worker.describe()}
    outputs.commit(stage, outputs.metrics(rows), seconds=seconds, seed=config.seed, **about)


def _recipe(trial: Trial, config: Config, table: Table) -> Recipe:
    if trial.recipe == "own" and table.manifest["recipe"] != dataclasses.asdict(Recipe()):
        return Recipe(**table.manifest["recipe"])
    settings: Any = config.evaluate
    return Recipe(settings.optimizer, settings.learning_rate, settings.momentum, settings.steps, augment=settings.augment)


def _with_weights(network: nn.Sequential, trial: Trial, table: Table) -> nn.Sequential:
    """The network with the initial weights that its images belong to, if it is the one they were made with, by their own recipe."""
    if "weights" in table.manifest and trial.recipe == "own" and plain(trial.network) == table.manifest["network"]:
        network.load_state_dict(outputs.weights(table, "weights"), strict=False)
    return network
