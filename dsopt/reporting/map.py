"""A map of embeddings: points on a canvas that a script in the page draws, colors and lets people enclose."""

import base64
import io
import json
import math
from dataclasses import dataclass
from importlib.resources import files
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float, Int64, UInt8
from PIL import Image
from torch import Tensor

from dsopt.reporting.page import Section, figure
from dsopt.reporting.style import FAINT, Figure, blank, picture, shorten

QUALITY = 80  # of the JPEG of all thumbnails
NAMED = 24  # classes in the legend of the picture that stands for the map without JavaScript
PLACES = 4  # decimals of a position in 0..1: finer than a pixel at sensible zooms


@dataclass
class Points:
    """Images as points, each of `n`.

    Args:
        labels: indices of classes.
        ranks: the rank of a chosen image; -1 for one that was passed over.
        scores: NaN where there is none.
        pictured: the points that have a thumbnail.
    """

    positions: Float[np.ndarray, "n 2"]
    ids: list[int]
    keys: list[str]
    labels: list[int]
    ranks: list[int]
    scores: list[float]
    pictured: list[int]


def sampled(chosen: Bool[Tensor, " n"], most: int, others: int, generator: torch.Generator) -> Int64[Tensor, " k"]:
    """Rows to show, ascending: all chosen ones (at random, if there are too many) and a random sample of the others.

    Args:
        most: the number of rows, at most.
        others: places that the chosen ones leave to the others.
    """

    def some(rows: Int64[Tensor, " _"], count: int) -> Int64[Tensor, " _"]:
        return rows[torch.randperm(len(rows), generator=generator)[:count]]

    rest = (~chosen).nonzero()[:, 0]
    first = some(chosen.nonzero()[:, 0], most - min(others, len(rest)))
    return torch.cat([first, some(rest, most - len(first))]).sort().values


def section(title: str, text: str, points: Points, thumbnails: UInt8[np.ndarray, "m h w c"], classes: list[str]) -> Section:
    """The map as a part of a page, with its script. Names of any kind are safe: they stay data.

    Args:
        thumbnails: squares, in the order of `points.pictured`.
    """
    colors = {"class": "class", "chosen": "chosen or not"}
    if np.isfinite(points.scores).any():
        colors["score"] = "score of the chosen"
    html = _BODY.format(
        colors=_options(colors),
        names=_options({"id": "ids", "key": "keys"}),
        sheet=_sheet(thumbnails),
        data=_as_json(_columns(points, classes)),
        still=figure(_still(points, classes), title),
    )
    return Section(title, text, html=html, script=files("dsopt.reporting").joinpath("map.js").read_text("utf-8"))


@picture
def _still(points: Points, classes: list[str]) -> Figure:
    """The map as a picture: chosen images in the color of their class, above those that were passed over."""
    drawn = blank(560, 500 + 16 * -(-min(len(classes), NAMED) // 4))
    axes = drawn.subplots()
    (x, y), labels, chosen = _unit(points.positions).T, np.array(points.labels), np.array(points.ranks) >= 0
    axes.scatter(x[~chosen], y[~chosen], 3, color=FAINT, alpha=0.4, linewidth=0)
    for label in np.unique(labels[chosen]):
        of_class = chosen & (labels == label)
        name = shorten(classes[label], 16) if 0 <= label < min(len(classes), NAMED) else None
        axes.scatter(x[of_class], y[of_class], 9, color=f"C{label % 10}", linewidth=0, label=name)
    axes.set_aspect("equal")
    axes.set_axis_off()
    if axes.get_legend_handles_labels()[0]:
        drawn.legend(loc="outside lower left", ncols=4, handletextpad=0.2)
    return drawn


_BODY = """<div class="map">
<div class="controls">
<label>Color <select name="color">{colors}</select></label>
<span><button type="button" name="lasso" aria-pressed="false">Lasso</button>
<button type="button" name="in" aria-label="Zoom in">+</button>
<button type="button" name="out" aria-label="Zoom out">−</button>
<button type="button" name="reset">Reset</button></span>
</div>
<div class="view"><canvas role="img" aria-label="Map of the embeddings"></canvas>
<div class="tip" hidden><canvas></canvas><span></span></div></div>
<ul class="legend"></ul>
<div class="controls"><output>Nothing is enclosed yet.</output>
<label>List <select name="names">{names}</select></label></div>
<textarea readonly rows="6" aria-label="Enclosed images" spellcheck="false"></textarea>
{sheet}<script type="application/json">{data}</script>
</div>
<noscript><style>.map {{ display: none }}</style>
<p>Without JavaScript the map is this picture; the rest of the page needs none.</p>
{still}</noscript>"""


def _options(names: dict[str, str]) -> str:
    return "".join(f'<option value="{value}">{name}</option>' for value, name in names.items())


def _columns(points: Points, classes: list[str]) -> dict[str, Any]:
    tiles = np.full(len(points.ids), -1)
    tiles[points.pictured] = np.arange(len(points.pictured))
    x, y = _unit(points.positions).round(PLACES).T
    return {
        "classes": classes,
        "x": x.tolist(),
        "y": (1 - y).round(PLACES).tolist(),  # of a canvas y grows downwards
        "id": points.ids,
        "key": points.keys,
        "label": points.labels,
        "rank": points.ranks,
        "score": [float(f"{score:.4g}") if math.isfinite(score) else None for score in points.scores],
        "tile": tiles.tolist(),
    }


def _unit(positions: Float[np.ndarray, "n 2"]) -> Float[np.ndarray, "n 2"]:
    """Positions within 0..1 around the center, with both axes on one scale."""
    low, high = positions.min(0), positions.max(0)
    return 0.5 + (positions.astype(np.float64) - (low + high) / 2) / max((high - low).max(), 1e-12)


def _as_json(value: Any) -> str:
    """JSON that cannot end the element it stands in: there is no `<` in it."""
    return json.dumps(value, separators=(",", ":"), allow_nan=False).replace("<", "\\u003c")


def _sheet(thumbnails: UInt8[np.ndarray, "m h w c"]) -> str:
    """All thumbnails as one image, in rows of equally many, nearly a square."""
    m, h, w, c = thumbnails.shape
    if not m:
        return ""
    columns = math.ceil(math.sqrt(m))
    rows = math.ceil(m / columns)
    padded = np.concatenate([thumbnails, np.zeros((rows * columns - m, h, w, c), np.uint8)])
    whole = padded.reshape(rows, columns, h, w, c).transpose(0, 2, 1, 3, 4).reshape(rows * h, columns * w, c)
    sink = io.BytesIO()
    Image.fromarray(whole[..., 0] if c == 1 else np.ascontiguousarray(whole[..., :3])).save(sink, "JPEG", quality=QUALITY)
    data = base64.b64encode(sink.getvalue()).decode()
    return f'<img hidden alt="" data-columns="{columns}" data-side="{h}" src="data:image/jpeg;base64,{data}">\n'
