"""select: embeddings (or only labels) -> the subset table: the chosen images with rank, score and reason."""

import json
import math
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from functools import lru_cache, partial
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import torch
import torch.nn.functional as F

from dsopt.config import Config, SelectConfig, differing
from dsopt.data.subsets.subset import label_names, placed
from dsopt.errors import InputError
from dsopt.files import exists, read_table, write_table
from dsopt.pipeline.parts import item_by_item
from dsopt.pipeline.plan import Plan
from dsopt.registry import SELECTORS
from dsopt.selection.choose import choose
from dsopt.selection.listed import Listed, choose_listed, read_list
from dsopt.selection.reading import NONE
from dsopt.stages import embed, ingest, issues, judges, needs, told
from dsopt.stages.kept import CENTROIDS, centroids, earlier_subset, followed, keep_centroids, kept, others
from dsopt.stages.taken import copy_originals, write_csv, write_rows
from dsopt.storage import SUBSET, Kind, Part, Stage, Table
from dsopt.training.worker import Worker

SELECT = Kind("select", 6)


def subset(plan: Plan, select: SelectConfig, seed: int, *, at_most: bool = False) -> Stage:
    """The subset that a selection method chooses, or that `select.ids` lists.

    Only what a method needs is made: embeddings, a proxy's scores, a network for soft labels. Methods that draw nothing at
    random give one subset for all seeds.

    Args:
        at_most: choose all images where the budget is more than there are, instead of refusing.
    """
    traits, images = SELECTORS.traits(select.name), ingest.images(plan)
    plan = plan.having(replace(plan.config, select=select))
    inputs: dict[str, Stage] = {"images": images}
    if select.ids:
        listed = read_list(select.ids)
        choosing, needed = partial(_listed, listed=listed), partial(needs.listed, listed=listed)
        made_of = differing(plan.config, "select.content") | {"ids": listed.digest}
    else:
        choosing, needed = partial(_chosen, seed=seed, at_most=at_most), None if at_most else needs.budget
        if traits.embeddings:
            inputs["embeddings"] = embed.embeddings(plan)
        if traits.scores:
            inputs["scores"] = judges.model(plan, "proxy")
        elsewhere = ("select.soft_labels", "select.views", "select.soft_share", "select.extends")
        made_of = differing(plan.config, "select", without=elsewhere)
        if select.extends:
            made_of["extends"] = earlier_subset(select.extends).manifest["hash"]
        made_of |= {"seed": seed if traits.seeded else None}
        inputs |= issues.of_kinds(plan, select.drop)
    if select.soft_labels != "none":
        inputs["judge"] = judges.model(plan, select.soft_labels)
        made_of |= {"views": select.views, "soft_share": select.soft_share}
    work = partial(_select, seed=seed, choosing=choosing)
    name = f"{plan.config.data.name}-{select.method}"
    stage = Stage(plan.config.storage, SELECT, name, made_of, inputs)
    preview = None if select.ids else partial(told.preview, stage, plan.config)
    return plan.add(SELECT, name, made_of, inputs, work, needs=needed, preview=preview)


def for_training(plan: Plan, select: SelectConfig, seed: int) -> Stage:
    """A subset to train on: with working copies alone, unless it is the one that the configuration is about.

    A command of the user trains on originals, which are exported: of the other subsets an index is enough.
    """
    one_for_all = select.ids or not SELECTORS.traits(select.name).seeded
    own = select == plan.config.select and (seed == plan.config.seed or one_for_all)
    content = "none" if plan.config.compare.command and select.content != "working" else "working"
    return subset(plan, select if own else replace(select, content=content), seed)


def baseline(config: Config, name: str) -> SelectConfig:
    """A baseline's settings: the same number of images by another method, of all images."""
    budget = len(read_list(config.select.ids).names) if config.select.ids else config.select.budget
    return replace(config.select, name=name, options={}, per_class=False, ids=None, budget=budget, drop=[], extends=None)


def cost(*stages: Stage) -> float:
    """Seconds that choosing took: these stages and everything made for them but the images, each once."""
    made_by: dict[str, Stage] = {}

    def gather(stage: Stage) -> None:
        made_by[stage.hash] = stage
        for needed in stage.inputs.values():
            if needed.kind != ingest.INGEST:  # the images are there anyway
                gather(needed)

    for stage in stages:
        gather(stage)
    return math.fsum(Table(made.uri).manifest["seconds"] for made in made_by.values())


def _listed(stage: Stage, config: Config, listed: Listed) -> pa.Table:
    return choose_listed(listed, Table(stage.inputs["images"].uri).parts("train"))


def _chosen(stage: Stage, config: Config, seed: int, at_most: bool) -> pa.Table:
    from dsopt.cluster.data import stream

    told.tell(stage, config)
    select, looked_at = config.select, told.looked_at(stage)
    budget = min(select.budget, sum(part.rows for part in looked_at)) if at_most else select.budget  # a share is below any number

    def run_parts(function: Callable[[Any], Any], items: Sequence[Any]) -> Iterable[Any]:
        return stream(items, config.cluster, function)

    before = kept(select.extends, Table(stage.inputs["images"].uri), f"select {stage.name}") if select.extends else None
    dropped = issues.dropped(stage, select.drop)
    if before is not None:
        budget = others(select, sum(part.rows for part in looked_at), before, dropped, f"select {stage.name}")
        if not budget:
            return before
    # A GPU is held by the process that chooses, which then does all of the work.
    spread = config.cluster.workers and len(looked_at) > 1 and select.device == "cpu"
    distribute = {"run_parts": run_parts} if spread else {}
    chosen = choose(
        looked_at,
        select.name,
        select.options,
        budget,
        select.per_class,
        seed,
        **distribute,
        scores=Table(stage.inputs["scores"].uri).parts() if "scores" in stage.inputs else (),
        pca=select.pca,
        shard_rows=select.shard_rows,
        without=dropped,
        rounds=select.rounds,
        device="cuda" if select.device == "gpu" else "cpu",
        kept=NONE if before is None else np.sort(before["id"].to_numpy()),
        centroids=centroids(select.extends, select.name, f"select {stage.name}") if select.extends else None,
        keep=partial(keep_centroids, stage),
    )
    return chosen if before is None else followed(before, chosen)


