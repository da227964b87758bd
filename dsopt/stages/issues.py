"""issues: what is known of images -> what may be wrong with them (`dsopt.audit`): one table of issues, nothing else is touched.

Checks of pixels, of embeddings and of labels are stages of their own: who needs only some of them makes only these.
"""

import time
from collections.abc import Sequence
from functools import partial
from typing import Any, get_args

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import torch

from dsopt.audit.contract import Needs, Seen
from dsopt.audit.issues import ISSUES, counts, left_out, rows
from dsopt.config import Config
from dsopt.config.audit import KINDS
from dsopt.files import write_bytes
from dsopt.pipeline import outputs
from dsopt.pipeline.plan import Plan
from dsopt.progress import say
from dsopt.registry import CHECKS, call
from dsopt.selection.reading import blocks
from dsopt.stages import embed, ingest, judges, looks, probe
from dsopt.storage import Kind, Stage, Table
from dsopt.training.worker import Worker

CHECKED, ISSUES_OF_ALL = Kind("checked"), Kind("issues")
NEEDS: tuple[Needs, ...] = get_args(Needs)
ABOUT = {"looks": "pixels", "embeddings": "embeddings", "scores": "labels"}


def issues(plan: Plan, needs: tuple[Needs, ...] = NEEDS) -> Stage:
    """The one table of issues: of the checks that need `needs`, in the order of `audit.kinds`."""
    inputs = {"images": ingest.images(plan)} | {ABOUT[need]: checked(plan, need) for need in needs if kinds(plan.config, need)}
    return plan.add(ISSUES_OF_ALL, plan.config.data.name, {}, inputs, _join)


def at_hand(plan: Plan, subset: Stage) -> Stage:
    """The issues by pixels, which take one look at every image; by embeddings and labels if a subset or an audit had them."""
    embedded = any(step.stage.kind == embed.EMBED for step in plan.to(subset))

    def had(need: Needs) -> bool:
        stage = checked(plan, need)
        return stage.done() or stage.hash in {needed.hash for needed in subset.inputs.values()}

    return issues(plan, ("looks", *(need for need in NEEDS[1:] if embedded and kinds(plan.config, need) and had(need))))


def kinds(config: Config, needs: Needs) -> list[str]:
    """The configured checks that need this, with their options."""
    return [kind for kind in config.audit.kinds if CHECKS.traits(call(kind)[0]).needs == needs]


def checked(plan: Plan, needs: Needs) -> Stage:
    """The issues that all configured checks of pixels, of embeddings or of labels find."""
    config, own = plan.config, kinds(plan.config, needs)
    inputs = {"images": ingest.images(plan), "looks": looks.looked(plan)}
    if needs == "embeddings":
        inputs["embeddings"] = embed.embeddings(plan)
        if config.embed.source == "encoder":
            inputs["test"] = embed.embeddings(plan, "test")
    if needs == "scores":
        inputs["scores"] = probe.model(plan) if config.audit.judge == "probe" else judges.model(plan, "proxy")
    usual = [kind for kind in KINDS if CHECKS.traits(kind).needs == needs]
    made_of = {} if own == usual else {"kinds": own}
    title = f"audit of {ABOUT[needs]}"
    work, where = partial(_check, needs=needs, title=title), "driver" if needs == "looks" else "worker"  # pixels take no time
    return plan.add(CHECKED, f"{config.data.name}-{ABOUT[needs]}", made_of, inputs, work, where=where, title=title)


def of_kinds(plan: Plan, names: Sequence[str]) -> dict[str, Stage]:
    """The stages that find these kinds, by role: what a selection that leaves them out needs."""
    return {f"audit of {ABOUT[need]}": checked(plan, need) for need in NEEDS if any(CHECKS.traits(n).needs == need for n in names)}


def dropped(stage: Stage, names: Sequence[str]) -> np.ndarray:
    """The ids, sorted, of training images that leaving out these kinds takes away; it says how many. For stages with `of_kinds`."""
    found = _left_out(stage, names)
    if not names:
        return np.empty(0, np.int64)
    ids = np.unique(np.concatenate(list(found.values())))
    told = ", ".join(f"{len(those):,} {kind}" for kind, those in found.items())
    say(f"select {stage.name}", f"left out of {Table(stage.inputs['images'].uri).rows('train'):,} images: {told}")
    return ids


def counted(stage: Stage, names: Sequence[str]) -> dict[str, int]:
    """How many images are left out, by the first of their kinds."""
    return {kind: len(ids) for kind, ids in _left_out(stage, names).items()}


def _left_out(stage: Stage, names: Sequence[str]) -> dict[str, np.ndarray]:
    tables = [Table(made.uri).read() for role, made in stage.inputs.items() if made.kind == CHECKED]
    return left_out(pa.concat_tables([ISSUES.empty_table(), *tables]), names)


def _check(worker: Worker, stage: Stage, config: Config, needs: Needs, title: str) -> None:
    started, classes = time.monotonic(), Table(stage.inputs["images"].uri).manifest["classes"]
    seen, found = _seen(stage, needs, worker.device), [ISSUES.empty_table()]
    for kind in kinds(config, needs):
        name, options = call(kind)
        found.append(rows(name, CHECKS.build(name, options)(seen), seen, classes))
        say(title, f"{name}: {_told(found[-1]) or 'none'}")
    seconds = time.monotonic() - started
    outputs.commit(stage, pa.concat_tables(found), name="issues", seconds=seconds, device=worker.describe(), images=len(seen.ids))


