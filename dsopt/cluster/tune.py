"""Many training runs beside each other on Ray Tune, some of them stopped early or suggested by a searcher.

What a trial leaves is in the stages' own folders, and what of a scheduler or searcher must survive is told to it again by whoever
starts the sweep again: Ray Tune's own state lies in a temporary folder and ends with the process.
"""

import contextlib
import os
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any, Protocol, runtime_checkable

from dsopt.cluster import session
from dsopt.config import Config
from dsopt.errors import InputError
from dsopt.training.worker import Worker, this_process

Point = dict[str, Any]  # what makes a trial: small and picklable
Numbers = dict[str, Any]  # with "percent" of the trial's budget and "score", of which more is better
Report = Callable[[Numbers], None]
Work = Callable[[Worker, Point, Report], Numbers]  # reports as it goes, returns its last report, and catches its own errors

JUDGED_BY, SPENT = "score", "percent"


@runtime_checkable
class Watch(Protocol):
    """Whoever wants to know how the trials go; called in the process that called `run`."""

    def started(self, point: Point) -> None: ...
    def reported(self, point: Point, numbers: Numbers) -> None: ...
    def ended(self, point: Point, lost: str | None) -> None: ...
    def waiting(self) -> None: ...


class Stopped(BaseException):
    """The scheduler ends a trial. Not an error: it passes by whatever catches those."""


@dataclass(frozen=True)
class Search:
    """What a searcher samples.

    Args:
        space: by key ("choice", values), ("uniform", (low, high)) or ("log", (low, high)).
        samples: how many more points it is asked for.
        known: what earlier samples were worth.
    """

    space: Mapping[str, tuple[str, Any]]
    samples: int
    known: Sequence[tuple[Point, float]] = ()


@runtime_checkable
class Asker(Protocol):
    """Who names every point, in the process that called `run`; what they were worth it hears as a `Watch`."""

    def ask(self) -> Point | None:
        """The next point; None if there is none, or none before more is known."""
        ...

    def over(self) -> bool:
        """Whether there is none even when all that runs is known."""
        ...


def run(
    work: Work,
    points: Sequence[Point],
    config: Config,
    watch: Watch,
    search: Search | Asker | None = None,
    earlier: Sequence[Sequence[Numbers]] = (),
) -> None:
    """Run `work(worker, point, report)` for every point, `config.cluster.workers` at a time, each in a process that is kept.

    A lost process's trial starts again elsewhere, from its own checkpoint. With `workers=0` one after another, in this process.

    Args:
        search: where further points come from; `points` are those that an earlier attempt began.
        earlier: what the trials of an earlier attempt reported, for the scheduler.

    Raises:
        InputError: the searcher is not installed.
    """
    scheduler = _asha(config, earlier) if config.sweep.scheduler == "asha" else None
    searcher, count = None, len(points)
    if isinstance(search, Search):
        searcher, count = _optuna(config, points, search), count + search.samples
    elif search:
        searcher = _Asked(search) if config.cluster.workers == 0 else _asked(search)
        count = sys.maxsize  # it says when it is over
    if count:
        (_here if config.cluster.workers == 0 else _on_ray)(work, points, count, config, watch, scheduler, searcher)


def check_searcher() -> None:
    """Raises InputError if Optuna is not installed."""
    try:
        import optuna  # noqa: F401
    except ImportError:
        raise InputError("sweep.searcher=optuna: Optuna is not installed; right is pip install 'dsopt[optuna]'.") from None


def _asha(config: Config, earlier: Sequence[Sequence[Numbers]]) -> Any:
    """Asynchronous successive halving (Li et al. 2020, arXiv:1810.05934) over shares of the budget; it knows what was before."""
    from ray.tune.schedulers import ASHAScheduler

    sweep = config.sweep
    rungs = {"max_t": 100, "grace_period": 100 * sweep.grace, "reduction_factor": sweep.reduction}
    scheduler: Any = ASHAScheduler(time_attr=SPENT, metric=JUDGED_BY, mode="max", **rungs)
    for number, reports in enumerate(earlier):
        trial = SimpleNamespace(trial_id=f"earlier {number}")
        scheduler.on_trial_add(None, trial)
        for numbers in reports:
            scheduler.on_trial_result(None, trial, numbers)
    return scheduler


def _optuna(config: Config, points: Sequence[Point], search: Search) -> Any:
    """Optuna's sampler, which gives `points` first and knows what earlier samples were worth."""
    check_searcher()
    import optuna
    from optuna.distributions import CategoricalDistribution, FloatDistribution
    from ray.tune.search.optuna import OptunaSearch

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    session.quiet("ray.tune")
    space = {
        key: CategoricalDistribution(values) if kind == "choice" else FloatDistribution(*values, log=kind == "log")
        for key, (kind, values) in search.space.items()
    }
    seed = config.seed + len(search.known) + len(points)  # or a sweep that goes on would draw the same samples again
    searcher = OptunaSearch(space=space, metric=JUDGED_BY, mode="max", seed=seed, points_to_evaluate=list(points))  # type: ignore[arg-type]
    for point, value in search.known:
        searcher.add_evaluated_point(point, value)
    return searcher


