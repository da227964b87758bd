"""Make training data smaller and training faster: select, augment and distil labelled images on Ray."""

import importlib
from typing import TYPE_CHECKING, Any

from dsopt.version import __version__

if TYPE_CHECKING:
    from dsopt.data.subsets.streaming import stream_subset
    from dsopt.data.subsets.subset import load_subset
    from dsopt.notebook.distill import distill
    from dsopt.notebook.sampler import sampler
    from dsopt.notebook.select import select
    from dsopt.notebook.transforms import transforms

__all__ = ["__version__", "distill", "load_subset", "sampler", "select", "stream_subset", "transforms"]

# The others are modules of dsopt.notebook of their own.
_MODULES = {"load_subset": "dsopt.data.subsets.subset", "stream_subset": "dsopt.data.subsets.streaming"}


def __getattr__(name: str) -> Any:
    """Import on first use: the jobs look at their arguments before they pay for torch."""
    if name not in __all__:
        raise AttributeError(f"module 'dsopt' has no attribute {name!r}")
    return getattr(importlib.import_module(_MODULES.get(name, f"dsopt.notebook.{name}")), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
