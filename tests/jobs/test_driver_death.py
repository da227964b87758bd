"""The job is killed; the same command goes on, and ends with the tables of an undisturbed run."""

import json
import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pytest
from running import SMALL, assert_same, tables

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


@pytest.mark.slow
def test_killed_at_every_stage(pictures: str, undisturbed: dict[str, pa.Table], tmp_path: Path) -> None:
    arguments = ["data.name=parquet", f"data.root={pictures}", f"storage={tmp_path}", "cluster.workers=0", *SMALL]
    command = [sys.executable, str(Path(__file__).parent / "killed.py"), json.dumps(MOMENTS), *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    assert "goes on after 3 shards" in done.stdout and "goes on after step 20" in done.stdout
    assert_same(tables(str(tmp_path)), undisturbed, tolerance=0)
