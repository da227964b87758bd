"""Overrides (from the command line, presets and trials of a sweep) -> a checked configuration."""

import copy
import dataclasses
import functools
import pickle
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml
from omegaconf import DictConfig, ListConfig, OmegaConf
from omegaconf.errors import ConfigAttributeError, ConfigKeyError, OmegaConfBaseException

from dsopt.config.checks import check
from dsopt.config.keys import walk
from dsopt.config.tree import Config
from dsopt.errors import InputError, unknown
from dsopt.registry import one_line

_DUMPER = getattr(yaml, "CSafeDumper", yaml.SafeDumper)  # libyaml's: a configuration takes 4 ms, not 15; some builds lack it
PRESETS = Path(__file__).parent.parent / "presets"


def load(arguments: Sequence[str], presets: Path = PRESETS) -> Config:
    """The checked configuration of a list of overrides such as `select.budget=4320` or `preset=cifar10`.

    Args:
        arguments: overrides; later ones win, and all win over the presets they name.
        presets: the folder in which, at any depth, `preset=NAME` finds `NAME.yaml`: overrides, which may name other presets.

    Raises:
        InputError: an unknown key or name, or a wrong type or value; says what is expected.
    """
    config = variant(Config(), _expanded(arguments, presets))
    sweep = config.sweep
    sweep.rows = {name: _row(f"sweep.rows.{name}", row, presets) for name, row in sweep.rows.items() if row is not None}
    sweep.also = [_row("sweep.also", row, presets) for row in sweep.also]
    return config


def _row(where: str, row: Any, presets: Path) -> list[str]:
    if not isinstance(row, list) or not all(isinstance(text, str) and "=" in text for text in row):
        raise InputError(f"{where}: {row}: must be a list of overrides such as [train.split=0, preset=NAME].")
    try:
        return _expanded(row, presets)
    except InputError as error:
        raise InputError(f"{where}: {error}") from None


def _expanded(arguments: Sequence[str], presets: Path, within: tuple[str, ...] = ()) -> list[str]:
    """Overrides with every `preset=NAME` replaced by what it lists, recursively; all other overrides win over the presets."""
    named = [a.removeprefix("preset=") for a in arguments if a.startswith("preset=")]
    if repeated := next((name for name in named if name in within), None):
        raise InputError(f"preset {repeated}: includes itself: {' -> '.join((*within, repeated))}.")
    listed = [o for name in named for o in _expanded(_preset(name, presets), presets, (*within, name))]
    return listed + [a for a in arguments if not a.startswith("preset=")]


def variant(config: Config, overrides: Sequence[str]) -> Config:
    """The checked configuration with more overrides, such as a trial of a sweep. Raises InputError as `load` does."""
    return pickle.loads(_variant(pickle.dumps(config), tuple(overrides)))


@functools.lru_cache(maxsize=1024)
def _variant(config: bytes, overrides: tuple[str, ...]) -> bytes:
    """The same, pickled: a sweep plans its trials several times, and each takes 10 ms to make and check, 0.4 ms to unpickle."""
    made: Config = pickle.loads(config)
    sections = _sections(overrides)
    tree = copy.deepcopy(_tree(sections, pickle.dumps([getattr(made, name) for name in sections])))
    for i, override in enumerate(overrides):
        _apply(tree, override, overrides[i + 1 :])
    try:
        changed = OmegaConf.to_object(tree)
    except OmegaConfBaseException as error:  # such as a ${key} that does not exist
        raise InputError(one_line(error)) from None
    for name in sections:
        setattr(made, name, getattr(changed, name))
    check(made)
    return pickle.dumps(made)


def _sections(overrides: Sequence[str]) -> tuple[str, ...]:
    """Those that the overrides set; all if a key is not known, whose message lists them, or a value names another key."""
    known = [field.name for field in dataclasses.fields(Config)]
    named = {override.partition("=")[0].partition(".")[0] for override in overrides}
    everything = not named.issubset(known) or any("${" in override for override in overrides)
    return tuple(name for name in known if everything or name in named)


@functools.lru_cache(maxsize=256)
def _tree(sections: tuple[str, ...], values: bytes) -> DictConfig:
    """OmegaConf's tree of sections with these values, which are pickled: making that of three takes 15 ms, copying it 3."""
    types = {field.name: field.type for field in dataclasses.fields(Config)}
    part = dataclasses.make_dataclass("Config", [(name, types[name], None) for name in sections])
    return OmegaConf.structured(part(*pickle.loads(values)))


