"""embed.source=table: the user's own embeddings, in any order, by id or key, of any type of list."""

import re
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from dsopt.config import load
from dsopt.errors import InputError
from dsopt.pipeline import scatter
from dsopt.pipeline.plan import Plan
from dsopt.stages import embed, ingest
from dsopt.storage import Table

LIMIT, D = 40, 3


@pytest.fixture(scope="module")
def storage(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(tmp_path_factory.mktemp("storage"))


def taken_over(storage: str, table: Path, *overrides: str) -> pa.Table:
    settings = ["cluster.workers=0", f"data.limit={LIMIT}", "embed.source=table", f"embed.table={table}"]
    plan = Plan(load([f"storage={storage}", *settings, *overrides]))
    stage = embed.embeddings(plan)
    plan.run(stage)
    return Table(stage.uri).read()


@pytest.fixture(scope="module")
def images(storage: str) -> pa.Table:
    plan = Plan(load([f"storage={storage}", "cluster.workers=0", f"data.limit={LIMIT}"]))
    stage = ingest.images(plan)
    plan.run(stage)
    return Table(stage.uri).read("train", ["id", "label", "key"])


def embeddings_of(images: pa.Table, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(len(images), D)).astype(np.float32)


def column(values: np.ndarray, kind: str) -> pa.Array:
    if kind == "tensor":
        return pa.FixedShapeTensorArray.from_numpy_ndarray(values)
    types: dict[str, pa.DataType] = {
        "list": pa.list_(pa.float32()),
        "large list": pa.large_list(pa.float64()),
        "fixed size": pa.list_(pa.float32(), D),
        "half": pa.list_(pa.float16()),
    }
    return pa.array(list(values.astype(np.float16) if kind == "half" else values), types[kind])


@pytest.mark.parametrize("by", ["id", "key"])
@pytest.mark.parametrize("kind", ["list", "large list", "fixed size", "tensor", "half"])
def test_any_order_and_any_list(
    storage: str, images: pa.Table, tmp_path: Path, kind: str, by: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scatter, "HELD", 64)
    values, order = embeddings_of(images, seed=len(kind)), np.random.default_rng(1).permutation(len(images))
    rows = pa.table({by: images[by].take(order), "embedding": column(values[order], kind)})
    others = {"id": pa.array([-5]), "key": pa.array(["of another image"])}[by]
    more = pa.table({by: others, "embedding": column(values[:1], kind)})
    for name, table in (("a", rows.slice(0, 11)), ("b", pa.concat_tables([more, rows.slice(11)]))):
        pq.write_table(table, tmp_path / f"{name}.parquet", row_group_size=5)
    found = taken_over(storage, tmp_path)
    assert found["id"].equals(images["id"]) and found["label"].equals(images["label"])
    expected = values.astype(np.float16) if kind == "half" else values
    assert np.array_equal(found["embedding"].combine_chunks().to_numpy_ndarray(), expected)


@pytest.mark.parametrize(("by", "kind"), [("id", pa.int32()), ("id", pa.uint64()), ("key", pa.large_string())])
def test_other_types_of_ids_and_keys(storage: str, images: pa.Table, tmp_path: Path, by: str, kind: pa.DataType) -> None:
    values = embeddings_of(images, seed=len(str(kind)))
    pq.write_table(pa.table({by: images[by].cast(kind), "embedding": column(values, "list")}), tmp_path / "own.parquet")
    assert np.array_equal(taken_over(storage, tmp_path)["embedding"].combine_chunks().to_numpy_ndarray(), values)


def test_other_numbers_in_a_file_are_other_embeddings(storage: str, images: pa.Table, tmp_path: Path) -> None:
    for factor in (1, 2):
        pq.write_table(
            pa.table({"id": images["id"], "embedding": [[float(factor)] * factor] * len(images)}), tmp_path / "own.parquet"
        )
        assert taken_over(storage, tmp_path)["embedding"].combine_chunks().to_numpy_ndarray().shape == (len(images), factor)
    half = taken_over(storage, tmp_path, "embed.dtype=fp16")
    assert half.schema.field("embedding").type.value_type == pa.float16()


def test_what_cannot_be_taken_over(storage: str, images: pa.Table, tmp_path: Path) -> None:
    ids, file = images["id"].to_pylist(), tmp_path / "own.parquet"

    def refused(columns: dict[str, Any], message: str) -> None:
        pq.write_table(pa.table(columns), file)
        with pytest.raises(InputError, match=message):
            taken_over(storage, tmp_path)

    with pytest.raises(InputError, match=r"embed\.table=.*: there are no Parquet files\."):
        taken_over(storage, tmp_path)
    vectors = [[1.0, 2.0]] * len(ids)
    refused({"id": ids, "vector": ids}, r"own\.parquet: has no column `embedding`; the columns are id, vector")
    refused({"name": ids, "embedding": vectors}, "has no column `id` or `key`; the columns are name, embedding")
    refused({"id": [str(i) for i in ids], "embedding": vectors}, "column `id` has the type string; expected whole numbers")
    refused({"id": ids, "embedding": [1.0] * len(ids)}, "column `embedding` has the type double; expected lists of numbers")
    refused({"id": ids, "embedding": [["a"]] * len(ids)}, r"has the type list<.*string.*>; expected lists of numbers")
    refused(
        {"id": ids[2:], "embedding": vectors[2:]},
        f"no row for 2 of {len(ids)} training images, such as those with id {ids[0]}, {ids[1]}",
    )
    refused(
        {"id": [*ids, ids[7]], "embedding": [*vectors, [3.0, 4.0]]}, rf"more than one row for 1 of {len(ids)} .* with id {ids[7]}\."
    )
    refused({"id": ids, "embedding": [*vectors[1:], [1.0]]}, "another length than the first one; expected 2 numbers")
    refused({"id": ids, "embedding": [*vectors[1:], None]}, "an embedding, or a number in it, is null")
    refused({"id": ids, "embedding": [*vectors[1:], [1.0, float("nan")]]}, "an embedding is not finite")
    file.write_text("no Parquet")
    with pytest.raises(InputError, match=r"own\.parquet: is no Parquet file: "):
        taken_over(storage, tmp_path)


def test_the_table_must_be_named() -> None:
    with pytest.raises(InputError, match=re.escape("embed.table=None: must be given with embed.source=table")):
        load(["embed.source=table"])
