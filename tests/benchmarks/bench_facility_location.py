"""facility_location in passes over parts beside apricot and the exact greedy algorithm: objective, CPU seconds and peak memory.

    python tests/benchmarks/bench_facility_location.py [--rows 5000 10000 20000] [--size 384] [--each 1000] [--fashion]
    python tests/benchmarks/bench_facility_location.py --rows 10000 --each 10 --cluster-rows 41    # a sample of a million

One of `--each` rows is chosen, as of a million rows for a budget of a thousand. Apricot gets the matrix of similarities, whose
computation counts, and holds it in float64; each runs in a process of its own. The objective is the sum over all rows of the
similarity to the most similar row that was chosen. The second command has a thousand choices from 244 clusters, as of a million
rows in clusters of 4,096. With `--fashion`: principal components of Fashion-MNIST instead of made-up rows.
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
from bench_stream_methods import objective

from dsopt import storage
from dsopt.data.sets.mnist import FILES, read_idx_files
from dsopt.selection import facility_location
from dsopt.selection.choose import choose
from dsopt.selection.reading import all_embeddings, keys_of

FASHION = Path("/usr/share/datasets/fashion-mnist")


def write_fashion(folder: Path, rows: int, size: int) -> None:
    pixels = read_idx_files(tuple(str(FASHION / f"{name}.gz") for name in FILES))["train"][0][:rows].reshape(rows, -1)
    x = torch.from_numpy(pixels.copy()).float() / 255
    x = x - x.mean(0)
    x = (x @ torch.linalg.eigh(x.T @ x)[1][:, -size:]).numpy()
    column = pa.FixedSizeListArray.from_arrays(pa.array(x.ravel()), size)
    embedding = pa.ExtensionArray.from_storage(pa.fixed_shape_tensor(pa.float32(), [size]), column)
    labels = np.zeros(rows, np.int64)
    pq.write_table(pa.table({"id": np.arange(rows), "label": labels, "embedding": embedding}), folder / "part-0.parquet")


def in_order(parts: list[storage.Part]) -> torch.Tensor:
    keys = keys_of(parts)
    return all_embeddings(keys.parts)[torch.from_numpy(np.argsort(keys.ids))]


def chosen(how: str, parts: list[storage.Part], x: torch.Tensor, budget: int) -> torch.Tensor:
    if how == "in passes":
        table = choose(parts, "facility_location", {}, budget, False, 0, shard_rows=len(x) // 5)
        return torch.from_numpy(table["id"].to_numpy().copy())
    if how == "exact greedy":
        facility_location.DENSE_ROWS = len(x)
        return facility_location.facility_location(x, torch.zeros(len(x)).long(), budget, torch.Generator()).indices
    import apricot

    unit = torch.nn.functional.normalize(x.double(), dim=1)
    similar = ((1 + unit @ unit.T) / 2).numpy()
    theirs = apricot.FacilityLocationSelection(budget, metric="precomputed", optimizer="lazy")
    return torch.from_numpy(theirs.fit(similar).ranking.astype("int64"))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, nargs="+", default=[5000, 10_000, 20_000])
    parser.add_argument("--size", type=int, default=384)
    parser.add_argument("--each", type=int, default=1000)
    parser.add_argument("--cluster-rows", type=int, default=facility_location.CLUSTER_ROWS)
    parser.add_argument("--fashion", action="store_true")
    parser.add_argument("--folder", help="where part files are written, for the time of the run")
    parser.add_argument("--how")
    given = parser.parse_args()
    if given.how:
        torch.set_num_threads(1)
        facility_location.CLUSTER_ROWS = given.cluster_rows
        files = sorted(Path(given.folder).glob("part-*"))
        parts = [storage.Part(str(path), pq.read_metadata(path).num_rows, "train") for path in files]
        x = in_order(parts)
        before, began = peak_mb(), time.process_time()
        found = chosen(given.how, parts, x, len(x) // given.each)
        took = {"seconds": time.process_time() - began, "mb": peak_mb() - before}
        print(json.dumps(took | {"objective": objective("facility_location", x, found)}))
        return
    for rows in given.rows:
        with tempfile.TemporaryDirectory(dir=given.folder) as folder:
            if given.fashion:
                write_fashion(Path(folder), rows, given.size)
            else:
                write_parts(Path(folder), rows, given.size, False, part_rows=rows // 5)
            for how in ("exact greedy", "in passes", "apricot"):
                command = [sys.executable, __file__, "--how", how, "--folder", folder]
                command += ["--each", str(given.each), "--cluster-rows", str(given.cluster_rows)]
                ran = json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout.splitlines()[-1])
                exact = ran["objective"] if how == "exact greedy" else exact
                print(
                    f"{rows // given.each} of {rows:,} x {given.size}, {how}: {ran['seconds']:.1f} CPU s, {ran['mb']:,.0f} MB, "
                    f"objective {ran['objective']:.1f}, {ran['objective'] / exact:.4f} of exact greedy",
                    flush=True,
                )


if __name__ == "__main__":
    main()
