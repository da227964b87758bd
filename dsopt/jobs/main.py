"""What every job does around its one call: arguments in, help and dry run, errors in one line, exit status out."""

import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from dsopt import config as configuration
from dsopt.config import Config
from dsopt.data.downloads import without_downloads
from dsopt.errors import InputError, JobError
from dsopt.files import absolute, check_readable, first_line
from dsopt.pipeline.step import Step, show

DONE, FAILED, WRONG = 0, 1, 2

_SAID = {"true": True, "yes": True, "on": True, "1": True, "false": False, "no": False, "off": False, "0": False}


def main(file: str, about: str | None, run: Callable[[Config], None], plan: Callable[[Config], Sequence[Step]]) -> int:
    """Run a job with the command line's arguments; returns its exit status.

    Args:
        file: the job's file; presets lie in `presets/` beside it.
        about: what `help=true` says first.
        run: does the job.
        plan: the steps that it would take, for `dry_run=true`.

    Returns:
        0 done, 1 failed, 2 wrong configuration or input. Both errors are one line on standard error.
    """
    try:
        flags, overrides = _flags(sys.argv[1:])
        if flags["help"]:
            print((about or "").strip() + "\n\n" + configuration.describe())
            return DONE
        config = configuration.load(overrides, Path(file).parent.parent / "dsopt" / "presets")
        config.storage = absolute(config.storage)  # workers have working directories of their own
        check_readable(config.storage)
        if flags["dry_run"]:
            with without_downloads():
                show(plan(config), config)
        else:
            run(config)
    except InputError as error:
        return _say(error, WRONG)
    except JobError as error:
        return _say(error, FAILED)
    except OSError as error:
        return _say(f"{type(error).__name__}: {first_line(error)}", FAILED)
    except KeyboardInterrupt:
        return _say("interrupted; the same command goes on from here", 130)
    return DONE


def _flags(arguments: Sequence[str]) -> tuple[dict[str, bool], list[str]]:
    """Whether help and a dry run are asked for, and the other arguments. Raises InputError for neither yes nor no."""
    flags, others = {"help": False, "dry_run": False}, []
    for argument in arguments:
        name, _, said = argument.partition("=")
        if argument in ("help", "--help", "-h"):
            flags["help"] = True
        elif name not in flags:
            others.append(argument)
        elif said.lower() in _SAID:
            flags[name] = _SAID[said.lower()]
        else:
            raise InputError(f"{argument}: is neither yes nor no; right is {name}=true.")
    return flags, others


def _say(error: object, status: int) -> int:
    print(f"error: {error}", file=sys.stderr, flush=True)
    return status