def _told(table: pa.Table) -> str:
    """What was found of one kind, in words."""
    for train, test, groups in counts(table).values():
        there = [f"{count:,} {split} images" for count, split in ((train, "training"), (test, "test")) if count]
        return " and ".join(there) + (f" in {groups:,} groups" if groups else "")
    return ""


def _join(worker: Worker, stage: Stage, config: Config) -> None:
    order = [call(kind)[0] for kind in config.audit.kinds]
    tables = [Table(made.uri).read() for role, made in stage.inputs.items() if role != "images"]
    table = pa.concat_tables([ISSUES.empty_table(), *tables])
    rank = pc.index_in(table["kind"], pa.array(order))  # pyright: ignore[reportAttributeAccessIssue]
    table = table.take(pa.array(np.argsort(rank.to_numpy(zero_copy_only=False), kind="stable")))
    name = "issues.csv"
    with pa.BufferOutputStream() as sink:
        pyarrow.csv.write_csv(table.append_column("key", _keys(Table(stage.inputs["images"].uri), table["id"])), sink)
        write_bytes(stage.path(name), memoryview(sink.getvalue()))
    outputs.commit(
        stage,
        table,
        name="issues",
        seconds=outputs.spent(made for role, made in stage.inputs.items() if role != "images"),
        csv=name,
        looked_for=[kind for kind in order if ABOUT[CHECKS.traits(kind).needs] in stage.inputs],
        found={kind: dict(zip(("train", "test", "groups"), values, strict=True)) for kind, values in counts(table).items()},
    )


def _keys(images: Table, ids: pa.ChunkedArray) -> pa.Array:
    """The keys of images by their ids, read part by part."""
    wanted = pc.unique(ids)  # pyright: ignore[reportAttributeAccessIssue]
    some = [block.filter(pc.is_in(block["id"], wanted)) for block in images.blocks(columns=["id", "key"])]  # pyright: ignore[reportAttributeAccessIssue]
    known = pa.concat_tables(some).combine_chunks()
    return known["key"].take(pc.index_in(ids, known["id"].combine_chunks())).combine_chunks()  # pyright: ignore[reportAttributeAccessIssue]


# --- what is known of the images -----------------------------------------------------------------------------------


def _seen(stage: Stage, needs: Needs, device: torch.device) -> Seen:
    """What a kind of checks needs of the images that it can be known of, in the order of their ids."""
    more = ["width", "height", *looks.COLUMNS, "hash", "thumb"] if needs == "looks" else []
    table = Table(stage.inputs["looks"].uri)
    read = [block for split in ("train", "test") for block in table.blocks(split, ["id", "label", "content", *more])]
    test = np.repeat([part.split == "test" for split in ("train", "test") for part in table.parts(split)], [len(b) for b in read])
    whole = pa.concat_tables(read).combine_chunks()
    order = np.argsort(whole["id"].to_numpy(), kind="stable")
    whole, test = whole.take(pa.array(order)), torch.from_numpy(test[order])
    found = Seen(_numbers(whole["id"]), test, _numbers(whole["label"].fill_null(-1)), _content(whole["content"]), device=device)
    if needs == "looks":
        found.looks = {name: _numbers(whole[name].fill_null(0) if name in ("width", "height") else whole[name]) for name in more}
    elif needs == "embeddings":
        stages = [stage.inputs[role] for role in ("embeddings", "test") if role in stage.inputs]
        parts = [part for made in stages for part in Table(made.uri).parts()]
        ids, _, embeddings = (torch.cat(columns) for columns in zip(*(b for part in parts for b in blocks(part)), strict=True))
        found = _of(found, ids)
        found.embeddings = embeddings[ids.argsort()]
    else:
        table = Table(stage.inputs["scores"].uri).read()
        scores = table.take(pa.array(np.argsort(table["id"].to_numpy(), kind="stable")))
        found = _of(found, _numbers(scores["id"]))
        found.scores = {name: _numbers(scores[name]) for name in scores.column_names if name not in ("id", "label")}
    return found


def _of(seen: Seen, ids: torch.Tensor) -> Seen:
    """What is known of some of the images."""
    where = torch.searchsorted(seen.ids, ids.sort().values)
    assert seen.content is not None
    return Seen(seen.ids[where], seen.test[where], seen.labels[where], seen.content[where.numpy()], device=seen.device)


def _numbers(column: pa.ChunkedArray) -> torch.Tensor:
    """A column of numbers, or of lists of equal length."""
    values: Any = column.combine_chunks()
    values = values.combine_chunks() if isinstance(values, pa.ChunkedArray) else values
    if pa.types.is_fixed_size_list(values.type):
        return torch.from_numpy(values.flatten().to_numpy(zero_copy_only=False).copy()).view(len(values), -1)
    return torch.from_numpy(values.to_numpy(zero_copy_only=False).copy())


def _content(column: pa.ChunkedArray) -> np.ndarray:
    values: Any = column.combine_chunks()
    values = values.combine_chunks() if isinstance(values, pa.ChunkedArray) else values
    return np.frombuffer(values.buffers()[1], np.int64)[2 * values.offset : 2 * (values.offset + len(values))].reshape(-1, 2).copy()
