"""Orthogonal matching pursuit with factored gradients compared with explicit gradients, and with SciPy's nnls."""

import numpy as np
import pytest
import torch
from scipy.optimize import nnls

from dsopt.errors import InputError
from dsopt.selection import grad_match as module
from dsopt.selection.grad_match import grad_match


def data(rows: int, classes: int, size: int, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    labels = torch.randint(classes, (rows,), generator=generator)
    logits = torch.randn(rows, classes, generator=generator) + 2 * torch.eye(classes)[labels]
    return torch.randn(rows, size, generator=generator).relu(), labels, logits.softmax(1)


def written_out(embeddings: torch.Tensor, labels: torch.Tensor, scores: torch.Tensor) -> np.ndarray:
    """The gradient of the cross-entropy by the last layer's weight and bias, by autograd, row by row."""
    rows = []
    for features, label, probabilities in zip(embeddings.double(), labels, scores.double(), strict=True):
        layer = torch.nn.Linear(len(features), len(probabilities)).double()
        torch.nn.init.zeros_(layer.weight)
        layer.bias.data = probabilities.log()
        torch.nn.functional.cross_entropy(layer(features), label).backward()
        assert layer.weight.grad is not None and layer.bias.grad is not None
        rows.append(torch.cat([layer.weight.grad.flatten(), layer.bias.grad]).numpy())
    return np.array(rows)


def fit(gradients: np.ndarray, rows: list[int], ridge: float) -> np.ndarray:
    """The best non-negative weights of some rows."""
    table = np.concatenate([gradients[rows].T, ridge**0.5 * np.eye(len(rows))])
    return nnls(table, np.concatenate([gradients.mean(0), np.zeros(len(rows))]))[0]


def pursuit(gradients: np.ndarray, budget: int, ridge: float) -> tuple[list[int], np.ndarray]:
    chosen: list[int] = []
    weights = np.zeros(0)
    while len(chosen) < budget:
        likeness = gradients @ (gradients.mean(0) - weights @ gradients[chosen])
        likeness[chosen] = -np.inf
        if likeness.max() <= 1e-9:
            break
        chosen.append(int(np.flatnonzero(likeness >= likeness.max() - 1e-12)[0]))
        weights = fit(gradients, chosen, ridge)
        chosen, weights = [row for row, weight in zip(chosen, weights, strict=True) if weight > 0], weights[weights > 0]
    return chosen, weights


@pytest.mark.parametrize("ridge", [0.5, 0.05, 1e-4])
@pytest.mark.parametrize(("rows", "classes", "size", "budget"), [(60, 3, 4, 25), (40, 2, 3, 6), (1, 3, 2, 1)])
def test_equals_the_pursuit_with_gradients_written_out(rows: int, classes: int, size: int, budget: int, ridge: float) -> None:
    inputs = data(rows, classes, size)
    expected, weights = pursuit(written_out(*inputs), budget, ridge)
    got = grad_match(*inputs[:2], budget, torch.Generator(), inputs[2], ridge=ridge)
    taken = got.indices[got.scores > 0].tolist()
    assert taken == expected
    assert got.indices[: len(taken)].tolist() == taken and len(set(got.indices.tolist())) == budget
    torch.testing.assert_close(got.scores[: len(taken)].double(), torch.from_numpy(weights), rtol=1e-4, atol=1e-6)


def test_when_no_gradient_helps_any_more_the_weights_are_the_best_there_are_and_the_likest_fill_up() -> None:
    inputs = data(50, 2, 2, seed=1)
    gradients = written_out(*inputs)
    got = grad_match(*inputs[:2], 50, torch.Generator(), inputs[2], ridge=1e-4)
    taken = int((got.scores > 0).sum())
    assert 2 <= taken < 50 and sorted(got.indices.tolist()) == list(range(50))
    best = fit(gradients, list(range(50)), 1e-4)
    np.testing.assert_allclose(got.scores.numpy(), best[got.indices.numpy()], atol=1e-5)
    likeness = gradients @ (gradients.mean(0) - best @ gradients)
    assert (np.diff(likeness[got.indices[taken:].numpy()]) <= 1e-9).all()


def test_several_at_a_time_match_nearly_as_well(monkeypatch: pytest.MonkeyPatch) -> None:
    inputs = data(400, 4, 6, seed=2)
    gradients = written_out(*inputs)

    def off(chosen: torch.Tensor, weights: torch.Tensor) -> float:
        return float(np.linalg.norm(gradients.mean(0) - weights.double().numpy() @ gradients[chosen.numpy()]))

    one = grad_match(*inputs[:2], 40, torch.Generator(), inputs[2], ridge=0.01)
    monkeypatch.setattr(module, "ROUNDS", 8)
    several = grad_match(*inputs[:2], 40, torch.Generator(), inputs[2], ridge=0.01)
    assert (one.scores >= 0).all() and (several.scores >= 0).all()
    random = torch.randperm(400, generator=torch.Generator().manual_seed(0))[:40]
    chance = off(random, torch.from_numpy(fit(gradients, random.tolist(), 0.01)))
    assert off(one.indices, one.scores) <= off(several.indices, several.scores) < chance
    assert off(several.indices, several.scores) < 0.3 * np.linalg.norm(gradients.mean(0))


def test_gradients_that_are_nought_or_equal_go_by_the_lowest_row() -> None:
    labels = torch.tensor([0, 1, 0, 1])
    got = grad_match(torch.randn(4, 3), labels, 3, torch.Generator(), torch.eye(2)[labels])
    assert got.indices.tolist() == [0, 1, 2] and got.scores.tolist() == [0, 0, 0]
    same = torch.tensor([[0.7, 0.3]]).expand(4, 2)
    got = grad_match(torch.ones(4, 3), torch.zeros(4).long(), 4, torch.Generator(), same)
    assert got.indices.tolist() == [0, 1, 2, 3]


def test_a_label_without_a_probability_and_no_ridge_are_errors() -> None:
    embeddings, labels, scores = data(10, 3, 2)
    with pytest.raises(InputError, match="2 probabilities"):
        grad_match(embeddings, labels, 4, torch.Generator(), scores[:, :2])
    with pytest.raises(InputError, match="ridge=0"):
        grad_match(embeddings, labels, 4, torch.Generator(), scores, ridge=0.0)
