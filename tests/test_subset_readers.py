"""The subset in other people's tools: plain Parquet that they read as it is."""

import io

import duckdb
import numpy as np
import pandas
import pytest
from PIL import Image
from running import read

import dsopt
from dsopt.pipeline.plan import Plan
from dsopt.stages import select
from dsopt.storage import SUBSET

BUDGET = 40


@pytest.fixture(scope="module")
def subset(tmp_path_factory: pytest.TempPathFactory) -> str:
    """40 digits, chosen at random."""
    storage = str(tmp_path_factory.mktemp("storage"))
    plan = Plan(read(f"storage={storage}", "select.name=random", f"select.budget={BUDGET}", "cluster.workers=0"))
    stage = select.subset(plan, plan.config.select, plan.config.seed)
    plan.run(stage)
    return stage.uri


@pytest.mark.slow
def test_pandas(subset: str) -> None:
    frame = pandas.read_parquet(f"{subset}/data")
    assert list(frame.columns) == SUBSET.names
    assert len(frame) == BUDGET and sorted(frame["rank"]) == list(range(BUDGET))
    assert Image.open(io.BytesIO(frame["image"][0]["bytes"])).size == (32, 32)


def test_polars(subset: str) -> None:
    import polars  # here: every process of the tests reads this file, and one runs it

    frame = polars.read_parquet(f"{subset}/data/*.parquet")
    assert frame.columns == SUBSET.names and frame["id"].n_unique() == BUDGET
    assert frame["image"].struct.field("bytes").null_count() == 0


def test_duckdb(subset: str) -> None:
    rows = duckdb.sql(f"SELECT label, count(*) FROM '{subset}/data/*.parquet' GROUP BY label").fetchall()
    assert sum(count for _, count in rows) == BUDGET and {label for label, _ in rows} <= set(range(10))


def test_hugging_face_datasets_decodes_the_images(subset: str, tmp_path) -> None:
    import datasets  # see above

    files = f"{subset}/data/*.parquet"
    loaded = datasets.load_dataset("parquet", data_files=files, split="train", cache_dir=str(tmp_path))
    assert len(loaded) == BUDGET and isinstance(loaded[0]["image"], Image.Image)


def test_load_subset_gives_the_same_pixels_and_labels(subset: str) -> None:
    mine, frame = dsopt.load_subset(subset), pandas.read_parquet(f"{subset}/data")
    assert len(mine) == BUDGET
    for i in (0, BUDGET - 1):
        image, label = mine[i]
        theirs = np.asarray(Image.open(io.BytesIO(frame["image"][i]["bytes"])))
        assert label == frame["label"][i] and np.array_equal(image[0].numpy(), theirs)
