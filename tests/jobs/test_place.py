"""Where results lie: said at the end, and refused where they would be lost."""

from pathlib import Path

import pytest
from running import one_line

from dsopt.jobs import main

SUBMITTED = {"RAY_JOB_CONFIG_JSON_ENV_VAR": "{}", "RAY_ADDRESS": "10.0.0.1:6379"}
QUICK = ("cluster.workers=0", "data.limit=40", "select.name=random", "select.budget=5")


@pytest.fixture(autouse=True)
def here(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize("storage", [[], ["storage=runs"], ["storage=./here/runs/"]])
@pytest.mark.parametrize("dry", [[], ["dry_run=true"]])
def test_a_submitted_job_refuses_a_relative_storage(
    storage: list[str], dry: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    for name, value in SUBMITTED.items():
        monkeypatch.setenv(name, value)
    assert main.main("select", [*QUICK, *storage, *dry]) == 2
    line = one_line(capsys.readouterr().err)
    assert "is relative" in line and "storage=s3://bucket/prefix" in line and not list(tmp_path.iterdir())


def test_so_does_one_that_joins_a_cluster(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("RAY_ADDRESS", "10.0.0.1:6379")
    assert main.main("select", ["cluster.workers=2", "dry_run=true"]) == 2
    assert "workers are elsewhere" in one_line(capsys.readouterr().err)
    assert main.main("select", ["cluster.workers=0", "dry_run=true"]) == 0  # no Ray


@pytest.mark.parametrize("storage", ["{folder}", "{folder}/", "~/runs", "file://{folder}"])
def test_absolute_places_are_fine(
    storage: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    for name, value in SUBMITTED.items():
        monkeypatch.setenv(name, value)
    assert main.main("ingest", [*QUICK, f"storage={storage.format(folder=tmp_path)}", "dry_run=true"]) == 0


@pytest.mark.parametrize("job", ["ingest", "select"])
def test_a_job_ends_with_the_absolute_place_of_its_results(job: str, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    for _ in range(2):  # also when all was done before
        assert main.main(job, [*QUICK, "storage=runs"]) == 0
        place = Path(capsys.readouterr().out.splitlines()[-1].split()[-1])
        assert place.is_absolute() and (place / "_DONE").exists() and place.is_relative_to(tmp_path / "runs" / job)
