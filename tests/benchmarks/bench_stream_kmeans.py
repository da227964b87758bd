"""k-means of rows in part files, beside Faiss with all rows in memory: CPU seconds, inertia and peak memory, in one run.

    python tests/benchmarks/bench_stream_kmeans.py [--rows 1000000] [--size 384] [--clusters 1000] [--threads 1] [--iterations 10]
    python tests/benchmarks/bench_stream_kmeans.py --rows 10000000 --size 216 --without-faiss --fp16

Each runs in a process of its own, on the same part files, ours first and Faiss with `--iterations` Lloyd iterations over all rows
after; Faiss reads the files into one array, which its time does not count. Inertia is the mean squared distance to the nearest
centroid; ours is of the final assignment, Faiss's of a search with its final centroids. Memory is what a process has more at its
peak than after its imports. Wanted: as fast at the same inertia, in a third of the memory.
"""

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch

from dsopt import storage
from dsopt.selection.reading import all_embeddings, keys_of
from dsopt.selection.streams import centroids
from dsopt.selection.streams.rows import PartRows

PART_ROWS = 1 << 16
GROUPS = 2000


def write_parts(folder: Path, rows: int, size: int, half: bool, part_rows: int = PART_ROWS) -> list[storage.Part]:
    """Grouped rows, half of whose values are zero, like an autoencoder's embeddings; ids in no order, ten classes."""
    random = np.random.default_rng(0)
    centres = random.standard_normal((GROUPS, size), dtype=np.float32)
    ids, parts = random.permutation(rows), []
    for start in range(0, rows, part_rows):
        some = ids[start : start + part_rows]
        values = random.standard_normal((len(some), size), dtype=np.float32) + centres[random.integers(GROUPS, size=len(some))]
        np.maximum(values, 0, out=values)
        column = pa.FixedSizeListArray.from_arrays(pa.array(values.astype(np.float16 if half else np.float32).ravel()), size)
        kind = pa.fixed_shape_tensor(column.type.value_type, [size])
        embedding = pa.ExtensionArray.from_storage(kind, column)
        path = folder / f"part-{start // part_rows:05d}.parquet"
        table = pa.table({"id": some, "label": some % 10, "embedding": embedding})
        pq.write_table(table, path, compression="none", use_dictionary=False, row_group_size=1 << 14)
        parts.append(storage.Part(str(path), len(some), "train"))
    return parts


def peak_mb() -> float:
    """The largest resident size of this process; `ru_maxrss` would start with that of the parent's."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmHWM"):
            return int(line.split()[1]) / 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def ours(parts: list[storage.Part], size: int, k: int, iterations: int) -> dict[str, float]:
    before, began = peak_mb(), time.process_time()
    keys = keys_of(parts)
    rows = PartRows(keys.parts, keys.ids, keys.labels, size)
    found = centroids.kmeans(rows, k, torch.Generator().manual_seed(0), passes=iterations)
    took = time.process_time() - began
    return {"seconds": took, "inertia": float(found.squared_distances.double().mean()), "mb": peak_mb() - before}


def theirs(parts: list[storage.Part], size: int, k: int, iterations: int) -> dict[str, float]:
    import faiss

    faiss.omp_set_num_threads(torch.get_num_threads())
    before = peak_mb()
    x = np.empty((sum(part.rows for part in parts), size), dtype=np.float32)
    done = 0
    for part in parts:
        x[done : done + part.rows] = all_embeddings([part]).numpy()
        done += part.rows
    began = time.process_time()
    kmeans = faiss.Kmeans(size, k, niter=iterations, seed=0, min_points_per_centroid=1, max_points_per_centroid=1 << 30)
    kmeans.train(x)
    squared, _ = kmeans.index.search(x, 1)
    took = time.process_time() - began
    return {"seconds": took, "inertia": float(squared.astype(np.float64).mean()), "mb": peak_mb() - before}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--size", type=int, default=384)
    parser.add_argument("--clusters", type=int, default=1000)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--iterations", type=int, default=10, help="of Faiss; full passes of ours, at most")
    parser.add_argument("--fp16", action="store_true", help="part files of half precision")
    parser.add_argument("--without-faiss", action="store_true")
    parser.add_argument("--folder", help="where part files are written, for the time of the run")
    parser.add_argument("--of", choices=["ours", "faiss"])
    given = parser.parse_args()
    if given.of:
        torch.set_num_threads(given.threads)
        parts = [storage.Part(str(path), pq.read_metadata(path).num_rows, "train") for path in sorted(Path(given.folder).iterdir())]
        run = {"ours": ours, "faiss": theirs}[given.of]
        print(json.dumps(run(parts, given.size, given.clusters, given.iterations)))
        return
    with tempfile.TemporaryDirectory(dir=given.folder) as folder:
        write_parts(Path(folder), given.rows, given.size, given.fp16)
        numbers = ("size", "clusters", "threads", "iterations")
        same = [text for name in numbers for text in (f"--{name}", str(getattr(given, name)))]
        for of in ["ours"] if given.without_faiss else ["ours", "faiss"]:
            command = [sys.executable, __file__, "--of", of, "--folder", folder, *same]
            found = json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout.splitlines()[-1])
            print(
                f"{of}: {given.rows:,} x {given.size}, k={given.clusters}, {given.threads} threads: {found['seconds']:.1f} CPU s, "
                f"inertia {found['inertia']:.4f}, {found['mb']:,.0f} MB",
                flush=True,
            )


if __name__ == "__main__":
    main()
