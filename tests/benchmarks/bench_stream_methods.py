"""How methods that choose in passes over parts grow with the number of rows: CPU seconds, peak memory, and their exponents.

    python tests/benchmarks/bench_stream_methods.py [--rows 100000 300000 1000000] [--size 384] [--budget 1000] [--names kmeans ...]
    python tests/benchmarks/bench_stream_methods.py --loss [--rows 20000]

Each in a process of one thread, from part files on disk; memory is what the process has more at its peak than after its imports.
The exponent is that of a line through the logarithms. With `--loss`: how much worse two rounds (GreeDi), and passes where they are
not exact, are than one round in memory: the objective of what was chosen, over that of the choice in memory.
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

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from bench_stream_kmeans import peak_mb, write_parts
from torch.nn.functional import normalize

from dsopt import storage
from dsopt.registry import SELECTORS
from dsopt.reporting.tables import aligned
from dsopt.selection.choose import choose
from dsopt.selection.contract import passes_of
from dsopt.selection.reading import blocks

# By default as many clusters as 4 times the square root of the rows, whose number should not change here.
OPTIONS = {"hierarchical_kmeans": {"clusters": [1000, 100, 10]}}


def parts_of(folder: Path) -> list[storage.Part]:
    return [storage.Part(str(path), pq.read_metadata(path).num_rows, "train") for path in sorted(folder.glob("part-*"))]


def scores_of(folder: Path, names: tuple[str, ...]) -> list[storage.Part]:
    return [storage.Part(str(folder / "scores.parquet"), 0, "train")] if names else []


def write_scores(folder: Path, rows: int) -> None:
    random = np.random.default_rng(1)
    columns = {name: random.random(rows, dtype=np.float32) for name in ("aum", "dual", "mean_probability", "loss", "el2n")}
    pq.write_table(pa.table({"id": np.arange(rows), **columns}), folder / "scores.parquet")


def measure(folder: Path, name: str, budget: int) -> dict[str, float]:
    torch.set_num_threads(1)
    scores = scores_of(folder, SELECTORS.traits(name).scores)
    before, began = peak_mb(), time.process_time()
    chosen = choose(parts_of(folder), name, OPTIONS.get(name, {}), budget, False, 0, scores=scores, shard_rows=10_000)
    assert len(chosen) == budget
    return {"seconds": time.process_time() - began, "mb": peak_mb() - before}


def exponent(rows: list[int], values: list[float]) -> float:
    return float(np.polyfit(np.log(rows), np.log(np.maximum(values, 1e-9)), 1)[0]) if len(rows) > 1 else float("nan")


def growth(given: argparse.Namespace) -> None:
    table, found = [], {name: [] for name in given.names}
    for rows in given.rows:
        with tempfile.TemporaryDirectory(dir=given.folder) as folder:
            write_parts(Path(folder), rows, given.size, False)
            write_scores(Path(folder), rows)
            for name in given.names:
                command = [sys.executable, __file__, "--measure", name, "--folder", folder, "--budget", str(given.budget)]
                ran = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
                found[name].append(json.loads(ran.stdout.splitlines()[-1]))
                print(f"{name}, {rows:,}: {found[name][-1]['seconds']:.1f} CPU s, {found[name][-1]['mb']:,.0f} MB", flush=True)
    for name, runs in found.items():
        seconds, mb = ([run[of] for run in runs] for of in ("seconds", "mb"))
        each = [f"{s:.1f} / {m:,.0f}" for s, m in zip(seconds, mb, strict=True)]
        table.append([name, *each, f"{exponent(given.rows, seconds):.2f}", f"{exponent(given.rows, mb):.2f}"])
    print(aligned(["method", *(f"{rows:,}: CPU s / MB" for rows in given.rows), "exponent s", "exponent MB"], table))


def objective(name: str, x: torch.Tensor, chosen: torch.Tensor) -> float:
    """What a method makes large (or, the radius of k-center and the inertia of k-means, small)."""
    unit = normalize(x, dim=1)
    if name == "facility_location":
        return float(torch.cat([(1 + (some @ unit[chosen].T)).amax(1) / 2 for some in unit.split(4096)]).double().sum())
    if name == "graph_cut":
        mine = unit[chosen]
        return float(len(x) * len(mine) / 2 + (mine @ unit.sum(0)).sum() / 2 - ((1 + mine @ mine.T) / 2).sum())
    squared = torch.cat([torch.cdist(some, x[chosen]).square().amin(1) for some in x.split(4096)])
    return float(squared.max().sqrt()) if name == "kcenter" else float(squared.mean())


def loss(given: argparse.Namespace) -> None:
    """Each method in memory, in two rounds of five shards, and in passes."""
    rows, table = given.rows[0], []
    with tempfile.TemporaryDirectory(dir=given.folder) as folder:
        parts = write_parts(Path(folder), rows, given.size, False, part_rows=rows // 5)
        x = torch.empty(rows, given.size)
        for part in parts:
            for ids, _, some in blocks(part):
                x[ids] = some
        for name in ("facility_location", "graph_cut", "kcenter", "kmeans"):
            ways = {"in memory": {}, "two rounds": {"rounds": 2, "shard_rows": rows // 5}, "passes": {"shard_rows": rows // 5}}
            values = []
            for how in ways.values():
                chosen = choose(parts, name, {}, given.budget, False, 0, **how)
                values.append(objective(name, x, torch.from_numpy(chosen["id"].to_numpy().copy())))
            table.append([name, *(f"{value:.6g}" for value in values), *(f"{value / values[0]:.4f}" for value in values[1:])])
            print(*table[-1], flush=True)
    print(aligned(["method", "in memory", "two rounds", "passes", "two rounds / memory", "passes / memory"], table))


def main() -> None:
    in_passes = [name for name in SELECTORS.names() if passes_of(name, {})]
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, nargs="+", default=[100_000, 300_000, 1_000_000])
    parser.add_argument("--size", type=int, default=384)
    parser.add_argument("--budget", type=int, default=1000)
    parser.add_argument("--names", nargs="+", default=[*in_passes, "ccs", "dual"])
    parser.add_argument("--folder", help="where part files are written, for the time of the run")
    parser.add_argument("--measure")
    parser.add_argument("--loss", action="store_true")
    given = parser.parse_args()
    if given.measure:
        print(json.dumps(measure(Path(given.folder), given.measure, given.budget)))
    elif given.loss:
        loss(given)
    else:
        growth(given)


if __name__ == "__main__":
    main()
