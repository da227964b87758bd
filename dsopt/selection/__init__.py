"""Which images to keep: one method a file, each entered in `SELECTORS` under its function's name."""

from dsopt.selection.contract import Selection

__all__ = ["Selection"]
