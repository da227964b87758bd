"""All stages through Ray with storage on a real S3 server, which is unreachable for a while."""

import functools
import os
import threading
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from PIL import Image
from running import SMALL, assert_same, here, one_line, processes, tables, until
from s3_server import READER, S3Server

from dsopt import files
from dsopt.files import join, list_files, read_bytes, write_bytes
from dsopt.storage import Table

pytestmark = pytest.mark.usefixtures("unrendered")

SECONDS = 12.0  # a call to the server alone tries for some 6 s


def upload(folder: str | Path, uri: str) -> str:
    for path in Path(folder).rglob("*.*"):
        write_bytes(join(uri, str(path.relative_to(folder))), path.read_bytes())
    return uri


@pytest.mark.long
@pytest.mark.ray
@pytest.mark.slow
def test_main_job_with_the_server_away(
    ray_local: ModuleType, s3: S3Server, s3_storage: str, pictures: str, undisturbed: str, capfd: pytest.CaptureFixture[str]
) -> None:
    """Once in the midst of training on a worker, and once in the midst of embedding by Ray Data: nothing is lost."""
    root, runs = upload(pictures, f"{s3_storage}/data"), f"{s3_storage}/runs"
    failures = []

    def job() -> None:
        try:
            here("data.name=parquet", f"data.root={root}", f"storage={runs}", "cluster.workers=1", *SMALL)
        except Exception as error:
            failures.append(error)

    def away() -> None:
        assert not failures
        with s3.outage(SECONDS):
            pass

    running = threading.Thread(target=job)
    running.start()
    until(lambda: failures or any(name.endswith("/checkpoint.pt") for name in list_files(runs)), every=0.02)
    away()
    until(lambda: failures or processes(").submit", os.getpid()))
    away()
    running.join(timeout=600)
    assert not running.is_alive() and not failures, failures
    assert_same(tables(runs), tables(undisturbed))
    printed = "".join(capfd.readouterr()).encode()
    objects = {name: read_bytes(join(runs, name)) for name in list_files(runs)} | {"the output": printed}
    for secret in (s3.env["AWS_ACCESS_KEY_ID"], s3.env["AWS_SECRET_ACCESS_KEY"]):
        assert not [name for name, data in objects.items() if secret.encode() in data]


@pytest.mark.slow
def test_folder_of_images(job, s3: S3Server, s3_storage: str, tmp_path: Path) -> None:
    for i in range(12):
        path = tmp_path / f"class{i % 3}" / f"{i}.png"
        path.parent.mkdir(exist_ok=True)
        Image.fromarray(np.full((32, 32, 3), 20 * i, np.uint8)).save(path)
    root = upload(tmp_path, f"{s3_storage}/images")
    status, _, errors = job("ingest", "data.name=folder", f"data.root={root}", f"storage={s3_storage}/runs", "cluster.workers=0")
    assert (status, errors) == (0, "")
    (name,) = (name for name in list_files(f"{s3_storage}/runs") if name.endswith("/_DONE"))
    table = Table(f"{s3_storage}/runs/{name.removesuffix('/_DONE')}")
    assert table.rows() == 12 and table.manifest["classes"] == ["class0", "class1", "class2"]


@pytest.mark.long
@pytest.mark.slow
def test_wrong_storage_is_told_soon(job, s3: S3Server, monkeypatch: pytest.MonkeyPatch) -> None:
    cases = [
        ("s3://nobody-made-this/runs", {}),
        ("s3://dsopt/runs", READER),
        ("s3://dsopt/runs", {"AWS_SECRET_ACCESS_KEY": "wrong"}),
        ("s3://dsopt/runs", {"AWS_ENDPOINT_URL": "http://127.0.0.1:9"}),
    ]
    for uri, env in cases:
        with monkeypatch.context() as patched:
            patched.setattr(files, "_remote", functools.cache(files._remote.__wrapped__))  # it reads the environment once
            for name, value in env.items():
                patched.setenv(name, value)
            status, output, errors = job("optimize", f"storage={uri}", "cluster.workers=0")
        assert status == 2 and uri in one_line(errors), env
        assert s3.env["AWS_SECRET_ACCESS_KEY"] not in output + errors
