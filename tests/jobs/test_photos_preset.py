"""The main job for photographs by one command: a pretrained encoder, the probe's soft labels, a library's network."""

from pathlib import Path

import numpy as np
import pytest
import timm
import torch
from PIL import Image
from running import here, read
from safetensors.torch import save_file

from dsopt.jobs.optimize.job import comparison
from dsopt.pipeline.plan import Plan
from dsopt.stages import select
from dsopt.storage import Table

pytestmark = pytest.mark.usefixtures("unrendered")


@pytest.mark.slow
def test_the_preset_for_photographs(tmp_path: Path) -> None:
    numbers = np.random.default_rng(0)
    for i in range(48):
        color = ((200, 60, 40), (40, 80, 200))[i % 2]
        noise = numbers.integers(-30, 30, (90, 120, 3))
        file = tmp_path / "photos" / ("red", "blue")[i % 2] / f"{i}.jpg"
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray((np.array(color) + noise).clip(0, 255).astype(np.uint8)).save(file)
    torch.manual_seed(0)
    save_file(timm.create_model("test_efficientnet").state_dict(), tmp_path / "w.safetensors")
    settings = [
        *(
            "preset=photos_fast",
            f"data.root={tmp_path}/photos",
            f"storage={tmp_path}/runs",
            "cluster.workers=0",
            "data.image_size=72",
        ),
        *("embed.encoder=timm:test_efficientnet", f"embed.weights={tmp_path}/w.safetensors", "embed.size=96", "select.budget=10"),
        *("train.name=timm:test_resnet", "train.size=64", "train.weights=null", "train.learning_rate=0.05"),
        *("train.steps=12", "train.batch_size=16", "compare.seeds=1"),
        *("compare.equal_cost=false", "probe.folds=2"),
    ]
    here(*settings)
    plan = Plan(read(*settings))
    chosen = Table(select.subset(plan, plan.config.select, 0).uri)
    rows = [row for part in chosen.files() for row in part.read().to_pylist()]
    originals = {file.read_bytes() for file in (tmp_path / "photos").rglob("*.jpg")}
    assert len(rows) == 10 and {row["label_name"] for row in rows} == {"red", "blue"}
    assert all(row["image"]["bytes"] in originals and len(row["soft_label"]) == 2 for row in rows)
    accuracies = {
        row.title: found["value"]
        for row, _, run in comparison(plan)
        for found in Table(run.uri).read().to_pylist()
        if (found["split"], found["name"]) == ("test", "accuracy")
    }
    subsets, probes = ("random_balanced", "kmeans"), ("full data", "random_balanced", "kmeans")
    trained = ["full data", *(f"{name}{labels}, 100/0" for labels in ("", "+soft") for name in subsets)]
    assert list(accuracies) == [*trained, *(f"linear probe, {name}" for name in probes)]
    assert max(accuracies[name] for name in trained) > 0.8 and accuracies["linear probe, full data"] > 0.8
