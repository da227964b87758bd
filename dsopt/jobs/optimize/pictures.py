"""The pictures of the report: which images were chosen and which were not, the map of all, and what an autoencoder sees."""

from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import torch
from jaxtyping import Int64, UInt8
from torch import Tensor

from dsopt.config import Config
from dsopt.data.images import decode, find
from dsopt.data.loading import load
from dsopt.evaluation.project import project
from dsopt.pipeline import networks
from dsopt.reporting import figures
from dsopt.reporting import map as maps
from dsopt.reporting.page import Section
from dsopt.selection.reading import of_ids
from dsopt.stages import autoencoder
from dsopt.stages.classifier import Row
from dsopt.storage import Stage, Table

THUMBNAIL = 64  # pixels a side of shown images, at most
SHOWN = 8  # images of the autoencoder figure, and of each class in the grid
POINTS, OTHERS = 6000, 1000  # of the map, at most; and how many of these are kept for images that were passed over
TILES, OTHER_TILES, TILE = 1500, 750, 40  # the same of the map's thumbnails, and their pixels a side: a page of a few MB

Rows = Sequence[tuple[Row, int, Stage]]
Grids = list[tuple[str, list[Int64[Tensor, " _"]]]]  # titles, each with the ids of images of every class


def sections(config: Config, rows: Rows, images: Table) -> list[Section]:
    """All that shows images of the subsets of finished runs; of the configured method first, where it has finished runs."""
    classes = images.manifest["classes"] or [str(i) for i in range(images.manifest["num_classes"])]
    first = _subsets(rows)
    order = sorted(first, key=lambda method: method != config.select.method)
    embedded = [method for method in order if "embeddings" in first[method].inputs]
    trained = [s.inputs["autoencoder"] for s in (first[m].inputs["embeddings"] for m in embedded) if "autoencoder" in s.inputs]
    grids = _grids(order[0], first[order[0]], images, len(classes)) if order else []
    points, about = _points(embedded[0], first[embedded[0]], images, config.seed) if embedded else (None, "")
    pictured = torch.tensor([points.ids[i] for i in points.pictured] if points else [], dtype=torch.int64)
    side, found = images.manifest["image_size"], []
    if grids:  # the images are read from end to end, so all are looked up at once
        shown = _found(images, torch.cat([pictured, *(ids for _, groups in grids for ids in groups)]), ["image"])
        found += [_chosen(grids, shown, side, classes), _counts(order, first, classes)]
        if points:
            found.append(maps.section("Map of the embeddings", about, points, _decoded(shown, pictured, min(TILE, side)), classes))
    return [*found, *([_autoencoder(trained[0], images)] if trained else [])]


def _subsets(rows: Rows) -> dict[str, Stage]:
    """The subset of the first run of each method."""
    found: dict[str, Stage] = {}
    for row, _, _ in rows:
        if row.subset and not row.added:
            found.setdefault(row.method, row.subset)
    return found


def _found(images: Table, ids: Int64[Tensor, " n"], columns: list[str]) -> pa.Table:
    """The training images with these ids, read part by part."""
    wanted = pa.array(ids.numpy())
    blocks_of = images.blocks("train", ["id", *columns])
    return pa.concat_tables([block.filter(pc.is_in(block["id"], wanted)) for block in blocks_of])  # pyright: ignore[reportAttributeAccessIssue]


def _of(table: pa.Table, ids: Int64[Tensor, " n"]) -> pa.Table:
    """The rows of these ids, in their order."""
    return table.take(pc.index_in(pa.array(ids.numpy()), table["id"].combine_chunks()))  # pyright: ignore[reportAttributeAccessIssue]


def _decoded(shown: pa.Table, ids: Int64[Tensor, " n"], size: int) -> UInt8[np.ndarray, "n h w c"]:
    return _pixels(decode(_of(shown, ids), size=size).images)


def _integers(table: pa.Table, name: str) -> Int64[Tensor, " n"]:
    return torch.from_numpy(table[name].to_numpy().astype(np.int64))  # a copy: Arrow's memory must not be written to


# --- chosen and passed over ----------------------------------------------------------------------------------------


def _grids(method: str, subset: Stage, images: Table, classes: int) -> Grids:
    chosen = Table(subset.uri).read(columns=["id", "label", "rank"]).sort_by("rank")
    everything = images.read("train", ["id", "label"])
    rest = everything.filter(pc.invert(pc.is_in(everything["id"], chosen["id"].combine_chunks())))  # pyright: ignore[reportAttributeAccessIssue]
    count = min(classes, figures.MAX_CLASSES)
    return [(method, _by_class(chosen, count, spread=False)), ("passed over", _by_class(rest, count, spread=True))]