def _preset(name: str, folder: Path) -> list[str]:
    known = {path.stem: path for path in folder.rglob("*.yaml")}
    path = Path(name) if name.endswith((".yaml", ".yml")) else known.get(name)
    if path is None or not path.is_file():
        raise unknown("preset", name, list(known) if path is None else [p.stem for p in path.parent.glob("*.yaml")])
    try:
        overrides = yaml.safe_load(path.read_bytes()) or []
    except yaml.YAMLError:
        overrides = None
    if not isinstance(overrides, list) or not all(isinstance(o, str) and "=" in o for o in overrides):
        raise InputError(f"preset {path}: must be a YAML list of overrides such as - select.budget=4320")
    return overrides


def _apply(tree: DictConfig, override: str, after: Sequence[str]) -> None:
    """Set a key. Raises InputError; if the shell split the override at spaces, its other words are among those `after` it."""
    key, equals, value = override.partition("=")
    if not equals or not all(key.split(".")) or "\n" in override:
        raise InputError(f"argument {override!r} is not key=value; see help=true.")
    try:
        read = OmegaConf.to_container(OmegaConf.from_dotlist([f"value={value}"]))
        if isinstance(OmegaConf.select(tree, key), ListConfig) and isinstance(read["value"], str | int | float):  # type: ignore[index,call-overload]
            read["value"] = [read["value"]]  # type: ignore[index,call-overload]
        if isinstance(read["value"], bool) and isinstance(OmegaConf.select(tree, key), str):  # type: ignore[index,call-overload]
            read["value"] = _unquoted(value)  # type: ignore[index,call-overload] # one of a key's words: YAML reads on as true
        OmegaConf.update(tree, key, read["value"])  # type: ignore[index,call-overload]
        if "${" not in value and isinstance(OmegaConf.select(tree, key), str):
            OmegaConf.update(tree, key, _unquoted(value))  # text as it was given: YAML reads 2024_01 as a number
    except (ConfigAttributeError, ConfigKeyError) as error:
        full_key = str(getattr(error, "full_key", None) or key)
        parent, _, last = full_key.rpartition(".")
        node = OmegaConf.select(tree, parent) if parent else tree
        raise unknown(f"{override}: key", last, [str(k) for k in node] if isinstance(node, DictConfig) else []) from None
    except (OmegaConfBaseException, TypeError) as error:
        node = OmegaConf.select(tree, key)
        example = next((item.about.example for item in walk(Config()) if item.path == key), "")
        if isinstance(node, ListConfig) and example and not value.startswith("{"):
            raise InputError(f"{override}: is a list whose elements are not plain values; expected '{key}=[{example}]'.") from None
        if isinstance(node, ListConfig) and not value.startswith("["):
            raise InputError(f"{override}: is a list; expected {key}=[{value}].") from None
        if isinstance(node, DictConfig):
            right = f"{key}.name={value}" if "name" in node else f"{key}.KEY={value}"
            raise InputError(f"{override}: {key} is a section of keys; expected {right}.") from None
        raise InputError(f"{override}: {one_line(error).removeprefix(f'{key}: ')}") from None
    except yaml.YAMLError as error:
        if not _closed(value):
            raise InputError(f"{override}: {_cut(override, after)}") from None
        problem = str(error).splitlines()[0]
        raise InputError(f"{override}: the value is not valid YAML ({problem}); perhaps you mean '{key}=\"{value}\"'.") from None


def _unquoted(text: str) -> str:
    """Text without quotes around all of it."""
    return text[1:-1] if len(text) > 1 and text[0] == text[-1] and text[0] in "'\"" else text


def _closed(text: str) -> bool:
    return all(text.count(left) == text.count(right) for left, right in ("[]", "{}"))


def _cut(override: str, after: Sequence[str]) -> str:
    """What is wrong with an override whose brackets do not close: most likely it has spaces and no quotes."""
    wholes = (" ".join([override, *after[:count]]) for count in range(1, len(after) + 1))
    if whole := next(filter(_closed, wholes), None):
        return f"the shell split the value at its spaces; expected {shlex.quote(whole)}."
    key = override.partition("=")[0]
    return f"a bracket is not closed; expected '{key}=[...]', in quotes if it has spaces."


def plain(config: Any) -> Any:
    """A configuration (or a part of it) as plain dictionaries, lists and values."""
    return dataclasses.asdict(config)


def as_yaml(config: Any) -> str:
    tree = plain(config) if dataclasses.is_dataclass(config) else config
    return yaml.dump(tree, Dumper=_DUMPER, sort_keys=False)
