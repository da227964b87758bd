"""Equation 4 and the fill rule against a slow version that is obviously right."""

import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st

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


@settings(max_examples=150, deadline=None)
@given(table=embedding_tables(), data=st.data())
def test_equals_the_slow_version(table: torch.Tensor, data: st.DataObject) -> None:
    check(table, data.draw(st.integers(1, len(table))))


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
