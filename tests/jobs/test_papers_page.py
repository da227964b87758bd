"""Every command of docs/papers.md can be planned: in one process, with the digits in place of its data."""

import re
import shlex
from pathlib import Path
from typing import Any

import pytest

from dsopt import config as configuration
from dsopt.jobs.job import find
from dsopt.pipeline.plan import Plan

PAGE = (Path(__file__).parents[2] / "docs" / "papers.md").read_text()
COMMANDS = sorted(set(re.findall(r"`(dsopt (?!help)\w+ [^`]+)`", PAGE)))
# The digits need no download; one seed of everything is as good as several.
HERE = ["data.name=digits", "data.root=null", "data.limit=null", "sweep.seeds=1", "compare.seeds=1", "cluster.workers=0"]


def test_there_are_commands_for_every_paper() -> None:
    assert len(COMMANDS) > 35
    for section in ("selection paper", "augmentation paper", "distillation thesis", "colorization study"):
        assert f"\n## The {section}\n" in PAGE


def _first_values(grid: dict[str, Any]) -> dict[str, Any]:
    """The same keys with their first values alone: others are planned in the same way."""
    return {key: _first_values(below) if isinstance(below, dict) else below[:1] for key, below in grid.items()}


@pytest.mark.slow
@pytest.mark.parametrize("command", COMMANDS)
def test_a_command_can_be_planned(command: str, tmp_path: Path) -> None:
    _, name, *given = shlex.split(command)
    weights = tmp_path / "weights"
    weights.write_bytes(b"none")
    overrides = [text.replace("measure.weights=FILE", f"measure.weights={weights}") for text in given if text != "dry_run=true"]
    config = configuration.load([*overrides, *HERE, f"storage={tmp_path}"])
    config.sweep.grid, rows = _first_values(config.sweep.grid), list(config.sweep.rows.items())
    config.sweep.rows = dict(rows[:: 1 + len(rows) // 8])  # of many that differ in a setting alone, some
    plan = Plan(config)
    targets = find(name).targets(plan)
    assert targets and plan.to(*targets)
