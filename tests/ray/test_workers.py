"""Runs on Ray give the same tables as without it, whatever process dies in between."""

import os
import shutil
import threading
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import psutil
import pytest
from running import SMALL, assert_same, here, processes, ray_has, tables, title, until

from dsopt.cluster import private
from dsopt.cluster.data import stream
from dsopt.cluster.session import cpus_each
from dsopt.config import ClusterConfig
from dsopt.training.worker import Worker

pytestmark = pytest.mark.usefixtures("unrendered")


def test_cpus_of_a_worker_fit_on_a_node() -> None:
    assert cpus_each([8], 2) == 4 and cpus_each([8], 3) == 2 and cpus_each([2, 2, 2], 2) == 2 and cpus_each([0, 16, 16], 4) == 8
    assert cpus_each([2], 4) == 0.5 and cpus_each([1, 1], 3) == 0.5  # more workers than CPUs share them
    assert cpus_each([0], 4) == cpus_each([], 4) == 1  # a cluster that starts from nothing


@pytest.mark.ray
@pytest.mark.slow
def test_killed_workers(
    ray_local: ModuleType, pictures: str, undisturbed: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """SIGKILL of the workers that train an autoencoder, that embed and that train a classifier, each in the midst of its work."""

    def job() -> None:
        here("data.name=parquet", f"data.root={pictures}", f"storage={tmp_path}", "cluster.workers=1", *SMALL)

    def worker(text: str) -> psutil.Process:
        return until(lambda: processes(text, os.getpid()))[0]

    running = threading.Thread(target=job)
    running.start()
    trainer = worker("ray::_task")
    until(lambda: list(tmp_path.glob("autoencoder/*/checkpoint.pt")))
    trainer.kill()
    encoder = worker("MapWorker")
    until(lambda: ").submit" in title(encoder))  # it has begun; before, it loads the network
    encoder.kill()
    assert not list(tmp_path.glob("embed/*/_DONE"))
    classifier = worker("ray::_task")
    until(lambda: list(tmp_path.glob("train/*full*/checkpoint.pt")))
    classifier.kill()
    running.join(timeout=600)
    assert not running.is_alive()
    printed = capsys.readouterr().out.splitlines()
    for label in ("autoencoder", "train full data"):
        assert any(line.startswith(label) and "of an interrupted run" in line for line in printed), label
    assert_same(tables(str(tmp_path)), tables(undisturbed))


@pytest.mark.long
@pytest.mark.ray
@pytest.mark.slow
def test_two_workers(ray_local: ModuleType, pictures: str, undisturbed: str, tmp_path: Path) -> None:
    """With the same autoencoder, so that embeddings can be compared: two workers' gradients are summed in another order."""
    for stage in ("ingest", "autoencoder"):
        shutil.copytree(Path(undisturbed) / stage, tmp_path / stage)
    here("data.name=parquet", f"data.root={pictures}", f"storage={tmp_path}", "cluster.workers=2", *SMALL)
    assert_same(tables(str(tmp_path)), tables(undisturbed))


@pytest.mark.long
@pytest.mark.ray
@pytest.mark.slow
def test_two_workers_train_as_one(ray_local: ModuleType, pictures: str, tmp_path: Path) -> None:
    """A few steps of the autoencoder, and its embeddings: as far as float addition in another order goes."""
    few = ("autoencoder.steps=8", "autoencoder.sync_batch_norm=true", "embed.batch_size=64")
    alone, both = (str(tmp_path / name) for name in ("alone", "both"))
    for storage, workers in ((alone, 0), (both, 2)):
        run = [f"data.root={pictures}", f"storage={storage}", f"cluster.workers={workers}", *SMALL, *few]
        here("data.name=parquet", *run, job="embed")
    expected = tables(alone)
    assert {name.split("/")[0] for name in expected} == {"ingest", "autoencoder", "embed"}
    assert_same(tables(both), expected, tolerance=1e-3)


@pytest.mark.long
@pytest.mark.ray
@pytest.mark.slow
def test_ray_data_has_only_the_processes_that_work(ray_local: ModuleType) -> None:
    if not all(ray_has(*names) for names in private.NAMES.values()):
        pytest.skip("this version of Ray has moved what is left out")

    def encoder(worker: Worker) -> Callable[[int], int]:
        return lambda item: 10 * item

    def read(item: int) -> int:
        return item

    def named() -> set[tuple[str, str]]:
        return {(actor["namespace"], actor["name"]) for actor in ray_local.util.list_named_actors(all_namespaces=True)}

    def of_jobs_before() -> list[tuple[str, str]]:
        """A job that joins a Ray which is not its own starts all three. Ray Train has a coordinator, too: it stays."""
        return [each for each in named() if each[1] != "AutoscalingCoordinator"]

    for namespace, name in of_jobs_before():
        ray_local.kill(ray_local.get_actor(name, namespace))
    until(lambda: not of_jobs_before())
    before = named()
    for result in stream([7], ClusterConfig(workers=1, cpus_per_worker=1), read, encoder):
        assert result == 70 and named() == before
