"""From files to the chosen ids: streaming gives the same as selection in memory, for any parts; errors are one clear line."""

import pickle
import random
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import torch
from synthetic_dynamics import matrix, synthetic_scores

from dsopt import storage
from dsopt.errors import InputError
from dsopt.files import write_table
from dsopt.registry import SELECTORS
from dsopt.selection import Selection, reading
from dsopt.selection.balance import allocate, per_class
from dsopt.selection.choose import CHOSEN, choose, resolve
from dsopt.selection.contract import stream_of
from dsopt.selection.kernels.pca import components

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
        write_table(str(folder / f"{i}.parquet"), whole.slice(low, high - low))
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
    """Like a cluster: the function is pickled, all parts are processed before the first result, results come in any order."""
    travelled = pickle.loads(pickle.dumps(function))
    results = [pickle.dumps(travelled(pickle.loads(pickle.dumps(part)))) for part in parts]
    random.Random(0).shuffle(results)
    return (pickle.loads(result) for result in results)


def write_scores(folder: Path, ids: torch.Tensor, columns: dict[str, torch.Tensor]) -> list[storage.Part]:
    """Two parts, in no order."""
    arrays = {
        name: pa.array(values.numpy())
        if values.ndim == 1
        else pa.FixedSizeListArray.from_arrays(pa.array(values.numpy().ravel()), values.shape[1])
        for name, values in columns.items()
    }
    whole = pa.table({"id": ids.numpy(), "other": np.zeros(len(ids)), **arrays})
    folder.mkdir()
    return write(folder, whole.take(pa.array(np.random.default_rng(0).permutation(len(ids)))), [len(ids) // 3])


def equal(got: pa.Table, ids: torch.Tensor, expected: Selection) -> bool:
    return (
        got["id"].to_pylist() == ids[expected.indices].tolist()
        and got["rank"].to_pylist() == list(range(len(expected.indices)))
        and np.array_equal(got["score"].to_numpy(), expected.scores.numpy(), equal_nan=True)
        and got["reason"].to_pylist() == list(expected.reasons)
    )


STREAMED = [name for name in SELECTORS.names() if stream_of(name, {})]
IN_MEMORY = [name for name in SELECTORS.names() if name not in STREAMED]


@pytest.mark.parametrize("name", STREAMED)
@pytest.mark.parametrize("by_class", [False, True])
@pytest.mark.parametrize("budget", [1, 20, 103, ROWS])
def test_the_streamed_answer_is_that_of_the_selector_whatever_the_parts(
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

    monkeypatch.setattr(reading, "BLOCK", 64 * SIZE)
    parts = write(tmp_path, table(*data), [130, 130, 131, 400])
    for given, run_parts in ((parts, map), (parts[::-1], map), (parts, shuffled_elsewhere)):
        got = choose(given, name, {}, budget, by_class, 5, run_parts)
        assert got.schema == CHOSEN
        assert equal(got, ids[order], expected)


@pytest.mark.parametrize("name", IN_MEMORY)
@pytest.mark.parametrize(("by_class", "budget"), [(False, 103), (True, 20)])
@pytest.mark.parametrize("data", ["shuffled"], indirect=True)
def test_the_answer_in_memory_is_that_of_the_selector_whatever_the_parts(
    name: str, by_class: bool, budget: int, data: tuple[torch.Tensor, ...], tmp_path: Path
) -> None:
    ids, labels, embeddings = data
    traits, order = SELECTORS.traits(name), ids.argsort()
    columns = synthetic_scores(traits.scores, ROWS, torch.Generator().manual_seed(4))
    scores = write_scores(tmp_path / "scores", ids, columns) if columns else []
    selector = SELECTORS.build(name)
    looked_at = embeddings[order] if traits.embeddings else torch.empty(ROWS, 0)
    inputs = (looked_at, labels[order], budget, torch.Generator().manual_seed(5), *(some[order] for some in matrix(columns)))
    expected = per_class(selector, *inputs) if by_class else selector(*inputs)
    parts = write(tmp_path, table(*data), [130, 130, 131, 400])
    assert equal(choose(parts[::-1], name, {}, budget, by_class, 5, scores=scores), ids[order], expected)


def test_options_that_allow_for_no_stream_choose_in_memory(data: tuple[torch.Tensor, ...], tmp_path: Path) -> None:
    ids, labels, embeddings = data
    order, options = ids.argsort(), {"both_tails": True, "penalty": True}
    expected = SELECTORS.build("top_activation", options)(embeddings[order], labels[order], 40, torch.Generator())
    got = choose(write(tmp_path, table(*data), [200]), "top_activation", options, 40, False, 5)
    assert equal(got, ids[order], expected)


@pytest.mark.parametrize("by_class", [False, True])
@pytest.mark.parametrize("name", ["kmeans", "moderate", "d2"])
@pytest.mark.parametrize("data", ["shuffled"], indirect=True)
def test_two_rounds_choose_as_many_and_one_shard_is_one_round(
    name: str, by_class: bool, data: tuple[torch.Tensor, ...], tmp_path: Path
) -> None:
    ids, labels, _ = data
    columns = synthetic_scores(SELECTORS.traits(name).scores, ROWS, torch.Generator().manual_seed(4))
    scores = write_scores(tmp_path / "scores", ids, columns) if columns else []
    parts = write(tmp_path, table(*data), [130, 131, 250, 400])

    def chosen(run_parts: Any = map, **how: int) -> pa.Table:
        return choose(parts, name, {}, 100, by_class, 5, run_parts, scores=scores, **how)

    two = chosen(shard_rows=160, rounds=2)
    assert len(set(two["id"].to_pylist())) == 100
    assert chosen(shard_rows=160, rounds=2) == chosen(shuffled_elsewhere, shard_rows=160, rounds=2) == two
    if by_class:
        label_of = dict(zip(ids.tolist(), labels.tolist(), strict=True))
        taken = [label_of[i] for i in two["id"].to_pylist()]
        counts = [int((labels == label).sum()) for label in (0, 1, 7)]
        assert [taken.count(label) for label in (0, 1, 7)] == allocate(counts, 100)
    one = chosen()
    assert chosen(shard_rows=ROWS) == one
    assert one != two  # for these data; otherwise the test would show nothing


def test_the_second_round_sees_what_the_first_chose_and_no_more(tmp_path: Path) -> None:
    """By hand: two shards of 10 rows, 4 wanted, so each shard offers its 4 easiest, and the 4 easiest of these 8 are chosen."""
    loss = torch.tensor([*range(10), 2.5, 3.5, 20, 21, 22, 23, 24, 25, 26, 27])
    parts = write(tmp_path, table(torch.arange(20), None, torch.randn(20, 3)), [10])
    scores = write_scores(tmp_path / "scores", torch.arange(20), {"el2n": -loss})
    got = choose(parts, "d2", {"neighbours": 0, "cut": 0.0}, 4, False, 0, scores=scores, shard_rows=10, rounds=2)
    assert got["id"].to_pylist() == [0, 1, 2, 10]


def test_principal_components_are_those_of_numpy(tmp_path: Path) -> None:
    generator = torch.Generator().manual_seed(0)
    embeddings = torch.randn(60, 5, generator=generator) @ torch.randn(5, 5, generator=generator) + 100
    centred = embeddings.double().numpy() - embeddings.double().numpy().mean(0)
    _, _, rows = np.linalg.svd(centred, full_matrices=False)
    rows *= np.sign(rows[np.arange(5), np.abs(rows).argmax(1)])[:, None]
    for count in (1, 3, 5, 9):
        ours = components(embeddings, count).numpy()
        assert np.allclose(ours, (centred @ rows.T)[:, :count], atol=1e-4)


def test_pca_is_looked_at_instead_of_the_embeddings(tmp_path: Path) -> None:
    embeddings = torch.randn(80, 6, generator=torch.Generator().manual_seed(1)) * torch.tensor([1, 9, 1, 1, 5, 1])
    parts = write(tmp_path, table(torch.arange(80), None, embeddings), [30])
    for name in ("kmeans", "top_activation"):  # one in memory, one that could be streamed
        generator = torch.Generator().manual_seed(5)
        expected = SELECTORS.build(name)(components(embeddings, 2), torch.full((80,), -1), 12, generator)
        got = choose(parts, name, {}, 12, False, 5, pca=2)
        assert equal(got, torch.arange(80), expected)
        assert got["id"].to_pylist() != choose(parts, name, {}, 12, False, 5)["id"].to_pylist()


def test_a_scores_table_must_be_there_and_have_all_rows_and_finite_values(tmp_path: Path) -> None:
    parts = write(tmp_path, table(torch.arange(20), None, torch.randn(20, 3)))
    with pytest.raises(InputError, match=r"select\.name=dual needs a scores table with dual, mean_probability"):
        choose(parts, "dual", {}, 5, False, 0)
    known = {"el2n": torch.rand(20)}
    few = write_scores(tmp_path / "few", torch.arange(20)[1:], {"el2n": known["el2n"][1:]})
    with pytest.raises(InputError, match="no id 0"):
        choose(parts, "el2n", {}, 5, False, 0, scores=few)
    other = write_scores(tmp_path / "other", torch.arange(20), known)
    with pytest.raises(InputError, match="grand"):
        choose(parts, "grand", {}, 5, False, 0, scores=other)
    known["el2n"][3] = torch.nan
    broken = write_scores(tmp_path / "broken", torch.arange(20), known)
    with pytest.raises(InputError, match="not finite"):
        choose(parts, "el2n", {}, 5, False, 0, scores=broken)


def test_methods_that_look_at_no_embeddings_choose_from_an_images_table(tmp_path: Path) -> None:
    rows = [{"id": i, "image": {"bytes": b"", "path": ""}, "label": i % 3, "key": ""} for i in range(30)]
    images = pa.Table.from_pylist(rows, schema=storage.IMAGES)
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
    monkeypatch.setattr(reading, "BLOCK", 1000 * size)
    monkeypatch.setattr(reading, "READ_BYTES", 1 << 20)
    before = pa.total_allocated_bytes()
    held = [pa.total_allocated_bytes() - before for _ in reading.blocks(part)]
    assert len(held) >= 20 and max(held) < rows * size * 4 / 2
