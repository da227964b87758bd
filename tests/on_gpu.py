"""What a machine with a GPU is to run, by `make test-gpu`: the marked tests, benchmarks, and the demo on the GPU.

Every part runs, and the exit status is 1 if one of them fails; 2, with one line, where there is no GPU. Under ten minutes.
"""

import subprocess
import sys
import tempfile
import time
from pathlib import Path

import torch

REPOSITORY = Path(__file__).resolve().parent.parent


def parts(storage: str) -> dict[str, list[str]]:
    """Commands by what they are."""
    return {
        "tests": ["-m", "pytest", "-q", "-m", "gpu", "-p", "no:cacheprovider", "tests"],
        "training": ["tests/benchmarks/bench_gpu.py"],
        "distilling": ["tests/benchmarks/bench_unrolls.py", "--networks", "convnet"],
        "embedding": ["tests/benchmarks/bench_encoder.py", "--decode", "cpu", "gpu"],
        "demo": ["-m", "dsopt", "optimize", "preset=demo", "cluster.gpu=true", f"storage={storage}"],
    }


def main() -> int:
    if not torch.cuda.is_available():
        print(
            "error: test-gpu: torch sees no GPU here; expected a machine with one, and a torch that fits its driver.",
            file=sys.stderr,
        )
        return 2
    failed = []
    with tempfile.TemporaryDirectory(prefix="dsopt-") as storage:
        for name, arguments in parts(storage).items():
            print(f"== {name}", flush=True)
            started = time.monotonic()
            status = subprocess.run([sys.executable, *arguments], cwd=REPOSITORY, check=False).returncode
            print(f"== {name}: {'done' if not status else f'failed ({status})'} in {time.monotonic() - started:.0f} s", flush=True)
            failed += [name] if status else []
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
