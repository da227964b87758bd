"""The command line of every job: arguments, help and dry run, errors in one line, exit status."""

import os
import sys
from collections.abc import Sequence
from dataclasses import replace

from dsopt import config as configuration
from dsopt import progress
from dsopt.config import Config
from dsopt.config.help import describe, describe_keys
from dsopt.data.sources.downloads import without_downloads
from dsopt.errors import InputError, JobError, unknown
from dsopt.files import absolute, check_readable, first_line
from dsopt.jobs.job import described, find
from dsopt.version import __version__

DONE, FAILED, WRONG, INTERRUPTED = 0, 1, 2, 130

SUBMITTED = "RAY_JOB_CONFIG_JSON_ENV_VAR"  # set by Ray in what `ray job submit` runs

ADVISED = "select.budget=advise"  # what `dsopt advise` found

HELP = ("help", "--help", "-h")
YES, NO = ("true", "yes", "on", "1"), ("false", "no", "off", "0")


def command() -> int:
    """The command `dsopt`: `dsopt JOB key=value ...`, `dsopt help`. Returns the exit status, as `main` does."""
    name, *arguments = sys.argv[1:] or [""]
    if name in HELP and not arguments:
        print(_overview())
    elif name == "--version":
        print(f"dsopt {__version__}")
    elif name in HELP:
        topic = arguments[0]
        return main(topic, ["help"]) if topic in described() else main("", [f"help={topic}"])
    else:
        return main(name, arguments)
    return DONE


def main(name: str, arguments: Sequence[str]) -> int:
    """Run a job; returns its exit status.

    Returns:
        0 done, 1 failed, 2 wrong configuration or input. Both errors are one line on standard error.
    """
    try:
        _main(name, arguments)
    except InputError as error:
        return _say(error, WRONG)
    except JobError as error:
        return _say(error, FAILED)
    except OSError as error:
        return _say(f"{type(error).__name__}: {first_line(error)}", FAILED)
    except KeyboardInterrupt:
        return _say("interrupted; the same command resumes here", INTERRUPTED)
    finally:
        progress.screen.close()
    return DONE


def _main(name: str, arguments: Sequence[str]) -> None:
    topic, dry_run, overrides = _flags(arguments)
    if topic not in (None, "true"):
        print(describe(topic, also=() if name else described()))
        return
    if not name:
        raise InputError(f"expected dsopt JOB key=value ...; see dsopt help. Jobs: {', '.join(described())}.")
    if name not in described():
        raise unknown("job", name, described())
    if topic == "true":
        print(_job_help(name))
        return
    advised = ADVISED in overrides
    config = configuration.load([text for text in overrides if text != ADVISED])
    _check_place(config)
    config.storage = absolute(config.storage)  # workers have working directories of their own
    check_readable(config.storage)
    from dsopt.pipeline import tracking
    from dsopt.pipeline.plan import Plan  # not above: it imports torch, which help and wrong arguments need not wait for
    from dsopt.pipeline.step import show
    from dsopt.stages.earlier import extended

    tracking.check(config)
    if config.track_to:
        config.track_to = tracking.place(config)
    job, plan = find(name), Plan(extended(config))
    if advised:
        from dsopt.jobs.advise.job import taken

        plan = plan.having(replace(plan.config, select=replace(plan.config.select, budget=taken(plan))))
    if dry_run:
        with without_downloads():
            show(plan.to(*job.targets(plan)), config)
    elif job.run:
        job.run(plan)
    else:
        stages = job.targets(plan)
        plan.run(*stages)
        for stage in stages:  # every job ends with the absolute place of its results
            progress.say(plan.step(stage).label, stage.uri)


def _check_place(config: Config) -> None:
    """Refuse results in a place that is lost with the cluster, or that other machines do not see. Raises InputError."""
    if "://" in config.storage or os.path.isabs(os.path.expanduser(config.storage)):
        return
    submitted = SUBMITTED in os.environ
    address = os.environ.get("RAY_ADDRESS") or "local"
    if submitted or (address != "local" and config.cluster.workers):
        lost = "the folder of a submitted job is temporary, and its results would be lost" if submitted else "workers are elsewhere"
        raise InputError(
            f"storage={config.storage}: is relative, and {lost}; expected storage=s3://bucket/prefix, or the absolute path "
            "of a folder that all machines of the cluster share."
        )


def _flags(arguments: Sequence[str]) -> tuple[str | None, bool, list[str]]:
    """What help is asked for ("true": the job's own, None: none), whether for a dry run, and the other arguments."""
    topic, dry_run, others = None, False, []
    for argument in arguments:
        name, _, value = argument.partition("=")
        if argument in HELP:
            topic = "true"
        elif name == "help":
            topic = None if value.lower() in NO else "true" if value.lower() in YES else value
        elif name != "dry_run":
            others.append(argument)
        elif value.lower() in (*YES, *NO):
            dry_run = value.lower() in YES
        else:
            raise InputError(f"{argument}: expected {name}=true or {name}=false.")
    return topic, dry_run, others


def _say(error: object, status: int) -> int:
    progress.screen.close()
    print(f"error: {error}", file=sys.stderr, flush=True)
    return status


def _overview() -> str:
    jobs = described()
    width = max(map(len, jobs))
    lines = [f"  {name:<{width}}  {job.about.strip().splitlines()[0]}" for name, job in jobs.items()]
    return "\n".join(
        [
            "usage: dsopt JOB [preset=NAME] [KEY=VALUE ...]",
            "",
            *lines,
            "",
            "dsopt JOB help=true       the keys of a job, most used first",
            "dsopt JOB dry_run=true    what a job would do; nothing is written or downloaded",
            "dsopt help SECTION        a section of keys (train), or registered names with their options (selectors, models)",
            "dsopt help presets        the presets; help references: papers' tables; help all: everything",
            "",
            "Start with: dsopt optimize preset=demo",
        ]
    )


def _job_help(name: str) -> str:
    job = described()[name]
    usage = f"usage: dsopt {name} [preset=NAME] [KEY=VALUE ...]"
    more = "more: help=SECTION, or help=NAMES where a key says so; help=presets, help=all; dry_run=true: what would be done"
    return "\n\n".join([usage, job.about.strip(), describe_keys(job.keys.split()), more])
