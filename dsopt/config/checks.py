"""What the types of the keys allow but no run can use: wrong names and options, values out of bounds, keys that exclude another."""

import dataclasses
import itertools
import math
import operator
import re
import shlex
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple

from dsopt import registry
from dsopt.config import references
from dsopt.config.keys import Choice, Item, walk
from dsopt.config.training import ClassifierConfig, TrainConfig
from dsopt.config.tree import Config
from dsopt.errors import InputError, unknown


def check(config: Config) -> None:
    """Raises InputError, naming the key and what is expected, for the first thing that is wrong."""
    for key, part in (("generate", config.generate), ("colorize", config.colorize)):
        for term in part.terms:
            _check_term(f"{key}.terms: {term}", term)
    items = list(walk(config))
    for choice in choices(items):
        _check_choice(*choice)
    _check_ranges("sweep.space", config.sweep.space, config)
    for key, value, about, _ in items:
        if about.bound and value is not None and not about.bound.holds(value):
            raise _must_be(key, value, about.bound.says)
    for fine, key, right in _rules(config, items):
        if not fine:
            raise _must_be(key, operator.attrgetter(key)(config), right)
    if config.reference is not None:
        references.find(config.reference)
    for phase in config.train.phases:
        _check_phase(phase)
    _check_until(config.train)
    if config.compare.command is not None:
        _check_command(config.compare.command)


def _must_be(key: str, value: Any, right: str) -> InputError:
    return InputError(f"{key}={value}: must be {right}.")


class Named(NamedTuple):
    """A registered function that a key names; `kind`: for models, the kind that the key takes."""

    key: str
    family: registry.Registry
    name: str
    options: dict[str, Any]
    kind: str


def choices(items: Iterable[Item]) -> Iterator[Named]:
    """Every registered function that the sections and keys of a configuration name."""
    for key, value, about, _ in items:
        if isinstance(value, ClassifierConfig) and (":" in value.name or (value.name == "probe" and key != "train")):
            continue  # of a library or the user, or of the embeddings
        if about.family and isinstance(value, Choice):
            yield Named(key, about.family, value.name, value.options, about.kind)
        elif about.family and isinstance(value, list):
            for element in value:
                if isinstance(element, dict):
                    name, options = str(element.get("name")), element.get("options") or {}
                else:
                    name, options = registry.call(element) if about.options else (element, {})
                yield Named(key, about.family, name, options, about.kind)


def _check_choice(key: str, family: registry.Registry, name: str, options: dict[str, Any], kind: str) -> None:
    try:
        if kind:
            of_kind = [name for name in family.names() if family.traits(name).kind == kind]
            if name not in of_kind:
                raise unknown(kind, name, of_kind)
        family.options(name, options)
    except InputError as error:
        raise InputError(f"{key}: {error}") from None
    if key.endswith(".augment") and key != "train.augment" and getattr(family.traits(name), "mixes", False):
        raise InputError(f"{key}: {name} mixes images and their labels; only train.augment takes it.")


