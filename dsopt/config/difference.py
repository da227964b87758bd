"""What of a configuration differs from the defaults: what the hash of a stage is made of."""

import dataclasses
import functools
import operator
from collections.abc import Iterator, Sequence
from typing import Any

from dsopt.config.checks import choices
from dsopt.config.tree import Choice, Config
from dsopt.registry import Registry


def differing(config: Config, *paths: str, without: Sequence[str] = ()) -> dict[str, Any]:
    """The keys at and below `paths` whose values are not those of `Config()`, as `{path: value or {key: ...}}`.

    A key added to the configuration later, with a default that keeps what was done before, changes no result. Lists and free
    dictionaries are compared and given whole. Of the options of a registered function, those that it has by default are left out.

    Args:
        paths: sections or keys, such as "train", "train.schedule" or "seed".
        without: sections or keys below them to leave out, by their full paths.

    Raises:
        AttributeError: a path that the configuration does not have.
    """
    found: dict[str, Any] = {}
    default = _default(type(config))
    for path in without:
        operator.attrgetter(path)(default)
    families = {key: family for key, family, _, _ in choices(default)}
    for path in paths:
        expected = dict(_leaves(path, default, families))
        for key, value in _leaves(path, config, families):
            if value != expected[key] and not any(_within(key, other) for other in without):
                _enter(found, path, key, value)
    return found


@functools.cache
def _default(kind: type[Config]) -> Config:
    return kind()


def _leaves(path: str, config: Config, families: dict[str, Registry]) -> Iterator[tuple[str, Any]]:
    """Every key at or below `path` with its value, options without those that are the function's own defaults."""
    value = operator.attrgetter(path)(config)
    parent, _, name = path.rpartition(".")
    if dataclasses.is_dataclass(value):
        for item in dataclasses.fields(value):
            yield from _leaves(f"{path}.{item.name}", config, families)
    elif name == "options" and value and isinstance(owner := operator.attrgetter(parent)(config), Choice):
        yield path, _own_options(families[parent], owner)
    else:
        yield path, value


def _own_options(family: Registry, choice: Choice) -> dict[str, Any]:
    if choice.name not in family.names():
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
