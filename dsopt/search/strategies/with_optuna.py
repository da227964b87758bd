"""Optuna's samplers."""

import random
from collections import deque
from typing import Any

from dsopt.errors import InputError
from dsopt.registry import STRATEGIES
from dsopt.search.queue import ChildRun
from dsopt.search.spaces.contract import Genotype, Space


class OptunaStrategy:
    """An Optuna study whose parameters are the fields of a space; a child that it suggests again is not counted again."""

    def __init__(self, study: Any, space: Space, children: int, steps: int) -> None:
        from optuna.distributions import CategoricalDistribution

        self.study, self.left, self.steps = study, min(children, len(space)), steps
        self.fields = {name: CategoricalDistribution(list(range(len(values)))) for name, values in space.fields.items()}
        self.open: deque[Any] = deque()
        self.seen: set[Genotype] = set()
        self.asked, self.most = 0, 10 * children  # a limit, since it may suggest the same few children for ever

    def ask(self) -> ChildRun | None:
        if not self.left or self.asked >= self.most:
            return None
        trial = self.study.ask(self.fields)
        self.open.append(trial)
        self.asked += 1
        genotype = tuple(trial.params[field] for field in self.fields)
        self.left -= genotype not in self.seen
        self.seen.add(genotype)
        return ChildRun(genotype, self.steps)

    def tell(self, run: ChildRun, accuracy: float) -> None:
        from optuna.trial import TrialState

        trial = self.open.popleft()
        failed = accuracy == -float("inf")
        self.study.tell(trial, None if failed else accuracy, state=TrialState.FAIL if failed else TrialState.COMPLETE)


@STRATEGIES.register(learns=True)
def optuna(space: Space, drawn: random.Random, children: int, steps: int, *, startup: int = 10) -> OptunaStrategy:
    """Optuna's tree-structured Parzen estimator (Bergstra et al. 2011), after `startup` random children."""
    try:
        import optuna
    except ImportError:
        raise InputError("search.strategy=optuna: Optuna is not installed; expected pip install 'dsopt[optuna]'.") from None
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    sampler = optuna.samplers.TPESampler(seed=drawn.randrange(2**32), n_startup_trials=startup)
    return OptunaStrategy(optuna.create_study(direction="maximize", sampler=sampler), space, children, steps)
