"""embed: images + a network -> the embeddings table; exactly one row an image, the same on any number of workers."""

import re
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

from dsopt.config import Config, differing
from dsopt.errors import InputError, JobError
from dsopt.files import stat
from dsopt.learners.placement import compute_dtype
from dsopt.models import filters, libraries
from dsopt.pipeline import networks
from dsopt.pipeline.encoding import Embedded, Embedder, Known, embed_part, of_copies, of_encoder, write_embeddings
from dsopt.pipeline.parts import item_by_item
from dsopt.pipeline.plan import Plan
from dsopt.stages import autoencoder, ingest, own_embeddings, proxy
from dsopt.stages.earlier import Reused, earlier, reuse
from dsopt.storage import Kind, Part, Stage, Table, embeddings_schema
from dsopt.training.worker import Worker

EMBED = Kind("embed", version=2)
TRAINED = ("autoencoder", "proxy")  # encoders that are trained here
OWN = (*TRAINED, "filters")  # encoders of this project, which see the working copies


def embeddings(plan: Plan, split: str = "train") -> Stage:
    """The embeddings of the images of a split by `embed.encoder`, or of the training images those of `embed.table`."""
    config, chosen, inputs = plan.config, plan.config.embed, {"images": ingest.images(plan)}
    if chosen.source == "table":
        assert chosen.table is not None
        made_of = {"table": own_embeddings.fingerprint(chosen.table)} | ({"dtype": chosen.dtype} if chosen.dtype != "fp32" else {})
        return plan.add(EMBED, f"{config.data.name}-table", made_of, inputs, own_embeddings.take_over)
    made_of = differing(config, "embed", without=("embed.weights", "embed.table", "embed.source", "embed.extends"))
    before = earlier(config)
    made_of |= {} if split == "train" else {"split": split}
    if "autoencoder" in chosen.encoder:
        inputs["autoencoder"] = before.input("autoencoder") if before else autoencoder.model(plan)
    if "proxy" in chosen.encoder:
        inputs["proxy"] = before.input("proxy") if before else proxy.model(plan, "proxy")
    external = _external(config)
    for name, weights in external:
        libraries.check(name, weights, chosen.size)
    if external:
        made_of["files"] = [libraries.fingerprint(name) for name, _ in external]
        made_of["weights"] = [weights_fingerprint(path, "embed") for path in chosen.weights]
    if before and split == "train":
        before.check(made_of, inputs["images"].made_of.get("data", {}))
        made_of["extends"] = before.table.manifest["hash"]
    name = "+".join(
        re.sub(r"[^\w.-]+", "-", encoder.rpartition(":")[2].rstrip("/").rpartition("/")[2]) for encoder in chosen.encoder
    )
    name = name if split == "train" else f"{name}-{split}"
    return plan.add(EMBED, f"{config.data.name}-{name}", made_of, inputs, _embed, check=_check)


def _check(stage: Stage, config: Config) -> None:
    """Refuse encoders that cannot be had or cannot see what a GPU decodes, before workers are started to load them."""
    for name, weights in _external(config):
        found = libraries.encoder(name, weights, config.embed.size)
        if config.embed.decode == "gpu" and found.shrunk is None:
            raise InputError(f"embed.decode=gpu: {name} takes pictures of PIL; expected embed.decode=cpu.")


def _external(config: Config) -> list[tuple[str, str]]:
    """The encoders of libraries and of the user, each with its weights."""
    names = [name for name in config.embed.encoder if name not in OWN]
    return list(zip(names, config.embed.weights or [libraries.LIBRARY] * len(names), strict=True))


def _embed(worker: Worker, stage: Stage, config: Config) -> None:
    from dsopt.cluster.data import stream

    table, split = Table(stage.inputs["images"].uri), stage.made_of.get("split", "train")
    parts = table.parts(split)
    before = earlier(config) if "extends" in stage.made_of else None
    reused = reuse(before, table, f"embed {stage.name}") if before else None
    encode = partial(_encoder, stage=stage, config=config, parts=parts, reused=reused)
    write = partial(write_embeddings, stage=stage, dtype=config.embed.dtype)

    def entries(indices: list[int]) -> Iterator[dict[str, Any]]:
        return stream(indices, config.cluster, None, encode, write)

    done, seconds = item_by_item(f"embed {stage.name}", stage, [part.rows for part in parts], "images", entries)
    written = sum(entry["part"]["rows"] for entry in done)
    if written != table.rows(split):
        raise JobError(f"{stage.uri}: {written} embeddings of {table.rows(split)} images.")
    size = done[0]["size"] if done else 0  # a split without images
    schema = embeddings_schema(size, config.embed.dtype)
    stage.commit([entry["part"] for entry in done], schema, seconds=seconds, embedding_size=size)


def _encoder(
    worker: Worker, stage: Stage, config: Config, parts: list[Part], reused: Reused | None
) -> Callable[[int], tuple[int, Embedded]]:
    """The encoders on a worker's device: the index of a part -> its embeddings."""
    image_size, chosen = Table(stage.inputs["images"].uri).manifest["image_size"], config.embed
    weights = dict(_external(config))

    def embedder(name: str) -> Embedder:
        if name == "autoencoder":
            return _autoencoder(stage.inputs[name], image_size, worker)
        if name == "filters":
            return of_copies(filters.answers, filters.SIDE)
        if name == "proxy":
            judge = proxy.Judge(stage.inputs[name], worker.device)
            return of_copies(judge.features, judge.inputs.loaded or image_size)
        return of_encoder(libraries.encoder(name, weights[name], chosen.size), config.data, worker.device, chosen.decode)

    embedders, dtype = [embedder(name) for name in chosen.encoder], compute_dtype(chosen.precision, worker.device)

    def encode(index: int) -> tuple[int, Embedded]:
        known = Known(reused.places[index], reused.read) if reused else None
        return index, embed_part(parts[index], embedders, worker, chosen.batch_size, dtype, image_size, known)

    return encode


def _autoencoder(model: Stage, image_size: int, worker: Worker) -> Embedder:
    encoder, inputs = autoencoder.trained(model, worker.device), networks.inputs_of(Table(model.uri))
    return of_copies(lambda images: encoder.encode(inputs.test(images)), inputs.loaded or image_size)


def weights_fingerprint(path: str | None, section: str) -> list[Any] | None:
    """Fingerprint of the user's file of weights: its size and time of change. Raises InputError if it is not there."""
    if path in (None, libraries.LIBRARY):
        return None
    file = stat(path)
    if file is None:
        raise InputError(f"{section}.weights={path}: there is no such file.")
    return list(file)
