"""Two processes with gloo, without Ray: the same training as in one, fed by samplers. For what trains see `tests/contracts`."""

import json
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist
import torch.nn.functional as F
from digits import CPU, digits, feed
from torch import Tensor, nn
from torch.multiprocessing.spawn import spawn

from dsopt.data.background import BackgroundLoader
from dsopt.learners.classifier import Classifier
from dsopt.learners.placement import unwrapped
from dsopt.training.loop import Phase, fit
from dsopt.training.overlap import Overlap
from dsopt.training.samplers.contract import LossAwareSampler
from dsopt.training.samplers.infobatch import infobatch
from dsopt.training.samplers.loss_topk import loss_topk

pytestmark = pytest.mark.slow

SETTINGS: dict[str, Any] = {
    "learning_rate": 0.05,
    "momentum": 0.9,
    "weight_decay": 0.004,
    "average": 0.9,
    "precision": "fp32",
    "device": CPU,
}
Work = Callable[[int, int, Path], dict[str, Any]]  # (rank, world, folder) -> what it found


def classifier(rank: int, world: int, folder: Path) -> dict[str, Any]:
    """Ten steps on digits with a network without batch statistics, which would be of half a batch."""
    torch.manual_seed(rank)  # DDP takes rank 0's weights
    network = nn.Sequential(nn.Flatten(), nn.Linear(576, 32), nn.ReLU(), nn.Linear(32, 10))
    learner = Classifier(network, **SETTINGS, world=world)
    source = feed(100, 32, rank=rank, world=world)
    reports: list[int] = []
    state = fit(learner, [Phase(source, lambda p: 1.0, 10)], report=lambda s: reports.append(s.total), report_every=1)
    average = float(nn.utils.parameters_to_vector(learner.networks["average"].parameters()).double().sum())
    return {"losses": [value for *_, value in state.rows], "average": average, "reports": reports}


def learning(rank: int, world: int, folder: Path) -> dict[str, Any]:
    """Fed by losses: every process must have seen those of all images."""
    torch.manual_seed(rank)
    learner = Classifier(nn.Sequential(nn.Flatten(), nn.Linear(576, 10)), **SETTINGS, world=world)
    sampler = infobatch(100, 20, 0, 1000)
    source = replace(feed(100, 20, augment=["crop"], rank=rank, world=world), sampler=sampler, observe=partial(tell, sampler))
    state = fit(learner, [Phase(source, lambda p: 1.0, 12, memory=sampler)], report_every=1)
    found = sampler.state_dict()
    return {
        "losses": [value for *_, value in state.rows],
        "seen": found["losses"].tolist(),
        "order": found["order"].tolist(),
        "weights": found["weights"].unique().tolist(),
    }


def tell(sampler: LossAwareSampler, indices: Tensor, labels: Tensor, logits: Tensor) -> None:
    sampler.observe(indices, F.cross_entropy(logits, labels, reduction="none"))


def hardest(rank: int, world: int, folder: Path) -> dict[str, Any]:
    """Each process chooses in its own slice; the small classifier is trained by both."""
    made: list[Classifier] = []

    def small_classifier(width: int) -> Classifier:
        torch.manual_seed(rank)
        made.append(Classifier(nn.Sequential(nn.Flatten(), nn.Linear(576, 10)), **SETTINGS, world=world))
        return made[0]

    torch.manual_seed(rank)
    learner = Classifier(nn.Sequential(nn.Flatten(), nn.Linear(576, 10)), **SETTINGS, world=world)
    sampler = loss_topk(100, 20, 0, small_classifier)
    source = replace(feed(100, 20, rank=rank, world=world), sampler=sampler, keep=sampler.keep)
    slices = [len(source(step).labels) for step in range(2)]
    state = fit(learner, [Phase(source, lambda p: 1.0, 6, memory=sampler)], report_every=1)
    weights = nn.utils.parameters_to_vector(unwrapped(made[0].networks["classifier"]).parameters())
    return {"slices": slices, "losses": [value for *_, value in state.rows], "classifier": float(weights.double().abs().sum())}


