"""A job on four Ray nodes with file systems of their own, which loses two of them, is stopped and submitted again.

    sudo python tests/ray/four_nodes.py        # by hand, on an idle machine: it takes minutes, and mounts need root

A head with no CPU and three nodes of two, each with its own /tmp and home, and the data and results on a real S3 server: as
machines in the cloud. The main job has four workers. A node is killed while they train and another one while they embed, as spot
machines are, and new ones come; then `ray job stop`, and the same command again. It runs twice:

- with an autoencoder that is trained already, by one process without Ray. All tables must be those of that process, the floats up
  to `SAME`: images and embeddings, what is chosen from them, and the rows of the comparison, each trained by one worker.
- in full, with an autoencoder that the four workers train. They add their gradients in another order than one process, or than the
  same four on other nodes: rounding grows over its 120 steps, so embeddings may be `TRAINED` standard deviations apart, which is
  enough to choose other images. The tables before it must be the same. It is also compared with four undisturbed workers.
"""

import contextlib
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))
sys.path.insert(0, str(Path(__file__).parents[2]))

import boto3
import numpy as np
import psutil
import pyarrow as pa
from running import REPOSITORY, SMALL, assert_same, processes, shell, tables, title, until, write_pictures
from s3_server import S3Server, free_ports

from dsopt.files import join, list_files, read_bytes, write_bytes

BIN = Path(os.path.realpath(Path(sys.executable).parent))  # not below /tmp, which nodes have for themselves
SAME, TRAINED = 1e-5, 0.3
OWN = ("RAY_AUTH_MODE=disabled", "RAY_health_check_period_ms=1000", "RAY_worker_niceness=0", "PYTHONUNBUFFERED=1")


class Nodes:
    """Ray nodes in mount namespaces of their own."""

    def __init__(self, folder: Path, env: dict[str, str]) -> None:
        self.folder, self.env, self.running = folder, env, []
        self.port, self.dashboard = free_ports(2)
        self.add(0, "--head", f"--port={self.port}", f"--dashboard-port={self.dashboard}", "--disable-usage-stats")

    def add(self, cpus: int, *options: str) -> None:
        own = self.folder / f"node{len(list(self.folder.glob('node*')))}"
        for name in ("tmp", "home"):
            (own / name).mkdir(parents=True)
        start = [str(BIN / "ray"), "start", "--block", f"--num-cpus={cpus}", "--object-store-memory=200000000"]
        start += ["--dashboard-agent-listen-port=0", *(options or [f"--address=127.0.0.1:{self.port}"])]
        inside = ["bash", "-c", f'mount --bind {own}/tmp /tmp && exec "$@"', "node", *start]
        env = self.env | {"HOME": f"{own}/home", "PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}"}
        log, command = own / "log", ["unshare", "--mount", "--propagation", "private", *inside]
        for _ in range(3):  # Ray gives its processes 30 s to start, which can be too short beside other work
            with log.open("w") as file:
                node = psutil.Popen(command, env=env, cwd="/", stdout=file, stderr=file, start_new_session=True)
            until(lambda node=node: "Ray runtime started" in log.read_text() or node.poll() is not None)
            if node.poll() is None:
                self.running.append(node)
                return
        raise RuntimeError(log.read_text())

    def kill_one_with(self, text: str) -> None:
        """All processes at once of a node on which there is such a process, not of the head's; a new node comes."""
        until(lambda: any(processes(text, node.pid) for node in self.running[1:]))
        lost = next(node for node in self.running[1:] if processes(text, node.pid))
        self.running.remove(lost)
        end(lost)
        self.add(2)


def end(node: psutil.Popen) -> None:
    with contextlib.suppress(psutil.NoSuchProcess):  # it ended by itself
        for process in [*node.children(recursive=True), node]:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
    node.wait()


def compare(found: dict[str, pa.Table], expected: dict[str, pa.Table]) -> float:
    """Print, for each table, whether it is the same; numbers by their largest difference, in standard deviations of the column.

    Returns that of the embeddings.
    """
    assert set(found) == set(expected), set(found) ^ set(expected)
    apart = 0.0
    for name, table in sorted(expected.items()):
        notes = [f"{len(found[name])} rows"] + ([] if len(found[name]) == len(table) else [f"expected {len(table)}"])
        for column in table.column_names if len(found[name]) == len(table) else []:
            left, right = (t[column].combine_chunks() for t in (found[name], table))
            if isinstance(left, pa.FixedShapeTensorArray):
                left, right = left.storage.flatten(), right.storage.flatten()
            if pa.types.is_floating(left.type):
                right = right.to_numpy(False)
                there = np.isfinite(right)
                most = np.abs(left.to_numpy(False) - right)[there].max(initial=0)
                most = most and most / right[there].std()  # what is all the same has no deviation
                notes += [f"{column} differs by {most:.2g} deviations at most"] if most > 0 else []
                apart = max(apart, float(most)) if column == "embedding" else apart
            elif not left.equals(right):
                notes.append(f"{column} differs")
        print(f"{name}: {', '.join(notes)}", flush=True)
    return apart


