"""Equation 4 and the fill rule compared with a slow, obviously correct version."""

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st

from dsopt.errors import InputError
from dsopt.selection import activations as activations_module
from dsopt.selection import top_activation as module
from dsopt.selection.top_activation import TopActivations, top_activation


def slow(ids: list[int], embeddings: list[list[float]], budget: int) -> tuple[list[int], list[float], list[str]]:
    """The rule, word for word."""
    chosen: dict[int, tuple[float, str]] = {}
    for rank in range(len(ids)):
        for element in range(len(embeddings[0])):
            best_first = sorted((-values[element], i) for i, values in zip(ids, embeddings, strict=True))
            negative, i = best_first[rank]
            if i not in chosen and len(chosen) < budget:
                chosen[i] = (-negative, f"element {element}")
    return list(chosen), [score for score, _ in chosen.values()], [reason for _, reason in chosen.values()]


def check(embeddings: torch.Tensor, budget: int) -> None:
    got = top_activation(embeddings, torch.full((len(embeddings),), -1), budget, torch.Generator())
    indices, scores, reasons = slow(list(range(len(embeddings))), embeddings.tolist(), budget)
    assert got.indices.tolist() == indices
    assert got.scores.tolist() == scores
    assert list(got.reasons) == reasons


VALUES = {
    "few": st.sampled_from([-1.0, -0.0, 0.0, 1.0, 2.0]),  # ties everywhere, both zeros
    "rectified": st.floats(-3, 3, width=32).map(lambda value: max(value, 0.0)),
    "any": st.floats(allow_nan=False, allow_infinity=False, width=32),  # subnormal and huge ones too
    "constant": st.just(0.0),
}


@st.composite
def embedding_tables(draw: st.DrawFn) -> torch.Tensor:
    rows = draw(st.integers(1, 25))
    columns = [
        draw(st.lists(VALUES[draw(st.sampled_from(sorted(VALUES)))], min_size=rows, max_size=rows))
        for _ in range(draw(st.integers(1, 6)))
    ]
    table = torch.tensor(columns, dtype=torch.float32).T.contiguous()
    if draw(st.booleans()):  # duplicate rows
        table = table[torch.tensor(draw(st.lists(st.integers(0, rows - 1), min_size=rows, max_size=rows)))]
    return table


@pytest.mark.slow
@settings(max_examples=150, deadline=None)
@given(table=embedding_tables(), data=st.data())
def test_equals_the_slow_version(table: torch.Tensor, data: st.DataObject) -> None:
    check(table, data.draw(st.integers(1, len(table))))


@pytest.mark.slow
@settings(max_examples=60, deadline=None)
@given(table=embedding_tables(), data=st.data(), chunk=st.integers(1, 40))
def test_blocks_in_any_order_and_shallow_states_give_the_slow_answer(table: torch.Tensor, data: st.DataObject, chunk: int) -> None:
    rows, size = table.shape
    budget = data.draw(st.integers(1, rows))
    ids = torch.tensor(data.draw(st.lists(st.integers(-9, 99), min_size=rows, max_size=rows, unique=True)))
    order = torch.tensor(data.draw(st.permutations(range(rows))))
    states = [TopActivations(budget, size, data.draw(st.integers(1, 3)))]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "CHUNK", chunk)
        while True:
            total, others = states[-1], []
            for block in order.split(data.draw(st.integers(1, rows))):
                target = data.draw(st.sampled_from([total, total.empty()]))
                target.add(ids[block], table[block])
                others += [] if target is total else [target]
            for other in data.draw(st.permutations(others)):
                total.merge(other)
            if total.enough():
                break
            states.append(total.deeper())
    got = states[-1].result()
    expected = slow(ids.tolist(), table.tolist(), budget)
    assert (got.indices.tolist(), got.scores.tolist(), list(got.reasons)) == expected


@pytest.mark.parametrize("budget", [1, 2, 3, 7, 100, 299, 300])
@pytest.mark.parametrize("kind", ["normal", "relu", "dead", "rising", "falling", "constant", "one column"])
def test_equals_the_slow_version_at_a_size_with_many_chunks(kind: str, budget: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "CHUNK", 150)
    normal = torch.randn(300, 3, generator=torch.Generator().manual_seed(0))
    rising = torch.arange(300.0)[:, None] + torch.tensor([0.0, 0.5, 0.25])
    table = {
        "normal": normal,
        "relu": (normal - 1).relu(),
        "dead": normal * torch.tensor([1.0, 0.0, 1.0]),
        "rising": rising,
        "falling": -rising,
        "constant": torch.ones(300, 3),
        "one column": normal[:, :1],
    }[kind]
    fast = top_activation(table, torch.zeros(300).long(), budget, torch.Generator())
    ranking = [sorted(range(300), key=lambda i, j=j: (-float(table[i, j]), i)) for j in range(table.shape[1])]
    in_turn = [ranking[j][rank] for rank in range(300) for j in range(table.shape[1])]
    assert fast.indices.tolist() == list(dict.fromkeys(in_turn))[:budget]


def test_takes_the_paper_s_share_of_every_element_when_they_do_not_overlap() -> None:
    """With k=8 and n=4, the best 2 of each of the 4 elements (Equation 4)."""
    table = torch.zeros(40, 4)
    for element in range(4):
        table[10 * element, element], table[10 * element + 5, element] = 2.0, 1.0
    chosen = top_activation(table, torch.zeros(40).long(), 8, torch.Generator())
    assert chosen.indices.tolist() == [0, 10, 20, 30, 5, 15, 25, 35]
    assert list(chosen.reasons) == [f"element {e}" for e in (0, 1, 2, 3)] * 2


