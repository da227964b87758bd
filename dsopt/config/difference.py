"""What of a configuration differs from the defaults: what the hash of a stage is made of."""

import functools
import operator
from collections.abc import Sequence
from dataclasses import is_dataclass
from typing import Any

from dsopt.config.keys import Choice, walk
from dsopt.config.tree import Config
from dsopt.registry import Registry


def differing(config: Config, *paths: str, without: Sequence[str] = ()) -> dict[str, Any]:
    """The keys at and below `paths` whose values are not those of `Config()`, as `{path: value or {key: ...}}`.

    A key that is added to the configuration later, with a default that keeps what was done before, changes no result. Lists and
    free dictionaries are compared and given whole. Of the options of a registered function, its own defaults are left out.

    Args:
        paths: sections or keys, such as "train", "train.schedule" or "seed".
        without: sections or keys to leave out, by their full paths.

    Raises:
        AttributeError: a path that the configuration does not have.
    """
    default, found = _default(type(config)), {}
    for path in (*paths, *without):
        operator.attrgetter(path)(default)
    for path in paths:
        for key, value in _leaves(config, path):
            if value != operator.attrgetter(key)(default) and not any(_within(key, other) for other in without):
                _enter(found, path, key, value)
    return found


@functools.cache
def _default(kind: type[Config]) -> Config:
    return kind()


def _leaves(config: Config, path: str) -> list[tuple[str, Any]]:
    """Every key at or below `path` with its value, options without those that the function has by default."""
    found, choices = [], {}
    for key, value, about, _ in walk(config, within=path.partition(".")[0]):
        if isinstance(value, Choice):
            choices[f"{key}.options"] = (about.family, value)
        if _within(key, path) and not is_dataclass(value):
            found.append((key, _own_options(*choices[key]) if key in choices else value))
    return found


def _own_options(family: Registry, choice: Choice) -> dict[str, Any]:
    if not choice.options or choice.name not in family.names():
        return choice.options
    defaults = family.defaults(choice.name)
    return {key: value for key, value in family.options(choice.name, choice.options).items() if value != defaults[key]}


def _within(key: str, path: str) -> bool:
    return f"{key}.".startswith(f"{path}.")


def _enter(found: dict[str, Any], path: str, key: str, value: Any) -> None:
    """Put the value of `key` into `found[path]`, or as it where the path is the key itself."""
    if key == path:
        found[path] = value
        return
    place = found.setdefault(path, {})
    *sections, last = key.removeprefix(f"{path}.").split(".")
    for section in sections:
        place = place.setdefault(section, {})
    place[last] = value
