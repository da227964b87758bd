"""Distilling, evaluating and searching with more images than a GPU holds: they come to it by batches, on a pretended GPU."""

import warnings
from pathlib import Path

import pytest
import torch
from pretended_gpu import CUDA, PretendedGpu
from slow_reader import ROWS, digits_stage

from dsopt.config import ChildConfig, load
from dsopt.data import room
from dsopt.jobs.search import child
from dsopt.pipeline.plan import Plan
from dsopt.stages import distill, evaluate, ingest
from dsopt.stages.evaluate import Evaluation, evaluation
from dsopt.training.worker import Worker

SIDE = 32


@pytest.fixture
def gpu(monkeypatch: pytest.MonkeyPatch):
    """A GPU on which no set fits, and which any work of this process takes."""
    monkeypatch.setattr(room, "fits_device", lambda size, device: False)
    monkeypatch.setattr("dsopt.cluster.train.this_process", lambda *of: Worker(device=CUDA))
    monkeypatch.setattr(Worker, "describe", lambda worker: "a pretended GPU")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield PretendedGpu()


def test_a_distillation_and_its_evaluation(gpu, tmp_path, monkeypatch):
    monkeypatch.setattr(evaluate, "AT_ONCE", 20)
    base = [f"storage={tmp_path}", "data.name=digits", "data.limit=300", "cluster.workers=0", "distill.network.name=convnet"]
    small = ["distill.name=dm", "distill.steps=2", "distill.batch_size=20", "distill.network.options={width: 4, depth: 2}"]
    plan = Plan(load([*base, *small, "evaluate.repeats=1", "evaluate.steps=2", "evaluate.real_epochs=0"]))
    images, made = ingest.images(plan), distill.artefact(plan)
    plan.run(images)
    monkeypatch.setattr(evaluate, "BATCH", 20)
    with gpu.pretend():
        plan.run(made)
        for which in ("set", "all"):
            trial = Evaluation(made.uri, plan.config.distill.network, "common", False, which)
            plan.run(evaluation(plan, trial, images))
    assert gpu.mixed == [] and gpu.calls > 100
    # Activations of 20 images with 4 channels are the largest; 240 images of the set would be more.
    assert 20 * 4 * SIDE**2 <= gpu.largest < 4 * 240 * SIDE**2


def test_the_data_of_a_search(gpu, tmp_path: Path):
    source = child.MaterialSource(digits_stage(tmp_path, 4), None, None, False, 0.3, 0, ("flip",), "deviation")
    with gpu.pretend():
        given = child.material.__wrapped__(source, CUDA)
        assert not gpu.holds(given.images) and not gpu.holds(given.held_out.images) and gpu.holds(given.labels)
        feed = child.feed(given, 4, 0, Worker(device=CUDA))
        batch = feed(0)
        assert gpu.holds(batch.images) and gpu.holds(batch.labels) and gpu.mixed == []
        settings = ChildConfig(steps=2, batch_size=4)
        network = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(SIDE**2, 10))
        child.train_child(lambda: network, given, settings, 2, 0, Worker(device=CUDA))
    assert gpu.mixed == [] and gpu.largest <= max(4 * 10 * SIDE**2, 4 * 4 * ROWS * SIDE**2)
