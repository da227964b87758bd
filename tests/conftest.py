"""What all tests share: an environment set before Ray is imported, a real S3 server, a small local Ray cluster, data sets."""

import atexit
import gc
import io
import os
import runpy
import shutil
import sys
import tempfile
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType

import boto3
import jaxtyping
import pytest
import type_checks
from s3_server import S3Server

gc.disable()  # until all is imported and collected: see `pytest_collection_finish`
jaxtyping.jaxtyped = type_checks.jaxtyped  # here: the import hook decorates with it what is imported after this
REPOSITORY = Path(__file__).resolve().parent.parent

# Here and not in a fixture: Ray reads its settings at import, and workers get the environment that `ray.init` found.
# So the server's address and keys are fixed now, and the server itself is started by the first test that needs it.
SERVER = S3Server(Path(tempfile.gettempdir()) / f"dsopt-s3-{os.getpid()}")
os.environ.update(
    SERVER.env,
    RAY_AUTH_MODE="disabled",
    RAY_USAGE_STATS_ENABLED="0",
    RAY_TRAIN_HEALTH_CHECK_INTERVAL_S="0.2",  # 4 s less a fit
    RAY_TRAIN_WORKER_GROUP_START_TIMEOUT_S="180",
    RAY_AIR_NEW_OUTPUT="0",
    RAY_BACKEND_LOG_LEVEL="fatal",
    RAY_worker_niceness="0",  # by default workers give way to all else, and with a second process of tests they starve
    RAY_DATA_DISABLE_PROGRESS_BARS="1",
    REPORTER_UPDATE_INTERVAL_MS="60000",  # how often Ray looks at all of its processes
    TORCH_PROCESS_GROUP_SHUTDOWN_TIMEOUT_S="5",
)
os.environ.pop("RAY_ADDRESS", None)  # tests never join a cluster that happens to run here


@pytest.hookimpl(tryfirst=True)  # before tests are chosen by their marks
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Fast tests first, then slow ones, then those that need Ray; tests of the GPU only where there is one.

    Between several processes the other way round: with long ones at the end, one process would wait for the other for minutes.
    Tests that need an S3 server are slow ones: it takes seconds to start.
    """
    for item in items:
        asked_for = [*getattr(item, "fixturenames", ()), *getattr(getattr(item, "callspec", None), "params", {}).values()]
        if any(isinstance(name, str) and name.startswith("s3") for name in asked_for):
            item.add_marker(pytest.mark.slow)
    shared_out = "PYTEST_XDIST_WORKER" in os.environ
    items.sort(key=lambda item: ("ray" in item.keywords, "slow" in item.keywords), reverse=shared_out)
    needs_gpu = [item for item in items if item.get_closest_marker("gpu")]
    if needs_gpu:
        import torch

        if not torch.cuda.is_available():
            for item in needs_gpu:
                item.add_marker(pytest.mark.skip(reason="there is no GPU"))


def pytest_collection_finish() -> None:
    """Modules and tests stay to the end: that the garbage collector looks at them again takes a tenth of the fast tests' time."""
    gc.enable()
    gc.collect()
    gc.freeze()


def pytest_unconfigure() -> None:
    gc.unfreeze()  # or libraries report at the end what was never freed


@pytest.fixture(scope="session", autouse=True)
def _one_thread() -> None:
    """The same number of threads on every machine: sums, and with them the last digits, depend on it.

    One: the tests' networks are tiny, and two threads wait for each other where another process wants the cores too
    (measured: 4 s for a step of 0.03 s).
    """
    if "torch" in sys.modules:
        sys.modules["torch"].set_num_threads(1)


