"""New images between real ones."""

from pathlib import Path

import pytest
import torch

import dsopt
from dsopt.config import load
from dsopt.errors import InputError
from dsopt.generation.interpolate import interpolate
from dsopt.pipeline.plan import Plan
from dsopt.stages import interpolated, select
from dsopt.storage import Table

SMALL = ["data.name=digits", "data.limit=200", "cluster.workers=0", "autoencoder.steps=4", "autoencoder.options.width=4"]


def test_points_lie_between_two_of_their_class() -> None:
    random = torch.Generator().manual_seed(0)
    points, labels = torch.randn(60, 5, generator=random), torch.arange(60) % 3
    wanted = torch.arange(30) % 3
    found, ends = interpolate(points, labels, wanted, 7)
    assert torch.equal(labels[ends], wanted[:, None].expand(-1, 2)) and bool((ends[:, 0] != ends[:, 1]).all())
    first, second = points[ends[:, 0]], points[ends[:, 1]]
    detour = (found - first).norm(dim=1) + (second - found).norm(dim=1) - (second - first).norm(dim=1)
    assert float(detour.abs().max()) < 1e-5
    for label in range(3):
        mine = points[labels == label]
        near = torch.cdist(first[wanted == label], mine).argsort(1)[:, 1:6]  # after itself
        assert all(bool((mine[some] == end).all(1).any()) for some, end in zip(near, second[wanted == label], strict=True))
    assert torch.equal(found, interpolate(points, labels, wanted, 7)[0])
    assert not torch.equal(found, interpolate(points, labels, wanted, 8)[0])


def test_the_table(tmp_path: Path) -> None:
    config = load([f"storage={tmp_path}", *SMALL, "select.name=random_balanced", "select.budget=30"])
    plan = Plan(config)
    base = select.subset(plan, config.select, 0)
    stage = interpolated.images(plan, base, 2.0, 0)
    plan.run(stage)
    made, given = dsopt.load_subset(stage.uri), dsopt.load_subset(base.uri)
    assert len(made) == 60 and made.images.shape == (60, 1, 32, 32) and torch.bincount(made.labels).tolist() == [6] * 10
    assert torch.equal(made.images[:, :, :5, 4:28], made.images[:, :, 4:5, 4:28].expand(-1, -1, 5, -1))  # the border is repeated
    sources = [text.split() for text in Table(stage.uri).read(columns=["key"])["key"].to_pylist()]
    assert {int(word) for text in sources for word in (text[1], text[3])} <= set(given.ids.tolist())


def test_only_what_can_be_decoded(tmp_path: Path) -> None:
    plan = Plan(load([f"storage={tmp_path}", *SMALL, "embed.encoder=proxy"]))
    with pytest.raises(InputError, match="only embeddings of the autoencoder"):
        interpolated.images(plan, select.subset(plan, plan.config.select, 0), 1.0, 0)
    plan = Plan(load([f"storage={tmp_path}", *SMALL, "select.name=random", "select.budget=5"]))
    few = interpolated.images(plan, select.subset(plan, plan.config.select, 0), 1.0, 0)
    with pytest.raises(InputError, match=r"class \d has [01] images, but needs two"):
        plan.run(few)
