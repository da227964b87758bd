"""Make training data smaller and training faster: select, augment and distil labelled images on Ray."""

from typing import TYPE_CHECKING, Any

from dsopt.version import __version__

if TYPE_CHECKING:
    from dsopt.data.images import load_subset

__all__ = ["__version__", "load_subset"]


def __getattr__(name: str) -> Any:
    """Import on first use: the jobs look at their arguments before they pay for torch."""
    if name == "load_subset":
        from dsopt.data.images import load_subset

        return load_subset
    raise AttributeError(f"module 'dsopt' has no attribute {name!r}")
