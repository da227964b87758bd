import functools
from importlib.util import find_spec
from pathlib import Path

import numpy as np

from dsopt.config import DataConfig
from dsopt.data.sources.source import Arrays, Listing, Source, array_shards
from dsopt.registry import DATASETS


@DATASETS.register
def digits(data: DataConfig) -> Source:
    """1,797 real handwritten digits, 8x8 gray, which come with scikit-learn: nothing is downloaded."""
    return Source({"set": "digits"}, remote=False, list_shards=_list_shards)


def _list_shards() -> Listing:
    return array_shards("digits", read_digits), [str(digit) for digit in range(10)]


@functools.cache
def read_digits() -> Arrays:
    """All digits: bytes [1797, 8, 8], and labels [1797], of no split.

    Read from scikit-learn's file: its `load_digits` gives the same after an import that takes as long as that of torch.
    """
    package = find_spec("sklearn")
    assert package and package.submodule_search_locations, "scikit-learn is a dependency"
    table = np.loadtxt(Path(package.submodule_search_locations[0], "datasets/data/digits.csv.gz"), delimiter=",")
    images = (table[:, :-1].reshape(-1, 8, 8) * 255 / 16).round().astype(np.uint8)  # values are 0..16
    return {None: (images, table[:, -1].astype(np.int64))}