def _select(worker: Worker, stage: Stage, config: Config, seed: int, choosing: Callable[[Stage, Config], pa.Table]) -> None:
    from dsopt.cluster.data import start, stream
    from dsopt.cluster.train import away

    start(config.cluster, _nothing)
    select, images = config.select, Table(stage.inputs["images"].uri)
    chosen = stage.path("_chosen.parquet")  # a file, which every worker reads for itself: it may be large
    if not exists(chosen):
        gpus = float(select.device == "gpu" and SELECTORS.traits(select.name).gpu)
        away(_choose, (stage, config, choosing, chosen), config.cluster, told.expected(stage, config).memory, gpus)
    took = json.loads(read_table(chosen, []).schema.metadata[b"seconds"])
    parts = images.parts("train")
    keep = partial(_filter, parts=parts, chosen=chosen, classes=images.manifest["classes"], index_only=select.content == "none")
    write = partial(write_rows, stage=stage, content=select.content, parts=parts, classes=images.manifest["classes"])
    soften = partial(_softener, stage=stage, config=config) if "judge" in stage.inputs else None

    def entries(indices: list[int]) -> Iterator[dict[str, Any]]:
        return stream(indices, config.cluster, keep, soften, write)

    done, seconds = item_by_item(f"select {select.method}", stage, [part.rows for part in parts], "images", entries)
    written = [entry["part"] for entry in done if entry["part"]["rows"]]
    files = copy_originals(stage, written, images.manifest["classes"], config)
    stage.commit(
        written,
        _schema(images.manifest["num_classes"] if soften else None),
        seconds=took + seconds,  # not those of copying originals, which training does not need
        seed=seed,
        content=select.content,
        files=files,
        csv=write_csv(stage, files, config),
        method=select.method,
        **({"centroids": CENTROIDS} if exists(stage.path(CENTROIDS)) else {}),
        of=images.rows("train"),
        **({"dropped": issues.counted(stage, select.drop)} if select.drop and not select.ids else {}),
        **images.about(),
    )


def _nothing(item: None) -> None: ...


def _choose(worker: Worker, stage: Stage, config: Config, choosing: Callable[[Stage, Config], pa.Table], uri: str) -> None:
    """Write the chosen ids with the seconds that it took."""
    if config.select.device == "gpu" and not torch.cuda.is_available():
        raise InputError("select.device=gpu: torch sees no GPU where the choice is made; expected one, or select.device=cpu.")
    started = time.monotonic()
    chosen = choosing(stage, config)
    write_table(uri, chosen.replace_schema_metadata({"seconds": json.dumps(time.monotonic() - started)}))


@lru_cache(maxsize=2)  # each worker filters many parts by it
def _chosen_ids(uri: str) -> pa.Table:
    return read_table(uri).combine_chunks()


def _filter(index: int, parts: list[Part], chosen: str, classes: list[str] | None, index_only: bool) -> tuple[int, pa.Table]:
    """The chosen images of one part of the images table, in the order of their ids.

    Args:
        chosen: the file that `_choose` wrote.
        index_only: of images without an original `uri` and `row` say where their working copies are.
    """
    ids = _chosen_ids(chosen)
    found = pc.index_in(read_table(parts[index].uri, ["id"])["id"], ids["id"].combine_chunks())  # pyright: ignore[reportAttributeAccessIssue]
    if found.null_count == len(found):
        return index, SUBSET.empty_table()
    images = read_table(parts[index].uri)
    if index_only:
        images = placed(images, parts[index].uri)
    images, reasons = images.filter(found.is_valid()), ids.take(found.drop_null())
    columns = {name: images[name] for name in images.column_names} | {"label_name": label_names(images["label"], classes)}
    columns |= {name: reasons[name] for name in ("rank", "score", "reason")}
    return index, pa.table([columns[name] for name in SUBSET.names], schema=SUBSET)


def _softener(worker: Worker, stage: Stage, config: Config) -> Callable[[tuple[int, pa.Table]], tuple[int, pa.Table]]:
    """The judge on a worker's device: adds the column `soft_label`."""
    select, probabilities = config.select, judges.soft_labels(stage.inputs["judge"], config.select.views, config.seed, worker)

    def soften(item: tuple[int, pa.Table]) -> tuple[int, pa.Table]:
        index, table = item
        if not len(table):
            return item
        found, given = probabilities(index, table), torch.from_numpy(table["label"].to_numpy().copy())
        labels = F.one_hot(given, found.shape[1]).to(found).lerp(found, select.soft_share)
        column = pa.FixedSizeListArray.from_arrays(pa.array(labels.flatten().numpy()), labels.shape[1])
        return index, table.append_column("soft_label", column)

    return soften


def _schema(classes: int | None) -> pa.Schema:
    return SUBSET if classes is None else SUBSET.append(pa.field("soft_label", pa.list_(pa.float32(), classes)))
