"""Pixel arrays for figures: images enlarged, images side by side, and embeddings as pictures."""

import math

import numpy as np
from jaxtyping import Float, UInt8
from PIL import Image

CHANNELS, TILE, TILES_PER_ROW = 24, 3, 6  # the selection paper's embedding: 24 channels of 3x3, shown as 4 rows of 6 tiles


def enlarge(image: UInt8[np.ndarray, "h w c"], side: int) -> UInt8[np.ndarray, "h2 w2 3"]:
    """The image in RGB, its longer side at most `side` pixels; small images are enlarged by an integer factor and stay sharp."""
    color = np.broadcast_to(image[..., :1], (*image.shape[:2], 3)) if image.shape[-1] < 3 else image[..., :3]
    height, width = image.shape[:2]
    factor = side // max(height, width)
    if factor >= 1:
        return color.repeat(factor, axis=0).repeat(factor, axis=1)
    size = (max(1, side * width // max(height, width)), max(1, side * height // max(height, width)))
    return np.asarray(Image.fromarray(np.ascontiguousarray(color)).resize(size, Image.Resampling.BOX))


def strip(images: list[UInt8[np.ndarray, "_ _ 3"]], height: int, width: int, gap: int) -> UInt8[np.ndarray, "h w 3"]:
    """The images side by side on white, each centered in a cell of height x width pixels."""
    whole = np.full((height, len(images) * (width + gap) - gap, 3), 255, np.uint8)
    for i, image in enumerate(images):
        h, w = image.shape[:2]
        top, left = (height - h) // 2, i * (width + gap) + (width - w) // 2
        whole[top : top + h, left : left + w] = image
    return whole


def embedding_picture(embeddings: Float[np.ndarray, "m d"]) -> UInt8[np.ndarray, "m h w 3"]:
    """Embeddings as gray pictures: 216 elements as 4x6 tiles of 3x3, any other number as a rectangle that is nearly square.

    Elements are in the flattened order channel, row, column. Black is the smallest of all values, white the 99th percentile;
    places without an element are white.
    """
    finite = embeddings[np.isfinite(embeddings)]
    low, high = (finite.min(), np.percentile(finite, 99)) if finite.size else (0.0, 1.0)
    values = np.nan_to_num((embeddings - low) / max(high - low, 1e-12)).clip(0, 1)
    m, d = values.shape
    if d == CHANNELS * TILE * TILE:
        tiles = values.reshape(m, CHANNELS // TILES_PER_ROW, TILES_PER_ROW, TILE, TILE)
        tiles = np.pad(tiles, ((0, 0), (0, 0), (0, 0), (0, 1), (0, 1)), constant_values=1.0)  # a line between tiles
        grid = tiles.transpose(0, 1, 3, 2, 4).reshape(m, -1, TILES_PER_ROW * (TILE + 1))[:, :-1, :-1]
    else:
        rows = max(1, math.isqrt(d))
        columns = math.ceil(d / rows)
        grid = np.pad(values, ((0, 0), (0, rows * columns - d)), constant_values=1.0).reshape(m, rows, columns)
    return np.repeat(np.rint(grid * 255).astype(np.uint8)[..., None], 3, axis=-1)
