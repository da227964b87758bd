"""The job is killed; the same command resumes, and ends with the tables of an undisturbed run."""

import contextlib
import json
import shutil
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import psutil
import pytest
from running import SMALL, assert_same, one_line, start, tables, title, until

# In the order in which the job comes by them: at every stage, and around every kind of write.
MOMENTS = [
    "amid ingest/.*/data/train-00002",
    "after ingest/.*/_journal/000004",
    "before ingest/.*/_DONE",
    "after autoencoder/.*/checkpoint",
    "after autoencoder/.*/checkpoint",
    "after autoencoder/.*/model-",
    "after autoencoder/.*/manifest",
    "after embed/.*/data/part-00003",
    "amid embed/.*/_journal/000005",
    "after select/.*top_activation.*/_journal/000003",
    "before train/.*full.*/checkpoint",
    "after train/.*full.*/checkpoint",
    "amid train/.*top_activation.*/checkpoint",
    "after train/.*top_activation.*/data/metrics",
    "after report/.*/report.html",
]


@pytest.mark.long
@pytest.mark.slow
def test_killed_at_every_stage(pictures: str, undisturbed: str, tmp_path: Path) -> None:
    arguments = ["data.name=parquet", f"data.root={pictures}", f"storage={tmp_path}", "cluster.workers=0", *SMALL]
    command = [sys.executable, str(Path(__file__).parent / "killed.py"), json.dumps(MOMENTS), *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr
    assert "resumes after 240 images" in done.stdout and "resumes after step 20" in done.stdout
    assert_same(tables(str(tmp_path)), tables(undisturbed), tolerance=0)


@pytest.mark.long
@pytest.mark.ray
@pytest.mark.slow
def test_killed_on_ray(job, ray_local: ModuleType, pictures: str, undisturbed: str, tmp_path: Path) -> None:
    """With Ray Data at work. What they work with ends without anybody's help."""
    for stage in ("ingest", "autoencoder"):
        shutil.copytree(Path(undisturbed) / stage, tmp_path / stage)
    arguments = ["data.name=parquet", f"data.root={pictures}", f"storage={tmp_path}", "cluster.workers=1", *SMALL]
    killed = start("embed", *arguments)
    until(lambda: list(tmp_path.glob("embed/*/_journal/*")))
    started = psutil.Process(killed.pid).children(recursive=True)
    names = ("raylet/raylet ", "gcs/gcs_server ", "MapWorker")
    working = [process for process in started if any(name in title(process) for name in names)]
    assert len(working) >= len(names)
    killed.kill()
    killed.communicate()
    until(lambda: not any(map(title, working)))
    status, _, errors = job("embed", *arguments)
    assert (status, errors) == (0, "")
    found, expected = tables(str(tmp_path)), tables(undisturbed)
    assert_same(found, {name: expected[name] for name in found})
    assert any(name.startswith("embed/") for name in found)
    for process in started:  # Ray's agents take a minute
        with contextlib.suppress(psutil.Error):
            process.kill()


@pytest.mark.long
@pytest.mark.slow
def test_two_at_once(pictures: str, undisturbed: str, tmp_path: Path) -> None:
    arguments = ["data.name=parquet", f"data.root={pictures}", f"storage={tmp_path}", "cluster.workers=0", *SMALL]
    jobs = [start("optimize", *arguments) for _ in range(2)]
    for job in jobs:
        _, errors = job.communicate(timeout=600)
        assert (job.returncode, errors) == (0, "")
    assert_same(tables(str(tmp_path)), tables(undisturbed), tolerance=0)


@pytest.mark.long
@pytest.mark.slow
def test_full_disk(job, pictures: str, undisturbed: str, tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", str(disk)], capture_output=True).returncode:
        pytest.skip("a small disk cannot be mounted here")
    try:
        arguments = ["data.name=parquet", f"data.root={pictures}", f"storage={disk}", "cluster.workers=0", *SMALL]
        status, _, errors = job("optimize", *arguments)
        assert status == 1 and "No space left" in one_line(errors)
        subprocess.run(["mount", "-o", "remount,size=64m", str(disk)], check=True)
        assert job("optimize", *arguments)[0] == 0
        assert_same(tables(str(disk)), tables(undisturbed), tolerance=0)
    finally:
        subprocess.run(["umount", str(disk)], check=True)
