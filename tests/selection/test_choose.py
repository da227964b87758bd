"""From files to the chosen ids: streaming is in-memory, whatever the parts; errors say in one line what is wrong."""

import pickle
import random
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import torch

from dsopt import storage
from dsopt.errors import InputError
from dsopt.registry import SELECTORS
from dsopt.selection import choose as module
from dsopt.selection.balance import per_class
from dsopt.selection.choose import CHOSEN, choose, resolve

ROWS, SIZE = 500, 6


def table(ids: torch.Tensor, labels: torch.Tensor | None, embeddings: torch.Tensor) -> pa.Table:
    schema = storage.embeddings_schema(embeddings.shape[1])
    values = pa.FixedSizeListArray.from_arrays(pa.array(embeddings.numpy().ravel()), embeddings.shape[1])
    column = pa.ExtensionArray.from_storage(schema.field("embedding").type, values)
    known = pa.nulls(len(ids), pa.int64()) if labels is None else pa.array(labels.numpy())
    return pa.table([pa.array(ids.numpy()), known, column], schema=schema)


def write(folder: Path, whole: pa.Table, cuts: Sequence[int] = ()) -> list[storage.Part]:
    parts = []
    for i, (low, high) in enumerate(zip([0, *cuts], [*cuts, len(whole)], strict=True)):
        storage.write_table(str(folder / f"{i}.parquet"), whole.slice(low, high - low))
        parts.append(storage.Part(str(folder / f"{i}.parquet"), high - low, "train"))
    return parts


@pytest.fixture(params=["in order", "shuffled"])
def data(request: pytest.FixtureRequest) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(3)
    ids = torch.randperm(3 * ROWS, generator=generator)[:ROWS]
    ids = ids.sort().values if request.param == "in order" else ids
    labels = torch.tensor([0, 0, 0, 1, 1, 7])[torch.randint(6, (ROWS,), generator=generator)]
    embeddings = (torch.randn(ROWS, SIZE, generator=generator) * 4).round().sub(2).relu()  # with many ties
    embeddings[:, 2] = 0
    return ids, labels, embeddings


def shuffled_elsewhere(function: Callable[..., Any], parts: Sequence[storage.Part]) -> Iterable[Any]:
    """As a cluster would: the function travels, all is done before any result is seen, results come in any order."""
    travelled = pickle.loads(pickle.dumps(function))
    results = [pickle.dumps(travelled(pickle.loads(pickle.dumps(part)))) for part in parts]
    random.Random(0).shuffle(results)
    return (pickle.loads(result) for result in results)


