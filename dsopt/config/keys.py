"""What stands beside a configuration key: its meaning, its bound, and the registered functions that it takes."""

import dataclasses
import functools
import math
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from dsopt.registry import Registry


@dataclass(frozen=True)
class Bound:
    """Which values a key takes; `says` completes "must be ..."."""

    says: str
    holds: Callable[[Any], bool]


def at_least(low: int, unit: str = "") -> Bound:
    return Bound(f"at least {low} {unit}".rstrip(), lambda value: low <= value < math.inf)


def above(low: int) -> Bound:
    return Bound(f"above {low}", lambda value: low < value < math.inf)


def interval(text: str) -> Bound:
    """The bound that mathematicians write so: interval("(0, 1]") is above 0 and at most 1."""
    low, high = (float(end) for end in text[1:-1].split(","))
    with_low, with_high = text[0] == "[", text[-1] == "]"
    return Bound(f"in {text}", lambda value: low < value < high or (with_low and value == low) or (with_high and value == high))


def one_of(*values: int) -> Bound:
    return Bound(" or ".join(map(str, values)), lambda value: value in values)


def matching(pattern: str, says: str) -> Bound:
    return Bound(says, lambda value: re.fullmatch(pattern, value) is not None)


def each(bound: Bound) -> Bound:
    return Bound(f"a list of values {bound.says}", lambda values: all(map(bound.holds, values)))


SHARE = interval("(0, 1]")


@dataclass(frozen=True)
class About:
    """What is known of a key besides its type and default.

    Args:
        says: its meaning, for `help=true`.
        bound: which values it takes; None is always allowed where the type allows it.
        family: the registered functions of which it names one (a `Choice`) or several (a list).
        kind: for models, the only kind that it takes.
        options: whether elements of a list of names may have options, as in `shift(most=2)`.
        example: an element of a list whose elements are not plain values.
    """

    says: str = ""
    bound: Bound | None = None
    family: Registry | None = None
    kind: str = ""
    options: bool = False
    example: str = ""


@dataclass
class Choice:
    """A registered function and its options."""

    name: str = "???"
    options: dict[str, Any] = field(default_factory=dict)


def key(default: Any, says: str, bound: Bound | None = None, **about: Any) -> Any:
    """A key with its default; `about` are further fields of `About`."""
    metadata = {"about": About(says, bound, **about)}
    if isinstance(default, list | dict):
        return field(default_factory=lambda: default.copy(), metadata=metadata)
    return field(default=default, metadata=metadata)


def part(section: type, says: str, **defaults: Any) -> Any:
    """A section of keys, with defaults of its own for some of them."""
    return field(default_factory=lambda: section(**defaults), metadata={"about": About(says)})


def choice(family: Registry, name: str, says: str, kind: str = "") -> Any:
    """A key that names one registered function, and takes its options."""
    return field(default_factory=lambda: Choice(name), metadata={"about": About(says, family=family, kind=kind)})


class Item(NamedTuple):
    """A section or a key of a configuration: its dotted path, its value, what is known of it, and its type."""

    path: str
    value: Any
    about: About
    type: Any


def walk(config: Any, prefix: str = "", within: str | None = None) -> Iterator[Item]:
    """Every section and key of a configuration, or of its section `within` alone, each section before its keys."""
    for name, about, kind in _fields(type(config)):
        if within is not None and name != within:
            continue
        value = getattr(config, name)
        section = dataclasses.is_dataclass(value)
        if section and isinstance(value, Choice) and not about.family:  # a section that is a choice says which at its `name`
            named = next(of for key, of, _ in _fields(type(value)) if key == "name")
            about = dataclasses.replace(about, family=named.family, kind=named.kind)
        yield Item(prefix + name, value, about, kind)
        if section:
            yield from walk(value, f"{prefix}{name}.")


@functools.cache
def _fields(section: type) -> list[tuple[str, About, Any]]:
    return [(item.name, item.metadata.get("about", About()), item.type) for item in dataclasses.fields(section)]
