"""Pairs of near hashes: all of them, as by comparing all with all."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from dsopt.audit import hashes
from dsopt.audit.looks import looks, perceptual_hash


def planted(count: int, seed: int) -> np.ndarray:
    """Random hashes; half of them another one with a few bits changed."""
    draw = np.random.default_rng(seed)
    known = draw.integers(0, 2**64, count, np.uint64)
    for i in range(count // 2, count):
        changed = np.uint64(1) << draw.choice(64, draw.integers(0, 8), replace=False).astype(np.uint64)
        known[i] = known[draw.integers(count // 2)] ^ np.bitwise_or.reduce(changed, initial=np.uint64(0))
    return known[draw.permutation(count)]


@pytest.mark.parametrize("bits", [0, 1, 4, 7])
@pytest.mark.parametrize("all_with_all", [0, 4096])
def test_all_pairs_and_each_once(bits: int, all_with_all: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hashes, "ALL", all_with_all)
    monkeypatch.setattr(hashes, "BLOCK", 50)
    known = np.r_[planted(300, bits), np.repeat(np.uint64(5), 9)]  # 9 equal ones are 36 pairs
    apart = np.bitwise_count(known[:, None] ^ known)
    expected = {(i, j, apart[i, j]) for i, j in zip(*np.nonzero(np.triu(apart <= bits, 1)), strict=True)}
    found = [pair for block in hashes.pairs_within(known, bits) for pair in zip(*block, strict=True)]
    assert len(found) == len(set(found)) and set(found) == expected


def test_no_rows_and_one_row() -> None:
    assert not list(hashes.pairs_within(np.empty(0, np.uint64), 4))
    assert not [pair for block in hashes.pairs_within(np.ones(1, np.uint64), 4) for pair in zip(*block, strict=True)]


def test_a_hash_outlives_a_change_of_light_and_size() -> None:
    draw = torch.Generator().manual_seed(0)
    images = F.interpolate(torch.rand(20, 1, 6, 6, generator=draw), (64, 64), mode="bicubic").clamp(0, 1)
    known = perceptual_hash(images).numpy().view(np.uint64)
    for changed in (0.5 * images + 0.1, F.interpolate(images, (48, 48), mode="bilinear", antialias=True)):
        apart = np.bitwise_count(known ^ perceptual_hash(changed).numpy().view(np.uint64))
        assert np.median(apart) <= 2
    others = np.bitwise_count(known[:, None] ^ known)[~np.eye(20, dtype=bool)]
    assert others.min() > 4


def test_equal_images_look_the_same_in_any_batch() -> None:
    images = torch.randint(0, 256, (7, 3, 9, 12), dtype=torch.uint8)
    together, alone = looks(images), looks(images[3:4])
    assert together["hash"][3] == alone["hash"][0] and torch.equal(together["sharpness"][3], alone["sharpness"][0])
