"""Exact duplicates in real data: Fashion-MNIST has none since it was cleaned, and those that it had before are found again."""

import hashlib
from pathlib import Path

import numpy as np
import pytest
import torch

from dsopt.audit.contract import Seen
from dsopt.audit.duplicates import exact_duplicates, leaks
from dsopt.data.sets.mnist import FILES, read_idx_files

FASHION = Path("/usr/share/datasets/fashion-mnist")
# Some of the pairs that the first release had (43 in training, 1 in test, 10 across), by the issue 44 of its repository.
TRAIN = [(601, 39865), (831, 24228), (1826, 23718), (2024, 53883), (4974, 6293), (48955, 51368)]
TEST = [(6334, 8569)]
ACROSS = [(3763, 7243), (4944, 7781), (6168, 9227), (12404, 4037), (15943, 6659)]


def seen(images: np.ndarray) -> Seen:
    content = np.frombuffer(b"".join(hashlib.blake2b(image, digest_size=16).digest() for image in images), np.int64)
    n = len(images)
    return Seen(torch.arange(n), torch.arange(n) >= 60_000, torch.zeros(n, dtype=torch.int64), content.reshape(-1, 2))


@pytest.mark.slow
@pytest.mark.skipif(not FASHION.is_dir(), reason="Debian's package dataset-fashion-mnist is not installed")
def test_exact_duplicates() -> None:
    arrays = read_idx_files(tuple(str(FASHION / f"{name}.gz") for name in FILES))
    images = np.concatenate([arrays["train"][0], arrays["test"][0]])
    assert len({image.tobytes() for image in images}) == 70_000
    assert not len(exact_duplicates(seen(images)).rows) and not len(leaks(seen(images)).rows)
    within = TRAIN + [(60_000 + one, 60_000 + other) for one, other in TEST]
    across = [(one, 60_000 + other) for one, other in ACROSS]
    for one, other in within + across:
        images[other] = images[one]
    found, leaked = exact_duplicates(seen(images)), leaks(seen(images))
    assert sorted(found.rows.tolist()) == sorted(row for pair in within for row in pair)
    assert found.kept is not None and sorted(found.rows[found.kept].tolist()) == [one for one, _ in within]
    assert sorted(leaked.rows.tolist()) == sorted(row for pair in across for row in pair)
    assert leaked.kept is not None and leaked.rows[leaked.kept].tolist() == [other for _, other in across]
