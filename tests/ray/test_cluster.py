"""A running cluster of several nodes: submitted jobs, a lost node, and nodes that are added later."""

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest
from running import REPOSITORY, SMALL, here, one_line, processes, start, tables, title, until
from s3_server import free_ports

from dsopt.storage import Table

BIN = Path(sys.executable).parent


@dataclass
class Cluster:
    """A head and what nodes are added, all on this machine."""

    address: str
    dashboard: str
    folder: str
    nodes: list[psutil.Popen]  # the head first

    def add(self, cpus: int, *options: str) -> None:
        """A node; one after the other: together they would give their sockets the same names."""
        each = ["--block", f"--num-cpus={cpus}", "--object-store-memory=200000000", "--dashboard-agent-listen-port=0"]
        env = os.environ | {"PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}", "PYTHONPATH": str(REPOSITORY)}
        env["RAY_health_check_period_ms"] = "1000"  # a lost node is told after five that it does not answer: at 3 s each by default
        log = Path(self.folder, f"node{len(self.nodes)}.log")
        command = [str(BIN / "ray"), "start", *each, *(options or [f"--address={self.address}"])]
        for _ in range(3):  # Ray gives its processes 30 s to start, which can be too short beside other work
            with log.open("w") as file:
                node = psutil.Popen(command, env=env, stdout=file, stderr=file, start_new_session=True)
            until(lambda node=node: "Ray runtime started" in log.read_text() or node.poll() is not None)
            if node.poll() is None:
                self.nodes.append(node)
                return
        pytest.fail(log.read_text())

    def grow(self, nodes: int) -> None:
        """Add nodes with a CPU each, until so many are alive beside the head."""
        while sum(node.poll() is None for node in self.nodes[1:]) < nodes:
            self.add(1)


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    """A head without CPUs, as in cluster.yaml; each test has it grow as it needs."""
    port, dashboard = free_ports(2)
    folder = tempfile.mkdtemp(prefix="ray_")  # short: the paths of its sockets are limited to 107 bytes
    made = Cluster(f"127.0.0.1:{port}", f"http://127.0.0.1:{dashboard}", folder, [])
    try:
        made.add(0, "--head", f"--temp-dir={folder}", f"--port={port}", f"--dashboard-port={dashboard}", "--disable-usage-stats")
        yield made
    finally:
        for one in made.nodes[::-1]:  # never `ray stop`: it would end everybody's Ray on this machine
            end(one)
        shutil.rmtree(folder, ignore_errors=True)


def end(node: psutil.Popen) -> None:
    """Kill all of a node's processes at once."""
    if node.poll() is None:
        for process in [*node.children(recursive=True), node]:
            with contextlib.suppress(psutil.NoSuchProcess):  # Ray ends processes of its own in the meantime
                process.kill()
        node.wait()


@pytest.mark.long
@pytest.mark.ray
@pytest.mark.slow
def test_a_cluster_that_starts_from_nothing(cluster: Cluster, tmp_path: Path) -> None:
    """Two workers wait for CPUs and print that; the wait can be interrupted; and with new nodes they run."""
    assert len(cluster.nodes) == 1, "runs before the tests that have the cluster grow"
    arguments = [f"storage={tmp_path}", *SMALL, "train.split=0"]
    here(*arguments, "cluster.workers=0", job="ingest")

    def waiting() -> subprocess.Popen[str]:
        job = start("train", *arguments, "cluster.workers=2", RAY_ADDRESS=cluster.address)
        assert job.stdout and any("waiting for 2 CPUs; the cluster has 0" in line for line in job.stdout)
        return job

    job = waiting()
    job.send_signal(signal.SIGINT)
    _, errors = job.communicate(timeout=60)
    assert job.returncode == 130 and "interrupted" in one_line(errors)
    job = waiting()
    cluster.grow(2)
    output, errors = job.communicate(timeout=600)
    assert (job.returncode, errors) == (0, ""), output
    (stage,) = tmp_path.glob("train/*")
    assert Table(str(stage)).manifest["device"].startswith("2 x")


