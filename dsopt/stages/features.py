"""features: real images of both splits as the network sees them that images are measured by; made once for all that is measured."""

from collections.abc import Iterator
from functools import partial
from typing import Any

import torch
from torch import Tensor

from dsopt.config import Config
from dsopt.errors import InputError
from dsopt.files import read_bytes
from dsopt.models.inception import inception
from dsopt.pipeline.step import Step, item_by_item
from dsopt.stages import ingest, proxy
from dsopt.stages.embed import Embedded, Encode, read_part, weights_of, write_part
from dsopt.storage import Stage, Table, embeddings_schema
from dsopt.training.worker import Worker

BATCH = 250  # images a forward pass


def features(config: Config) -> tuple[Stage, list[Step]]:
    """The features of `measure.extractor` of all real images, and the steps that lead there."""
    chosen = config.measure
    made_of: dict[str, Any] = {"extractor": chosen.extractor}
    if chosen.extractor == "classifier":
        judge, steps = proxy.judge(config, "proxy")
        inputs = {"images": judge.inputs["images"], "proxy": judge}
    else:
        made_of["weights"] = weights_of(chosen.weights, "measure")
        images, steps = ingest.images(config)
        inputs = {"images": images}
    stage = Stage(config.storage, "features", f"{config.data.name}-{chosen.extractor}", made_of, inputs)
    return stage, [*steps, Step(stage, _work)]


def extractor(stage: Stage, config: Config, device: torch.device) -> Encode:
    """What makes features of images, uint8 [n, c, h, w], on a device: [n, d] in fp32, on the CPU."""
    if config.measure.extractor == "classifier":
        see = proxy.Judge(stage.inputs["proxy"], config, device).features
    else:
        assert config.measure.weights is not None
        try:
            see = inception(read_bytes(config.measure.weights), device)
        except FileNotFoundError:
            raise InputError(f"measure.weights={config.measure.weights}: there is no such file.") from None

    @torch.inference_mode()
    def extract(images: Tensor) -> Tensor:
        return torch.cat([see(batch.to(device)).float().cpu() for batch in images.split(BATCH)])

    return extract


def _work(stage: Stage, config: Config) -> None:
    from dsopt.cluster.data import stream

    parts = Table(stage.inputs["images"].uri).parts()
    read, write = partial(read_part, parts=parts), partial(write_part, stage=stage)
    see = partial(_seer, stage=stage, config=config)

    def entries(indices: list[int]) -> Iterator[dict[str, Any]]:
        return stream(indices, config.cluster, read, see, write)

    done, seconds = item_by_item(f"features {stage.name}", stage, [part.rows for part in parts], "images", entries)
    written = [entry["part"] | {"split": part.split} for entry, part in zip(done, parts, strict=True)]
    stage.commit(written, embeddings_schema(done[0]["size"]), seconds=seconds)


def _seer(worker: Worker, stage: Stage, config: Config):
    extract = extractor(stage, config, worker.device)

    def see(item: tuple[int, Any]) -> Embedded:
        index, images = item
        return index, images.ids.numpy(), images.labels.numpy(), extract(images.images).numpy()

    return see
