"""Many training runs in parallel on Ray Tune, optionally with early stopping by a scheduler and suggestions by a searcher.

Ray Tune's own state is in a temporary folder and ends with the process. The results of a trial are in stage folders. When a sweep
is restarted, the caller passes earlier results again, and the scheduler and the searcher are rebuilt from these.
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

Point = dict[str, Any]  # the settings of a trial; small and picklable
Numbers = dict[str, Any]  # metrics: among them "percent" of the trial's budget, and "score", where higher is better
Report = Callable[[Numbers], None]
Work = Callable[[Worker, Point, Report], Numbers]  # calls report during the run, returns the last report, catches its own errors

SCORE, PERCENT = "score", "percent"


@runtime_checkable
class TrialListener(Protocol):
    """Receives the events of all trials, in the process that called `run`."""

    def started(self, point: Point) -> None: ...
    def reported(self, point: Point, numbers: Numbers) -> None: ...
    def ended(self, point: Point, lost: str | None) -> None: ...
    def waiting(self) -> None: ...


class Stopped(BaseException):
    """Raised in a trial that the scheduler stops. A BaseException, so that `except Exception` does not catch it."""


@dataclass(frozen=True)
class Search:
    """The space that a searcher samples.

    Args:
        space: for each key ("choice", values), ("uniform", (low, high)) or ("log", (low, high)).
        samples: the number of further points.
        known: earlier points with their scores.
    """

    space: Mapping[str, tuple[str, Any]]
    samples: int
    known: Sequence[tuple[Point, float]] = ()


@runtime_checkable
class PointSource(Protocol):
    """Chooses every point, in the process that called `run`; it gets the results as a `TrialListener`."""

    def ask(self) -> Point | None:
        """The next point; None if there is none now: either `over`, or it depends on results of running trials."""
        ...

    def over(self) -> bool:
        """Whether no point will follow, whatever the running trials report."""
        ...


def run(
    work: Work,
    points: Sequence[Point],
    config: Config,
    listener: TrialListener,
    search: Search | PointSource | None = None,
    earlier: Sequence[Sequence[Numbers]] = (),
) -> None:
    """Run `work(worker, point, report)` for every point, `config.cluster.workers` at a time, in processes that are reused.

    If a process is lost, its trial is restarted and resumes from its checkpoint. With `workers=0` trials run one after another in
    this process.

    Args:
        search: the source of further points; `points` are those that an earlier attempt had started.
        earlier: the reports of an earlier attempt's trials, for the scheduler.

    Raises:
        InputError: the searcher is not installed.
    """
    scheduler = _asha(config, earlier) if config.sweep.scheduler == "asha" else None
    searcher, count = None, len(points)
    if isinstance(search, Search):
        searcher, count = _optuna(config, points, search), count + search.samples
    elif search:
        searcher = _LocalSearcher(search) if config.cluster.workers == 0 else _tune_searcher(search)
        count = sys.maxsize  # `search.over` decides
    if count:
        (_in_process if config.cluster.workers == 0 else _on_ray)(work, points, count, config, listener, scheduler, searcher)


def check_searcher() -> None:
    """Raises InputError if Optuna is not installed."""
    try:
        import optuna  # noqa: F401
    except ImportError:
        raise InputError("sweep.searcher=optuna: Optuna is not installed; expected pip install 'dsopt[optuna]'.") from None


def _asha(config: Config, earlier: Sequence[Sequence[Numbers]]) -> Any:
    """Asynchronous successive halving (ASHA, Li et al. 2020, arXiv:1810.05934) over percent of the budget.

    The scheduler of Ray Tune cannot be restored, so the reports of an earlier attempt are replayed into a new one.
    """
    from ray.tune.schedulers import ASHAScheduler

    sweep = config.sweep
    rungs = {"max_t": 100, "grace_period": 100 * sweep.grace, "reduction_factor": sweep.reduction}
    scheduler: Any = ASHAScheduler(time_attr=PERCENT, metric=SCORE, mode="max", **rungs)
    for number, reports in enumerate(earlier):
        trial = SimpleNamespace(trial_id=f"earlier {number}")
        scheduler.on_trial_add(None, trial)
        for numbers in reports:
            scheduler.on_trial_result(None, trial, numbers)
    return scheduler


def _optuna(config: Config, points: Sequence[Point], search: Search) -> Any:
    """Optuna's sampler, which suggests `points` first and knows the scores of earlier points."""
    check_searcher()
    import optuna
    from optuna.distributions import CategoricalDistribution, FloatDistribution
    from ray.tune.search.optuna import OptunaSearch

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    session.silence("ray.tune")
    space = {
        key: CategoricalDistribution(values) if kind == "choice" else FloatDistribution(*values, log=kind == "log")
        for key, (kind, values) in search.space.items()
    }
    seed = config.seed + len(search.known) + len(points)  # with the same seed, a resumed sweep would draw the same samples again
    searcher = OptunaSearch(space=space, metric=SCORE, mode="max", seed=seed, points_to_evaluate=list(points))  # type: ignore[arg-type]
    for point, value in search.known:
        searcher.add_evaluated_point(point, value)
    return searcher