@pytest.mark.long
@pytest.mark.ray
@pytest.mark.slow
def test_lost_node(cluster: Cluster, tmp_path: Path) -> None:
    """One of the two nodes that train is killed: a third takes over, from the checkpoint, to the same number of steps."""
    cluster.grow(3)
    arguments = [f"storage={tmp_path}", *SMALL, "train.split=0", "train.steps=200"]
    here(*arguments, "cluster.workers=0", job="ingest")
    job = start("train", *arguments, "cluster.workers=2", RAY_ADDRESS=cluster.address)
    until(lambda: list(tmp_path.glob("train/*/checkpoint.pt")) or job.poll() is not None)
    lost = next(node for node in cluster.nodes[1:] if node.poll() is None and processes("RayTrainWorker", node.pid))
    end(lost)
    output, errors = job.communicate(timeout=600)
    assert (job.returncode, errors) == (0, ""), output
    assert "of an interrupted run" in output
    (stage,) = tmp_path.glob("train/*")
    manifest = Table(str(stage)).manifest
    assert manifest["steps"] == 200 and manifest["device"].startswith("2 x")


@pytest.mark.long
@pytest.mark.ray
@pytest.mark.slow
def test_a_node_that_the_cloud_takes_away_does_not_count(cluster: Cluster, tmp_path: Path) -> None:
    """A run on one worker that may lose none: a node that goes with a notice costs nothing, another one without ends it."""
    cluster.grow(2)
    arguments = [f"storage={tmp_path}", *SMALL, "train.split=0", "train.steps=4000", "cluster.max_failures=0"]
    here(*arguments, "cluster.workers=0", job="ingest")
    job = start("train", *arguments, "cluster.workers=1", RAY_ADDRESS=cluster.address)

    def saved() -> list[int]:
        return [path.stat().st_mtime_ns for path in tmp_path.glob("train/*/checkpoint.pt")]

    def running() -> list[psutil.Popen]:
        return [one for one in cluster.nodes[1:] if one.poll() is None and processes("ray::_task", one.pid)]

    until(lambda: saved() or job.poll() is not None)
    (lost,) = running()
    node = title(processes("--node_id=", lost.pid)[0]).partition("--node_id=")[2].split()[0]
    drain = [str(BIN / "ray"), "drain-node", f"--address={cluster.address}", f"--node-id={node}", "--reason-message=spot"]
    drain += ["--reason=DRAIN_NODE_REASON_PREEMPTION", "--deadline-remaining-seconds=1"]
    subprocess.run(drain, check=True, capture_output=True)
    time.sleep(2)  # it ends after its deadline, so Ray knows even if the driver has had no time to see the notice
    end(lost)
    before = saved()
    until(lambda: saved() > before or job.poll() is not None)
    assert job.poll() is None, job.communicate()
    (lost,) = running()
    end(lost)
    _, errors = job.communicate(timeout=600)
    assert job.returncode == 1 and "gave up after 0 lost workers" in one_line(errors)


@pytest.mark.long
@pytest.mark.ray
@pytest.mark.slow
def test_submitted_job(cluster: Cluster, tmp_path: Path) -> None:
    cluster.grow(2)
    package = tmp_path / "package"
    for part in ("dsopt", "jobs"):
        shutil.copytree(REPOSITORY / part, package / part, ignore=shutil.ignore_patterns("__pycache__"))

    def submit(*arguments: str) -> subprocess.CompletedProcess[str]:
        command = [BIN / "ray", "job", "submit", "--working-dir", package, "--", "python", "jobs/optimize.py", *arguments]
        env = os.environ | {"RAY_API_SERVER_ADDRESS": cluster.dashboard}
        return subprocess.run(command, env=env, capture_output=True, text=True, timeout=600)

    done = submit(f"storage={tmp_path}/runs", "cluster.workers=1", *SMALL)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "top_activation, 50/50" in done.stdout and "report.html" in done.stdout  # its log was followed
    assert len(tables(f"{tmp_path}/runs")) == 12
    wrong = submit(f"storage={tmp_path}/runs", "select.budgte=1")
    assert wrong.returncode != 0
    said = [line for line in wrong.stdout.splitlines() if line.startswith("error: ")]
    assert len(set(said)) == 1 and "Did you mean 'budget'" in said[0] and "Traceback" not in wrong.stdout
