import importlib.util

import numpy as np
import pytest
import torch

from dsopt.evaluation import project as module
from dsopt.evaluation.project import pca, project


def embeddings(n: int = 60, d: int = 7) -> torch.Tensor:
    return torch.randn(n, d, generator=torch.Generator().manual_seed(0)) * torch.arange(1, d + 1) + 3


def test_pca_is_that_of_an_svd_with_signs_that_are_no_chance() -> None:
    x = embeddings()
    _, _, directions = np.linalg.svd(x.numpy().astype(np.float64) - x.numpy().astype(np.float64).mean(0), full_matrices=False)
    top = directions[:2].T
    top *= np.sign(top[np.abs(top).argmax(0), [0, 1]])
    np.testing.assert_allclose(pca(x).numpy(), (x.numpy() - x.numpy().mean(0)) @ top, atol=1e-4)
    assert torch.equal(pca(x), pca(x.clone()))


def test_pca_of_hardly_anything() -> None:
    assert pca(torch.ones(3, 5)).tolist() == [[0, 0]] * 3
    assert pca(torch.tensor([[2.0, 4.0]])).tolist() == [[0, 0]]
    assert pca(torch.tensor([[1.0], [3.0]])).tolist() == [[-1, 0], [1, 0]]


def test_without_umap_it_is_pca(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "find_spec", lambda name: None)
    kind, positions = project(embeddings(), 0)
    assert kind == "PCA" and torch.equal(positions, pca(embeddings()))


@pytest.mark.slow
@pytest.mark.skipif(importlib.util.find_spec("umap") is None, reason="umap-learn is not installed")
def test_umap_keeps_groups_together_and_is_the_same_for_the_same_seed() -> None:
    x = torch.cat([embeddings(40), embeddings(40) + 200])
    kind, positions = project(x, 1)
    assert kind == "UMAP" and torch.equal(positions, project(x, 1)[1])
    a, b = positions[:40], positions[40:]
    assert (a.mean(0) - b.mean(0)).norm() > a.std() and positions.shape == (80, 2)
    assert project(x[:5], 1)[0] == "PCA"
