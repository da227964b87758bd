"""Pictures that show little."""

import numpy as np
import torch
import torch.nn.functional as F

from dsopt.audit.contract import Seen
from dsopt.audit.looks import looks
from dsopt.audit.outliers import outliers
from dsopt.audit.pictures import blank, blurred, bright, dark, odd_aspect

DRAW = torch.Generator().manual_seed(0)


def of(images: torch.Tensor, **more: torch.Tensor) -> Seen:
    n = len(images)
    return Seen(torch.arange(n), torch.zeros(n, dtype=torch.bool), torch.zeros(n).long(), looks=looks(images) | more)


def test_each_kind_is_found_and_nothing_else() -> None:
    texture = torch.randint(0, 256, (6, 3, 48, 48), generator=DRAW, dtype=torch.uint8)
    texture[1] = texture[1] // 8
    texture[2] = 235 + texture[2] // 13
    small = F.interpolate(texture[3:4, :, :4, :4].float(), (48, 48), mode="bicubic").clamp(0, 255)
    texture[3] = small[0].to(torch.uint8)
    texture[4] = 100 + texture[4] // 100
    sides = torch.tensor([48, 48, 48, 48, 48, 480])
    seen = of(texture, width=sides, height=torch.full((6,), 48))
    assert [check(seen).rows.tolist() for check in (dark, bright, blurred, blank, odd_aspect)] == [[1], [2], [3], [4], [5]]
    assert odd_aspect(seen).scores.tolist() == [10.0]


def test_numbers_against_numpy() -> None:
    images = torch.randint(0, 256, (3, 3, 10, 7), generator=DRAW, dtype=torch.uint8)
    gray = (images.numpy() * np.array([0.299, 0.587, 0.114])[:, None, None]).sum(1) / 255
    inner = gray[:, :-2, 1:-1] + gray[:, 2:, 1:-1] + gray[:, 1:-1, :-2] + gray[:, 1:-1, 2:] - 4 * gray[:, 1:-1, 1:-1]
    found = looks(images)
    assert np.allclose(found["sharpness"], inner.var((1, 2)) / gray.var((1, 2)), rtol=1e-4)
    assert np.allclose(found["light"], np.quantile(gray, 0.99, axis=(1, 2), method="inverted_cdf"), atol=1e-6)
    assert np.allclose(found["shade"], np.quantile(gray, 0.05, axis=(1, 2), method="inverted_cdf"), atol=1e-6)
    assert np.allclose(found["contrast"], (images.numpy() / 255).std((2, 3)).max(1), atol=1e-6)


def test_pictures_of_one_pixel_and_of_one_color() -> None:
    for size in (1, 2, 32):
        found = looks(torch.full((2, 1, size, size), 7, dtype=torch.uint8))
        assert all(value.isfinite().all() for value in found.values())


def test_outliers_are_far_from_all_others() -> None:
    seen = of(torch.zeros(200, 1, 4, 4, dtype=torch.uint8))
    seen.embeddings = torch.randn(200, 6, generator=DRAW)
    seen.embeddings[7] += 20
    seen.embeddings[9] += 40
    seen.embeddings[11] += 60
    seen.test[11] = True  # only training images are judged
    found = outliers(seen)
    assert found.rows.tolist()[:2] == [9, 7] and 11 not in found.rows and found.scores[0] > 5
    few = of(torch.zeros(5, 1, 4, 4, dtype=torch.uint8))
    few.embeddings = torch.zeros(5, 2)
    assert not len(outliers(few).rows)
