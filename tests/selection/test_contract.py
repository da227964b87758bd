"""The contract of selectors, tested for every registered one; new ones are found automatically."""

import pickle

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from synthetic_dynamics import matrix, synthetic_scores

from dsopt.registry import SELECTORS
from dsopt.selection import Selection
from dsopt.selection.balance import allocate
from dsopt.selection.contract import stream_of


def run(name: str, rows: int, size: int, budget: int, seed: int = 0, data_seed: int = 0) -> Selection:
    source, traits = torch.Generator().manual_seed(data_seed), SELECTORS.traits(name)
    embeddings = torch.randn(rows, size, generator=source).relu()
    labels = torch.randint(3, (rows,), generator=source)
    scores = matrix(synthetic_scores(traits.scores, rows, source))
    generator = torch.Generator().manual_seed(seed)
    return SELECTORS.build(name)(embeddings if traits.embeddings else embeddings[:, :0], labels, budget, generator, *scores)


@pytest.mark.slow
@pytest.mark.parametrize("name", SELECTORS.names())
@settings(max_examples=15, deadline=None)
@given(data=st.data())
def test_gives_exactly_the_budget_of_distinct_rows_and_the_same_again(name: str, data: st.DataObject) -> None:
    rows, size = data.draw(st.integers(1, 60)), data.draw(st.integers(1, 9))
    budget, data_seed = data.draw(st.integers(1, rows)), data.draw(st.integers(0, 99))
    chosen = run(name, rows, size, budget, data_seed=data_seed)
    assert len(set(chosen.indices.tolist())) == len(chosen.indices) == budget
    assert int(chosen.indices.min()) >= 0 and int(chosen.indices.max()) < rows
    assert chosen.scores.shape == (budget,) and chosen.scores.dtype == torch.float32
    assert len(chosen.reasons) == budget and all(chosen.reasons)
    again = run(name, rows, size, budget, data_seed=data_seed)
    assert torch.equal(again.indices, chosen.indices) and list(again.reasons) == list(chosen.reasons)
    assert torch.equal(again.scores.nan_to_num(7), chosen.scores.nan_to_num(7))


@pytest.mark.parametrize("name", SELECTORS.names())
def test_depends_on_the_seed_if_and_only_if_it_says_so(name: str) -> None:
    one, other = run(name, 200, 8, 50, seed=1), run(name, 200, 8, 50, seed=2)
    assert torch.equal(one.indices, other.indices) != SELECTORS.traits(name).seeded


@pytest.mark.parametrize("name", SELECTORS.names())
def test_leaves_its_input_alone(name: str) -> None:
    scores = matrix(synthetic_scores(SELECTORS.traits(name).scores, 40, torch.Generator().manual_seed(0)))
    inputs = torch.randn(40, 5), torch.arange(40) % 3, *scores
    before = [tensor.clone() for tensor in inputs]
    embeddings, labels, *scores = inputs
    SELECTORS.build(name)(embeddings, labels, 11, torch.Generator(), *scores)
    assert all(torch.equal(now, then) for now, then in zip(inputs, before, strict=True))


@pytest.mark.parametrize("name", [n for n in SELECTORS.names() if stream_of(n, {})])
@settings(max_examples=25, deadline=None)
@given(data=st.data())
def test_streams_give_the_answer_of_the_selector_for_any_blocks_and_merges(name: str, data: st.DataObject) -> None:
    rows, size = data.draw(st.integers(1, 60)), data.draw(st.integers(1, 9))
    budget, seed = data.draw(st.integers(1, rows)), data.draw(st.integers(0, 99))
    source = torch.Generator().manual_seed(seed)
    embeddings = torch.randint(-2, 3, (rows, size), generator=source).float()
    expected = SELECTORS.build(name)(embeddings, torch.zeros(rows).long(), budget, torch.Generator())
    order = torch.randperm(rows, generator=source) if data.draw(st.booleans()) else torch.arange(rows)
    blocks = order.split(data.draw(st.integers(1, rows)))

    state = stream_of(name, {}).start(budget, size)
    while True:
        for block in blocks:
            if data.draw(st.booleans()):  # in place
                state.add(block, embeddings[block])
            else:  # elsewhere
                part = pickle.loads(pickle.dumps(state.empty()))
                part.add(block, embeddings[block])
                state.merge(pickle.loads(pickle.dumps(part)))
        if state.enough():
            break
        state = state.deeper()
    got = state.result()
    assert torch.equal(got.indices, expected.indices) and torch.equal(got.scores, expected.scores)
    assert list(got.reasons) == list(expected.reasons)


def test_random_balanced_takes_the_same_number_of_every_class() -> None:
    labels = torch.tensor([0] * 50 + [1] * 4 + [2] * 30)
    chosen = SELECTORS.build("random_balanced")(torch.empty(84, 0), labels, 25, torch.Generator())
    assert labels[chosen.indices].bincount().tolist() == [11, 4, 10] == allocate([50, 4, 30], 25)


def test_random_takes_every_row_equally_often() -> None:
    generator = torch.Generator().manual_seed(0)
    labels, selector = torch.zeros(10).long(), SELECTORS.build("random")
    drawn = torch.cat([selector(torch.empty(10, 0), labels, 3, generator).indices for _ in range(2000)])
    assert (drawn.bincount(minlength=10) - 600).abs().max() < 6 * 600**0.5
