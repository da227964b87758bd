"""`make test-gpu` where there is no GPU, and what it would run."""

import subprocess
import sys
from pathlib import Path

import on_gpu
import torch


def test_without_a_gpu_it_says_so_in_one_line(monkeypatch, capsys):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert on_gpu.main() == 2
    assert len(capsys.readouterr().err.splitlines()) == 1


def test_every_part_runs_and_a_failure_is_told(monkeypatch, capsys):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    ran: list[list[str]] = []

    def run(command: list[str], **of: object) -> subprocess.CompletedProcess[bytes]:
        ran.append(command)
        return subprocess.CompletedProcess(command, 1 if "bench_gpu" in " ".join(command) else 0)

    monkeypatch.setattr(subprocess, "run", run)
    assert on_gpu.main() == 1 and len(ran) == 5
    assert "training: failed (1)" in capsys.readouterr().out
    assert all(Path(on_gpu.REPOSITORY, word).exists() for command in ran for word in command[1:] if word.startswith("tests"))
    assert all(command[0] == sys.executable for command in ran)


def test_make_runs_it():
    assert "test-gpu: $(VENV)/.test-installed\n\t@$(BIN)/python tests/on_gpu.py\n" in (on_gpu.REPOSITORY / "Makefile").read_text()
