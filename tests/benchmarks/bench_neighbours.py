"""The 10 nearest neighbours of rows in parts beside faiss with all rows in memory: recall, CPU seconds and peak memory, in one run.

    python tests/benchmarks/bench_neighbours.py [--rows 30000] [--size 384] [--region-rows 10000]
    python tests/benchmarks/bench_neighbours.py --fashion --size 128

Ours: `streams.graph.neighbours`, with regions of `--region-rows` on average; then `neighbours.nearest` with all rows in
memory, as it is for more than `EXACT_ROWS`, and faiss's IVF index of 4 sqrt(n) lists, of which 8 to 64 are searched. Recall is of
1,000 rows.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))
sys.path.insert(0, str(Path(__file__).parent))

import pyarrow.parquet as pq
import torch
from bench_facility_location import in_order, write_fashion
from bench_stream_kmeans import peak_mb, write_parts

from dsopt import storage
from dsopt.selection.kernels import neighbours
from dsopt.selection.reading import keys_of
from dsopt.selection.streams import graph
from dsopt.selection.streams.rows import PartRows

K, SAMPLE = 10, 1000


def in_parts(parts: list[storage.Part], size: int, region_rows: int) -> torch.Tensor:
    graph.GATHERED_ROWS = region_rows
    keys = keys_of(parts)
    found = torch.empty(len(keys.ids), K, dtype=torch.int64)
    for places, _, others in graph.neighbours(PartRows(keys.parts, keys.ids, keys.labels, size), K):
        found[places] = others
    return found


def with_faiss(x: torch.Tensor, probes: int) -> torch.Tensor:
    import faiss

    faiss.omp_set_num_threads(1)
    lists = int(4 * len(x) ** 0.5)
    index = faiss.IndexIVFFlat(faiss.IndexFlatL2(x.shape[1]), x.shape[1], lists)
    index.nprobe = probes
    index.train(x[:: max(len(x) // (64 * lists), 1)].numpy())
    index.add(x.numpy())
    return torch.from_numpy(index.search(x.numpy(), K + 1)[1])  # with itself


def recall(x: torch.Tensor, found: torch.Tensor) -> float:
    rows = torch.arange(0, len(x), max(len(x) // SAMPLE, 1))
    neighbours.EXACT_ROWS = len(x)
    expected = neighbours.nearest(x, K, rows)[1]
    return float((found[rows][:, :, None] == expected[:, None]).any(1).double().mean())


def measure(given: argparse.Namespace) -> dict[str, float]:
    torch.set_num_threads(1)
    files = sorted(Path(given.folder).glob("part-*"))
    parts = [storage.Part(str(path), pq.read_metadata(path).num_rows, "train") for path in files]
    before = peak_mb()
    x = torch.empty(0) if given.how == "parts" else in_order(parts)
    began = time.process_time()
    if given.how == "parts":
        found = in_parts(parts, given.size, given.region_rows)
    elif given.how == "in memory":
        neighbours.EXACT_ROWS = 0
        found = neighbours.nearest(x, K)[1]
    else:
        found = with_faiss(x, int(given.how))
    took = {"seconds": time.process_time() - began, "mb": peak_mb() - before}
    return took | {"recall": recall(in_order(parts), found)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=30_000)
    parser.add_argument("--size", type=int, default=384)
    parser.add_argument("--region-rows", type=int, default=10_000)
    parser.add_argument("--fashion", action="store_true")
    parser.add_argument("--folder", help="where part files are written, for the time of the run")
    parser.add_argument("--how")
    given = parser.parse_args()
    if given.how:
        print(json.dumps(measure(given)))
        return
    with tempfile.TemporaryDirectory(dir=given.folder) as folder:
        if given.fashion:
            write_fashion(Path(folder), given.rows, given.size)
        else:
            write_parts(Path(folder), given.rows, given.size, False)
        for how in ("parts", "in memory", "8", "16", "32", "64"):
            command = [sys.executable, __file__, "--how", how, "--folder", folder]
            command += ["--size", str(given.size), "--region-rows", str(given.region_rows)]
            ran = json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout.splitlines()[-1])
            name = f"faiss, {how} lists searched" if how.isdigit() else how
            print(f"{name}: {ran['seconds']:.1f} CPU s, {ran['mb']:,.0f} MB, recall {ran['recall']:.4f}", flush=True)


if __name__ == "__main__":
    main()