def _by_class(rows: pa.Table, classes: int, spread: bool) -> list[Int64[Tensor, " n"]]:
    """Ids of a few images of each class: the first rows, or some from first to last."""
    labels, ids = _integers(rows, "label"), _integers(rows, "id")

    def some(own: Int64[Tensor, " n"]) -> Int64[Tensor, " m"]:
        return own[torch.linspace(0, len(own) - 1, min(SHOWN, len(own))).long()] if spread else own[:SHOWN]

    return [some(ids[labels == label]) for label in range(classes)]


def _chosen(grids: Grids, shown: pa.Table, side: int, classes: list[str]) -> Section:
    def pictures(groups: list[Int64[Tensor, " _"]]) -> list[tuple[str, UInt8[np.ndarray, "n h w c"]]]:
        of_class = zip(classes, groups, strict=False)  # there may be more classes than a figure shows
        return [(name, _decoded(shown, ids, min(THUMBNAIL, side))) for name, ids in of_class if len(ids)]

    text = (
        f"Of every class the first images that {grids[0][0]} chose, by rank, and beside them some that it passed over, "
        "from the first to the last of the data set."
    )
    return Section("Chosen and passed over", text, png=figures.image_grid([(title, pictures(groups)) for title, groups in grids]))


def _counts(order: list[str], first: dict[str, Stage], classes: list[str]) -> Section:
    labels = {method: Table(first[method].uri).read(columns=["label"])["label"].to_numpy() for method in order}
    counts = {method: np.bincount(found, minlength=len(classes)).tolist() for method, found in labels.items()}
    return Section("Classes", "Number of images of each class in each subset.", png=figures.class_histogram(counts, classes))


# --- the map -------------------------------------------------------------------------------------------------------


def _points(method: str, subset: Stage, images: Table, seed: int) -> tuple[maps.Points, str]:
    """What is drawn of a subset, and a text about it."""
    generator = torch.Generator().manual_seed(seed)
    chosen = Table(subset.uri).read(columns=["id", "rank", "score"])
    everything, own = _integers(images.read("train", ["id"]), "id"), _integers(chosen, "id")
    rows = maps.sampled(find(everything, own) >= 0, POINTS, OTHERS, generator)
    ids, _, embeddings = of_ids(Table(subset.inputs["embeddings"].uri).parts(), everything[rows])
    kind, positions = project(embeddings, seed)
    where, about = find(ids, own).numpy(), _of(_found(images, ids, ["key", "label"]), ids)
    points = maps.Points(
        positions.numpy(),
        ids=ids.tolist(),
        keys=[key or "" for key in about["key"].to_pylist()],
        labels=_integers(about, "label").tolist(),
        ranks=np.where(where < 0, -1, _integers(chosen, "rank").numpy()[where]).tolist(),
        scores=np.where(where < 0, np.nan, chosen["score"].to_numpy()[where]).tolist(),
        pictured=maps.sampled(torch.from_numpy(where >= 0), TILES, OTHER_TILES, generator).tolist(),
    )

    def part(drawn: int, of: int) -> str:
        return f"all {of:,}" if drawn == of else f"{drawn:,} random ones of the {of:,}"

    count = int((where >= 0).sum())
    chose, passed = part(count, len(own)), part(len(ids) - count, len(everything) - len(own))
    text = (
        f"The training images: {chose} that {method} chose, and {passed} that it passed over. Their places are those of their "
        f"embeddings by {kind}: near points are alike, as far as two "
        "dimensions can show. Drag to move, scroll to zoom, point at an image to see it."
        "\n\nTo take images by hand, draw around them with shift and drag, or after a click on Lasso: their list, saved as "
        "chosen.csv, is a subset for select.ids=chosen.csv. The page's address keeps what is seen."
    )
    return points, text


# --- the autoencoder -----------------------------------------------------------------------------------------------


@torch.inference_mode()
def _autoencoder(stage: Stage, table: Table) -> Section:
    network, inputs = autoencoder.trained(stage, torch.device("cpu")), networks.inputs_of(Table(stage.uri))
    images = load(table.uri, "train", size=inputs.loaded)
    picked = inputs.test(images.images[torch.linspace(0, len(images.images) - 1, SHOWN).long()])
    codes = network.encode(picked)
    decoded = network.decode(codes).clamp(0, 1)
    cropped = (255 * picked).round().to(torch.uint8)  # the center, which is all that the network sees
    text = "Inputs, embeddings as images, and reconstructions (figure 3 of the selection paper). Selection needs no sharper ones."
    png = figures.reconstructions(_pixels(cropped), codes.numpy(), _pixels(decoded))
    return Section("Autoencoder", text, png=png)


def _pixels(images: Tensor) -> np.ndarray:
    return images.permute(0, 2, 3, 1).numpy()
