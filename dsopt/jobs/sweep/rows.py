"""How the trials of a sweep are named and grouped: rows of the table with a column for each setting, lines of the figure."""

import functools
import statistics
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

from dsopt.config import Config
from dsopt.config.references import Facts, Published, facts_of, find, scaled
from dsopt.jobs.optimize.page import info as run_info
from dsopt.jobs.sweep.grid import leaves
from dsopt.jobs.sweep.kinds.contract import PlannedTrial, kind_of
from dsopt.jobs.sweep.status import SweepStatus
from dsopt.reporting.lines import Series
from dsopt.reporting.tables import RunInfo, Spread

# Settings that have no effect on a run on the full data alone.
_SELECTION = ("select", "embed", "autoencoder", "loss", "proxy", "teacher")


def infos(trials: Sequence[PlannedTrial], done: Iterable[PlannedTrial]) -> list[RunInfo]:
    """The row and settings of every finished run; trials that differ only in settings without effect on them are one.

    A row is named by its training data and by the settings in which rows of these data differ.

    Args:
        trials: all trials: their overrides are the columns.
    """
    named = any(trial.trial.row for trial in trials)
    keys = list(dict.fromkeys(key for trial in trials for key in _overridden(trial) if named or key != "select.name"))
    differing = {title: _differing(group, keys) for title, group in _by_title(trials).items()}
    found: dict[tuple[str, str], RunInfo] = {}
    for trial in done:
        settings, title = {_short(key, keys): _cell(trial, key) for key in keys}, _title(trial)
        told = ((name, settings[name]) for name in (_short(key, keys) for key in differing[title]))
        row = ", ".join([title, *(f"{name} {value}" for name, value in told if value != "–")])
        info = vars(run_info(trial.row, trial.trial.seed, trial.evaluated))
        info |= {"row": row, "settings": {"row" if named else "training data": title} | settings}
        info |= {"method": trial.trial.row} if trial.trial.row else {}
        info |= {"published": _published(trial)}
        found[row, info["run"]] = RunInfo(**info)
    return list(found.values())


def _title(trial: PlannedTrial) -> str:
    return trial.trial.row or trial.row.title


def _by_title(trials: Sequence[PlannedTrial]) -> dict[str, list[PlannedTrial]]:
    groups: dict[str, list[PlannedTrial]] = {}
    for trial in trials:
        groups.setdefault(_title(trial), []).append(trial)
    return groups


def _differing(trials: Sequence[PlannedTrial], keys: Sequence[str]) -> list[str]:
    return [key for key in keys if len({_cell(trial, key) for trial in trials}) > 1]


def facts(trial: PlannedTrial) -> Facts:
    """What a paper's values are matched with."""
    return facts_of(trial.config, row=trial.trial.row, method=trial.trial.row or trial.row.method, split=trial.row.split)


def _published(trial: PlannedTrial) -> dict[str, Published]:
    name, compared = trial.config.reference, not trial.trial.equal_cost and kind_of(trial.config).published
    return find(name).published(trial.config.data.name, facts(trial)) if name and compared else {}


class Over(NamedTuple):
    """The results over the setting `x`.

    Args:
        series: a line for every row and combination of the other settings.
        beside: the means of rows that have no value of `x`.
        paper: a paper's numbers at points of the lines.
    """

    x: str
    series: Series
    beside: dict[str, float]
    paper: dict[str, dict[Any, float]]


def over(config: Config, trials: Sequence[PlannedTrial], statuses: SweepStatus) -> Over | None:
    """The results over `sweep.x`; None without a grid."""
    grid = [key for key, _ in leaves("sweep.grid", config.sweep.grid)]
    if config.sweep.searcher != "grid" or not grid:
        return None
    x, name = config.sweep.x or _first_with_numbers(grid, trials), statuses.measure.name
    others = [key for key in grid if key != x]
    series: dict[str, dict[Any, list[float]]] = {}
    beside: dict[str, list[float]] = {}
    paper: dict[str, dict[Any, float]] = {}
    for trial in trials:
        status = statuses.runs[trial.evaluated.hash]
        if status.state != "done":
            continue
        result = status.outcome[name]
        if trial.trial.equal_cost or _overridden(trial) != grid:
            more = [text for text in trial.trial.overrides if text != "train.split=0"]
            beside.setdefault(", ".join([trial.row.title, *more]), []).append(result)
        else:
            words = [trial.trial.row, *(_named(key, _value(trial.config, key), others) for key in others)]
            line, at = ", ".join(filter(None, words)) or "the grid", _value(trial.config, x)
            at = str(at) if isinstance(at, list | dict) else at
            series.setdefault(line, {}).setdefault(at, []).append(result)
            found = _published(trial).get(name)
            if found and found.compared and found.value is not None:
                paper.setdefault(line, {})[at] = scaled(name, found.value)
    if not series:
        return None
    spreads = {line: {at: Spread.of(values) for at, values in found.items()} for line, found in series.items()}
    return Over(x, spreads, {title: statistics.fmean(values) for title, values in beside.items()}, paper)


def _overridden(trial: PlannedTrial) -> list[str]:
    return [text.partition("=")[0] for text in trial.trial.overrides]


def _short(key: str, keys: Sequence[str]) -> str:
    """The last part of a key if it is unique among these keys, else the whole key."""

    def last(key: str) -> str:
        return key.removesuffix(".name").rpartition(".")[2]

    return last(key) if sum(last(other) == last(key) for other in keys) == 1 else key


def _named(key: str, value: Any, keys: Sequence[str]) -> str:
    return str(value) if key.endswith(".name") else f"{_short(key, keys)} {_text(value)}"


def _cell(trial: PlannedTrial, key: str) -> str:
    selects = trial.row.subset is not None or "scores" in trial.evaluated.inputs
    has_effect = selects or key.partition(".")[0] not in _SELECTION
    return _text(_value(trial.config, key)) if has_effect else "–"


def _text(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) else "–" if value is None else str(value)


def _value(config: Config, key: str) -> Any:
    def below(part: Any, word: str) -> Any:
        return part.get(word) if isinstance(part, dict) else getattr(part, word)

    return functools.reduce(below, key.split("."), config)


def _first_with_numbers(grid: list[str], trials: Sequence[PlannedTrial]) -> str:
    def numbers(key: str) -> bool:
        values = [_value(trial.config, key) for trial in trials if _overridden(trial) == grid]
        return all(isinstance(value, int | float) for value in values) and len(set(values)) > 1

    return next((key for key in grid if numbers(key)), grid[0])
