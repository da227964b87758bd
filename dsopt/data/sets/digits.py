import functools
from typing import Any

import numpy as np

from dsopt.config import DataConfig
from dsopt.data.sources.source import Arrays, Listing, Source, array_shards
from dsopt.registry import DATASETS


@DATASETS.register
def digits(data: DataConfig) -> Source:
    """1,797 real handwritten digits, 8x8 gray, which come with scikit-learn: nothing is downloaded."""
    return Source({"set": "digits"}, remote=False, list_shards=_list_shards)


def _list_shards() -> Listing:
    return array_shards("digits", _load), [str(digit) for digit in range(10)]


@functools.cache
def _load() -> Arrays:
    from sklearn.datasets import load_digits  # slow to import, and only needed here

    found: Any = load_digits()
    images = (found["images"] * 255 / 16).round().astype(np.uint8)  # values are 0..16
    return {None: (images, found["target"])}
