"""What the types of the keys allow but no run can use: wrong names and options, and values out of range."""

import dataclasses
import itertools
import math
import operator
import re
from typing import Any

from omegaconf import OmegaConf

from dsopt import registry
from dsopt.config.tree import AdversarialConfig, Config
from dsopt.errors import InputError, unknown

# The keys that take models of one kind alone.
_KINDS = {
    "autoencoder": "autoencoder",
    **dict.fromkeys(("proxy", "teacher", "train", "distill.network", "evaluate.networks"), "classifier"),
    "generate.encoder": "encoder",
    "generate.generator": "generator",
    "colorize.generator": "colorizer",
    **dict.fromkeys(("generate.discriminator", "colorize.discriminator"), "discriminator"),
}


def check(config: Config) -> None:
    """Raises InputError, naming the key and what would be right, for the first thing that is wrong."""
    for key, part in (("generate", config.generate), ("colorize", config.colorize)):
        for term in part.terms:
            _check_term(f"{key}.terms: {term}", term)
    for key, family, name, options in choices(config):
        try:
            if family is registry.MODELS and name not in (valid := _models(_KINDS[key])):
                raise unknown(_KINDS[key], name, valid)
            family.options(name, options)
        except InputError as error:
            raise InputError(f"{key}: {error}") from None
        if key.endswith(".augment") and key != "train.augment" and getattr(family.traits(name), "mixes", False):
            raise InputError(f"{key}: {name} mixes images and their labels; only train.augment can have it.")
    _check_ranges("sweep.space", config.sweep.space, config)
    _check_values(config)


def _models(kind: str) -> list[str]:
    return [name for name in registry.MODELS.names() if registry.MODELS.traits(name).kind == kind]


def choices(config: Config) -> list[tuple[str, registry.Registry, str, dict[str, Any]]]:
    """Every registered function that a configuration names: (key, family, name, options)."""
    found = [
        ("data", registry.DATASETS, config.data),
        ("autoencoder", registry.MODELS, config.autoencoder),
        ("autoencoder.schedule", registry.SCHEDULES, config.autoencoder.schedule),
        ("loss", registry.LOSSES, config.loss),
        ("select", registry.SELECTORS, config.select),
        ("train.sampler", registry.SAMPLERS, config.train.sampler),
        ("distill", registry.DISTILLERS, config.distill),
        ("distill.network", registry.MODELS, config.distill.network),
        ("distill.normalise", registry.NORMALISATIONS, config.distill.normalise),
        ("distill.stored", registry.STORED, config.distill.stored),
        ("distill.schedule", registry.SCHEDULES, config.distill.schedule),
        ("search.space", registry.SPACES, config.search.space),
        ("search.strategy", registry.STRATEGIES, config.search.strategy),
        ("search.train.schedule", registry.SCHEDULES, config.search.train.schedule),
    ]
    for key, part in (("proxy", config.proxy), ("teacher", config.teacher), ("train", config.train)):
        found += [(key, registry.MODELS, part), (f"{key}.schedule", registry.SCHEDULES, part.schedule)]
    found.append(("generate.encoder", registry.MODELS, config.generate.encoder))
    found.append(("generate.likelihood", registry.LIKELIHOODS, config.generate.likelihood))
    adversaries: list[tuple[str, AdversarialConfig]] = [("generate", config.generate), ("colorize", config.colorize)]
    for key, part in adversaries:
        found += [(f"{key}.{kind}", registry.MODELS, getattr(part, kind)) for kind in ("generator", "discriminator")]
        found += [(f"{key}.loss", registry.ADVERSARIAL, part.loss), (f"{key}.schedule", registry.SCHEDULES, part.schedule)]
    named = [(key, family, choice.name, choice.options) for key, family, choice in found]
    for key, part in adversaries:
        named += [(f"{key}.terms", registry.TERMS, str(term.get("name")), term.get("options") or {}) for term in part.terms]
        named += [(f"{key}.differentiable", registry.DIFFERENTIABLE, name, {}) for name in part.differentiable]
    named += [("evaluate.networks", registry.MODELS, name, {}) for name in config.evaluate.networks]
    named += [("compare.methods", registry.SELECTORS, name, {}) for name in config.compare.methods]
    for key in ("autoencoder", "proxy", "teacher", "train", "generate", "colorize", "extra", "distill", "evaluate", "search.train"):
        transforms: list[str] = operator.attrgetter(key)(config).augment
        named += [(f"{key}.augment", registry.AUGMENTATIONS, *registry.call(text)) for text in transforms]
    return named


_SEARCH_COUNTS = ("children", "known", "seeds", "finalists", "ahead", "bundle")


