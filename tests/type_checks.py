"""The type checker of the tests: beartype, with the check of every signature compiled once.

The import hook of jaxtyping checks every function, also one that is defined within another, and so at each call of the outer one.
To compile a check takes 1.5 ms, to look it up 0.2: without the cache, that is a tenth of the time of the fast tests, and a third
of those of distillation.
"""

import inspect
from collections.abc import Callable
from typing import Any

from beartype import beartype

_compiled: dict[str, Callable[..., Any]] = {}


def checked(function: Callable[..., Any]) -> Callable[..., Any]:
    """The check of a signature. `function` is empty: jaxtyping makes it anew for each function that it is to check."""
    signature = f"{function.__module__}.{function.__qualname__}{inspect.signature(function)}"
    if signature not in _compiled:
        _compiled[signature] = beartype(function)
    return _compiled[signature]
