"""features: real images of both splits -> what the network that measures images makes of them; made once for all measures."""

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import torch
from torch import Tensor

from dsopt.config import Config
from dsopt.errors import InputError
from dsopt.files import read_bytes
from dsopt.models.inception import Inception, inception
from dsopt.pipeline.encoding import Embedded, embed_part, of_copies, write_embeddings
from dsopt.pipeline.parts import item_by_item
from dsopt.pipeline.plan import Plan
from dsopt.stages import ingest, proxy
from dsopt.stages.embed import weights_fingerprint
from dsopt.storage import Kind, Part, Stage, Table, embeddings_schema
from dsopt.training.worker import Worker

FEATURES = Kind("features")
BATCH = 250  # images a forward pass


def features(plan: Plan) -> Stage:
    """The features of `measure.extractor` of all real images."""
    config, chosen, inputs = plan.config, plan.config.measure, {"images": ingest.images(plan)}
    made_of: dict[str, Any] = {"extractor": chosen.extractor}
    if chosen.extractor == "classifier":
        inputs["proxy"] = proxy.model(plan, "proxy")
    else:
        made_of["weights"] = weights_fingerprint(chosen.weights, "measure")
    return plan.add(FEATURES, f"{config.data.name}-{chosen.extractor}", made_of, inputs, _extract)


def extractor(stage: Stage, config: Config, device: torch.device) -> Callable[[Tensor], Tensor]:
    """What makes features of images, uint8 [n, c, h, w], on a device: [n, d] in fp32, on the CPU.

    Args:
        stage: has the proxy among its inputs where `measure.extractor` is the classifier.
    """
    if "proxy" in stage.inputs:
        network = proxy.Judge(stage.inputs["proxy"], device).features
    else:
        network = inception_of(config, device).features

    @torch.inference_mode()
    def extract(images: Tensor) -> Tensor:
        return torch.cat([network(batch.to(device)).float().cpu() for batch in images.split(BATCH)])

    return extract


def inception_of(config: Config, device: torch.device) -> Inception:
    """Inception with the weights of `measure.weights`. Raises InputError if these are not there, or none of it."""
    assert config.measure.weights is not None
    try:
        return inception(read_bytes(config.measure.weights), device)
    except FileNotFoundError:
        raise InputError(f"measure.weights={config.measure.weights}: there is no such file.") from None


def _extract(worker: Worker, stage: Stage, config: Config) -> None:
    from dsopt.cluster.data import stream

    parts = Table(stage.inputs["images"].uri).parts()
    on_device = partial(_on_device, stage=stage, config=config, parts=parts)
    write = partial(write_embeddings, stage=stage)

    def entries(indices: list[int]) -> Iterator[dict[str, Any]]:
        return stream(indices, config.cluster, None, on_device, write)

    done, seconds = item_by_item(f"features {stage.name}", stage, [part.rows for part in parts], "images", entries)
    written = [entry["part"] | {"split": part.split} for entry, part in zip(done, parts, strict=True)]
    stage.commit(written, embeddings_schema(done[0]["size"]), seconds=seconds)


def _on_device(worker: Worker, stage: Stage, config: Config, parts: list[Part]) -> Callable[[int], tuple[int, Embedded]]:
    size = Table(stage.inputs["images"].uri).manifest["image_size"]
    embedder = of_copies(extractor(stage, config, worker.device), size)
    return lambda index: (index, embed_part(parts[index], [embedder], worker, BATCH, torch.float32, size))
