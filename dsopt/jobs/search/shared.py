"""children: evaluated with weights that all of them share (ENAS), sampled by a controller or given -> the same table."""

from collections.abc import Iterator
from functools import partial
from itertools import islice
from typing import Any

import torch

from dsopt.config import Config
from dsopt.data.batches import Batch, in_order
from dsopt.data.images import Images
from dsopt.errors import InputError
from dsopt.jobs.search.child import EVALUATION_BATCH, Material, feed, material
from dsopt.jobs.search.child import rate as child_rate
from dsopt.learners.placement import place
from dsopt.pipeline.training import StageCheckpoint
from dsopt.progress import Progress, say
from dsopt.search.enas.controller import Reinforce, Uniform
from dsopt.search.enas.shared import FLOOR, RATE, SharedWeights, Turns
from dsopt.search.spaces.contract import Genotype, Space
from dsopt.seeds import derive
from dsopt.storage import Stage
from dsopt.training.loop import Phase, State, fit
from dsopt.training.schedules import cosine
from dsopt.training.worker import Worker

FINAL = 10  # candidates that are evaluated on all held-out images


def check(space: Space) -> None:
    """Raises InputError for a space without shared weights."""
    if space.shared is None:
        raise InputError(f"search.space.name={space.name}: its children cannot share weights; expected search.space.name=cell201.")


class Cost:
    """Device seconds over all attempts; part of the checkpoint, so that the seconds before an interruption count too."""

    def __init__(self, worker: Worker) -> None:
        self.clock, self.before = worker.device_seconds, 0.0
        self.since = self.clock()

    def seconds(self) -> float:
        return self.before + self.clock() - self.since

    def state_dict(self) -> dict[str, float]:
        return {"seconds": self.seconds()}

    def load_state_dict(self, state: dict[str, float]) -> None:
        """Continue from the checkpoint; the setup so far is not counted again, because the first attempt counted its own."""
        self.before, self.since = state["seconds"], self.clock()


def train_shared(
    worker: Worker, stage: Stage, config: Config, space: Space, given: Material, controller: str, cost: Cost
) -> SharedWeights:
    """Train the shared weights and their controller in turns; resumes from its checkpoint."""
    check(space)
    assert space.shared
    settings, seed = config.search.shared, derive(config.seed, stage.hash)
    turns = Turns(max(1, settings.steps // settings.rounds), settings.updates, settings.rounds)
    torch.manual_seed(derive(seed, "weights"))
    network = place(space.shared[0](given.channels, given.classes), worker.device)
    sampler = Uniform(space.sizes, worker.device)
    if controller == "reinforce":
        sampler = Reinforce(space.sizes, settings.learning_rate, worker.device)
    learner = SharedWeights(space, network, sampler, turns, settings.samples, worker.device)
    training = feed(given, config.search.train.batch_size, derive(seed, "weights"), worker)
    evaluation = feed(_held_out(given), config.search.train.batch_size, derive(seed, "controller"), worker)

    def source(step: int) -> Batch:
        whose, number = turns.at(step)
        batch = (training if whose == "weights" else evaluation)(number)
        return batch._replace(seed=derive(seed, step))

    label = f"shared weights, {controller}"
    progress = Progress(label, len(turns), "steps")

    def report(state: State) -> None:
        reward = f"held-out accuracy {100 * learner.rewards[-1][1]:.1f} %" if learner.rewards else ""
        progress.update(state.total, reward)

    def bound(progress: float) -> float:  # as in the thesis: the set's own rates train the shared weights
        number = turns.at(min(round(progress * len(turns)), len(turns) - 1))[1]
        return (
            child_rate(config.search.train, given.rates, turns.weights * turns.rounds)(number / (turns.weights * turns.rounds))
            / RATE
        )

    rate = bound if given.rates else partial(cosine, warmup=0.0, floor=FLOOR)
    saved = {"checkpoint": StageCheckpoint(stage.path("checkpoint.pt")), "checkpoint_seconds": config.cluster.checkpoint_seconds}
    state = fit(learner, [Phase(source, rate, len(turns), memory=cost)], report=report, name=label, **saved)
    say(label, f"{len(turns):,} steps in {state.seconds:.1f} s")
    return learner


def _held_out(given: Material) -> Material:
    """The held-out images as training data, for the controller; not augmented."""
    images: Images = given.held_out
    return Material(
        *(images.images, images.labels, torch.arange(len(images.ids)), images, given.inputs._replace(train=_as_tested(given))),
        *(given.channels, given.classes, given.size),
    )


def _as_tested(given: Material) -> Any:
    return lambda images, draw: given.inputs.test(images)


def accuracies(learner: SharedWeights, given: Material, genotypes: list[Genotype], batches: int | None, size: int) -> list[float]:
    """The accuracy of each child on `batches` batches of held-out images, or on all of them."""

    def held_out() -> Iterator[Batch]:
        return in_order(given.held_out.images, given.held_out.labels, size, given.inputs.test, learner.device)

    kept = list(islice(held_out(), batches)) if batches else list(held_out())
    return [learner.accuracy(genotype, kept) for genotype in genotypes]


def sampled(learner: SharedWeights, given: Material, config: Config) -> list[tuple[Genotype, float, bool]]:
    """The trained controller's children: (child, accuracy, whether on all held-out images), each child once.

    Many are evaluated on a few batches, the best ten of them on all held-out images, as in Li & Talwalkar's protocol.
    """
    settings, size = config.search.shared, config.search.train.batch_size
    with torch.no_grad():
        drawn = [tuple(genotype) for genotype in learner.controller.sample(settings.candidates).genotypes.tolist()]
    candidates = list(dict.fromkeys(drawn))
    rough = accuracies(learner, given, candidates, settings.batches, size)
    order = sorted(range(len(candidates)), key=lambda i: -rough[i])
    best = [candidates[i] for i in order[:FINAL]]
    final = dict(zip(best, accuracies(learner, given, best, None, EVALUATION_BATCH), strict=True))
    return [(child, final.get(child, rough[i]), child in final) for i, child in enumerate(candidates)]


def rows_of(
    worker: Worker, stage: Stage, config: Config, space: Space, source: Any, controller: str, known: list[Genotype]
) -> tuple[list[dict[str, Any]], list[tuple[int, float]]]:
    """The rows of the table, and the rewards of the controller as (step, mean accuracy).

    Args:
        known: children to evaluate; if empty, those that the controller samples.
    """
    cost = Cost(worker)
    given = material(source, worker.device)
    learner = train_shared(worker, stage, config, space, given, controller, cost)
    if known:
        torch.manual_seed(0)
        evaluated = zip(known, accuracies(learner, given, known, None, EVALUATION_BATCH), [True] * len(known), strict=True)
    else:
        torch.manual_seed(derive(config.seed, stage.hash, "candidates"))
        evaluated = iter(sampled(learner, given, config))
    shape, rows = (given.channels, given.classes, given.size), []
    for order, (child, accuracy, final) in enumerate(evaluated):
        about = {"child": space.encode(child), "order": order, "steps": config.search.shared.steps if final else 0, "reason": ""}
        rows.append(about | {"accuracy": accuracy, "accuracies": [accuracy]} | space.cost(child, *shape)._asdict())
    each = cost.seconds() / len(rows)
    return [row | {"seconds": each} for row in rows], learner.rewards