def _rules(config: Config, items: Sequence[Item]) -> Iterator[tuple[Any, str, str]]:
    """What concerns several keys: (whether it holds, the key at fault, what it must be)."""
    train, measure, embed, compare = config.train, config.measure, config.embed, config.compare
    for key, value, *_ in items:
        if key.endswith(".batch_size") and key != "embed.batch_size":
            yield value >= config.cluster.workers, key, "at least 1 image for every worker"
    for one, other in itertools.combinations(BUDGETS[1:-1], 2):
        yield getattr(train, one) is None or getattr(train, other) is None, f"train.{one}", f"not given with train.{other}"
    overlap = train.overlap or any(phase.get("data") == "overlap" for phase in train.phases)
    for role in ("proxy", "teacher", "train"):
        chosen = getattr(config, role)
        yield chosen.optimizer != "nesterov" or chosen.momentum, f"{role}.momentum", f"above 0 with {role}.optimizer=nesterov"
        for name in ("size", "weights"):
            registered = ":" not in chosen.name and getattr(chosen, name) is not None
            yield not registered, f"{role}.{name}", f"not given for {chosen.name}, which has its own size and starts at random"
    external = [name for name in embed.encoder if ":" in name]
    looked_for = [registry.call(kind)[0] for kind in config.audit.kinds]
    yield from [
        (
            embed.decode == "cpu" or len(external) == len(embed.encoder),
            "embed.decode",
            "cpu with autoencoder, filters and proxy, which see the working copies",
        ),
        (not config.extra.augment or config.extra.name == "copies", "extra.augment", "given with extra.name=copies alone"),
        (
            config.extra.name == "none" or not train.validation or train.validate_on == "unselected",
            "train.validation",
            "0 with extra images, which are made from the held-out images too; or give train.validate_on=unselected",
        ),
        (
            train.validate_on == "held_out" or (train.validation and _subset_alone(train)),
            "train.validate_on",
            "held_out unless train.validation is above 0 and every phase trains on the subset (train.split=1)",
        ),
        (not (train.validate_every and train.validate_passes), "train.validate_passes", "not given with train.validate_every"),
        (
            train.keep == "last" or (train.validation and (train.validate_every or train.validate_passes)),
            "train.keep",
            "last without train.validation and train.validate_every or train.validate_passes",
        ),
        (
            not train.overlap or (not train.phases and train.sampler.name == "shuffle"),
            "train.overlap",
            "without train.phases (where it is data: overlap) and without a train.sampler",
        ),
        (overlap or train.overlap_easiest == 1, "train.overlap_easiest", "1 where no phases overlap; or give train.overlap=true"),
        (not overlap or train.decoded is not False, "train.decoded", "true or not given where phases overlap"),
        (
            train.progressive == 1 or ":" in train.name or getattr(registry.MODELS.traits(train.name), "any_size", False),
            "train.progressive",
            f"1 with train.name={train.name}, which takes pictures of one size",
        ),
        (train.progressive == 1 or train.compile == "off", "train.progressive", "1 with train.compile, which is for one size"),
        (len(embed.weights) in (0, len(external)), "embed.weights", f"one for each of {', '.join(external) or 'no encoder'}"),
        (embed.encoder and len(set(embed.encoder)) == len(embed.encoder), "embed.encoder", "encoders, each once"),
        (
            compare.command is None or config.extra.name == "none",
            "extra.name",
            "none with compare.command, which trains on the given images alone",
        ),
        (
            compare.command is None or config.select.soft_labels == "none" or compare.export != "folder",
            "compare.export",
            "webdataset or parquet with select.soft_labels: folders hold images alone",
        ),
        (
            train.rate_rule == "fixed" or train.batch_size_per_worker is not None,
            "train.rate_rule",
            "fixed without train.batch_size_per_worker",
        ),
        (
            compare.target is None or compare.command is None,
            "compare.target",
            "not given with compare.command, which reports its last accuracy",
        ),
        *((kind in looked_for, "select.drop", f"of audit.kinds, which has no {kind}") for kind in config.select.drop),
        (not (config.select.drop and config.select.ids), "select.drop", "[] with select.ids, which lists what is wanted"),
        (embed.source != "table" or embed.table, "embed.table", "given with embed.source=table"),
        (not (config.select.extends and config.select.ids), "select.extends", "not given with select.ids, which lists everything"),
        (embed.source != "table" or not embed.extends, "embed.extends", "not given with embed.source=table"),
        (not (measure.cas and train.phases), "train.phases", "[] with measure.cas=true, which trains on one set alone"),
        (
            not (measure.cas and train.validation) or train.keep == "best",
            "train.validation",
            "0 with measure.cas=true, a test accuracy",
        ),
        (measure.samples > measure.neighbours, "measure.samples", "more than measure.neighbours"),
        (measure.extractor != "inception" or measure.weights, "measure.weights", "given with measure.extractor=inception"),
    ]


PLACES = ("subset", "ids", "test", "seed", "out")  # what `compare.command` may name in braces


def _check_command(command: str) -> None:
    about = f"compare.command={command}"
    found = re.findall(r"\{(\w+)\}", command)
    for name in found:
        if name not in PLACES:
            raise unknown(f"{about}: placeholder", f"{{{name}}}", [f"{{{place}}}" for place in PLACES])
    if "out" not in found or not {"subset", "ids"} & set(found):
        raise InputError(f"{about}: must have {{out}}, an empty folder for its results, and {{subset}} or {{ids}}, its data.")
    try:
        shlex.split(command)
    except ValueError as error:
        raise InputError(f"{about}: {str(error)[0].lower()}{str(error)[1:]}.") from None