def _check_values(config: Config) -> None:
    """Refuse values that the types allow but no run can use."""
    budget = config.select.budget
    rules = [
        (
            budget > 0 and (isinstance(budget, int) or budget <= 1),
            "select.budget",
            "a count of at least 1 or a share in (0, 1]",
        ),
        (config.data.image_size >= 1, "data.image_size", "at least 1 pixel"),
        (config.data.channels in (None, 1, 3), "data.channels", "1 or 3"),
        (0 < config.data.test_fraction < 1, "data.test_fraction", "between 0 and 1"),
        (config.data.limit is None or config.data.limit >= 1, "data.limit", "at least 1"),
        (config.cluster.workers >= 0, "cluster.workers", "0 (without Ray) or more"),
        (config.compare.seeds >= 1, "compare.seeds", "at least 1"),
        (re.fullmatch(r"[\w.-]+", config.sweep.title), "sweep.title", "a word of letters, digits, _, - and ."),
        (config.sweep.seeds >= 1, "sweep.seeds", "at least 1"),
        (config.sweep.samples >= 1, "sweep.samples", "at least 1"),
        (0 < config.sweep.grace < 1, "sweep.grace", "a share in (0, 1)"),
        (config.sweep.reduction >= 2, "sweep.reduction", "at least 2"),
        (0 < config.sweep.gpus <= 1, "sweep.gpus", "in (0, 1]"),
        *((getattr(config.search, key) >= 1, f"search.{key}", "at least 1") for key in _SEARCH_COUNTS),
        (0 < config.search.validation < 1, "search.validation", "between 0 and 1"),
        (0 < config.search.gpus <= 1, "search.gpus", "in (0, 1]"),
        (config.distill.per_class >= 1, "distill.per_class", "at least 1"),
        (config.distill.steps >= 1, "distill.steps", "at least 1"),
        (0 <= config.distill.validation < 1, "distill.validation", "in [0, 1)"),
        (
            config.distill.batch_size >= max(1, config.cluster.workers),
            "distill.batch_size",
            "at least 1 image for every worker",
        ),
        (config.evaluate.repeats >= 1, "evaluate.repeats", "at least 1"),
        (config.evaluate.steps >= 1, "evaluate.steps", "at least 1"),
        (0 < config.evaluate.learning_rate < math.inf, "evaluate.learning_rate", "above 0"),
        (0 <= config.evaluate.momentum < 1, "evaluate.momentum", "in [0, 1)"),
        (0 <= config.evaluate.real_epochs < math.inf, "evaluate.real_epochs", "0 or more"),
        (0 <= config.train.split <= 1, "train.split", "a share in [0, 1]"),
        (all(0 < s <= 1 for s in config.compare.splits), "compare.splits", "shares in (0, 1]"),
        *(
            (
                getattr(config.train, one) is None or getattr(config.train, other) is None,
                f"train.{one}",
                f"not given with train.{other}",
            )
            for one, other in itertools.combinations(("epochs", "passes", "seconds"), 2)
        ),
        *((given is None or given > 0, f"train.{key}", "above 0") for key in BUDGETS[1:] for given in [getattr(config.train, key)]),
        (config.extra.amount > 0, "extra.amount", "above 0"),
        (not config.extra.augment or config.extra.name == "copies", "extra.augment", "given with extra.name=copies alone"),
        (
            config.extra.name == "none" or not config.train.validation,
            "train.validation",
            "0 with extra images, which are made from those held out too",
        ),
        (0 <= config.train.validation < 1, "train.validation", "in [0, 1)"),
        (config.train.validate_every >= 0, "train.validate_every", "0 or more"),
        (
            not config.train.overlap or (not config.train.phases and config.train.sampler.name == "shuffle"),
            "train.overlap",
            "without train.phases (where it is data: overlap) and without a train.sampler",
        ),
        (
            not config.train.validation
            or not (config.train.overlap or any(phase.get("data") == "overlap" for phase in config.train.phases)),
            "train.validation",
            "0 where phases overlap: what to hold out is known only once all images are there",
        ),
        (config.select.pca is None or config.select.pca >= 1, "select.pca", "at least 1 component"),
        (config.select.shard_rows >= 1, "select.shard_rows", "at least 1"),
        (config.select.views >= 1, "select.views", "at least 1"),
        (0 < config.select.soft_share <= 1, "select.soft_share", "in (0, 1]"),
        (config.embed.size >= 1, "embed.size", "at least 1 pixel"),
        (config.embed.source != "network" or config.embed.weights, "embed.weights", "given with embed.source=network"),
        (config.embed.source != "table" or config.embed.table, "embed.table", "given with embed.source=table"),
        (config.embed.batch_size >= 1, "embed.batch_size", "at least 1"),
        (config.cluster.cpus_per_worker is None or config.cluster.cpus_per_worker >= 1, "cluster.cpus_per_worker", "at least 1"),
        (config.cluster.max_failures >= 0, "cluster.max_failures", "0 or more"),
        (config.cluster.checkpoint_seconds >= 0, "cluster.checkpoint_seconds", "0 or more"),
        (0 <= config.seed < 2**32, "seed", "in [0, 2^32)"),
    ]
    classifiers = {"proxy": config.proxy, "teacher": config.teacher, "train": config.train}
    for part, section in classifiers.items():
        rules += [
            (0 <= section.average < 1, f"{part}.average", "in [0, 1)"),
            (0 <= section.weight_decay < math.inf, f"{part}.weight_decay", "0 or more"),
        ]
    for part, section, least in (("generate", config.generate, 2), ("colorize", config.colorize, 1)):  # batches are normalised
        rules += [
            (section.steps >= 1, f"{part}.steps", "at least 1"),
            (
                section.batch_size >= max(least, config.cluster.workers),
                f"{part}.batch_size",
                f"at least {least}, 1 for every worker",
            ),
            (section.discriminator_steps >= 1, f"{part}.discriminator_steps", "at least 1"),
            (section.eager_steps is None or section.eager_steps >= 1, f"{part}.eager_steps", "at least 1"),
            (section.clip is None or section.clip > 0, f"{part}.clip", "above 0"),
            (0 < section.learning_rate < math.inf, f"{part}.learning_rate", "above 0"),
            (section.discriminator_rate is None or section.discriminator_rate >= 0, f"{part}.discriminator_rate", "0 or more"),
            *((0 <= getattr(section, key) < 1, f"{part}.{key}", "in [0, 1)") for key in ("beta1", "beta2", "average")),
        ]
    rules += [
        (config.generate.latent >= 1, "generate.latent", "at least 1"),
        (config.colorize.size is None or config.colorize.size >= 1, "colorize.size", "at least 1 pixel"),
        (config.generate.samples is None or config.generate.samples >= 1, "generate.samples", "at least 1"),
        (config.generate.beta >= 0, "generate.beta", "0 or more"),
        (config.measure.neighbours >= 1, "measure.neighbours", "at least 1"),
        (
            not (config.measure.cas and config.train.phases),
            "train.phases",
            "[] with measure.cas=true, which trains on one set alone",
        ),
        (not (config.measure.cas and config.train.validation), "train.validation", "0 with measure.cas=true, a test accuracy"),
        (config.measure.samples > config.measure.neighbours, "measure.samples", "more than measure.neighbours"),
        (
            config.measure.extractor != "inception" or config.measure.weights,
            "measure.weights",
            "given with measure.extractor=inception",
        ),
    ]
    for part, section in {"autoencoder": config.autoencoder, "search.train": config.search.train, **classifiers}.items():
        rules += [
            (section.steps >= 1, f"{part}.steps", "at least 1"),
            (section.batch_size >= max(1, config.cluster.workers), f"{part}.batch_size", "at least 1 image for every worker"),
            (0 < section.learning_rate < math.inf, f"{part}.learning_rate", "above 0"),
            (0 <= section.momentum < 1, f"{part}.momentum", "in [0, 1)"),
        ]
    for fine, key, right in rules:
        if not fine:
            given = OmegaConf.select(OmegaConf.structured(config), key)
            raise InputError(f"{key}={given}: must be {right}.")
    for phase in config.train.phases:
        _check_phase(phase)


