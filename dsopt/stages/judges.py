"""What judges images for selection and sampling: the proxy or the teacher, each a trained classifier or a probe of embeddings."""

from collections.abc import Callable

import pyarrow as pa
import torch
from torch import Tensor

from dsopt.data.images import decode, find
from dsopt.pipeline.plan import Plan
from dsopt.seeds import derive
from dsopt.stages import probe, proxy
from dsopt.stages.proxy import Role
from dsopt.storage import Stage, Table
from dsopt.training.worker import Worker

BATCH = 512  # images a forward pass


def model(plan: Plan, role: Role) -> Stage:
    """The stage of a judge: a table with the scores of every training image."""
    return probe.model(plan) if getattr(plan.config, role).name == "probe" else proxy.model(plan, role)


def soft_labels(judge: Stage, views: int, seed: int, worker: Worker) -> Callable[[int, pa.Table], Tensor]:
    """(index of a part, rows of images) -> class probabilities [n, classes].

    Those of a classifier are means over augmented views. A probe has one for each image, of a classifier that has not seen it.
    """
    if judge.kind == probe.PROBE:
        return _of_table(Table(judge.uri))
    network = proxy.Judge(judge, worker.device)

    def of_views(index: int, table: pa.Table) -> Tensor:
        images = decode(table.select(["id", "image", "label", "key"]), size=network.inputs.loaded).images
        batches = enumerate(images.split(BATCH))
        return torch.cat([network.soft_labels(batch, views, derive(seed, "soft", index, i)) for i, batch in batches])

    return of_views


def _of_table(table: Table) -> Callable[[int, pa.Table], Tensor]:
    rows = table.read(columns=["id", "probability"]).combine_chunks()
    ids, flat = (
        torch.from_numpy(column.to_numpy().copy()) for column in (rows["id"], rows["probability"].combine_chunks().flatten())
    )
    probabilities = flat.view(len(ids), -1)
    return lambda index, some: probabilities[find(torch.from_numpy(some["id"].to_numpy().copy()), ids)]