def _check_term(about: str, term: dict[str, Any]) -> None:
    valid = ("name", "weight", "side", "options")
    for key in term:
        if key not in valid:
            raise unknown(f"{about}: key", str(key), valid)
    if not isinstance(term.get("name"), str) or not isinstance(term.get("weight", 1.0), int | float):
        raise InputError(f"{about}: expected {{name: gradient_penalty, weight: 10}}, perhaps with options: {{...}}.")


_RANGES = ("log", "uniform")


def _check_ranges(where: str, space: dict[str, Any], part: Any) -> None:
    """Refuse what a search is given for a value in `part` of the configuration and is neither a range nor a list."""
    for name, given in space.items():
        if not isinstance(given, dict) or not hasattr(part, name):
            continue
        key, below = f"{where}.{name}", getattr(part, name)
        if dataclasses.is_dataclass(below):
            _check_ranges(key, given, below)
        elif not isinstance(below, dict):
            for kind in given:
                if kind not in _RANGES:
                    raise InputError(f"{unknown(f'{key}: range', str(kind), _RANGES)} Or give a list of values.")
            if len(given) != 1:
                raise InputError(f"{key}={given}: expected {{log: [low, high]}}, {{uniform: [low, high]}} or a list of values.")


DATA = ("subset", "full", "overlap")  # the last: the subset, and those images of the full set that are loaded so far
BUDGETS = ("steps", "epochs", "passes", "seconds", "until_seconds")


def _subset_alone(train: TrainConfig) -> bool:
    return all(phase.get("data") == "subset" for phase in train.phases) if train.phases else train.split == 1


def _check_phase(phase: dict[str, Any]) -> None:
    about, valid = f"train.phases: {phase}", ["data", *BUDGETS, "sampler"]
    for key in phase:
        if key not in valid:
            raise unknown(f"{about}: key", str(key), valid)
    if "data" in phase and phase["data"] not in DATA:
        raise unknown(f"{about}: data", str(phase["data"]), DATA)
    budgets = [k for k in BUDGETS if k in phase]
    amount = phase[budgets[0]] if len(budgets) == 1 else None
    fine = isinstance(amount, int | float) and not isinstance(amount, bool) and 0 < amount < math.inf
    if "data" not in phase or not fine or (budgets == ["steps"] and not isinstance(amount, int)):
        raise InputError(f"{about}: needs data ({', '.join(DATA)}) and one of {', '.join(BUDGETS)} above 0.")
    if "sampler" in phase:
        _check_sampler(about, phase)


def _check_until(train: TrainConfig) -> None:
    """Raises InputError for a phase to the end of the whole run's time that is not last, or whose rates need its length."""
    timed = ["until_seconds" in phase for phase in train.phases]
    if any(timed[:-1]):
        raise InputError("train.phases: until_seconds is for the last phase.")
    for key, value, needed in (("schedule.name", train.schedule.name, "constant"), ("progressive", train.progressive, 1)):
        if any(timed) and value != needed:
            raise InputError(
                f"train.{key}={value}: must be {needed} with until_seconds, as how long the steps before take is not known."
            )


def _check_sampler(about: str, phase: dict[str, Any]) -> None:
    chosen = phase["sampler"]
    if not isinstance(chosen, dict) or not isinstance(chosen.get("name"), str):
        raise InputError(f"{about}: sampler: expected {{name: shuffle}}, perhaps with options: {{...}}.")
    for key in chosen:
        if key not in ("name", "options"):
            raise unknown(f"{about}: sampler: key", str(key), ["name", "options"])
    if phase["data"] == "overlap":
        raise InputError(f"{about}: sampler: an overlap phase always shuffles; give the sampler to a phase on full data.")
    try:
        registry.SAMPLERS.options(chosen["name"], chosen.get("options"))
    except InputError as error:
        raise InputError(f"{about}: sampler: {error}") from None
