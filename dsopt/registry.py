"""Names in a configuration -> functions in the code. The signature is the schema.

Positional parameters are data, keyword-only parameters are configuration. So a new selection method, loss or model is one new
function in one new file: its options are checked, and listed by `dsopt help`, without any list to edit.
"""

import copy
import dataclasses
import functools
import importlib
import inspect
import pkgutil
import re
from collections.abc import Callable, Mapping
from types import SimpleNamespace
from typing import Any, get_type_hints

import yaml
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from dsopt.errors import InputError, unknown

REQUIRED = "(required)"  # shown instead of a default


class Registry:
    """The functions of one family by name; the first look-up imports every module of `package`."""

    def __init__(self, package: str, noun: str) -> None:
        self.package, self.noun = package, noun
        self._functions: dict[str, Callable[..., Any]] = {}
        self._complete = False  # all modules of the package are imported
        self._traits: dict[str, SimpleNamespace] = {}
        self._checked: dict[Any, dict[str, Any]] = {}

    def register(self, function: Callable[..., Any] | None = None, /, **traits: Any) -> Any:
        """Enter a function under its own name; `traits` are what callers need to know before they call it."""
        if function is None:
            return functools.partial(self.register, **traits)
        name = function.__name__
        if name in self._functions and self._functions[name].__module__ != function.__module__:
            raise ValueError(f"{self.package} already has a {name!r}")
        self._functions[name] = function
        self._traits[name] = SimpleNamespace(**traits)
        return function

    def names(self) -> list[str]:
        if not self._complete:
            package = importlib.import_module(self.package)
            for module in pkgutil.iter_modules(getattr(package, "__path__", [])):
                importlib.import_module(f"{self.package}.{module.name}")
            self._complete = True
        return sorted(self._functions)

    def function(self, name: str) -> Callable[..., Any]:
        if name not in self.names():
            raise unknown(self.noun, name, self._functions)
        return self._functions[name]

    def traits(self, name: str) -> SimpleNamespace:
        """The traits that the function was registered with."""
        self.function(name)
        return self._traits[name]

    def options(self, name: str, options: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """All options of a function with their values: `options` checked against its signature, defaults filled in.

        Raises InputError for an unknown option, a wrong type, or a missing option that has no default.
        """
        function = self.function(name)
        asked = (function, repr(options))  # a sweep asks the same for every trial; this halves the time of its checks
        if asked not in self._checked:
            self._checked[asked] = self._check(name, function, options)
        return copy.deepcopy(self._checked[asked])

    def _check(self, name: str, function: Callable[..., Any], options: Mapping[str, Any] | None) -> dict[str, Any]:
        if not isinstance(options or {}, Mapping):
            raise InputError(f"{self.noun} {name}: options={options}: must be keys with values; expected options: {{KEY: VALUE}}.")
        hints = get_type_hints(function)
        parameters = [p for p in inspect.signature(function).parameters.values() if p.kind is p.KEYWORD_ONLY]
        for given in options or {}:
            if given not in {p.name for p in parameters}:
                raise unknown(f"{self.noun} {name}: option", str(given), [p.name for p in parameters])
        fields = [
            (p.name, hints[p.name], "???" if p.default is p.empty else dataclasses.field(default_factory=_constant(p)))
            for p in parameters
        ]
        try:
            merged = OmegaConf.merge(OmegaConf.structured(dataclasses.make_dataclass(name, fields)), dict(options or {}))
            return OmegaConf.to_container(merged, throw_on_missing=True)  # type: ignore[return-value]
        except (OmegaConfBaseException, TypeError) as error:  # TypeError: a mapping instead of a list
            raise InputError(f"{self.noun} {name}: {one_line(error)}") from None

    def defaults(self, name: str) -> dict[str, Any]:
        """The options of a function with their defaults; REQUIRED for those without one."""
        parameters = inspect.signature(self.function(name)).parameters.values()
        return {p.name: REQUIRED if p.default is p.empty else p.default for p in parameters if p.kind is p.KEYWORD_ONLY}

    def build(self, name: str, options: Mapping[str, Any] | None = None) -> Callable[..., Any]:
        """The named function with its keyword-only parameters bound to checked `options`."""
        return functools.partial(self.function(name), **self.options(name, options))

    def summary(self, name: str) -> str:
        """The first sentence of a function's docstring."""
        return first_sentence(inspect.getdoc(self.function(name)) or "")


def first_sentence(text: str) -> str:
    """The first sentence of a text whose first paragraph may span lines."""
    paragraph = " ".join(text.strip().split("\n\n")[0].split())
    return re.split(r"(?<=[.?!]) (?=[A-Z`])", paragraph)[0]


def call(text: str) -> tuple[str, dict[str, Any]]:
    """The name and options of an element of a list of names: `shift` or `shift(most=2)`. Anything else is returned as a name."""
    found = re.fullmatch(r"(\w+)\((.*)\)", text.strip(), re.DOTALL)
    try:
        options = yaml.safe_load("{" + re.sub(r"(\w+)\s*=\s*", r"\1: ", found[2]) + "}") if found else {}
    except yaml.YAMLError:
        options = None
    return (found[1], options) if found and options is not None else (text, {})


def one_line(error: OmegaConfBaseException | TypeError) -> str:
    """The first line of OmegaConf's message, which says what is wrong, with the key before it."""
    message = str(error).split("\n")[0].strip()
    key = getattr(error, "full_key", None)
    return f"{key}: {message}" if key else message


def _constant(parameter: inspect.Parameter) -> Callable[[], Any]:
    return lambda: parameter.default


ADVERSARIAL = Registry("dsopt.losses.adversarial", "adversarial loss")
AUGMENTATIONS = Registry("dsopt.augment", "augmentation")
CHECKS = Registry("dsopt.audit", "check")
DATASETS = Registry("dsopt.data.sets", "data set")
DIFFERENTIABLE = Registry("dsopt.augment.differentiable", "differentiable transform")
DISTILLERS = Registry("dsopt.distillation", "distillation method")
LIKELIHOODS = Registry("dsopt.losses.likelihood", "likelihood")
LOSSES = Registry("dsopt.losses", "loss")
MODELS = Registry("dsopt.models", "model")
NORMALISATIONS = Registry("dsopt.distillation.normalisation", "normalization")
SAMPLERS = Registry("dsopt.training.samplers", "sampler")
SCHEDULES = Registry("dsopt.training.schedules", "schedule")
SELECTORS = Registry("dsopt.selection", "selection method")
SPACES = Registry("dsopt.search.spaces", "search space")
STORED = Registry("dsopt.distillation.stored", "parameterization")
STRATEGIES = Registry("dsopt.search.strategies", "search strategy")
TERMS = Registry("dsopt.losses.terms", "term")
TRACKERS = Registry("dsopt.pipeline.tracking", "tracker")
