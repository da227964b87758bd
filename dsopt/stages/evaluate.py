"""One row of an evaluation: networks trained on one set of images in one way, and tested after the last step."""

import dataclasses
import math
import statistics
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

import numpy as np
import pyarrow.compute as pc
import torch
from torch import Tensor, nn

from dsopt.augment.geometry import center_crop
from dsopt.augment.inputs import View, view_of
from dsopt.config import Choice, Config, differing, plain
from dsopt.data import room
from dsopt.data.batches import in_order, moved, take
from dsopt.data.images import Images
from dsopt.data.loading import load
from dsopt.distillation.normalisation import Normalisation, channels, normalized_inputs
from dsopt.distillation.recipe import Recipe, accuracy_of, augmented, loss_of, train
from dsopt.errors import InputError
from dsopt.learners.optim import minimize
from dsopt.learners.placement import arithmetic
from dsopt.pipeline import outputs
from dsopt.pipeline.plan import Plan
from dsopt.pipeline.training import on_device
from dsopt.progress import Progress
from dsopt.seeds import derive
from dsopt.stages import needs
from dsopt.stages.distill import fresh, normalisation_of, real_images, weights_of
from dsopt.storage import Kind, Stage, Table
from dsopt.training.samplers.shuffle import shuffle
from dsopt.training.worker import Worker, operations

EVALUATE = Kind("evaluate")
BATCH = 256  # images of all real ones a step, as in DD-Ranking
AT_ONCE = 1000  # in a test
# Keys of `evaluate` that an evaluation has as fields of its own, or does not depend on.
_ELSEWHERE = ("beside", "images", "networks", "ranking", "real_epochs")


@dataclass(frozen=True)
class Evaluation:
    """Networks trained on one table in one way.

    Args:
        recipe: "own", the one that the table was made with, or "common", that of the configuration, with whole-number labels.
        pictures: train on the table's 8-bit pictures instead of its exact pixels.
        images: instead of the table's own, as many random real ones of each class, others in every repeat, or "all" of the
            training images (the table's, then), in batches.
        hard: whole-number labels also by its own recipe.
        augment: transforms instead of the recipe's.
        validation: tested on this share of the training images, which none is trained on, instead of the test images.
    """

    uri: str
    network: Choice
    recipe: Literal["own", "common"]
    pictures: bool
    images: Literal["set", "random", "all"] = "set"
    hard: bool = False
    augment: tuple[str, ...] | None = None
    validation: float = 0.0


def has_recipe(uri: str) -> bool:
    """Whether a table was made with a recipe of its own, other than to train by what everyone does."""
    return Table(uri).manifest.get("recipe") not in (None, dataclasses.asdict(Recipe()))


def accuracies(evaluated: Stage) -> list[float]:
    """Of a finished evaluation, one of each repeat."""
    return Table(evaluated.uri).read().filter(pc.field("name") == "accuracy")["value"].to_pylist()


def evaluation(plan: Plan, trial: Evaluation, images: Stage) -> Stage:
    """The metrics of an evaluation, tested on an images table."""
    config, table = plan.config, Stage.existing(trial.uri)
    made_of = {"network": plain(trial.network), "recipe": trial.recipe, "pictures": trial.pictures, "seed": config.seed}
    made_of |= differing(config, "evaluate.repeats") if trial.recipe == "own" else common(config)
    special = {
        "images": trial.images,
        "hard": trial.hard or None,
        "augment": None if trial.augment is None else list(trial.augment),
    }
    made_of |= {key: value for key, value in special.items() if value not in ("set", None)}
    made_of |= {"validation": trial.validation} if trial.validation else {}
    made_of |= {"real_epochs": config.evaluate.real_epochs} if trial.images == "all" else {}
    inputs, title = {"table": table, "images": images}, _title(table.name, trial)
    needed = needs.labels if trial.validation else needs.labels_and_test
    return plan.add(EVALUATE, table.name, made_of, inputs, partial(work, trial=trial), where="worker", title=title, needs=needed)


def of_trial(plan: Plan, made: Stage, seed: int) -> Stage:
    """The evaluation of a set that need not be there yet, by the recipe it is made with or the common one; with its mean."""
    config = plan.config
    if len(config.evaluate.networks) > 1:
        raise InputError(f"evaluate.networks={config.evaluate.networks}: a trial of a sweep trains one of them; give one.")
    network = Choice(config.evaluate.networks[0]) if config.evaluate.networks else config.distill.network
    made_of = {"network": plain(network), "recipe": "own", "pictures": False, "seed": seed, "mean": True} | common(config)
    validation = config.distill.validation  # in the hash of `made`
    trial = Evaluation(made.uri, network, "own", False, validation=validation)
    own, inputs = plan.having(dataclasses.replace(config, seed=seed)), {"table": made, "images": made.inputs["images"]}
    needed = needs.labels if validation else needs.labels_and_test
    return own.add(EVALUATE, made.name, made_of, inputs, partial(work, trial=trial), where="worker", needs=needed)