def only(kinds: tuple[str, ...], of: dict[str, pa.Table]) -> dict[str, pa.Table]:
    """The tables of some kinds of stages."""
    return {name: table for name, table in of.items() if name.split("/")[0] in kinds}


def copy(kind: str, source: str, target: str) -> None:
    """A kind of stages from one place of the server to another, what says that they are done at last."""
    for name in sorted(list_files(source), key=lambda name: name.endswith("/_DONE")):
        if name.startswith(f"{kind}/"):
            write_bytes(join(target, name), read_bytes(join(source, name)))


def main() -> None:
    folder = Path(tempfile.mkdtemp(dir="/var/tmp", prefix="nodes_"))
    server, nodes = S3Server(folder / "s3"), None
    os.environ.update(server.env)
    started = time.monotonic()

    def tell(what: str) -> None:
        print(f"{time.monotonic() - started:6.0f} s  {what}", flush=True)

    try:
        server.start()
        boto3.client("s3").create_bucket(Bucket="dsopt")
        for path in Path(write_pictures(folder / "pictures")).iterdir():
            write_bytes(join("s3://dsopt/data", path.name), path.read_bytes())
        arguments = ["data.name=parquet", "data.root=s3://dsopt/data", *SMALL, "autoencoder.sync_batch_norm=true"]
        alone = shell("optimize", *arguments, "storage=s3://dsopt/alone", "cluster.workers=0")
        assert alone.returncode == 0, alone.stderr
        tell("one process alone is done")

        package = folder / "package"
        for part in ("dsopt", "jobs"):
            shutil.copytree(REPOSITORY / part, package / part, ignore=shutil.ignore_patterns("__pycache__"))
        env = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"} | dict(one.split("=") for one in OWN)
        nodes = Nodes(folder, env)
        for _ in range(3):
            nodes.add(2)
        tell("a head and three nodes are there")

        address = {"RAY_API_SERVER_ADDRESS": f"http://127.0.0.1:{nodes.dashboard}"}

        def submit(name: str, storage: str) -> psutil.Popen:
            command = [BIN / "ray", "job", "submit", f"--submission-id={name}", "--working-dir", package, "--", "python"]
            given = [f"storage=s3://dsopt/{storage}", "cluster.workers=4", "cluster.max_failures=1"]
            command += ["jobs/optimize.py", *arguments, *given]
            return psutil.Popen([*map(str, command)], env=env | address)

        def disturbed(storage: str, trains: bool) -> dict[str, pa.Table]:
            """The tables of a job on four workers after all that happens to it."""
            uri = f"s3://dsopt/{storage}"

            def written(start: str) -> bool:
                return any(name.startswith(start) and name.endswith("/checkpoint.pt") for name in list_files(uri))

            job = submit(f"{storage}1", storage)
            tell(f"{storage}: submitted")
            if trains:
                until(lambda: written("autoencoder/") or job.poll() is not None)
                nodes.kill_one_with("RayTrainWorker")
                tell("a node was killed in training, another one came")
            until(lambda: any(").submit" in title(one) for node in nodes.running for one in processes("MapWorker", node.pid)))
            nodes.kill_one_with("MapWorker")
            tell("a node was killed in embedding, another one came")
            until(lambda: written("train/") or job.poll() is not None)
            stop = [BIN / "ray", "job", "stop", f"{storage}1"]
            subprocess.run(stop, env=env | address, check=True, stdout=subprocess.DEVNULL)
            job.wait(timeout=600)  # the command ends with 0 for a job that was stopped
            ended = any(name.endswith("/_DONE") for name in list_files(f"{uri}/report"))
            tell("the job had ended before it was stopped" if ended else "the job was stopped")
            assert submit(f"{storage}2", storage).wait(timeout=3600) == 0
            tell("and, submitted again, it finished")
            return tables(uri)

        single = tables("s3://dsopt/alone")
        copy("autoencoder", "s3://dsopt/alone", "s3://dsopt/given")
        given = disturbed("given", trains=False)
        print("beside one process without Ray, whose autoencoder it was given:", flush=True)
        compare(given, single)
        assert_same(given, single, tolerance=SAME)

        found = disturbed("full", trains=True)
        print("in full, beside one process without Ray:", flush=True)
        assert compare(found, single) <= TRAINED
        assert_same(only(("ingest",), found), only(("ingest",), single), tolerance=SAME)
        assert submit("quiet", "quiet").wait(timeout=3600) == 0
        tell("four undisturbed workers are done")
        print("in full, beside four undisturbed workers:", flush=True)
        assert compare(found, tables("s3://dsopt/quiet")) <= TRAINED
    finally:
        for node in nodes.running[::-1] if nodes else []:  # never `ray stop`: it would end everybody's Ray on this machine
            end(node)
        server.remove()
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main()
