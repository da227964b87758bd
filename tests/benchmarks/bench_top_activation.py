"""How fast and how small `top_activation` is, beside the alternatives, in one run.

    python tests/benchmarks/bench_top_activation.py [--rows 10000000] [--threads 2] [--repeat 7] [--folder /tmp]

In memory: 50,000 x 216 against NumPy's argpartition per column with the same fill rule; wanted: at least 3x as fast.
Streamed: `--rows` x 216 from Parquet, against only reading the same columns of the same files with the same reader;
wanted: at least half its speed, and less than 2 GiB of memory beyond it. 10,000,000 rows take 8 GB of disk for a while.
"""

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch

sys.path.insert(0, str(Path(__file__).parents[2]))

from dsopt import storage
from dsopt.files import join, list_files, row_count, write_table
from dsopt.selection.choose import choose
from dsopt.selection.reading import BLOCK, READ_BYTES
from dsopt.selection.top_activation import top_activation

SIZE, SHARE = 216, 0.0864
PART_ROWS = 100_000


def numpy_top_activation(embeddings: np.ndarray, budget: int) -> np.ndarray:
    """Equation 4 and the fill rule the usual way; deep enough for these data."""
    size = embeddings.shape[1]
    depth = int(1.25 * budget / size) + 4
    ranking = np.empty((depth, size), dtype=np.int64)
    for j in range(size):
        column = -embeddings[:, j]
        best = np.sort(np.argpartition(column, depth)[:depth])
        ranking[:, j] = best[np.argsort(column[best], kind="stable")]
    ids, first = np.unique(ranking.ravel(), return_index=True)
    assert len(ids) >= budget
    return ids[np.argsort(first)][:budget]


def seconds(function: Callable[[], object]) -> float:
    began = time.perf_counter()
    function()
    return time.perf_counter() - began


def in_memory(repeat: int) -> None:
    embeddings = torch.randn(50_000, SIZE, generator=torch.Generator().manual_seed(0)).relu()
    labels, budget = torch.zeros(50_000, dtype=torch.int64), round(SHARE * 50_000)

    def ours() -> torch.Tensor:
        return top_activation(embeddings, labels, budget, torch.Generator()).indices

    def theirs() -> np.ndarray:
        return numpy_top_activation(embeddings.numpy(), budget)

    assert ours().tolist() == theirs().tolist()
    times = [(seconds(ours), seconds(theirs)) for _ in range(repeat)]
    mine, numpy = (statistics.median(column) for column in zip(*times, strict=True))
    ratio = statistics.median(b / a for a, b in times)
    print(f"in memory, 50,000 x {SIZE}, k={budget}: {1e3 * mine:.1f} ms, NumPy {1e3 * numpy:.1f} ms: {ratio:.1f}x as fast")


def write_parts(folder: str, rows: int) -> None:
    schema = storage.embeddings_schema(SIZE)
    for first in range(0, rows, PART_ROWS):
        count = min(PART_ROWS, rows - first)
        values = torch.randn(count, SIZE, generator=torch.Generator().manual_seed(first)).relu_().numpy()
        column = pa.FixedSizeListArray.from_arrays(pa.array(values.ravel()), SIZE)
        embeddings = pa.ExtensionArray.from_storage(schema.field("embedding").type, column)
        ids = np.arange(first, first + count)
        write_table(f"{folder}/{first:09d}.parquet", pa.table([ids, ids % 10, embeddings], schema=schema))


def parts_of(folder: str) -> list[storage.Part]:
    files = [join(folder, name) for name in list_files(folder)]
    return [storage.Part(file, row_count(file), None) for file in files]


def only_read(parts: list[storage.Part]) -> None:
    for part in parts:
        with pq.ParquetFile(part.uri, buffer_size=READ_BYTES, pre_buffer=False) as parquet:
            for batch in parquet.iter_batches(BLOCK // SIZE, columns=["id", "label", "embedding"]):
                assert len(batch)


def child(what: str, folder: str, budget: str) -> None:
    """Do one thing in this process; print the seconds and the bytes of memory at its peak."""
    parts = parts_of(folder)
    began = time.perf_counter()
    if what == "read":
        only_read(parts)
    else:
        choose(parts, "top_activation", {}, float(budget) if "." in budget else int(budget), what == "per_class", 0)
    took = time.perf_counter() - began
    status = Path("/proc/self/status").read_text()  # not getrusage: its peak is inherited from the parent
    print(json.dumps([took, int(status.partition("VmHWM:")[2].split()[0]) * 1024]))


def streamed(rows: int, threads: int, repeat: int, folder: str | None) -> None:
    with tempfile.TemporaryDirectory(dir=folder) as temporary:
        print(f"writing {rows:,} x {SIZE} ...", flush=True)
        write_parts(temporary, rows)

        def run(what: str, budget: str) -> list[float]:
            command = [sys.executable, __file__, "--child", what, temporary, budget, "--threads", str(threads)]
            return json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout)

        for what, budget in (("all", "4320"), ("all", str(SHARE)), ("per_class", str(SHARE))):
            pairs = [(run("read", budget), run(what, budget)) for _ in range(repeat)]
            reading, selecting = (statistics.median(p[i][0] for p in pairs) for i in (0, 1))
            ratio = statistics.median(read[0] / select[0] for read, select in pairs)
            beyond = max(select[1] - read[1] for read, select in pairs) / 2**30
            print(
                f"streamed, k={budget}, {what}: {selecting:.1f} s, only reading {reading:.1f} s: {ratio:.2f} of its speed; "
                f"{beyond:.2f} GiB beyond its memory",
                flush=True,
            )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--repeat", type=int, default=7)
    parser.add_argument("--folder", help="where the files are written for a while")
    parser.add_argument("--child", nargs=3, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    if arguments.child:
        child(*arguments.child)
        return
    in_memory(arguments.repeat)
    streamed(arguments.rows, arguments.threads, max(arguments.repeat // 3, 1), arguments.folder)


if __name__ == "__main__":
    main()
