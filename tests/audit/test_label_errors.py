"""Confident learning, as its definition has it, as cleanlab does, and on MNIST's known label errors."""

import json
import os
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from dsopt.audit.contract import Seen
from dsopt.audit.labels import confident_joint, label_errors, low_aum, normalised_margin, off_diagonal, self_confidence, thresholds

MNIST = Path(os.environ.get("DSOPT_TEST_DATA") or Path(__file__).parents[3] / "shared/data") / "label-errors"


def judged(probabilities: Tensor, labels: Tensor, **scores: Tensor) -> Seen:
    none = torch.zeros(len(labels), dtype=torch.bool)
    return Seen(torch.arange(len(labels)), none, labels, scores={"probability": probabilities} | scores)


def noisy(n: int, k: int, seed: int) -> tuple[Tensor, Tensor]:
    draw = torch.Generator().manual_seed(seed)
    true = torch.randint(0, k, (n,), generator=draw)
    logits = 2 * torch.nn.functional.one_hot(true, k) + torch.randn(n, k, generator=draw)
    labels = torch.where(torch.rand(n, generator=draw) < 0.15, torch.randint(0, k, (n,), generator=draw), true)
    return logits.softmax(1), labels


def by_definition(probabilities: np.ndarray, labels: np.ndarray) -> tuple[np.ndarray, list[int]]:
    """Equations 1 and 2 of the paper in loops: the confident joint, and what is off its diagonal but not predicted as labelled."""
    n, k = probabilities.shape
    bounds = [np.mean([p[j] for p, label in zip(probabilities, labels, strict=True) if label == j]) for j in range(k)]
    joint, off = np.zeros((k, k), int), []
    for i in range(n):
        reached = [j for j in range(k) if probabilities[i, j] >= bounds[j] - 1e-6]
        if reached:
            j = reached[0] if len(reached) == 1 else int(probabilities[i].argmax())
            joint[labels[i], j] += 1
            if j != labels[i] and probabilities[i].argmax() != labels[i]:
                off.append(i)
    return joint, off


def test_by_hand() -> None:
    """Bounds are 0.7 and 0.6. The third is off the diagonal; the last reaches no bound."""
    probabilities = torch.tensor([[0.9, 0.1], [0.8, 0.2], [0.4, 0.6], [0.2, 0.8], [0.6, 0.4]])
    labels = torch.tensor([0, 0, 0, 1, 1])
    assert thresholds(probabilities, labels).tolist() == pytest.approx([0.7, 0.6])
    assert confident_joint(probabilities, labels).tolist() == [[2, 1], [0, 1]]
    wrong, guess = off_diagonal(probabilities, labels)
    assert wrong.tolist() == [False, False, True, False, False] and guess[2] == 1
    assert self_confidence(probabilities, labels).tolist() == pytest.approx([0.9, 0.8, 0.4, 0.8, 0.4])
    assert normalised_margin(probabilities, labels).tolist() == pytest.approx([0.9, 0.8, 0.4, 0.8, 0.4])


@pytest.mark.parametrize("k", [2, 3, 10])
def test_as_by_definition(k: int) -> None:
    probabilities, labels = noisy(600, k, k)
    joint, off = by_definition(probabilities.numpy().astype(float), labels.numpy())
    assert confident_joint(probabilities, labels).tolist() == joint.tolist()
    assert off_diagonal(probabilities, labels)[0].nonzero().squeeze(1).tolist() == off and len(off) > 20


def test_as_cleanlab() -> None:
    cleanlab = pytest.importorskip("cleanlab.filter")
    probabilities, labels = noisy(2000, 7, 0)
    for rank, ours in (("self_confidence", "self_confidence"), ("normalized_margin", "normalised_margin")):
        theirs = cleanlab.find_label_issues(
            labels.numpy(), probabilities.numpy(), filter_by="confident_learning", return_indices_ranked_by=rank, n_jobs=1
        )
        assert label_errors(judged(probabilities, labels), rank=ours).rows.tolist() == theirs.tolist()


def test_a_class_without_images_is_nobodys() -> None:
    probabilities, labels = noisy(300, 4, 0)
    labels[labels == 3] = 0
    assert confident_joint(probabilities, labels)[:, 3].sum() == 0 and torch.isinf(thresholds(probabilities, labels)[3])


def test_planted_errors_come_first_and_with_the_true_label() -> None:
    probabilities, _ = noisy(1000, 5, 1)
    sure = probabilities.amax(1) > 0.9
    labels = probabilities.argmax(1)
    wrong = sure.nonzero().squeeze(1)[:40]
    labels[wrong] = (labels[wrong] + 1) % 5
    for rank in ("self_confidence", "normalised_margin"):
        found = label_errors(judged(probabilities, labels), rank=rank)
        assert set(found.rows[:40].tolist()) == set(wrong.tolist()) and found.labels is not None
        assert torch.equal(found.labels[:40], probabilities.argmax(1)[found.rows[:40]])
        assert (found.scores.diff() >= 0).all()


def test_aum() -> None:
    probabilities, labels = noisy(50, 3, 0)
    aum = torch.linspace(-1, 1, 50)
    found = low_aum(judged(probabilities, labels, aum=aum))
    assert found.rows.tolist() == list(range(25)) and found.labels is not None and (found.labels != labels[:25]).all()
    ranked = label_errors(judged(probabilities, labels, aum=aum), rank="aum")
    assert (ranked.rows.diff() > 0).all()


@pytest.mark.skipif(not MNIST.is_dir(), reason="probabilities of MNIST's test images are not there (docs/auditing.md)")
def test_known_label_errors_of_mnist_are_in_the_first_hundred() -> None:
    """The 15 of MNIST's 10,000 test labels that people did not confirm (Northcutt, Athalye and Mueller 2021, arXiv:2103.14749)."""
    probabilities = torch.from_numpy(np.load(MNIST / "mnist_test_set_pyx.npy"))
    labels = torch.from_numpy(np.load(MNIST / "mnist_test_set_original_labels.npy").astype(int))
    known = [row["id"] for row in json.loads((MNIST / "mnist_mturk.json").read_text()) if row["mturk"]["given"] < 3]
    for rank in (self_confidence, normalised_margin):
        first = rank(probabilities, labels).argsort(stable=True)[:100].tolist()
        assert len(known) == 15 and set(known) <= set(first)
    assert off_diagonal(probabilities, labels)[0].sum() == 15  # 7 of them are among the known ones
