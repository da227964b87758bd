"""How the trials of a sweep stand: live on the terminal, and written down for whoever starts the sweep again."""

import time
from dataclasses import dataclass, field
from typing import Any, Literal

from dsopt import progress
from dsopt.config import Config
from dsopt.jobs.sweep.grid import sampled
from dsopt.jobs.sweep.kinds import Planned, Trial, kind, outcome
from dsopt.pipeline.step import Journal
from dsopt.progress import duration
from dsopt.storage import Stage, Table

Numbers = dict[str, Any]  # percent, step, seconds, score
EVERY = 10.0  # seconds between two lines on the whole sweep


def name(trial: Trial) -> str:
    """A trial in one line, as one would type it."""
    words = ["full data + choosing"] if trial.equal_cost else [trial.row, *trial.overrides]
    return " ".join(filter(None, [*words, f"seed={trial.seed}"]))


@dataclass
class Standing:
    """One training run of the sweep; trials that come to the same run share it.

    Args:
        point: what the run is made from on a worker: {"trial": number}, or a search's values by key.
        entry: its place in the journal.
        reports: its scores on held-out images as training went.
        doing: what it told last of how it goes.
        outcome: what it reached, by name.
        score: what of that it is judged by; more is better.
    """

    planned: Planned
    point: dict[str, Any]
    entry: int
    status: Literal["left", "running", "done", "stopped", "failed"] = "left"
    reason: str = ""
    reports: list[Numbers] = field(default_factory=list)
    doing: str = ""
    outcome: dict[str, float] = field(default_factory=dict)
    score: float | None = None

    @property
    def stage(self) -> Stage:
        return self.planned.run.stage


class Standings:
    """All runs of a sweep, by the hash of their stage. What has ended stays so when the sweep is started again.

    The finished runs' own stages say that they are; the sweep's journal adds those that were stopped, all reports for the
    scheduler, and the samples that a search has begun. Failed runs are tried again.
    """

    def __init__(self, stage: Stage, config: Config, planned: list[Planned]) -> None:
        self.config, self.journal, self.measure = config, Journal(stage), kind(config).measure
        self.runs: dict[str, Standing] = {}
        self.speak, self.told = progress.output, time.monotonic()
        for number, trial in enumerate(planned):
            self.runs.setdefault(trial.run.stage.hash, Standing(trial, {"trial": number}, number))
        for number, entry in self.journal.entries.items():
            standing = self.runs.get(entry["hash"]) or self._sample(entry["point"], number)
            if entry["status"] in ("done", "stopped"):
                standing.status, standing.reason = entry["status"], entry["reason"]
                standing.reports, standing.outcome, standing.score = entry["reports"], entry["outcome"], entry["score"]
        for standing in self.runs.values():
            if standing.planned.done():
                self._done(standing)
        self.started_at: float | None = None  # the first trial: what they need was made before, at a speed of its own
        self.ended_at, self.ended_before = 0.0, 0

    def _sample(self, point: dict[str, Any], entry: int | None = None) -> Standing:
        planned = sampled(self.config, point)
        free = 1 + max((standing.entry for standing in self.runs.values()), default=-1)
        standing = Standing(planned, point, free if entry is None else entry)
        return self.runs.setdefault(standing.stage.hash, standing)

    def _find(self, point: dict[str, Any]) -> Standing:
        known = [standing for standing in self.runs.values() if standing.point == point]
        return known[0] if known else self._sample(point)

    def count(self, *statuses: str) -> int:
        return sum(standing.status in statuses for standing in self.runs.values())

    def samples(self) -> list[Standing]:
        return [standing for standing in self.runs.values() if "trial" not in standing.point]

    def best(self) -> Standing | None:
        return max((s for s in self.runs.values() if s.score is not None), key=lambda s: s.score or 0.0, default=None)

    def shown(self, standing: Standing) -> str:
        """The number that a trial is judged by; "" for one that has none."""
        return "" if standing.score is None else self.measure.shown(self.measure.score(standing.score))

    def fail(self, standing: Standing, reason: str) -> None:
        standing.status, standing.reason = "failed", reason
        self._tell(standing)

    # What the runner tells:

    def started(self, point: dict[str, Any]) -> None:
        if self.started_at is None:
            self.started_at, self.ended_before = time.monotonic(), self.count("done", "stopped", "failed")
        standing = self._find(point)
        standing.doing = ""
        if standing.status == "left":
            standing.status = "running"
            if "trial" not in point:
                self._write(standing)

    def reported(self, point: dict[str, Any], numbers: Numbers) -> None:
        standing = self._find(point)
        standing.reason, standing.doing = numbers.get("reason", ""), numbers.get("doing", "")
        if "step" in numbers:
            standing.reports.append({key: numbers[key] for key in ("percent", "step", "seconds", "score")})
        self.waiting()

    def ended(self, point: dict[str, Any], lost: str | None) -> None:
        standing, self.ended_at = self._find(point), time.monotonic()
        standing.reason = lost or standing.reason
        if standing.reason:
            standing.status = "failed"
        elif standing.stage.done():
            self._done(standing)
        else:
            last = standing.reports[-1]
            standing.status, standing.reason = "stopped", f"stopped at step {last['step']:,}"
            standing.score, standing.outcome = last["score"], {self.measure.name: self.measure.score(last["score"])}
        if standing.reports or "trial" not in point:
            self._write(standing)
        self._tell(standing)

    def _done(self, standing: Standing) -> None:
        standing.status, standing.outcome = "done", outcome(standing.planned)
        standing.score = self.measure.score(standing.outcome[self.measure.name])

    def waiting(self) -> None:
        now = time.monotonic()
        if now - self.told < EVERY:
            return
        self.told = now
        ended, left = self.count("done", "stopped", "failed"), self.count("left", "running")
        new = ended - self.ended_before
        best = self.best()
        parts = [f"{self.count(status)} {status}" for status in ("done", "stopped", "failed", "running", "left")]
        parts += [f"best {self.shown(best)} ({name(best.planned.trial)})"] if best else []
        if self.started_at is not None and new:
            each = (self.ended_at - self.started_at) / new
            expected = each * left - (now - self.ended_at)
            parts += [f"{duration(expected)} left"] if expected > 0 else []
        self._say("sweep", "  ".join(part for part in parts if not part.startswith("0 ")))
        for standing in self.runs.values():
            if standing.status == "running" and standing.doing:
                self._say(f"  {name(standing.planned.trial)}", standing.doing)

    def _write(self, standing: Standing) -> None:
        kept = {key: getattr(standing, key) for key in ("point", "status", "reason", "reports", "outcome", "score")}
        self.journal.add(standing.entry, kept | {"hash": standing.stage.hash})

    def _tell(self, standing: Standing) -> None:
        ended = self.count("done", "stopped", "failed")
        how = f"failed: {standing.reason}" if standing.status == "failed" else self.shown(standing)
        how += f", {standing.reason}" if standing.status == "stopped" else ""
        if standing.status == "done":
            how += f" in {duration(sum(Table(step.stage.uri).manifest['seconds'] for step in standing.planned.own))}"
        self._say(f"trial {ended}/{max(len(self.runs), ended)}", f"{name(standing.planned.trial)}: {how}")

    def _say(self, who: str, text: str) -> None:
        self.speak(f"{who:<38} {text}")