@example(depth=1)
@given(depth=st.integers(1, 12))
@settings(max_examples=12, deadline=None)
def test_is_enough_exactly_when_the_kept_ones_fill_the_budget(depth: int) -> None:
    same = torch.arange(40.0)[:, None].expand(40, 5).contiguous()  # all elements rank alike: depth images in all
    state = TopActivations(10, 5, depth)
    state.add(torch.arange(40), same)
    assert state.enough() == (depth >= 10)
    few = TopActivations(9, 5, 4)  # more than there are: nothing deeper could help
    few.add(torch.arange(4), same[:4])
    assert few.enough()


def test_keeps_no_more_than_its_depth_of_every_element() -> None:
    state, generator = TopActivations(100, 8, 20), torch.Generator().manual_seed(0)
    for block in torch.arange(20_000).split(1000):
        state.add(block, torch.randn(1000, 8, generator=generator))
        assert state.num_new + len(state.keys) <= 3 * 8 * 20 + 100
    assert state.enough() and len(state.keys) == 8 * 20


# --- options -------------------------------------------------------------------------------------------------------


def chosen_by(table: torch.Tensor, budget: int, **options: Any) -> tuple[list[int], list[float], list[str]]:
    got = top_activation(table, torch.zeros(len(table)).long(), budget, torch.Generator(), **options)
    return got.indices.tolist(), got.scores.tolist(), list(got.reasons)


def slow_with(columns: dict[str, list[float]], budget: int) -> tuple[list[int], list[float], list[str]]:
    """The fill rule over named columns."""
    rows = len(next(iter(columns.values())))
    indices, scores, reasons = slow(list(range(rows)), list(map(list, zip(*columns.values(), strict=True))), budget)
    return indices, scores, [list(columns)[int(reason.split()[1])] for reason in reasons]


@settings(max_examples=60, deadline=None)
@given(
    table=embedding_tables().filter(lambda table: table.abs().max() < 1e30),
    both_tails=st.booleans(),
    pairs=st.booleans(),
    penalty=st.booleans(),
    data=st.data(),
)
def test_options_equal_a_slow_version(
    table: torch.Tensor, both_tails: bool, pairs: bool, penalty: bool, data: st.DataObject
) -> None:
    rows, size = table.shape
    budget, most = data.draw(st.integers(1, rows)), size * (size - 1) // 2
    count = data.draw(st.integers(0, most)) if pairs else 0
    elements = {f"element {e}": table[:, e].tolist() for e in range(size)}
    columns = dict(elements)
    apart = [(e, (e + gap) % size) for gap in range(1, size) for e in range(size)]
    for a, b in apart[:count]:
        both = zip(elements[f"element {a}"], elements[f"element {b}"], strict=True)
        columns[f"elements {a} and {b}"] = [min(pair) for pair in both]
    if both_tails:
        columns |= {f"{name}, lowest": [-value for value in values] for name, values in elements.items()}
    if penalty:
        share = -(-budget // len(columns))
        top = {name: sorted(range(rows), key=lambda i, v=v: (-v[i], i))[:share] for name, v in columns.items()}
        for name, values in columns.items():
            others = [1 + sum(i in best for other, best in top.items() if other != name) for i in range(rows)]
            divided = [np.float32(v) / np.float32(o) if v > 0 else np.float32(v) * o for v, o in zip(values, others, strict=True)]
            columns[name] = [float(np.float32(value)) for value in divided]
    assert chosen_by(table, budget, both_tails=both_tails, penalty=penalty, pairs=count) == slow_with(columns, budget)


def test_standardising_changes_no_element_s_ranks_but_those_of_pairs() -> None:
    table = torch.tensor([[1000.0, 0.0], [0.0, 9.0], [300.0, 8.0], [900.0, 7.0]])
    indices, scores, reasons = chosen_by(table, 4, standardise=True)
    assert (indices, reasons) == (chosen_by(table, 4)[0], chosen_by(table, 4)[2])
    expected = (table - table.mean(0)) / table.std(0, correction=0)
    assert scores == pytest.approx([float(expected[i, int(why[-1])]) for i, why in zip(indices, reasons, strict=True)], rel=1e-5)
    # Element 0 is a hundred times element 1: the pair then ranks as element 1 does, unless they are standardised.
    assert [chosen_by(table, 3, pairs=1, standardise=s)[0][2] for s in (False, True)] == [2, 3]


def test_standardising_leaves_constant_elements_at_zero() -> None:
    indices, scores, _ = chosen_by(torch.tensor([[3.0, 1.0], [3.0, 2.0]]), 2, standardise=True)
    assert indices == [0, 1] and scores == pytest.approx([0, 1])


def test_the_penalty_passes_over_an_image_that_many_elements_choose() -> None:
    """Row 0 is the best of three elements, rows 1 to 3 are nearly as good in one element each: with the penalty, row 0 is last."""
    table = torch.tensor([[3.0, 3.0, 3.0], [2.0, 0.0, 0.0], [0.0, 2.0, 0.0], [0.0, 0.0, 2.0]])
    assert chosen_by(table, 3)[0] == [0, 1, 2]
    assert chosen_by(table, 3, penalty=True)[0] == [1, 2, 3]


def test_all_pairs_are_distinct_and_no_more_are_given() -> None:
    for size in (1, 2, 5, 6):
        most = size * (size - 1) // 2
        first, second = activations_module._pairs(size, most)
        assert len({frozenset(pair) for pair in zip(first.tolist(), second.tolist(), strict=True) if len(set(pair)) == 2}) == most
        with pytest.raises(InputError, match=f"pairs={most + 1}"):
            chosen_by(torch.randn(4, size), 2, pairs=most + 1)
    with pytest.raises(InputError, match="pairs=-1"):
        chosen_by(torch.randn(4, 3), 2, pairs=-1)
