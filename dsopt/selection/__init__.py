"""Methods that select a subset of the images: one per file, registered in `SELECTORS` under the name of its function."""

from dsopt.selection.contract import Selection

__all__ = ["Selection"]
