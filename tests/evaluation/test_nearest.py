"""Nearest neighbours by sorting all distances, exact for bytes; copies are told from new images."""

import torch

from dsopt.evaluation import nearest


def test_nearest_are_those_of_all_distances_sorted(monkeypatch):
    generator = torch.Generator().manual_seed(0)
    some, others = torch.randn(23, 5, generator=generator), torch.randn(41, 5, generator=generator)
    expected = (some[:, None].double() - others[None].double()).square().sum(2).sqrt().sort(1).values
    for rows in (4, 1024):
        monkeypatch.setattr(nearest, "ROWS", rows)
        torch.testing.assert_close(nearest.nearest(some, others, 3), expected[:, :3], rtol=1e-9, atol=1e-9)


def test_equal_pictures_of_bytes_are_at_no_distance():
    pictures = torch.randint(0, 256, (50, 3 * 32 * 32), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    near = pictures.clone()
    near[:, 0] ^= 3
    found = nearest.nearest(torch.cat([pictures, near]), pictures).squeeze(1)
    assert (found[:50] == 0).all()
    torch.testing.assert_close(found[50:], (near[:, 0].double() - pictures[:, 0].double()).abs(), rtol=0, atol=0)


def test_copies_are_told_from_new_images():
    generator = torch.Generator().manual_seed(0)
    train, unseen, new = (torch.randn(500, 8, generator=generator) for _ in range(3))

    def told(made: torch.Tensor) -> dict[str, float]:
        return nearest.memorised(made, unseen, train)

    honest, half = told(new), told(torch.cat([new[:250], train[:250] + 1e-3]))
    assert 0.9 < honest["nearest_ratio"] < 1.1 and honest["copied"] < 0.04
    assert 0.5 <= half["copied"] < 0.53 and half["nearest_ratio"] < honest["nearest_ratio"]
    assert told(train)["nearest_ratio"] < 1e-5 and told(new + 20)["copied"] == 0
    assert told(unseen) == {"nearest_ratio": 1.0, "copied": 0.01}