class _LocalSearcher:
    """The part of Ray Tune's searcher interface that `_in_process` uses."""

    def __init__(self, source: PointSource) -> None:
        self.source = source

    def suggest(self, trial: str) -> Point | None:
        return self.source.ask()

    def on_trial_complete(self, trial: str, result: Numbers) -> None: ...


def _tune_searcher(source: PointSource) -> Any:
    """A `PointSource` as Ray Tune's searcher. It saves nothing: a restarted sweep asks its source again."""
    from ray.tune.search import Searcher

    class SourceSearcher(Searcher):
        def suggest(self, trial_id: str) -> Any:
            return source.ask() or (Searcher.FINISHED if source.over() else None)

        def on_trial_complete(self, trial_id: str, result: Numbers | None = None, error: bool = False) -> None: ...
        def save(self, checkpoint_path: str) -> None: ...
        def restore(self, checkpoint_path: str) -> None: ...

    return SourceSearcher(metric=SCORE, mode="max")


def _in_process(
    work: Work, points: Sequence[Point], count: int, config: Config, listener: TrialListener, scheduler: Any, searcher: Any
) -> None:
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
            listener.reported(point, numbers)
            if scheduler and scheduler.on_trial_result(None, trial, numbers) == scheduler.STOP:
                raise Stopped

        listener.started(point)
        with contextlib.suppress(Stopped):
            report(work(worker, point, report))
        if searcher:
            searcher.on_trial_complete(trial.trial_id, last)
        listener.ended(point, None)


def _on_ray(
    work: Work, points: Sequence[Point], count: int, config: Config, listener: TrialListener, scheduler: Any, searcher: Any
) -> None:
    # Read by Ray Tune: write no log files per trial, and leave interruptions to the job.
    os.environ |= {"TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1", "TUNE_DISABLE_SIGINT_HANDLER": "1"}
    session.connect()
    from ray import tune

    session.silence("ray.tune")
    share = session.share(config.cluster, config.sweep.gpus)
    resources = {"cpu": share.cpus, "gpu": share.gpus}
    trainable = tune.with_resources(tune.with_parameters(_trial, work=work, points=list(points), share=share), resources)
    space = {} if searcher else {"number": tune.grid_search(list(range(count)))}
    with session.reporting_shortage(share), tempfile.TemporaryDirectory(prefix="dsopt-") as scratch:
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
                callbacks=[_callback(listener, points)],
            ),
        ).fit()


def _trial(setting: dict[str, Any], work: Work, points: Sequence[Point], share: session.Share) -> None:
    """A trial, in a worker process; `setting` is {"number": index into points}, or a point from the searcher."""
    import ray.tune

    ray.tune.report(
        work(this_process(share.gpus > 0, session.threads(share), share.workers), _point(setting, points), ray.tune.report)
    )


def _point(setting: dict[str, Any], points: Sequence[Point]) -> Point:
    return points[setting["number"]] if "number" in setting else setting


def _callback(listener: TrialListener, points: Sequence[Point]) -> Any:
    """A callback of Ray Tune that passes the events of trials to a listener."""
    from ray.tune import Callback

    class ListenerCallback(Callback):
        def on_trial_start(self, iteration: int, trials: list[Any], trial: Any, **_: Any) -> None:
            listener.started(_point(trial.config, points))

        def on_trial_result(self, iteration: int, trials: list[Any], trial: Any, result: Numbers, **_: Any) -> None:
            listener.reported(_point(trial.config, points), result)

        def on_trial_complete(self, iteration: int, trials: list[Any], trial: Any, **_: Any) -> None:
            listener.ended(_point(trial.config, points), None)

        def on_trial_error(self, iteration: int, trials: list[Any], trial: Any, **_: Any) -> None:
            listener.ended(_point(trial.config, points), session.root_cause(RuntimeError(trial.get_error() or "lost")))

        def on_step_end(self, iteration: int, trials: list[Any], **_: Any) -> None:
            listener.waiting()

    return ListenerCallback()
