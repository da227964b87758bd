"""The numbers that papers give, as data: `dsopt/papers/*.yaml`, from which `reference=NAME` takes a table or a figure.

A file holds one paper: `paper`, and under `references` by name

- `where`: the table or figure;
- `about`: its result in a sentence or two, for the page;
- `setting`: configuration keys with the paper's values; what differs in a run is listed beside its results;
- `values`: a list of {data, measure, value, and what a row must be: `row`, `method`, `split` or any configuration key}. A list of
  several values means any of them. `value` is as printed, accuracies in percent; with `says` instead, it is the paper's words;
- `tables`: many such values: {data, measure, over: KEY, at: [values of it], rows: {ROW: [one for each]}}, or rows: {ROW: value}.
"""

import functools
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from dsopt.config.keys import Choice, walk
from dsopt.errors import unknown
from dsopt.registry import REQUIRED

PAPERS = Path(__file__).parent.parent / "papers"
PERCENT = ("accuracy", "mean_accuracy", "cas", "cas_train")  # measures that papers print in percent, and that are in 0..1 here

Facts = Callable[[str], Any]  # "row", "method", "split" or a configuration key -> its value in a run; None: it has no such thing


class Value(NamedTuple):
    """A number of a paper: the data set and the measure that it is of, what a run's row must be, and the number or words."""

    data: str
    measure: str
    match: dict[str, Any]
    value: float | None
    says: str = ""

    def fits(self, facts: Facts) -> bool:
        return all(any(_same(facts(key), one) for one in _listed(wanted)) for key, wanted in self.match.items())


class Published(NamedTuple):
    """What a paper has for one row and measure; `compared`: it is a number of the same data set."""

    value: float | None
    says: str
    data: str
    compared: bool

    def __str__(self) -> str:
        told = self.says if self.value is None else f"{self.value:g}"
        return told if self.compared or self.value is None else f"{told} ({self.data})"


@dataclass(frozen=True)
class Reference:
    """A table or figure of a paper."""

    name: str
    paper: str
    where: str
    about: str
    setting: dict[str, Any]
    values: tuple[Value, ...]

    def published(self, data: str, facts: Facts) -> dict[str, Published]:
        """What the paper has for a row, by measure; the same data set goes before others."""
        found: dict[str, Published] = {}
        for value in sorted(self.values, key=lambda value: value.data != data):
            if value.measure not in found and value.fits(facts):
                same = value.data == data
                found[value.measure] = Published(value.value, value.says, value.data, same and value.value is not None)
        return found

    def data(self) -> list[str]:
        return list(dict.fromkeys(value.data for value in self.values))

    def differing(self, runs: Sequence[Facts]) -> list[str]:
        """The settings that differ from the paper's: "train.steps 500 (paper: 10000)"."""
        told = []
        for key, paper in self.setting.items():
            ours = list({str(_plain(run(key))): _plain(run(key)) for run in runs}.values())
            if any(not _same(one, paper) for one in ours):
                shown = ", ".join(f"{one}" for one in ours[:4]) + (" ..." if len(ours) > 4 else "")
                told.append(f"{key} {shown} (paper: {paper})")
        return told

    def note(self, data: str, runs: Sequence[Facts]) -> str:
        """Where the numbers are from, whether they are compared, and what differs in the setting."""
        told = f"Paper: {self.paper}, {self.where}."
        if self.values and data not in self.data():
            told += f" Its data: {', '.join(self.data())}; nothing is compared with {data}."
        differing = self.differing(runs)
        return told + (f" What differs in the setting: {'; '.join(differing)}." if differing else "")


def facts_of(config: Any, **known: Any) -> Facts:
    """The facts of a run; an option that is not given has its default. `known`: row, method and split, where it has them."""

    def fact(key: str) -> Any:
        if key in known:
            return known[key]
        try:
            return functools.reduce(_below, key.split("."), config)
        except (AttributeError, KeyError):
            return _by_default(config, key)

    return fact


def _by_default(config: Any, key: str) -> Any:
    """The value of an option that is not given: its function's default; None if there is no such option."""
    place, _, option = key.partition(".options.")
    for path, value, about, _ in walk(config, within=place.partition(".")[0]) if option else ():
        if path == place and isinstance(value, Choice) and about.family and value.name in about.family.names():
            default = about.family.defaults(value.name).get(option)
            return None if default is REQUIRED else default
    return None


def _below(part: Any, word: str) -> Any:
    return part[word] if isinstance(part, dict) else getattr(part, word)


def _listed(wanted: Any) -> list[Any]:
    return wanted if isinstance(wanted, list) else [wanted]


def _plain(value: Any) -> Any:
    return value if isinstance(value, int | float | bool | list | dict) or value is None else str(value)


def _same(ours: Any, paper: Any) -> bool:
    return ours is paper if isinstance(ours, bool) or isinstance(paper, bool) else ours == paper


def find(name: str, folder: Path = PAPERS) -> Reference:
    """The table or figure of a name. Raises InputError for an unknown one."""
    known = dict(_all(folder))
    if name not in known:
        raise unknown("reference", name, known)
    return known[name]


def names(folder: Path = PAPERS) -> Iterable[str]:
    return dict(_all(folder))


@functools.lru_cache
def _all(folder: Path) -> tuple[tuple[str, Reference], ...]:
    return tuple(entry for path in sorted(folder.glob("*.yaml")) for entry in _read(path))


def _read(path: Path) -> Iterator[tuple[str, Reference]]:
    read = yaml.safe_load(path.read_bytes())
    for name, given in read["references"].items():
        values = [*map(_value, given.get("values", [])), *(v for table in given.get("tables", []) for v in _of_table(table))]
        about, setting = " ".join(given["about"].split()), given.get("setting", {})
        yield name, Reference(name, read["paper"], given["where"], about, setting, tuple(values))


def _value(given: dict[str, Any]) -> Value:
    match = {key: wanted for key, wanted in given.items() if key not in ("data", "measure", "value", "says")}
    return Value(given["data"], given["measure"], match, given.get("value"), given.get("says", ""))


def _of_table(given: dict[str, Any]) -> Iterator[Value]:
    for row, numbers in given["rows"].items():
        if "over" not in given:
            yield Value(given["data"], given["measure"], {"row": row}, numbers)
            continue
        for at, number in zip(given["at"], numbers, strict=True):
            yield Value(given["data"], given["measure"], {"row": row, given["over"]: at}, number)


def scaled(measure: str, value: float) -> float:
    """A number as a paper prints it, in this package's unit: accuracies in 0..1."""
    return value / 100 if measure in PERCENT else value
