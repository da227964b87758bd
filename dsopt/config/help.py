"""What `help=` prints about keys, registered names and presets."""

import dataclasses
import itertools
import re
import shutil
import textwrap
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

import yaml

from dsopt import registry
from dsopt.config import references
from dsopt.config.keys import Item, walk
from dsopt.config.overrides import PRESETS
from dsopt.config.tree import Config
from dsopt.errors import unknown
from dsopt.registry import Registry, first_sentence

LEFT = 38  # width of the column of keys and names


def describe(topic: str = "all", presets: Path = PRESETS, also: Iterable[str] = ()) -> str:
    """What is known of a section, a key, a family of registered names such as "selectors", of "presets", of "references", or "all".

    Args:
        also: topics that the caller knows, to be suggested for one that nobody knows.

    Raises:
        InputError: there is no such topic.
    """
    items, families = {item.path: item for item in walk(Config())}, _families()
    if topic == "all":
        general = [path for path in _sections() if _is_key(items[path])]
        sections = [path for path in _sections() if path not in general]
        return "\n\n".join([describe_keys(general), *map(_section, sections), *map(_family, families)])
    if topic == "presets":
        return _presets(presets)
    if topic == "references":
        return _references()
    if topic in families:
        return _family(topic)
    if topic in items:
        return _section(topic)
    raise unknown("help topic", topic, [*_sections(), *families, *also, "presets", "references", "all"])


def describe_keys(paths: Sequence[str]) -> str:
    """Some keys and sections in the order given, grouped by the sections that they belong to."""
    items = list(walk(Config()))
    groups: dict[str, list[Item]] = {}
    for path in paths:
        for item in items:
            if _within(item.path, path) and _is_key(item):
                group = groups.setdefault(item.path.partition(".")[0] if "." in item.path else "", [])
                group += [item] if item not in group else []
    lines: list[str] = []
    for name, shown in groups.items():
        whole = [item for item in items if _within(item.path, name) and _is_key(item)]
        more = len(whole) - len(shown) if name else 0
        title = f"{name}: {next(item.about.says for item in items if item.path == name)}" if name else "general"
        lines += ["", title + (f" ({more} more: help={name})" if more else "")]
        lines += [line for item in shown for line in _key(item, items)]
    return "\n".join(lines[1:])


def _is_key(item: Item) -> bool:
    return not dataclasses.is_dataclass(item.value) and not item.path.endswith(".options")


def _within(path: str, section: str) -> bool:
    return f"{path}.".startswith(f"{section}.")


def _families() -> dict[str, Registry]:
    found = {name.lower(): value for name, value in vars(registry).items() if isinstance(value, Registry)}
    return dict(sorted(found.items()))


def _sections() -> list[str]:
    return [item.name for item in dataclasses.fields(Config)]


def _section(path: str) -> str:
    items = list(walk(Config()))
    (item,) = (item for item in items if item.path == path)
    inside = [item for item in items if _within(item.path, path) and not dataclasses.is_dataclass(item.value)]
    lines = [line for item in inside for line in _key(item, items)]
    return "\n".join([f"{path}: {item.about.says}", *lines] if dataclasses.is_dataclass(item.value) else lines)


def _key(item: Item, items: Iterable[Item]) -> list[str]:
    """The lines of one key: its default, its meaning, its values or its bound, and where the names that it takes are listed."""
    parent, _, last = item.path.rpartition(".")
    owner = next((other for other in items if other.path == parent), item)
    family = item.about.family or (owner.about.family if last in ("name", "options") else None)
    listed = next((name for name, other in _families().items() if other is family), None)
    if last == "options":
        return _columns(f"{item.path}.KEY=VALUE", f"options of {parent}.name (help={listed})")
    says, notes = item.about.says or owner.about.says, []
    if get_origin(item.type) is Literal:
        notes.append(" | ".join(get_args(item.type)))
    if item.about.bound and item.about.bound.says.startswith("in "):  # the others go without saying
        notes.append(item.about.bound.says)
    if listed:
        notes.append(f"help={listed}")
    return _columns(f"{item.path}={_value(item.value)}", says + (f" ({'; '.join(notes)})" if notes else ""))


def _value(value: Any) -> str:
    if value is None or isinstance(value, str):
        return value or ""
    return yaml.safe_dump(value, default_flow_style=True, width=1000).split("\n")[0].replace(", ", ",").replace(": ", ":")


def _family(name: str) -> str:
    family = _families()[name]
    lines = [f"{name}: the names of each {family.noun}, and their options"]
    for kind in dict.fromkeys(getattr(family.traits(member), "kind", "") for member in family.names()):
        lines += [f" {kind}"] if kind else []
        for member in family.names():
            if getattr(family.traits(member), "kind", "") == kind:
                lines += _columns(member, family.summary(member), 20)
                options = [f"{key}={_value(value)}" for key, value in family.defaults(member).items()]
                lines += _columns("", f"options: {' '.join(options)}", 20) if options else []
    return "\n".join(lines)


def _presets(folder: Path) -> str:
    lines = ["presets: lists of overrides; preset=NAME, or preset=FILE.yaml for your own"]
    parent = folder
    for path in sorted(folder.rglob("*.yaml"), key=lambda path: (path.parent, path)):
        if path.parent != parent:
            parent = path.parent
            lines += ["", f"{parent.relative_to(folder)}:"]
        text = path.read_text(errors="replace").splitlines()
        comment = itertools.takewhile(lambda line: re.match("# \\S", line), text)  # not the commands, which are indented
        lines += _columns(path.stem, first_sentence(" ".join(line.removeprefix("# ") for line in comment)), 26)
    return "\n".join(lines)


def _references() -> str:
    """Every table and figure that `reference` takes, with where it stands."""
    lines = ["references: tables and figures of papers; reference=NAME puts their numbers beside the results"]
    for name in references.names():
        found = references.find(name)
        lines += _columns(name, f"{found.paper}, {found.where}", 26)
    return "\n".join(lines)


def _columns(left: str, right: str, width: int = LEFT) -> list[str]:
    """Two columns within the width of the terminal; a left one that is too wide pushes the right one on."""
    columns = max(100, min(160, shutil.get_terminal_size((132, 24)).columns))
    gap = " " * (width + 4)
    return textwrap.wrap(
        right or " ", columns, initial_indent=f"  {left:<{width}}  ", subsequent_indent=gap, break_long_words=False
    ) or [f"  {left}"]