class Coming(BackgroundLoader):
    """A set that comes faster in one process than in the other."""

    def __init__(self, faster: int) -> None:
        self.subset, self.n, self.row_of, self.labels = 3, 100, torch.tensor([7, 30, 80]), torch.empty(0)
        self.step, self.there = 8 * (1 + faster), 0

    def rows(self) -> int:
        self.there = min(self.n, self.there + self.step)
        return self.there

    def wait(self, rows: int) -> None:
        assert rows <= self.there, "it would wait for what only the other has"


def overlapping(rank: int, world: int, folder: Path) -> dict[str, Any]:
    draw = Overlap(Coming(rank), 10, 0)
    shown = [draw(step).indices.tolist() for step in range(200)]
    return {"shown": shown, "growths": draw.growths}


def easiest(rank: int, world: int, folder: Path) -> dict[str, Any]:
    """The second process sees other pictures, as if it rounded otherwise: it takes what the first one chose."""
    coming: Any = Coming(rank)
    pixels, coming.labels = digits()[0], digits()[1][:103]
    coming.images = pixels[103 * rank : 103 * (rank + 1)]
    draw = Overlap(coming, 10, 0, share=0.5)
    return {"shown": [draw(step).indices.tolist() for step in range(200)]}


def timed(rank: int, world: int, folder: Path) -> dict[str, Any]:
    """A budget of seconds, interrupted and resumed; the processes must agree about every step, or wait for ever."""

    class File:
        path, saves = folder / "checkpoint", 0

        def load(self) -> bytes | None:
            assert rank == 0
            return self.path.read_bytes() if self.path.exists() else None

        def save(self, data: bytes) -> None:
            assert rank == 0
            self.path.write_bytes(data)

    def one(seconds: float) -> int:
        torch.manual_seed(0)
        network = nn.Sequential(nn.Flatten(), nn.Linear(576, 10))
        learner = Classifier(network, **SETTINGS, world=world)
        source = feed(100, 16, rank=rank, world=world)
        phase = Phase(source, lambda p: 1.0, seconds=seconds)
        return fit(learner, [phase], report_every=1, checkpoint=File(), checkpoint_seconds=-1.0).total

    return {"totals": [one(0.1), one(0.3)]}


WORKS: list[Work] = [classifier, learning, hardest, overlapping, easiest, timed]


def _process(rank: int, world: int, works: list[Work], folder: str) -> None:
    torch.set_num_threads(1)
    rendezvous, patience = f"file://{folder}/rendezvous", timedelta(seconds=60)
    dist.init_process_group("gloo", init_method=rendezvous, rank=rank, world_size=world, timeout=patience)
    found = {work.__name__: work(rank, world, Path(folder)) for work in works}
    Path(folder, f"{rank}.json").write_text(json.dumps(found))
    dist.destroy_process_group()


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    """What each of two processes found, by work; they are started once for all tests."""
    folder = tmp_path_factory.mktemp("two")
    spawn(_process, (2, WORKS, str(folder)), nprocs=2)
    return [json.loads((folder / f"{rank}.json").read_text()) for rank in range(2)]


def test_both_know_the_same(both):
    assert both[0] == both[1]  # means over both, and a clock of both


def test_the_losses_are_those_of_one_process(both, tmp_path):
    alone, found = classifier(0, 1, tmp_path), both[0]["classifier"]
    assert found["losses"] == pytest.approx(alone["losses"], rel=1e-4)
    assert found["average"] == pytest.approx(alone["average"], rel=1e-4) and alone["reports"] == found["reports"]


def test_what_is_left_out_follows_from_the_losses_of_all(both, tmp_path):
    alone, found = learning(0, 1, tmp_path), both[0]["learning"]
    assert found["seen"] == pytest.approx(alone["seen"], rel=1e-3) and found["order"] == alone["order"]
    assert found["losses"] == pytest.approx(alone["losses"], rel=1e-3) and found["weights"] == [1.0, 2.0]


def test_both_train_the_small_classifier(both):
    assert both[0]["hardest"]["slices"] == [10, 10]  # of 20 candidates each; and by `test_both_know_the_same`, alike


def test_both_draw_from_what_both_have(both):
    growths = both[0]["overlapping"]["growths"]
    assert growths[-1][1] == 100 and [rows for _, rows in growths[:4]] == [0, 8, 16, 24]


def test_a_budget_of_seconds_has_one_clock_and_goes_on_after_an_interruption(both):
    first, second = both[0]["timed"]["totals"]
    assert 0 < first < second
