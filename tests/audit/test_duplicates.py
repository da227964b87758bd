"""Groups of images that are the same or nearly so, with answers known by hand."""

import io

import numpy as np
import pytest
import torch
from digits import digits
from PIL import Image

from dsopt.audit import pairs
from dsopt.audit.contract import Found, Seen
from dsopt.audit.duplicates import embedding_duplicates, embedding_leaks, exact_duplicates, leaks, near_duplicates, near_leaks
from dsopt.audit.looks import content, looks
from dsopt.audit.pairs import lead
from dsopt.errors import InputError, JobError


def seen(contents: str, test: str = "", labels: str = "") -> Seen:
    """Images by letters of their content, with '.' for training and 't' for test images."""
    numbers = np.array([[ord(letter), 0] for letter in contents])
    given = torch.tensor([int(label) for label in labels.ljust(len(contents), "0")])
    is_test = torch.tensor([mark == "t" for mark in test.ljust(len(contents), ".")])
    return Seen(100 + torch.arange(len(contents)), is_test, given, numbers)


def groups(found: Found) -> list[list[int]]:
    assert found.groups is not None
    return [found.rows[found.groups == group].tolist() for group in found.groups.unique()]


def test_exact_duplicates_within_a_split() -> None:
    found = exact_duplicates(seen("abacabd", "....t.t"))
    assert groups(found) == [[0, 2], [1, 5]] and found.kept is not None and found.rows[found.kept].tolist() == [0, 1]
    assert found.scores.tolist() == [2, 2, 2, 2]


def test_the_commonest_label_is_kept_and_the_largest_group_comes_first() -> None:
    found = exact_duplicates(seen("aabbb", labels="00100"))
    assert groups(found) == [[3, 2, 4], [0, 1]] and found.kept is not None and found.rows[found.kept].tolist() == [3, 0]


def test_leaks_are_of_both_splits() -> None:
    found = leaks(seen("abacbe", "..t..."))
    assert groups(found) == [[2, 0]] and found.kept is not None and found.kept.tolist() == [True, False]
    assert not len(leaks(seen("abcab")).rows) and not len(leaks(seen("abcab", "ttttt")).rows)


def test_of_nothing() -> None:
    for check in (exact_duplicates, leaks):
        assert not len(check(seen("abc")).rows)


def test_every_row_is_near_to_its_leader() -> None:
    """Of a chain 0-1-2-3 the first leads its neighbour, and the third leads the fourth: 0 and 3 have nothing in common."""
    a, b = np.array([0, 1, 2]), np.array([1, 2, 3])
    leader, distance = lead(6, a, b, np.array([0.1, 0.2, 0.3]))
    assert leader.tolist() == [0, 0, 2, 2, -1, -1] and distance[3] == pytest.approx(0.3)


def test_too_many_pairs_end_the_audit_and_not_the_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pairs, "MOST", 40)
    one = seen("abcdefghijklmnopqrstuvwxyz")
    far = torch.arange(26.0)[:, None] * torch.ones(4)
    far[:10] = torch.linspace(0, 0.1, 10)[:, None]  # 45 pairs, among images of which most are 2 apart
    one.embeddings = far
    with pytest.raises(JobError, match="more than 40 pairs"):
        embedding_duplicates(one, share=0.5)


def changed(image: np.ndarray, quality: int) -> np.ndarray:
    sink = io.BytesIO()
    Image.fromarray(image).save(sink, "JPEG", quality=quality)
    return np.asarray(Image.open(sink))


def test_compressed_copies_are_found_in_both_splits() -> None:
    images = digits()[0][:200, 0].numpy()
    copies = np.stack([changed(image, 70) for image in images[:20]])
    everything = torch.from_numpy(np.concatenate([images, copies]))[:, None].contiguous()
    numbers = np.frombuffer(b"".join(content(image, 32, 32, None) for image in everything), np.int64).reshape(-1, 2)
    one = Seen(torch.arange(220), torch.zeros(220, dtype=torch.bool), torch.zeros(220).long(), numbers, looks(everything))
    found = near_duplicates(one)
    assert sorted(map(sorted, groups(found))) == [[i, 200 + i] for i in range(20)]
    assert found.kept is not None and sorted(found.rows[found.kept].tolist()) == list(range(20))
    one.test[200:] = True
    leaked = near_leaks(one)
    assert sorted(groups(leaked)) == [[200 + i, i] for i in range(20)] and not len(near_duplicates(one).rows)
    with pytest.raises(InputError, match="bits=20"):
        near_duplicates(one, bits=20)


def test_embeddings_that_nearly_coincide() -> None:
    one = seen("abcdefghijkk", "..........tt")
    x = torch.randn(12, 4, generator=torch.Generator().manual_seed(0))
    x[1], x[11], x[10] = x[0] + 1e-3, x[5] + 1e-3, x[5] + 2e-3
    one.embeddings = x
    assert groups(embedding_duplicates(one)) == [[0, 1]] and groups(embedding_leaks(one)) == [[11, 5]]
    one.embeddings = torch.zeros(12, 4)
    assert not len(embedding_duplicates(one).rows)  # an encoder that gives one answer tells nothing


def test_content_is_of_pixels_where_the_copy_has_all_of_them_and_else_of_bytes() -> None:
    small, digest = torch.zeros(1, 8, 8, dtype=torch.uint8), "00" * 16
    assert content(small, 8, 8, digest) == content(small, 8, 8, "11" * 16) == content(small, 8, 8, None)
    assert content(small, 16, 16, digest) == bytes(16) != content(small, 16, 16, None)
    assert content(small, 8, 6, digest) == bytes(16)  # the middle of a picture
    assert content(small, 8, 8, digest, lossless=False) == bytes(16)
    assert content(small, 8, 8, None) != content(small, 4, 4, None) != content(small + 1, 4, 4, None)
