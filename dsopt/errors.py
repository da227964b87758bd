"""The two ways a job can go wrong that a person must read about in one line, without a traceback."""

import difflib
from collections.abc import Iterable

MOST = 300  # letters of valid names in a message


class InputError(Exception):
    """The configuration or the data is wrong: says what, where, and what would be right. A job exits with status 2."""


class JobError(Exception):
    """The work failed (a full disk, a diverged run): says what and where. A job exits with status 1."""


def unknown(what: str, given: str, valid: Iterable[str]) -> InputError:
    """The error for a name that is not among the `valid` ones, with the nearest of them."""
    valid = sorted(valid)
    near = difflib.get_close_matches(given, valid, n=1, cutoff=0.5)
    hint = f" Did you mean {near[0]!r}?" if near else ""
    shown = ", ".join(valid)
    if len(shown) > MOST:  # one line is what a person reads: those that come near it
        nearest = difflib.get_close_matches(given, valid, n=8, cutoff=0.0)
        shown = f"{', '.join(sorted(nearest))} and {len(valid) - len(nearest)} more"
    return InputError(f"{what} {given!r} is not known.{hint} Valid: {shown or 'none'}.")
