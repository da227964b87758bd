"""The Inception score: its bounds, and brute force."""

import math

import pytest
import torch

from dsopt.evaluation.measures import inception_score


def test_its_bounds() -> None:
    sure = 100 * torch.eye(5).repeat(3, 1)
    assert inception_score(sure) == pytest.approx(5.0)  # sure of every image, and all classes evenly
    assert inception_score(sure[:1].repeat(9, 1)) == pytest.approx(1.0)  # one class alone
    assert inception_score(torch.zeros(7, 5)) == pytest.approx(1.0)  # sure of none


def test_it_is_the_formula() -> None:
    logits = torch.randn(11, 4, generator=torch.Generator().manual_seed(0))
    own = logits.double().softmax(1)
    marginal = own.mean(0)
    mean = sum(float(p[j]) * math.log(float(p[j]) / float(marginal[j])) for p in own for j in range(4)) / len(own)
    assert inception_score(logits) == pytest.approx(math.exp(mean))
