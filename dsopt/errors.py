"""The two kinds of errors that a job reports in one line, without a traceback."""

import difflib
from collections.abc import Iterable

MOST = 300  # characters of valid names in a message


class InputError(Exception):
    """The configuration or the data is wrong: says what, where, and what is expected. The job exits with status 2."""


class JobError(Exception):
    """The work failed (a full disk, a diverged run): says what and where. The job exits with status 1."""


def first_line(error: BaseException) -> str:
    """The first line of an error's message, or its type if it has none."""
    return (str(error).split("\n")[0] or type(error).__name__).strip()


def reason(error: BaseException) -> str:
    """The first line of what went wrong, for a row of a table: of other errors than ours with their type."""
    return first_line(error) if isinstance(error, InputError | JobError) else f"{type(error).__name__}: {first_line(error)}"


def unknown(what: str, given: str, valid: Iterable[str]) -> InputError:
    """The error for a name that is not among the `valid` ones; suggests the closest of them."""
    valid = sorted(valid)
    near = difflib.get_close_matches(given, valid, n=1, cutoff=0.5)
    hint = f" Did you mean {near[0]!r}?" if near else ""
    shown = ", ".join(valid)
    if len(shown) > MOST:  # keep the message to one line: only the closest
        nearest = difflib.get_close_matches(given, valid, n=8, cutoff=0.0)
        shown = f"{', '.join(sorted(nearest))} and {len(valid) - len(nearest)} more"
    return InputError(f"{what} {given!r} is not known.{hint} Valid: {shown or 'none'}.")