class _Asked:
    """What is asked of a searcher where there is no Ray."""

    def __init__(self, asker: Asker) -> None:
        self.asker = asker

    def suggest(self, trial: str) -> Point | None:
        return self.asker.ask()

    def on_trial_complete(self, trial: str, result: Numbers) -> None: ...


def _asked(asker: Asker) -> Any:
    """The same as Ray Tune's searcher. It has nothing to save: who asks again asks the same."""
    from ray.tune.search import Searcher

    class Asked(Searcher):
        def suggest(self, trial_id: str) -> Any:
            return asker.ask() or (Searcher.FINISHED if asker.over() else None)

        def on_trial_complete(self, trial_id: str, result: Numbers | None = None, error: bool = False) -> None: ...
        def save(self, checkpoint_path: str) -> None: ...
        def restore(self, checkpoint_path: str) -> None: ...

    return Asked(metric=JUDGED_BY, mode="max")


def _here(work: Work, points: Sequence[Point], count: int, config: Config, watch: Watch, scheduler: Any, searcher: Any) -> None:
    worker = this_process(config.cluster.gpu, config.cluster.cpus_per_worker)
    for number in range(count):
        trial = SimpleNamespace(trial_id=str(number))
        point = searcher.suggest(trial.trial_id) if searcher else points[number]
        if point is None:
            break
        if scheduler:
            scheduler.on_trial_add(None, trial)
        last: Numbers = {}

        def report(numbers: Numbers, point: Point = point, trial: Any = trial) -> None:
            nonlocal last
            last = numbers
            watch.reported(point, numbers)
            if scheduler and scheduler.on_trial_result(None, trial, numbers) == scheduler.STOP:
                raise Stopped

        watch.started(point)
        with contextlib.suppress(Stopped):
            report(work(worker, point, report))
        if searcher:
            searcher.on_trial_complete(trial.trial_id, last)
        watch.ended(point, None)


def _on_ray(work: Work, points: Sequence[Point], count: int, config: Config, watch: Watch, scheduler: Any, searcher: Any) -> None:
    # Read by Ray Tune: no log files a trial, and an interruption is the job's to tell.
    os.environ |= {"TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1", "TUNE_DISABLE_SIGINT_HANDLER": "1"}
    session.connect()
    from ray import tune

    session.quiet("ray.tune")
    share = session.share(config.cluster, config.sweep.gpus)
    given = {"cpu": share.cpus, "gpu": share.gpus}
    trainable = tune.with_resources(tune.with_parameters(_trial, work=work, points=list(points), share=share), given)
    space = {} if searcher else {"number": tune.grid_search(list(range(count)))}
    with session.patience(share), tempfile.TemporaryDirectory(prefix="dsopt-") as scratch:
        tune.Tuner(
            trainable,
            param_space=space,
            tune_config=tune.TuneConfig(
                scheduler=scheduler,
                search_alg=searcher,
                num_samples=count if searcher else 1,
                max_concurrent_trials=share.workers,
                reuse_actors=True,
            ),
            run_config=tune.RunConfig(
                storage_path=scratch,
                verbose=0,
                failure_config=tune.FailureConfig(max_failures=config.cluster.max_failures),
                callbacks=[_told(watch, points)],
            ),
        ).fit()


def _trial(setting: dict[str, Any], work: Work, points: Sequence[Point], share: session.Share) -> None:
    """A trial in a worker's process."""
    import ray.tune

    ray.tune.report(work(this_process(share.gpus > 0, share.threads), _point(setting, points), ray.tune.report))


def _point(setting: dict[str, Any], points: Sequence[Point]) -> Point:
    return points[setting["number"]] if "number" in setting else setting


def _told(watch: Watch, points: Sequence[Point]) -> Any:
    from ray.tune import Callback

    class Told(Callback):
        def on_trial_start(self, iteration: int, trials: list[Any], trial: Any, **_: Any) -> None:
            watch.started(_point(trial.config, points))

        def on_trial_result(self, iteration: int, trials: list[Any], trial: Any, result: Numbers, **_: Any) -> None:
            watch.reported(_point(trial.config, points), result)

        def on_trial_complete(self, iteration: int, trials: list[Any], trial: Any, **_: Any) -> None:
            watch.ended(_point(trial.config, points), None)

        def on_trial_error(self, iteration: int, trials: list[Any], trial: Any, **_: Any) -> None:
            watch.ended(_point(trial.config, points), session.cause(RuntimeError(trial.get_error() or "lost")))

        def on_step_end(self, iteration: int, trials: list[Any], **_: Any) -> None:
            watch.waiting()

    return Told()
