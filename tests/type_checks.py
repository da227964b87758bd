"""The type checker of the tests: beartype, with the check of every signature compiled once, and the first calls checked.

The import hook of jaxtyping checks every function, also one that is defined within another, and so at each call of the outer one.
To compile a check takes 1.5 ms, to look it up 0.2: without the cache, that is a tenth of the time of the fast tests, and a third
of those of distillation. A check takes 0.1 ms, and some functions are called ten thousand times in a test.
"""

import inspect
from collections import Counter
from collections.abc import Callable
from functools import wraps
from types import CodeType
from typing import Any

from beartype import beartype
from jaxtyping import jaxtyped as _jaxtyped

CALLS = 10  # of each function that are checked in each test

calls: Counter[CodeType] = Counter()  # in this test
_compiled: dict[str, Callable[..., Any]] = {}


def checked(function: Callable[..., Any]) -> Callable[..., Any]:
    """The check of a signature. `function` is empty: jaxtyping makes it anew for each function that it is to check."""
    signature = f"{function.__module__}.{function.__qualname__}{inspect.signature(function)}"
    if signature not in _compiled:
        _compiled[signature] = beartype(function)
    return _compiled[signature]


def jaxtyped(typechecker: Callable[..., Any]) -> Callable[[Any], Any]:
    """jaxtyping's, for the first `CALLS` calls of a function in a test: later ones are of the same code on other values."""

    def decorate(function: Any) -> Any:
        code = getattr(function, "__code__", None)  # the same for each definition of a function within a function
        if code is not None and calls[code] >= CALLS:
            return function
        each = _jaxtyped(typechecker=typechecker)(function)
        if code is None:
            return each

        @wraps(function)
        def first(*args: Any, **kwargs: Any) -> Any:
            if calls[code] >= CALLS:
                return function(*args, **kwargs)
            calls[code] += 1
            return each(*args, **kwargs)

        return first

    return decorate
