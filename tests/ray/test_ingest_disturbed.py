"""Ingest of photographs in whose midst a process is killed or the object store is away: the table of an undisturbed one."""

import io
import os
import signal
import threading
from pathlib import Path
from types import ModuleType

import numpy as np
import pyarrow as pa
import pytest
from PIL import Image
from running import assert_same, here, one_line, processes, start, tables, until
from s3_server import S3Server

from dsopt.files import list_files, write_bytes, write_table

FILES, ROWS = 12, 60  # enough work for a process to be killed amid it
AWAY = 20.0  # seconds
SETTINGS = ("data.name=parquet", "data.image_size=224", "cluster.cpus_per_worker=1")

pytestmark = [pytest.mark.long, pytest.mark.slow]


@pytest.fixture(scope="module")
def photographs(tmp_path_factory: pytest.TempPathFactory) -> str:
    root, numbers = tmp_path_factory.mktemp("photographs"), np.random.default_rng(0)
    for file in range(FILES):
        rows = []
        for label in np.arange(ROWS) % 3:
            sink = io.BytesIO()
            Image.fromarray(numbers.integers(0, 255, (300, 400, 3), np.uint8)).save(sink, "JPEG")
            rows.append({"image": {"bytes": sink.getvalue(), "path": None}, "label": int(label)})
        write_table(f"{root}/train-{file:02}.parquet", pa.Table.from_pylist(rows))
    return str(root)


@pytest.fixture(scope="module")
def expected(photographs: str, tmp_path_factory: pytest.TempPathFactory) -> dict[str, pa.Table]:
    storage = str(tmp_path_factory.mktemp("undisturbed"))
    here(*SETTINGS, f"data.root={photographs}", f"storage={storage}", "cluster.workers=0", job="ingest")
    found = tables(storage)
    assert [len(table) for table in found.values()] == [FILES * ROWS]
    return found


@pytest.fixture
def uploaded(photographs: str, s3_storage: str) -> str:
    for path in Path(photographs).iterdir():
        write_bytes(f"{s3_storage}/photographs/{path.name}", path.read_bytes())
    return f"{s3_storage}/photographs"


def amid(storage: str, more: int = 1) -> bool:
    """Whether some parts are finished, beside those that were, and the table is not."""
    names = list_files(storage)
    assert not any(name.endswith("/_DONE") for name in names), "the ingest was not disturbed"
    return sum("/_journal/" in name for name in names) >= more


def test_processes_of_this_machine(photographs: str, expected: dict[str, pa.Table], tmp_path: Path) -> None:
    """One of two processes is lost, which is told; then the job is killed; the third run ends what they began."""
    storage = str(tmp_path)
    given = (*SETTINGS, f"data.root={photographs}", f"storage={storage}", "cluster.workers=0", "cluster.cpus_per_worker=2")
    job = start("ingest", *given)
    until(lambda: amid(storage) and processes("spawn_main", job.pid))
    processes("spawn_main", job.pid)[0].kill()
    assert "was lost" in one_line(job.communicate()[1]) and job.returncode == 1
    finished = sum("/_journal/" in name for name in list_files(storage))
    job = start("ingest", *given)
    until(lambda: amid(storage, finished + 1))
    job.kill()
    job.communicate()
    here(*given, job="ingest")
    assert_same(tables(storage), expected)


def test_the_job_is_killed_and_the_store_away(s3: S3Server, s3_storage: str, uploaded: str, expected: dict[str, pa.Table]) -> None:
    storage = f"{s3_storage}/runs"
    given = (*SETTINGS, f"data.root={uploaded}", f"storage={storage}", "cluster.workers=0")
    job = start("ingest", *given)
    until(lambda: amid(storage))
    job.send_signal(signal.SIGKILL)
    job.communicate()
    finished = sum("/_journal/" in name for name in list_files(storage))
    job = start("ingest", *given)
    until(lambda: amid(storage, finished + 1))
    with s3.outage(AWAY):
        pass
    _, errors = job.communicate()
    assert job.returncode == 0, errors
    assert_same(tables(storage), expected)


@pytest.mark.ray
def test_the_workers_are_killed_and_the_store_away(
    ray_local: ModuleType, s3: S3Server, s3_storage: str, uploaded: str, expected: dict[str, pa.Table]
) -> None:
    storage, failures = f"{s3_storage}/runs", []

    def job() -> None:
        try:
            here(*SETTINGS, f"data.root={uploaded}", f"storage={storage}", "cluster.workers=1", job="ingest")
        except Exception as error:
            failures.append(error)

    running = threading.Thread(target=job)
    running.start()
    until(lambda: failures or (amid(storage) and processes("ray::Map", os.getpid())))
    for worker in processes("ray::Map", os.getpid()):
        worker.kill()
    finished = sum("/_journal/" in name for name in list_files(storage))
    until(lambda: failures or amid(storage, finished + 1))
    with s3.outage(AWAY):
        pass
    running.join(timeout=600)
    assert not running.is_alive() and not failures, failures
    assert_same(tables(storage), expected)