def _check_term(about: str, term: dict[str, Any]) -> None:
    valid = ("name", "weight", "side", "options")
    for key in term:
        if key not in valid:
            raise unknown(f"{about}: key", str(key), valid)
    if not isinstance(term.get("name"), str) or not isinstance(term.get("weight", 1.0), int | float):
        raise InputError(f"{about}: right is {{name: gradient_penalty, weight: 10}}, perhaps with options: {{...}}.")


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
                raise InputError(f"{key}={given}: right is {{log: [low, high]}}, {{uniform: [low, high]}} or a list of values.")


DATA = ("subset", "full", "overlap")  # the last: the subset, and of the full set what is read meanwhile
BUDGETS = ("steps", "epochs", "passes", "seconds")


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


def _check_sampler(about: str, phase: dict[str, Any]) -> None:
    chosen = phase["sampler"]
    if not isinstance(chosen, dict) or not isinstance(chosen.get("name"), str):
        raise InputError(f"{about}: sampler: right is {{name: shuffle}}, perhaps with options: {{...}}.")
    for key in chosen:
        if key not in ("name", "options"):
            raise unknown(f"{about}: sampler: key", str(key), ["name", "options"])
    if phase["data"] == "overlap":
        raise InputError(f"{about}: sampler: an overlap shuffles what is there; give the sampler to a phase on full data.")
    try:
        registry.SAMPLERS.options(chosen["name"], chosen.get("options"))
    except InputError as error:
        raise InputError(f"{about}: sampler: {error}") from None
