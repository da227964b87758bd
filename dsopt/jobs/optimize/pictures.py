"""The pictures of the report: which images were chosen and which were not, the map of all, and what an autoencoder sees."""

from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import torch
from jaxtyping import Float, Int64, UInt8
from torch import Tensor

from dsopt.config import Config
from dsopt.data.images import decode, find, load
from dsopt.evaluation.project import project
from dsopt.pipeline import networks
from dsopt.reporting import figures
from dsopt.reporting import map as maps
from dsopt.reporting.page import Section
from dsopt.selection.reading import blocks
from dsopt.stages import autoencoder
from dsopt.stages.classifier import Row
from dsopt.storage import Stage, Table

THUMBNAIL = 64  # pixels a side of shown images, at most
SHOWN = 8  # images of the autoencoder figure, and of each class in the grid
POINTS, OTHERS = 6000, 1000  # of the map, at most; and how many of these are kept for images that were passed over
TILES, OTHER_TILES, TILE = 1500, 750, 40  # the same of the map's thumbnails, and their pixels a side: a page of a few MB

Rows = Sequence[tuple[Row, int, Stage]]
Grid = list[tuple[str, UInt8[np.ndarray, "n h w c"]]]  # the name and the images of each class


def sections(config: Config, rows: Rows, images: Table) -> list[Section]:
    """All that shows images of the subsets of finished runs; of the configured method first, where it has finished runs."""
    classes = images.manifest["classes"] or [str(i) for i in range(images.manifest["num_classes"])]
    first: dict[str, Stage] = {}
    for row, _, _ in rows:
        if row.subset and not row.added:
            first.setdefault(row.method, row.subset)
    order = sorted(first, key=lambda method: method != config.select.method)
    embedded = [method for method in order if "embeddings" in first[method].inputs]
    trained = [s.inputs["autoencoder"] for s in (first[m].inputs["embeddings"] for m in embedded) if "autoencoder" in s.inputs]
    return [
        *([_chosen(order[0], first[order[0]], images, classes), _counts(order, first, classes)] if order else []),
        *([_map(embedded[0], first[embedded[0]], images, classes, config.seed)] if embedded else []),
        *([_autoencoder(trained[0], images)] if trained else []),
    ]


# --- chosen and passed over ----------------------------------------------------------------------------------------


def _chosen(method: str, subset: Stage, images: Table, classes: list[str]) -> Section:
    listed, ids = Table(subset.uri).read(columns=["id", "label", "rank"]).sort_by("rank"), images.read("train", ["id", "label"])
    rest = ids.filter(pc.invert(pc.is_in(ids["id"], listed["id"].combine_chunks())))  # pyright: ignore[reportAttributeAccessIssue]
    groups = [(method, _grid(listed, images, classes, spread=False)), ("passed over", _grid(rest, images, classes, spread=True))]
    text = (
        f"Of every class the first images that {method} chose, by rank, and beside them some that it passed over, "
        "from the first to the last of the data set."
    )
    return Section("Chosen and passed over", text, png=figures.image_grid(groups))


def _grid(rows: pa.Table, images: Table, classes: list[str], spread: bool) -> Grid:
    """Images of each class, few of them: the first rows, or some of all."""
    labels, ids = (torch.from_numpy(rows[name].to_numpy().copy()) for name in ("label", "id"))

    def some(label: int) -> Int64[Tensor, " n"]:
        own = ids[labels == label]
        return own[torch.linspace(0, len(own) - 1, min(SHOWN, len(own))).long()] if spread else own[:SHOWN]

    shown = [some(label) for label in range(min(len(classes), figures.MAX_CLASSES))]
    if not sum(map(len, shown)):
        return []
    pixels = decode(_rows(images, torch.cat(shown), ["image"]), size=min(THUMBNAIL, images.manifest["image_size"])).images
    return [(name, _pixels(some)) for name, some in zip(classes, pixels.split([len(ids) for ids in shown]), strict=False)]


def _rows(images: Table, ids: Int64[Tensor, " n"], columns: list[str]) -> pa.Table:
    """The training images with these ids, in their order; read part by part."""
    wanted = pa.array(ids.numpy())
    kept = [block.filter(pc.is_in(block["id"], wanted)) for block in images.blocks("train", ["id", *columns])]  # pyright: ignore[reportAttributeAccessIssue]
    found = pa.concat_tables(kept)
    return found.take(pc.index_in(wanted, found["id"].combine_chunks()))  # pyright: ignore[reportAttributeAccessIssue]


def _counts(order: list[str], first: dict[str, Stage], classes: list[str]) -> Section:
    labels = {method: Table(first[method].uri).read(columns=["label"])["label"].to_numpy() for method in order}
    counts = {method: np.bincount(found, minlength=len(classes)).tolist() for method, found in labels.items()}
    return Section("Classes", "Number of images of each class in each subset.", png=figures.class_histogram(counts, classes))


# --- the map -------------------------------------------------------------------------------------------------------


def _map(method: str, subset: Stage, images: Table, classes: list[str], seed: int) -> Section:
    generator = torch.Generator().manual_seed(seed)
    chosen = Table(subset.uri).read(columns=["id", "rank", "score"])
    everything = torch.from_numpy(images.read("train", ["id"])["id"].to_numpy().copy())
    where = find(everything, torch.from_numpy(chosen["id"].to_numpy().copy()))
    rows = maps.sampled(where >= 0, POINTS, OTHERS, generator)
    ids, labels, embeddings = _embeddings(subset.inputs["embeddings"], everything[rows])
    kind, positions = project(embeddings, seed)
    where = find(ids, torch.from_numpy(chosen["id"].to_numpy().copy()))
    pictured = maps.sampled(where >= 0, TILES, OTHER_TILES, generator)
    tiles = decode(_rows(images, ids[pictured], ["image"]), size=min(TILE, images.manifest["image_size"])).images
    own = where.numpy()
    points = maps.Points(
        positions.numpy(),
        ids.tolist(),
        [key or "" for key in _rows(images, ids, ["key"])["key"].to_pylist()],
        labels.tolist(),
        np.where(own < 0, -1, chosen["rank"].to_numpy()[own]).tolist(),
        np.where(own < 0, np.nan, chosen["score"].to_numpy()[own]).tolist(),
        pictured.tolist(),
        _pixels(tiles),
    )
    count, others = int((where >= 0).sum()), int((where < 0).sum())

    def part(shown: int, whole: int) -> str:
        return f"all {whole:,}" if shown == whole else f"{shown:,} of the {whole:,}, at random,"

    text = (
        f"The training images: {part(count, len(chosen))} that {method} chose, and {part(others, len(everything) - len(chosen))} "
        f"that it passed over. Their places are those of their embeddings by {kind}: near points are alike, as far as two "
        "dimensions can show. Drag to move, scroll to zoom, point at an image to see it."
        "\n\nTo take images by hand, draw around them with shift and drag: their list, saved as chosen.csv, is a subset for "
        "select.ids=chosen.csv. The page's address keeps what is seen."
    )
    return maps.section("Map of the embeddings", text, points, classes)


def _embeddings(stage: Stage, ids: Int64[Tensor, " n"]) -> tuple[Int64[Tensor, " m"], Int64[Tensor, " m"], Float[Tensor, "m d"]]:
    """Ids, labels and embeddings of some images, in the order of the table; only these are kept in memory."""
    kept = []
    for part in Table(stage.uri).parts():
        for block in blocks(part):
            here = torch.isin(block[0], ids)
            kept.append([column[here] for column in block])
    found, labels, embeddings = (torch.cat(columns) for columns in zip(*kept, strict=True))
    return found, labels, embeddings


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
