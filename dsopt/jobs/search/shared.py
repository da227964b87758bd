"""children: named by a controller, or known ones, judged with weights that all children share (ENAS) -> the same table."""

from collections.abc import Iterator
from functools import partial
from itertools import islice
from typing import Any

import torch

from dsopt.config import Config
from dsopt.data.batches import Batch, in_order
from dsopt.data.images import Images
from dsopt.errors import InputError
from dsopt.jobs.search.child import JUDGED_AT_ONCE, Material, feed, material
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

FINAL = 10  # of the candidates, judged on all held-out images


def check(space: Space) -> None:
    if space.shared is None:
        raise InputError(f"search.space.name={space.name}: its children cannot share weights; right is search.space.name=cell201.")


class Cost:
    """Device seconds over all attempts: a memory of the training, or those before an interruption would not be paid for."""

    def __init__(self, worker: Worker) -> None:
        self.clock, self.before = worker.device_seconds, 0.0
        self.since = self.clock()

    def seconds(self) -> float:
        return self.before + self.clock() - self.since

    def state_dict(self) -> dict[str, float]:
        return {"seconds": self.seconds()}

    def load_state_dict(self, state: dict[str, float]) -> None:
        """Go on from there; what this attempt took up to here, the first one has counted."""
        self.before, self.since = state["seconds"], self.clock()


def train_shared(
    worker: Worker, stage: Stage, config: Config, space: Space, given: Material, controller: str, cost: Cost
) -> SharedWeights:
    """The shared weights and their controller, trained by turns; resumes from its checkpoint."""
    check(space)
    assert space.shared
    settings, seed = config.search.shared, derive(config.seed, stage.hash)
    turns = Turns(max(1, settings.steps // settings.rounds), settings.updates, settings.rounds)
    torch.manual_seed(derive(seed, "weights"))
    network = place(space.shared[0](given.channels, given.classes), worker.device)
    own = Uniform(space.sizes, worker.device)
    if controller == "reinforce":
        own = Reinforce(space.sizes, settings.learning_rate, worker.device)
    learner = SharedWeights(space, network, own, turns, settings.samples, worker.device)
    training = feed(given, config.search.train.batch_size, derive(seed, "weights"), worker)
    judging = feed(_judged(given), config.search.train.batch_size, derive(seed, "controller"), worker)

    def source(step: int) -> Batch:
        whose, number = turns.at(step)
        batch = (training if whose == "weights" else judging)(number)
        return batch._replace(seed=derive(seed, step))

    label = f"shared weights, {controller}"
    progress = Progress(label, len(turns), "steps")

    def report(state: State) -> None:
        reward = f"held-out accuracy {100 * learner.rewards[-1][1]:.1f} %" if learner.rewards else ""
        progress.update(state.total, reward)

    def bound(progress: float) -> float:  # the thesis's search: the set's rates for the weights of all children
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


def _judged(given: Material) -> Material:
    """The held-out images as what is fed from."""
    images: Images = given.judged
    return Material(
        *(images.images, images.labels, torch.arange(len(images.ids)), images, given.inputs._replace(train=_as_tested(given))),
        *(given.channels, given.classes, given.size),
    )


def _as_tested(given: Material) -> Any:
    return lambda images, draw: given.inputs.test(images)


def judge(learner: SharedWeights, given: Material, genotypes: list[Genotype], batches: int | None, size: int) -> list[float]:
    """The accuracies of children on so many batches of held-out images, or on all of them."""

    def held_out() -> Iterator[Batch]:
        return in_order(given.judged.images, given.judged.labels, size, given.inputs.test, learner.device)

    kept = list(islice(held_out(), batches)) if batches else list(held_out())
    return [learner.accuracy(genotype, kept) for genotype in genotypes]


def named(learner: SharedWeights, given: Material, config: Config) -> list[tuple[Genotype, float, bool]]:
    """What the controller names at the end: (child, accuracy, whether judged on all held-out images), each child once.

    As in Li & Talwalkar's protocol: many on a few batches, the best ten of them on everything.
    """
    settings, size = config.search.shared, config.search.train.batch_size
    with torch.no_grad():
        drawn = [tuple(genotype) for genotype in learner.controller.sample(settings.candidates).genotypes.tolist()]
    candidates = list(dict.fromkeys(drawn))
    rough = judge(learner, given, candidates, settings.batches, size)
    order = sorted(range(len(candidates)), key=lambda i: -rough[i])
    best = [candidates[i] for i in order[:FINAL]]
    final = dict(zip(best, judge(learner, given, best, None, JUDGED_AT_ONCE), strict=True))
    return [(child, final.get(child, rough[i]), child in final) for i, child in enumerate(candidates)]


def rows_of(
    worker: Worker, stage: Stage, config: Config, space: Space, source: Any, controller: str, known: list[Genotype]
) -> tuple[list[dict[str, Any]], list[tuple[int, float]]]:
    """The rows of the table, and the rewards of the controller as (step, mean accuracy).

    Args:
        known: children to be judged; if there are none, those that the controller names.
    """
    cost = Cost(worker)
    given = material(source, worker.device)
    learner = train_shared(worker, stage, config, space, given, controller, cost)
    if known:
        torch.manual_seed(0)
        judged = zip(known, judge(learner, given, known, None, JUDGED_AT_ONCE), [True] * len(known), strict=True)
    else:
        torch.manual_seed(derive(config.seed, stage.hash, "candidates"))
        judged = iter(named(learner, given, config))
    shape, rows = (given.channels, given.classes, given.size), []
    for order, (child, accuracy, final) in enumerate(judged):
        about = {"child": space.encode(child), "order": order, "steps": config.search.shared.steps if final else 0, "reason": ""}
        rows.append(about | {"accuracy": accuracy, "accuracies": [accuracy]} | space.cost(child, *shape)._asdict())
    each = cost.seconds() / len(rows)
    return [row | {"seconds": each} for row in rows], learner.rewards