@pytest.mark.parametrize("name", SELECTORS.names())
@pytest.mark.parametrize("by_class", [False, True])
@pytest.mark.parametrize("budget", [1, 20, 103, ROWS])
def test_the_answer_is_that_of_the_selector_whatever_the_parts(
    name: str,
    by_class: bool,
    budget: int,
    data: tuple[torch.Tensor, ...],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    ids, labels, embeddings = data
    order = ids.argsort()
    selector = SELECTORS.build(name)
    inputs = (embeddings[order], labels[order], budget, torch.Generator().manual_seed(5))
    expected = per_class(selector, *inputs) if by_class else selector(*inputs)

    monkeypatch.setattr(module, "BLOCK", 64 * SIZE)
    parts = write(tmp_path, table(*data), [130, 130, 131, 400])
    for given, run_parts in ((parts, map), (parts[::-1], map), (parts, shuffled_elsewhere)):
        got = choose(given, name, {}, budget, by_class, 5, run_parts)
        assert got.schema == CHOSEN
        assert got["id"].to_pylist() == ids[order][expected.indices].tolist()
        assert got["rank"].to_pylist() == list(range(budget))
        assert np.array_equal(got["score"].to_numpy(), expected.scores.numpy(), equal_nan=True)
        assert got["reason"].to_pylist() == list(expected.reasons)


def test_methods_that_look_at_no_embeddings_choose_from_an_images_table(tmp_path: Path) -> None:
    images = pa.table(
        {"id": range(30), "image": [{"bytes": b"", "path": ""}] * 30, "label": [0, 1, 2] * 10, "source": [""] * 30},
        schema=storage.IMAGES,
    )
    parts = write(tmp_path, images)
    assert len(choose(parts, "random", {}, 0.3, False, 0)) == 9
    balanced = choose(parts, "random_balanced", {}, 9, False, 0)
    assert sorted(i % 3 for i in balanced["id"].to_pylist()) == [0, 0, 0, 1, 1, 1, 2, 2, 2]
    with pytest.raises(InputError, match="no column `embedding`"):
        choose(parts, "top_activation", {}, 9, False, 0)


@pytest.mark.parametrize(("name", "by_class", "asked"), [("random_balanced", False, "select.name"), ("random", True, "per_class")])
def test_missing_labels_stop_only_what_needs_them(name: str, by_class: bool, asked: str, tmp_path: Path) -> None:
    parts = write(tmp_path, table(torch.arange(20), None, torch.randn(20, 3)))
    with pytest.raises(InputError, match=f"{asked}=?.*needs labels"):
        choose(parts, name, {}, 5, by_class, 0)
    assert len(choose(parts, "random", {}, 5, False, 0)) == len(choose(parts, "top_activation", {}, 5, False, 0)) == 5


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_an_embedding_that_is_not_finite_is_named_by_its_part(value: float, tmp_path: Path) -> None:
    embeddings = torch.randn(20, 3)
    embeddings[15, 1] = value
    parts = write(tmp_path, table(torch.arange(20), None, embeddings), [10])
    with pytest.raises(InputError, match=r"1\.parquet.*not finite"):
        choose(parts, "top_activation", {}, 5, False, 0)


def test_a_null_embedding_is_named_by_its_part(tmp_path: Path) -> None:
    whole = table(torch.arange(20), None, torch.randn(20, 3))
    values = pa.array([None, *[[1.0, 2.0, 3.0]] * 19], pa.list_(pa.float32(), 3))
    column = pa.ExtensionArray.from_storage(whole.schema.field("embedding").type, values)
    with pytest.raises(InputError, match=r"0\.parquet.*null"):
        choose(write(tmp_path, whole.set_column(2, "embedding", column)), "top_activation", {}, 5, False, 0)


def test_huge_finite_embeddings_are_fine(tmp_path: Path) -> None:
    parts = write(tmp_path, table(torch.arange(20), None, torch.full((20, 3), 3e38)))
    assert choose(parts, "top_activation", {}, 5, False, 0)["id"].to_pylist() == [0, 1, 2, 3, 4]


def test_an_id_that_comes_twice_is_an_error(tmp_path: Path) -> None:
    parts = write(tmp_path, table(torch.tensor([4, 2, 4]), None, torch.randn(3, 2)), [1])
    with pytest.raises(InputError, match="id 4 comes twice"):
        choose(parts, "random", {}, 2, False, 0)


def test_no_rows_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no rows"):
        choose([], "random", {}, 2, False, 0)


def test_a_budget_is_a_count_or_a_share() -> None:
    assert resolve(0.0864, 50_000) == 4320
    assert resolve(4320, 50_000) == 4320
    assert resolve(1.0, 7) == 7 and resolve(1, 7) == 1
    assert resolve(0.001, 7) == 1
    for wrong in (8, 0, -1, 0.0, -0.5, 1.5, 4320.0, float("nan")):
        with pytest.raises(InputError, match=r"select\.budget"):
            resolve(wrong, 7)


def test_memory_is_bounded_by_blocks_not_by_the_part(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rows, size = 20_000, 200  # 16 MB in one row group
    (part,) = write(tmp_path, table(torch.arange(rows), None, torch.randn(rows, size)))
    monkeypatch.setattr(module, "BLOCK", 1000 * size)
    monkeypatch.setattr(module, "READ_BYTES", 1 << 20)
    before = pa.total_allocated_bytes()
    held = [pa.total_allocated_bytes() - before for _ in module._blocks(part)]
    assert len(held) >= 20 and max(held) < rows * size * 4 / 2