def common(config: Config) -> dict[str, Any]:
    """What of the common recipe, and of how often it is tried, differs from the defaults."""
    return differing(config, "evaluate", without=[f"evaluate.{key}" for key in _ELSEWHERE])


def _title(name: str, trial: Evaluation) -> str:
    parts = [f"evaluate {name}", trial.network.name, trial.recipe]
    parts += ["pictures"] * trial.pictures + [f"{trial.images} real images"] * (trial.images != "set") + ["hard"] * trial.hard
    if trial.augment is not None:
        parts.append(f"augment {'+'.join(trial.augment) or 'none'}")
    return ", ".join(parts)


def read_set(
    uri: str, normalisation: Normalisation, pictures: bool, loaded: int | None = None
) -> tuple[Tensor, Tensor, Tensor | None]:
    """Images as a network takes them [m, c, h, w], their labels, and soft labels [m, classes] where there are any.

    Args:
        loaded: the side in pixels to which larger pictures are resized.
    """
    table = Table(uri)
    decoded = load(uri, table.training(), size=loaded)
    if pictures:
        images = normalized_inputs(normalisation, min(decoded.images.shape[-2:])).test(decoded.images)
    else:
        values = table.read(table.training(), ["pixels"])["pixels"].combine_chunks().flatten().to_numpy().astype(np.float32)
        images = torch.from_numpy(values).view(-1, *table.manifest["shape"])
    return images, decoded.labels, decoded.soft


@dataclass(frozen=True)
class _Setting:
    """What the trainings of a trial need. `table` is trained on, `whole` tested on."""

    config: Config
    trial: Evaluation
    table: Table
    whole: Table
    recipe: Recipe
    normalisation: Normalisation
    view: View
    device: torch.device

    def inputs(self, images: Tensor) -> Tensor:
        return normalized_inputs(self.normalisation, self.view.taken, self.view.loaded).test(images)

    def real(self) -> Images:
        """The images that any may be trained on."""
        return real_images(self.whole, self.trial.validation, self.view.loaded)

    def seed(self, *of: int | str) -> int:
        return derive(self.config.seed, "evaluate", *of)


Learn = Callable[[nn.Sequential, int], object]  # network, repeat


def work(worker: Worker, stage: Stage, config: Config, trial: Evaluation) -> None:
    started = time.monotonic()
    table, whole = Table(trial.uri), Table(stage.inputs["images"].uri)
    view = view_of(trial.network.name, whole.manifest["image_size"])
    view = view._replace(loaded=table.manifest.get("loaded", view.loaded))  # of the real images that a set was made from
    recipe = _recipe(trial, config, table)
    real = partial(real_images, whole, trial.validation, view.loaded)
    normalisation = normalisation_of(table) or channels(real().images, view.taken)
    setting = _Setting(config, trial, table, whole, recipe, normalisation, view, worker.device)
    learn = _on_all(setting) if trial.images == "all" else _on_few(setting)
    test = real(held=True) if trial.validation else load(whole.uri, "test", size=view.loaded)
    tested = _tested(setting, test)
    make, found = fresh(trial.network, whole, worker.device), []
    progress = Progress(_title(stage.name, trial), config.evaluate.repeats, "trainings")
    for repeat in range(config.evaluate.repeats):
        torch.manual_seed(setting.seed(repeat))
        network = _with_weights(make(), trial, table)
        with operations(config.deterministic):
            learn(network, repeat)
        found.append(accuracy_of(network.eval(), tested()))
        progress.update(len(found), f"accuracy {100 * found[-1]:.2f} %")
    steps = sum(map(len, recipe.rates)) if recipe.rates else recipe.steps
    seconds = time.monotonic() - started
    split = "validation" if trial.validation else "test"
    rows = [(stage.folder, repeat, steps, seconds, split, "accuracy", value) for repeat, value in enumerate(found)]
    rows.append((stage.folder, config.seed, steps, seconds, split, "mean_accuracy", statistics.fmean(found)))
    about = {"recipe": dataclasses.asdict(recipe), "device": worker.describe()}
    about["arithmetic"] = arithmetic(torch.float32, worker.device)
    outputs.commit(stage, outputs.metrics(rows), seconds=seconds, seed=config.seed, **about)


