import io
from typing import Literal

import matplotlib
import numpy as np
import pyarrow as pa
import pytest
from PIL import Image

from dsopt.errors import JobError
from dsopt.reporting.figures import accuracy_bars, class_histogram, image_grid, loss_curves, reconstructions
from dsopt.reporting.pictures import embedding_picture, enlarge
from dsopt.reporting.style import colors
from dsopt.reporting.tables import ResultRow, RunInfo
from dsopt.storage import METRICS

HOSTILE = "$\\frac{<script>\n" + "very " * 30 + "long"


def decoded(png: bytes) -> np.ndarray:
    image = Image.open(io.BytesIO(png))
    assert image.format == "PNG"
    width, height = image.size
    assert 160 <= width <= 2400 and 60 <= height <= 3600
    return np.asarray(image.convert("RGB"))


def images(count: int, size: int = 24, channels: int = 3) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (count, size, size, channels), np.uint8)


def losses(*runs: str, steps: int = 100, value: float = 1.0) -> pa.Table:
    rows = [(run, 0, s, s / 10, "train", "loss", value / (1 + s)) for run in runs for s in range(steps)]
    return pa.table([list(column) for column in zip(*rows, strict=True)], schema=METRICS)


def result(name: str, split: float, mean: float, sd: float | None = 0.01, method: str = "random") -> ResultRow:
    return ResultRow(name, method, split, 100, 3, mean, sd, 1.0, 1.0, 2.0)


def run(name: str, row: str, method: str = "random", split: float = 1.0) -> RunInfo:
    return RunInfo(name, row, method, split, 0, 100, 0.0)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize(("count", "size", "d"), [(1, 8, 1), (4, 24, 216), (30, 160, 50)])
def test_reconstructions(channels: int, count: int, size: int, d: int) -> None:
    inputs = images(count, size, channels)
    embeddings = np.random.default_rng(0).random((count, d), np.float32)
    decoded(reconstructions(inputs, embeddings, inputs / 255))


def test_reconstructions_show_the_very_pixels_beside_each_other() -> None:
    inputs = np.full((1, 24, 24, 3), (10, 200, 30), np.uint8)
    drawn = decoded(reconstructions(inputs, np.ones((1, 216)), np.full((1, 24, 24, 3), 2.0)))
    assert (drawn == (10, 200, 30)).all(axis=-1).sum() == 120 * 120  # each pixel five times, none blurred


def test_a_diverged_autoencoder_is_drawn() -> None:
    bad = np.full((2, 24, 24, 3), np.nan)
    decoded(reconstructions(images(2), np.full((2, 216), np.nan), bad))


def test_embedding_of_216_is_24_tiles_of_3x3() -> None:
    embedding = np.zeros((1, 216))
    embedding[0, 7 * 9 + 1 * 3 + 2] = 1.0  # channel 7, row 1, column 2
    drawn = embedding_picture(embedding)[0, ..., 0]
    assert drawn.shape == (4 * 4 - 1, 6 * 4 - 1)
    tiles = np.pad(drawn, ((0, 1), (0, 1))).reshape(4, 4, 6, 4).transpose(0, 2, 1, 3)[..., :3, :3].reshape(24, 3, 3)
    assert (np.argwhere(tiles) == [[7, 1, 2]]).all()


@pytest.mark.parametrize(("d", "shape"), [(64, (8, 8)), (50, (7, 8)), (3, (1, 3))])
def test_other_embeddings_are_near_squares(d: int, shape: tuple[int, int]) -> None:
    assert embedding_picture(np.random.default_rng(0).random((2, d))).shape == (2, *shape, 3)


def test_enlarge_keeps_pixels_sharp_and_shrinks_large_images() -> None:
    image = images(1, 8, 1)[0]
    grown = enlarge(image, 96)
    assert grown.shape == (96, 96, 3) and (grown[::12, ::12, :1] == image).all()
    assert enlarge(images(1, 300)[0], 96).shape == (96, 96, 3)


def test_image_grid_beside_random() -> None:
    chosen = [("cat", images(3)), ("dog", images(3)[:0]), (HOSTILE, images(12))]
    drawn = decoded(image_grid([("top_activation", chosen), ("random", [("cat", images(5))])]))
    alone = decoded(image_grid([("top_activation", chosen)]))
    assert drawn.shape[1] > alone.shape[1]


