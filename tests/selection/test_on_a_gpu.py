"""Methods on a (pretended) GPU: nothing mixes devices, the choice is that of the CPU, and no greedy loop waits for the host."""

import pytest
import torch
from pretended_gpu import PretendedGpu

from dsopt.registry import SELECTORS
from dsopt.selection import facility_location
from dsopt.selection.kernels.distances import nearest_centroids
from dsopt.selection.streams import lazy

GREEDY = ["facility_location", "graph_cut", "herding", "kcenter", "max_distance"]
ON_GPU = [name for name in SELECTORS.names() if SELECTORS.traits(name).gpu]


def chosen(name: str, table: torch.Tensor, budget: int) -> tuple[list[int], PretendedGpu]:
    labels, gpu = torch.arange(len(table)) % 3, PretendedGpu()
    with gpu.pretend():
        on_gpu = table.to("cuda")
        gpu.forget()
        found = SELECTORS.build(name)(on_gpu, labels, budget, torch.Generator().manual_seed(0))
        assert not gpu.mixed, gpu.mixed[:3]
    assert gpu.calls and not any(map(gpu.holds, (found.indices, found.scores)))
    return found.indices.tolist(), gpu


@pytest.mark.parametrize("name", ON_GPU)
def test_chooses_what_it_chooses_on_the_cpu(name: str) -> None:
    table = torch.randn(150, 6, generator=torch.Generator().manual_seed(1)).relu()
    expected = SELECTORS.build(name)(table, torch.arange(150) % 3, 20, torch.Generator().manual_seed(0)).indices.tolist()
    assert chosen(name, table, 20)[0] == expected


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("kmeans", {"metric": "cosine"}),
        ("kmeans", {"start": "parallel"}),
        ("kmeans", {}),
        ("hierarchical_kmeans", {"clusters": [10, 3], "resamplings": 1}),
    ],
)
def test_k_means_and_what_continues_it(name: str, options: dict[str, object]) -> None:
    x = torch.randn(90, 6, generator=torch.Generator().manual_seed(1))
    method, gpu = SELECTORS.build(name, options), PretendedGpu()
    expected = method(x[10:], torch.zeros(80).long(), 9, torch.Generator().manual_seed(0), x[:10], x[:4]).indices
    with gpu.pretend():
        rows, kept = x[10:].to("cuda"), x[:10].to("cuda")
        found = method(rows, torch.zeros(80).long(), 9, torch.Generator().manual_seed(0), kept, x[:4])
        assert not gpu.mixed, gpu.mixed[:3]
    assert gpu.calls and not any(map(gpu.holds, (found.indices, found.scores, found.centroids)))
    assert found.indices.tolist() == expected.tolist()


@pytest.mark.parametrize("name", GREEDY)
def test_the_host_does_not_wait_within_the_greedy_loop(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    table = torch.randn(150, 6, generator=torch.Generator().manual_seed(1)).relu()
    few, many = (sum(chosen(name, table, budget)[1].waits.values()) for budget in (10, 30))
    assert few == many
    if name == "facility_location":  # and where neighbours take the place of the whole matrix
        monkeypatch.setattr(facility_location, "DENSE_ROWS", 0)
        few, many = (sum(chosen(name, table, budget)[1].waits.values()) for budget in (10, 30))
        assert few == many


def test_a_pool_is_left_when_the_others_may_be_better() -> None:
    """As the loop on the CPU, whatever the host sees late."""
    table = torch.rand(60, 3, generator=torch.Generator().manual_seed(0))

    def lower(values: torch.Tensor, some: torch.Tensor, taken: torch.Tensor) -> torch.Tensor:
        return torch.minimum(values, (some[:, None] - taken).abs().sum(2).amin(1))

    expected = lazy.greedy(table, table[:, 0].clone(), lower, 40, 0.3)
    with PretendedGpu().pretend():
        found = lazy.greedy(table.to("cuda"), table[:, 0].clone(), lower, 40, 0.3)
    assert [some.tolist() for some in found] == [some.tolist() for some in expected] and len(found[0]) < 40


def test_nearest_centroids_stay_on_the_device() -> None:
    gpu, x = PretendedGpu(), torch.randn(50, 4, generator=torch.Generator().manual_seed(0))
    with gpu.pretend():
        found = nearest_centroids(x.to("cuda"), x[:7].to("cuda"))
        assert gpu.holds(found) and not gpu.mixed
        assert torch.equal(found.cpu(), torch.cdist(x, x[:7]).argmin(1))
