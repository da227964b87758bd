"""Every registered check on the same images: what it gives is sound, ordered, and the same every time."""

import numpy as np
import pytest
import torch
from digits import digits

from dsopt.audit.contract import Seen
from dsopt.audit.issues import ISSUES, left_out, rows
from dsopt.audit.looks import content, looks
from dsopt.config.audit import KINDS
from dsopt.registry import CHECKS


def some() -> Seen:
    """Digits, the first thirty again as test images, the next as training images; every third with one pixel changed."""
    images, labels = digits()[0][:150].contiguous(), digits()[1][:150]
    again = images[:60].clone()
    again[::3, 0, 0, 0] += 1
    images, labels = torch.cat([images, again]), torch.cat([labels, labels[:60]])
    test = (torch.arange(210) >= 150) & (torch.arange(210) < 180)
    numbers = np.frombuffer(b"".join(content(image, 32, 32, None) for image in images), np.int64).reshape(-1, 2)
    sides = {"width": torch.full((210,), 32), "height": torch.full((210,), 32)}
    logits = torch.randn(210, 10, generator=torch.Generator().manual_seed(0))
    scores = {"probability": logits.softmax(1), "aum": torch.linspace(-1, 1, 210)}
    return Seen(torch.arange(210), test, labels, numbers, looks(images) | sides, images.flatten(1)[:, ::16].float(), scores)


@pytest.mark.parametrize("name", CHECKS.names())
def test_every_check(name: str) -> None:
    seen = some()
    found, again = (CHECKS.build(name)(some()) for _ in range(2))
    assert all(torch.equal(one, other) for one, other in zip(found, again, strict=True) if one is not None)
    assert found.scores.isfinite().all() and len(set(found.rows.tolist())) == len(found.rows)
    assert (found.groups is None) == (found.kept is None)
    if found.groups is not None and found.kept is not None:
        assert (found.groups.diff() >= 0).all() and len(found.rows)
        assert found.groups[found.kept].unique().tolist() == found.groups.unique().tolist()
    table = rows(name, found, seen, None)
    assert table.schema == ISSUES and len(table) == len(found.rows)
    out = left_out(table, [name])[name]
    assert not seen.test[torch.from_numpy(out)].any()
    assert CHECKS.traits(name).needs in ("looks", "embeddings", "scores") and CHECKS.traits(name).unit and CHECKS.summary(name)


def test_the_usual_checks_are_registered() -> None:
    assert set(KINDS) == set(CHECKS.names()) - {"low_aum"}