def test_names_of_classes_are_shown_whole() -> None:
    """Nothing is drawn at the left edge: a wide name would be cut off there."""
    for name in ("mammals", 20 * "w", 20 * "i", HOSTILE):
        drawn = decoded(image_grid([("one", [(name, images(2))])]))
        assert (drawn[:, :6] == drawn.max()).all(), name


@pytest.mark.slow
@pytest.mark.parametrize("channels", [1, 3])
def test_image_grid_stays_readable(channels: int) -> None:
    few = decoded(image_grid([("one", [("only", images(1, 8, channels))])]))
    many = decoded(image_grid([("a", [(str(i), images(2, 32, channels)) for i in range(100)])]))
    capped = decoded(image_grid([("a", [(str(i), images(2, 32, channels)) for i in range(20)])]))
    assert few.shape[0] < capped.shape[0] < many.shape[0] < capped.shape[0] + 100  # 20 rows, and a line that says so


@pytest.mark.parametrize("groups", [[], [("a", [])], [("a", [("cat", np.zeros((0, 8, 8, 1), np.uint8))])]])
def test_image_grid_of_nothing(groups: list) -> None:
    decoded(image_grid(groups))


@pytest.mark.parametrize("classes", [1, 10, 100])
@pytest.mark.parametrize("subsets", [1, 4])
def test_class_histogram(classes: int, subsets: int) -> None:
    counts = {f"method {i}": list(range(classes)) for i in range(subsets)}
    decoded(class_histogram(counts, [HOSTILE, *(f"class {i}" for i in range(1, classes))]))


def test_class_histogram_of_an_empty_subset() -> None:
    decoded(class_histogram({"random": [0, 0], "top_activation": [3, 0]}, ["cat", "dog"]))


def test_accuracy_bars() -> None:
    one = decoded(accuracy_bars([result("full data", 0.0, 0.9, None, "full")]))
    rows = [result(f"m{i}, {name}", split, 0.1 * i) for split, name in ((1.0, "100/0"), (0.5, "50/50")) for i in range(5)]
    assert decoded(accuracy_bars(rows)).shape[0] > one.shape[0]
    decoded(accuracy_bars([result(HOSTILE, 0.25, 0.0, 0.0), result("diverged", 0.25, float("nan"), None)]))


def test_bars_end_at_the_accuracy() -> None:
    drawn = decoded(accuracy_bars([result("a", 1.0, 0.4, None, "top_activation"), result("b", 1.0, 0.8, None, "random")]))
    lengths = [
        np.abs(drawn.astype(int) - color).sum(axis=-1).__lt__(6).sum(axis=1).max() for color in ((0, 114, 178), (230, 159, 0))
    ]
    assert lengths[0] / lengths[1] == pytest.approx(0.5, abs=0.01)


@pytest.mark.parametrize("x", ["step", "seconds"])
def test_loss_curves(x: Literal["step", "seconds"]) -> None:
    runs = [run("a", "random, 100/0"), run("b", "random, 100/0"), run("c", "full data", "full", 0.0)]
    decoded(loss_curves(losses("a", "b", "c"), runs, x))
    decoded(loss_curves(losses("a"), runs[:1], x))
    decoded(loss_curves(losses("a", steps=1), runs, x))  # one record; two runs without any
    decoded(loss_curves(losses("a", value=-1.0), runs[:1], x))  # a critic's loss is no candidate for a log axis


def test_loss_curves_of_many_rows_and_a_diverged_one() -> None:
    runs = [run(f"r{i}", f"{HOSTILE} {i}", f"method {i}", i / 20) for i in range(20)]
    table = pa.concat_tables([losses(*(f"r{i}" for i in range(19))), losses("r19", value=float("nan"))])
    decoded(loss_curves(table, runs, "step"))
    decoded(loss_curves(table, runs[19:], "step"))  # nothing but a run that never had a finite loss


def test_loss_curves_without_a_loss() -> None:
    with pytest.raises(JobError, match="no training loss"):
        loss_curves(losses("a"), [run("b", "b")], "step")


def test_colors_follow_the_method_and_differ() -> None:
    methods = ["full", "random", "random_balanced", "top_activation", "kcenter", "herding", "pca", "kmeans", "activity"]
    found = colors(methods)
    assert len(set(found.values())) == len(methods)
    assert found == colors(reversed(methods))
    assert colors(["top_activation"])["top_activation"] == found["top_activation"]
    assert colors(["full data"])["full data"] == found["full"]


def test_drawing_leaves_matplotlib_as_it_was() -> None:
    before = dict(matplotlib.rcParams)
    class_histogram({"random": [1]}, ["cat"])
    assert dict(matplotlib.rcParams) == before
