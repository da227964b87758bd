"""A clock for tests of what takes time."""

from types import SimpleNamespace

import pytest


class Clock:
    """The time that a module sees: it goes on only when a test says so, so every machine takes the same steps."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, module: str) -> None:
        self.now = 0.0
        monkeypatch.setattr(f"{module}.time", SimpleNamespace(perf_counter=self._read, monotonic=self._read))

    def _read(self) -> float:
        return self.now