@pytest.fixture(scope="session", autouse=True)
def _no_wait_for_the_disk() -> Iterator[None]:
    """Files need not outlive a crash of the machine: to be sure of that takes 8 ms a file, and the tests write thousands."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(os, "fsync", lambda file: None)
        yield


@pytest.fixture(scope="session")
def s3() -> Iterator[S3Server]:
    """A started S3 server with an empty bucket `dsopt`; every process of the tests has its address in the environment."""
    atexit.register(SERVER.remove)  # also when the session is interrupted
    SERVER.start()
    boto3.client("s3").create_bucket(Bucket="dsopt")
    from dsopt import files

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(files, "RETRY_SECONDS", 600.0)  # on a busy machine a server that was away may take minutes to start
        yield SERVER
    SERVER.remove()


@pytest.fixture
def s3_storage(s3: S3Server) -> str:
    """A place on the S3 server that no other test uses."""
    return f"s3://dsopt/{uuid.uuid4().hex[:8]}"


@pytest.fixture(params=["local", "s3"])
def storage(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """An empty place to write to, once on the local disk and once on the S3 server."""
    return str(tmp_path / "storage") if request.param == "local" else request.getfixturevalue("s3_storage")


@pytest.fixture
def job(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str, str]]:
    """Run a job's file in this process: name, arguments -> (exit status, output, errors). From the shell it takes 4 s more."""

    def run(name: str, *arguments: str) -> tuple[int, str, str]:
        jobs = REPOSITORY / "jobs"
        monkeypatch.setattr(sys, "argv", [f"{name}.py", *arguments])
        monkeypatch.setattr(sys, "path", [str(jobs), *sys.path])
        capfd.readouterr()
        with pytest.raises(SystemExit) as ended:
            runpy.run_path(str(jobs / f"{name}.py"), run_name="__main__")
        return ended.value.code, *capfd.readouterr()  # type: ignore[return-value]

    return run


@pytest.fixture
def ray_local() -> ModuleType:
    """A Ray cluster of this session alone, with 2 logical CPUs; it runs on for the next test (see `pytest_runtest_setup`)."""
    import ray

    from dsopt.cluster import local

    if not ray.is_initialized():
        folder = tempfile.mkdtemp(prefix="ray_")  # short: the paths of its sockets are limited to 107 bytes
        atexit.register(shutil.rmtree, folder, ignore_errors=True)
        # Functions of test files go by reference. Not by `runtime_env`: another process of Python would start every worker.
        path = os.pathsep.join([str(REPOSITORY), str(REPOSITORY / "tests")])
        with pytest.MonkeyPatch.context() as patched:
            patched.setenv("PYTHONPATH", path)
            local.start(num_cpus=2, object_store_memory=400 * 2**20, _temp_dir=folder)
    return ray


@pytest.fixture
def ray_joined(ray_local: ModuleType) -> dict[str, str]:
    """The environment in which a job joins that cluster: a Ray of its own is for jobs that are to lose it."""
    return {"RAY_ADDRESS": ray_local.get_runtime_context().gcs_address}


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Count checked calls anew. End Ray after its tests: its dozen idle processes take a tenth of a core to the end."""
    type_checks.calls.clear()
    if "ray" in sys.modules and item.parent is not None:
        beside = [other for other in item.session.items if other.parent is item.parent]
        if not any("ray" in other.keywords for other in beside):
            sys.modules["ray"].shutdown()


@contextmanager
def figures_without_pixels() -> Iterator[None]:
    from PIL import Image

    from dsopt.reporting import style

    blank = io.BytesIO()
    Image.new("L", (8, 8), 255).save(blank, "PNG")
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(style, "rendered", lambda figure: blank.getvalue())
        yield


@pytest.fixture(scope="module")
def unrendered() -> Iterator[None]:
    """Figures are made of the data, but no pixels of them: for modules that look at the tables and texts of many pages.

    Rendering took them a third of their time. It is tested in tests/reporting and by jobs in processes of their own.
    """
    with figures_without_pixels():
        yield


@pytest.fixture(scope="session")
def cifar10_root() -> str:
    """The folder of CIFAR-10 as Parquet, if it is on this machine."""
    folder = Path(os.environ.get("DSOPT_TEST_DATA") or REPOSITORY.parent / "shared" / "data") / "cifar10"
    if not list(folder.glob("*.parquet")):
        pytest.skip("CIFAR-10 is not here: set DSOPT_TEST_DATA to a folder with cifar10/{train,test}*.parquet")
    return str(folder)


@pytest.fixture(scope="session")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A small data set in nine Parquet files, so that tables have several parts."""
    from running import write_pictures

    return write_pictures(tmp_path_factory.mktemp("pictures"))


@pytest.fixture(scope="session")
def undisturbed(pictures: str, tmp_path_factory: pytest.TempPathFactory) -> str:
    """What the main job on `pictures` stores, without Ray and with nothing in its way."""
    from running import SMALL, here  # not above: between several processes the one that hands out the tests needs no torch

    storage = str(tmp_path_factory.mktemp("undisturbed"))
    with figures_without_pixels():
        here("data.name=parquet", f"data.root={pictures}", f"storage={storage}", "cluster.workers=0", *SMALL)
    return storage
