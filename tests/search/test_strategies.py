"""Strategies on a synthetic objective: which children they choose, that they find good ones, and that only the seed matters."""

import random

import pytest

from dsopt.errors import InputError
from dsopt.registry import SPACES, STRATEGIES
from dsopt.search.queue import ChildRun, Queue
from dsopt.search.spaces.contract import Space
from dsopt.search.strategies.evolution import RegularisedEvolution

STEPS, CHILDREN = 54, 60


def space() -> Space:
    return SPACES.build("mini216")()


def worth(job: ChildRun) -> float:
    """Larger indices are better, longer training is slightly better; one child in ten fails."""
    if sum(job.genotype) % 10 == 3:
        return float("nan")
    return sum(job.genotype) / 10 + 0.01 * (hash(job) % 7) / job.steps


def search(
    name: str, *, seed: int = 0, ahead: int = 8, bundle: int = 4, workers: int = 1, children: int = CHILDREN
) -> list[ChildRun]:
    """All runs of a search whose bundles end in another order than they started."""
    strategy = STRATEGIES.build(name)(space(), random.Random(seed), children, STEPS)
    queue, running, timing = Queue(strategy, ahead, {}), [], random.Random(workers)
    while True:
        while len(running) < workers and (jobs := queue.take(bundle)):
            running.append(jobs)
        if not running:
            return queue.runs()
        for job in running.pop(timing.randrange(len(running))):
            queue.put(job, worth(job))


@pytest.mark.slow
@pytest.mark.parametrize("name", STRATEGIES.names())
def test_the_seed_alone_decides(name: str) -> None:
    first = search(name)
    assert first == search(name, workers=3) == search(name, workers=2, bundle=1)
    assert len(first) == len(set(first))
    if name != "grid":
        assert first != search(name, seed=1)


@pytest.mark.parametrize("name", STRATEGIES.names())
def test_an_interrupted_search_goes_on_to_the_same_children(name: str) -> None:
    whole = search(name)
    known = {job: worth(job) for job in whole[:23]}
    strategy = STRATEGIES.build(name)(space(), random.Random(0), CHILDREN, STEPS)
    queue, again = Queue(strategy, 8, known), []
    while jobs := queue.take(4):
        again += jobs
        for job in jobs:
            queue.put(job, worth(job))
    assert queue.runs() == whole and again == whole[23:]


@pytest.mark.parametrize("name", [name for name in STRATEGIES.names() if name != "asha"])
def test_as_many_children_as_asked_for_and_no_more_than_there_are(name: str) -> None:
    assert len(search(name)) == CHILDREN
    assert {job.steps for job in search(name)} == {STEPS}
    if name != "optuna":  # which may come back to the same few
        assert sorted(job.genotype for job in search(name, children=1000)) == sorted(space())


@pytest.mark.parametrize("name", ["evolution", "optuna"])
def test_what_learns_finds_better_children_than_chance(name: str) -> None:
    def late(name: str, seed: int) -> float:
        return sum(sum(job.genotype) for job in search(name, seed=seed)[-20:]) / 20

    assert sum(late(name, seed) - late("random", seed) for seed in range(3)) / 3 > 0.8


def test_random_begins_alike_however_long() -> None:
    assert search("random", children=80)[:60] == search("random", children=60)


def test_evolution_forgets_the_oldest() -> None:
    strategy = RegularisedEvolution(space(), random.Random(0), 40, STEPS, population=3, sample=3)
    jobs = [strategy.ask() for _ in range(3)]
    for job, accuracy in zip(jobs, (0.9, 0.2, 0.1), strict=True):
        strategy.tell(job, accuracy)
    child = strategy.ask()
    assert child.genotype in space().neighbours(jobs[0].genotype)
    strategy.tell(child, 0.3)  # the best of all is the oldest: it is gone
    assert strategy.ask().genotype in space().neighbours(child.genotype)


def test_halving_promotes_the_best_third() -> None:
    jobs = search("asha", ahead=1)
    rungs = {steps: [job.genotype for job in jobs if job.steps == steps] for steps in (2, 6, 18, 54)}
    assert len(rungs[2]) == 60 and 20 <= len(rungs[6]) <= 30 and 6 <= len(rungs[18]) <= 12 and 2 <= len(rungs[54]) <= 5
    assert set(rungs[54]) < set(rungs[18]) < set(rungs[6]) < set(rungs[2])
    mean = {steps: sum(map(sum, names)) / len(names) for steps, names in rungs.items()}
    assert mean[2] < mean[6] < mean[18] < mean[54]
    with pytest.raises(InputError, match="are not all different"):
        STRATEGIES.build("asha")(space(), random.Random(0), 10, 2)
