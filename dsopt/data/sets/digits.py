import functools
from typing import Any

import numpy as np

from dsopt.config import DataConfig
from dsopt.data.source import Arrays, Plan, Source, array_shards
from dsopt.registry import DATASETS


@DATASETS.register
def digits(data: DataConfig) -> Source:
    """1,797 real handwritten digits of 8x8 grey pixels that come with scikit-learn: nothing is downloaded."""
    return Source({"set": "digits"}, remote=False, plan=_plan)


def _plan() -> Plan:
    return array_shards("digits", _load), [str(digit) for digit in range(10)]


@functools.cache
def _load() -> Arrays:
    from sklearn.datasets import load_digits  # slow to import, and only needed here

    found: Any = load_digits()
    images = (found["images"] * 255 / 16).round().astype(np.uint8)  # from 0..16
    return {None: (images, found["target"])}
