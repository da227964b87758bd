"""The status of a sweep's trials: live on the terminal, and in a journal from which the sweep resumes."""

import time
from dataclasses import dataclass, field
from typing import Any, Literal

from dsopt import progress
from dsopt.jobs.sweep.grid import sampled
from dsopt.jobs.sweep.kinds.contract import PlannedTrial, Trial, kind_of
from dsopt.pipeline.parts import Journal
from dsopt.pipeline.plan import Plan
from dsopt.progress import duration
from dsopt.storage import Stage, Table

Numbers = dict[str, Any]  # percent, step, seconds, score
STATUS_SECONDS = 10.0  # between two lines on the whole sweep


def name(trial: Trial) -> str:
    """A trial in one line, in the syntax of the command line."""
    words = ["full data + choosing"] if trial.equal_cost else [trial.row, *trial.overrides]
    return " ".join(filter(None, [*words, f"seed={trial.seed}"]))


@dataclass
class TrialStatus:
    """One training run of the sweep; trials with the same run share it.

    Args:
        point: identifies the run on a worker: {"trial": number}, or a search's values by key.
        entry: its number in the journal.
        reports: its scores on held-out images during training.
        progress: the last progress line that it reported.
        outcome: its final metrics, by name.
        score: the metric by which trials are compared; higher is better.
    """

    planned: PlannedTrial
    point: dict[str, Any]
    entry: int
    state: Literal["left", "running", "done", "stopped", "failed"] = "left"
    reason: str = ""
    reports: list[Numbers] = field(default_factory=list)
    progress: str = ""
    outcome: dict[str, float] = field(default_factory=dict)
    score: float | None = None

    @property
    def stage(self) -> Stage:
        return self.planned.evaluated


class SweepStatus:
    """All runs of a sweep, by the hash of their stage. Ended runs stay ended when the sweep is started again.

    Finished runs are known by their own stages. The sweep's journal adds the stopped ones, all reports for the scheduler, and the
    samples that a search has begun. Failed runs are tried again.
    """

    def __init__(self, stage: Stage, plan: Plan, planned: list[PlannedTrial]) -> None:
        self.plan, self.journal, self.measure = plan, Journal(stage), kind_of(plan.config).measure
        self.runs: dict[str, TrialStatus] = {}
        self.output, self.last_line_at = progress.output, time.monotonic()
        for number, trial in enumerate(planned):
            self.runs.setdefault(trial.evaluated.hash, TrialStatus(trial, {"trial": number}, number))
        for number, entry in self.journal.entries.items():
            status = self.runs.get(entry["hash"]) or self._sample(entry["point"], number)
            if entry["status"] in ("done", "stopped"):
                status.state, status.reason = entry["status"], entry["reason"]
                status.reports, status.outcome, status.score = entry["reports"], entry["outcome"], entry["score"]
        for status in self.runs.values():
            if status.planned.done():
                self._done(status)
        self.started_at: float | None = None  # of the first trial: the stages before it say nothing about the speed of trials
        self.ended_at, self.ended_before = 0.0, 0

    def _sample(self, point: dict[str, Any], entry: int | None = None) -> TrialStatus:
        planned = sampled(self.plan, point)
        free = 1 + max((status.entry for status in self.runs.values()), default=-1)
        status = TrialStatus(planned, point, free if entry is None else entry)
        return self.runs.setdefault(status.stage.hash, status)

    def _find(self, point: dict[str, Any]) -> TrialStatus:
        known = [status for status in self.runs.values() if status.point == point]
        return known[0] if known else self._sample(point)

    def count(self, *states: str) -> int:
        """The number of runs in these states."""
        return sum(status.state in states for status in self.runs.values())

    def samples(self) -> list[TrialStatus]:
        """The runs that a search added."""
        return [status for status in self.runs.values() if "trial" not in status.point]

    def best(self) -> TrialStatus | None:
        return max((s for s in self.runs.values() if s.score is not None), key=lambda s: s.score or 0.0, default=None)

    def shown(self, status: TrialStatus) -> str:
        """The score of a trial as text; "" if it has none."""
        return "" if status.score is None else self.measure.shown(self.measure.score(status.score))

    def fail(self, status: TrialStatus, reason: str) -> None:
        status.state, status.reason = "failed", reason
        self._print(status)

    # Called by the runner:

    def started(self, point: dict[str, Any]) -> None:
        if self.started_at is None:
            self.started_at, self.ended_before = time.monotonic(), self.count("done", "stopped", "failed")
        status = self._find(point)
        status.progress = ""
        if status.state == "left":
            status.state = "running"
            if "trial" not in point:
                self._write(status)

    def reported(self, point: dict[str, Any], numbers: Numbers) -> None:
        status = self._find(point)
        status.reason, status.progress = numbers.get("reason", ""), numbers.get("progress", "")
        if "step" in numbers:
            status.reports.append({key: numbers[key] for key in ("percent", "step", "seconds", "score")})
        self.waiting()

    def ended(self, point: dict[str, Any], lost: str | None) -> None:
        status, self.ended_at = self._find(point), time.monotonic()
        status.reason = lost or status.reason
        if status.reason:
            status.state = "failed"
        elif status.stage.done():
            self._done(status)
        else:
            last = status.reports[-1]
            status.state, status.reason = "stopped", f"stopped at step {last['step']:,}"
            status.score, status.outcome = last["score"], {self.measure.name: self.measure.score(last["score"])}
        if status.reports or "trial" not in point:
            self._write(status)
        self._print(status)

    def _done(self, status: TrialStatus) -> None:
        status.state, status.outcome = "done", status.planned.outcome()
        status.score = self.measure.score(status.outcome[self.measure.name])

    def waiting(self) -> None:
        now = time.monotonic()
        if now - self.last_line_at < STATUS_SECONDS:
            return
        self.last_line_at = now
        ended, left = self.count("done", "stopped", "failed"), self.count("left", "running")
        new = ended - self.ended_before
        best = self.best()
        parts = [f"{self.count(state)} {state}" for state in ("done", "stopped", "failed", "running", "left")]
        parts += [f"best {self.shown(best)} ({name(best.planned.trial)})"] if best else []
        if self.started_at is not None and new:
            each = (self.ended_at - self.started_at) / new
            expected = each * left - (now - self.ended_at)
            parts += [f"{duration(expected)} left"] if expected > 0 else []
        self._say("sweep", "  ".join(part for part in parts if not part.startswith("0 ")))
        for status in self.runs.values():
            if status.state == "running" and status.progress:
                self._say(f"  {name(status.planned.trial)}", status.progress)

    def _write(self, status: TrialStatus) -> None:
        kept = {key: getattr(status, key) for key in ("point", "reason", "reports", "outcome", "score")}
        self.journal.add(status.entry, kept | {"status": status.state, "hash": status.stage.hash})

    def _print(self, status: TrialStatus) -> None:
        ended = self.count("done", "stopped", "failed")
        result = f"failed: {status.reason}" if status.state == "failed" else self.shown(status)
        result += f", {status.reason}" if status.state == "stopped" else ""
        if status.state == "done":
            result += f" in {duration(sum(Table(step.stage.uri).manifest['seconds'] for step in status.planned.own))}"
        self._say(f"trial {ended}/{max(len(self.runs), ended)}", f"{name(status.planned.trial)}: {result}")

    def _say(self, label: str, text: str) -> None:
        self.output(f"{label:<38} {text}")
