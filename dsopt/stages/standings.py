"""How the trials of a sweep stand: live on the terminal, and written down for whoever starts the sweep again."""

import time
from dataclasses import dataclass, field
from typing import Any, Literal

import pyarrow.compute as pc

from dsopt import progress
from dsopt.config import Config
from dsopt.progress import duration
from dsopt.stages.step import Journal
from dsopt.stages.trials import Planned, Trial, sampled
from dsopt.storage import Stage, Table

Numbers = dict[str, Any]  # percent, step, seconds, accuracy
EVERY = 10.0  # seconds between two lines on the whole sweep


def name(trial: Trial) -> str:
    """A trial in one line, as one would type it."""
    words = ["full data + choosing"] if trial.equal_cost else [trial.row, *trial.overrides]
    return " ".join(filter(None, [*words, f"seed={trial.seed}"]))


def accuracy(stage: Stage) -> float:
    """The accuracy of a finished training run at its last step, on its held-out images if it has them, else on the test images."""
    metrics = Table(stage.uri).read()
    final = metrics.filter((pc.field("split") != "train") & (pc.field("name") == "accuracy")).sort_by("step")
    return final["value"][-1].as_py()


@dataclass
class Standing:
    """One training run of the sweep; trials that come to the same run share it.

    Args:
        point: what the run is made from on a worker: {"trial": number}, or a search's values by key.
        entry: its place in the journal.
        reports: accuracies on held-out images as training went.
    """

    planned: Planned
    point: dict[str, Any]
    entry: int
    status: Literal["left", "running", "done", "stopped", "failed"] = "left"
    reason: str = ""
    reports: list[Numbers] = field(default_factory=list)
    accuracy: float | None = None

    @property
    def stage(self) -> Stage:
        return self.planned.run.stage


class Standings:
    """All runs of a sweep, by the hash of their stage. What has ended stays so when the sweep is started again.

    The finished runs' own stages say that they are; the sweep's journal adds those that were stopped, all reports for the
    scheduler, and the samples that a search has begun. Failed runs are tried again.
    """

    def __init__(self, stage: Stage, config: Config, planned: list[Planned]) -> None:
        self.config, self.journal = config, Journal(stage)
        self.runs: dict[str, Standing] = {}
        self.speak, self.told = progress.output, time.monotonic()
        for number, trial in enumerate(planned):
            self.runs.setdefault(trial.run.stage.hash, Standing(trial, {"trial": number}, number))
        for number, entry in self.journal.entries.items():
            standing = self.runs.get(entry["hash"]) or self._sample(entry["point"], number)
            if entry["status"] in ("done", "stopped"):
                standing.status, standing.reason = entry["status"], entry["reason"]
                standing.reports, standing.accuracy = entry["reports"], entry["accuracy"]
        for standing in self.runs.values():
            if standing.stage.done():
                standing.status, standing.accuracy = "done", accuracy(standing.stage)
        self.started_at, self.ended_before = time.monotonic(), self.count("done", "stopped")

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

    def fail(self, standing: Standing, reason: str) -> None:
        standing.status, standing.reason = "failed", reason
        self._tell(standing)

    # What the runner tells:

    def started(self, point: dict[str, Any]) -> None:
        standing = self._find(point)
        if standing.status == "left":
            standing.status = "running"
            if "trial" not in point:
                self._write(standing)

    def reported(self, point: dict[str, Any], numbers: Numbers) -> None:
        standing = self._find(point)
        standing.reason = numbers.get("reason", "")
        if "step" in numbers:
            standing.reports.append({key: numbers[key] for key in ("percent", "step", "seconds", "accuracy")})
        self.waiting()

    def ended(self, point: dict[str, Any], lost: str | None) -> None:
        standing = self._find(point)
        standing.reason = lost or standing.reason
        if standing.reason:
            standing.status = "failed"
        elif standing.stage.done():
            standing.status, standing.accuracy = "done", accuracy(standing.stage)
        else:
            standing.status, standing.accuracy = "stopped", standing.reports[-1]["accuracy"]
            standing.reason = f"stopped at step {standing.reports[-1]['step']:,}"
        if standing.reports or "trial" not in point:
            self._write(standing)
        self._tell(standing)

    def waiting(self) -> None:
        now = time.monotonic()
        if now - self.told < EVERY:
            return
        self.told = now
        ended, left = self.count("done", "stopped", "failed"), self.count("left", "running")
        new = ended - self.ended_before
        best = max((s for s in self.runs.values() if s.accuracy is not None), key=lambda s: s.accuracy or 0.0, default=None)
        parts = [f"{self.count(status)} {status}" for status in ("done", "stopped", "failed", "running", "left")]
        parts += [f"best {100 * (best.accuracy or 0.0):.2f} % ({name(best.planned.trial)})"] if best else []
        parts += [f"{duration((now - self.started_at) / new * left)} left"] if new and left else []
        self._say("sweep", "  ".join(part for part in parts if not part.startswith("0 ")))

    def _write(self, standing: Standing) -> None:
        kept = {key: getattr(standing, key) for key in ("point", "status", "reason", "reports", "accuracy")}
        self.journal.add(standing.entry, kept | {"hash": standing.stage.hash})

    def _tell(self, standing: Standing) -> None:
        ended = self.count("done", "stopped", "failed")
        how = f"failed: {standing.reason}" if standing.status == "failed" else f"{100 * (standing.accuracy or 0.0):.2f} %"
        how += f", {standing.reason}" if standing.status == "stopped" else ""
        if standing.status == "done":
            how += f" in {duration(Table(standing.stage.uri).manifest['seconds'])}"
        self._say(f"trial {ended}/{max(len(self.runs), ended)}", f"{name(standing.planned.trial)}: {how}")

    def _say(self, who: str, text: str) -> None:
        self.speak(f"{who:<38} {text}")