def _tested(of: _Setting, images: Images) -> Callable[[], Iterable[tuple[Tensor, Tensor]]]:
    """The images as the network takes them, in batches: made once if they fit on the device, else anew for every test."""

    def made() -> Iterator[tuple[Tensor, Tensor]]:
        return ((batch.images, batch.labels) for batch in in_order(images.images, images.labels, AT_ONCE, of.inputs, of.device))

    floats = 4 * len(images.ids) * images.images.shape[1] * of.view.taken**2
    kept = list(made()) if room.fits_device(floats, of.device) else None
    return made if kept is None else lambda: kept


def _on_few(of: _Setting) -> Learn:
    """Training on the images of a table, or on random ones in their places, all at once in every step."""
    images, labels, soft = read_set(of.trial.uri, of.normalisation, of.trial.pictures, of.view.loaded)
    if min(images.shape[-2:]) < of.view.taken:
        raise InputError(
            f"evaluate.networks={of.trial.network.name}: takes {of.view.taken} pixels; {of.trial.uri} has {images.shape[-1]}."
        )
    if images.shape[1] != of.whole.manifest["channels"]:
        raise InputError(
            f"{of.trial.uri}: has images of {images.shape[1]} channel(s), {of.whole.uri}, that it is tested on, of "
            f"{of.whole.manifest['channels']}."
        )
    hard = of.trial.recipe == "common" or of.trial.hard
    targets = (labels if soft is None or hard else soft).to(of.device)
    given = center_crop(images, of.view.taken).to(of.device)

    def drawn(repeat: int) -> Tensor:
        real = of.real()
        return of.inputs(real.images[same_classes(labels, real.labels, of.seed("random", repeat))]).to(of.device)

    def learn(network: nn.Sequential, repeat: int) -> None:
        shown = given if of.trial.images == "set" else drawn(repeat)
        train(network, shown, targets, of.recipe, of.seed("draws", repeat))

    return learn


def _on_all(of: _Setting) -> Learn:
    """Training on all real images, in batches."""
    images = on_device(of.real(), of.device)
    labels = images.labels
    batch = min(BATCH, len(labels))

    def learn(network: nn.Sequential, repeat: int) -> None:
        batches, generator = shuffle(len(labels), batch, of.seed("batches", repeat)), torch.Generator()
        generator.manual_seed(of.seed("draws", repeat))
        optimizer = _optimizer(network, of.recipe)
        for number in range(of.recipe.steps):
            some = batches(number).indices
            pixels = moved(take(images.images, some.to(images.images.device)), of.device)
            x = augmented(of.inputs(pixels), of.recipe.augment, lambda: moved(torch.rand(batch, generator=generator), of.device))
            minimize(loss_of(of.recipe.loss, network(x), labels[moved(some, of.device)]), optimizer)

    return learn


def same_classes(labels: Tensor, of: Tensor, seed: int) -> Tensor:
    """Random images, none twice, whose labels `of` are one by one those given: int64 [m]. Raises InputError if they are too few."""
    generator, chosen = torch.Generator().manual_seed(seed), torch.empty_like(labels)
    for label in labels.unique():
        places, there = (labels == label).nonzero().squeeze(1), (of == label).nonzero().squeeze(1)
        if len(there) < len(places):
            raise InputError(f"evaluate.ranking: class {int(label)} has {len(there)} real images; the set has {len(places)}.")
        chosen[places] = there[torch.randperm(len(there), generator=generator)[: len(places)]]
    return chosen


def _optimizer(network: nn.Sequential, recipe: Recipe) -> torch.optim.Optimizer:
    if recipe.optimizer == "adam":
        return torch.optim.Adam(network.parameters(), recipe.learning_rate, fused=True)
    return torch.optim.SGD(network.parameters(), recipe.learning_rate, momentum=recipe.momentum, fused=True)


def _recipe(trial: Evaluation, config: Config, table: Table) -> Recipe:
    if trial.recipe == "own" and table.manifest["recipe"] != dataclasses.asdict(Recipe()):
        recipe = Recipe(**table.manifest["recipe"])
    else:
        settings: Any = config.evaluate
        recipe = Recipe(settings.optimizer, settings.learning_rate, settings.momentum, settings.steps, augment=settings.augment)
    if trial.images == "all":
        enough = math.ceil(config.evaluate.real_epochs * table.rows("train") / BATCH)
        recipe = dataclasses.replace(recipe, steps=max(recipe.steps, enough))
    return recipe if trial.augment is None else dataclasses.replace(recipe, augment=list(trial.augment))


def _with_weights(network: nn.Sequential, trial: Evaluation, table: Table) -> nn.Sequential:
    """The network with the initial weights that its images belong to, if it is the one they were made with, by their own recipe."""
    if "weights" in table.manifest and trial.recipe == "own" and plain(trial.network) == table.manifest["network"]:
        network.load_state_dict(weights_of(table, "weights"), strict=False)
    return network
