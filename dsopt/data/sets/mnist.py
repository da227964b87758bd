import functools
import gzip
import zlib

import numpy as np

from dsopt.config import DataConfig
from dsopt.data.sources.downloads import Known, find_known
from dsopt.data.sources.source import Arrays, Source
from dsopt.errors import InputError
from dsopt.files import read_bytes
from dsopt.registry import DATASETS

FILES = ("train-images-idx3-ubyte", "train-labels-idx1-ubyte", "t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte")
GARMENTS = ("T-shirt/top", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot")


@DATASETS.register
def mnist(data: DataConfig) -> Source:
    """MNIST (LeCun et al. 1998): 60,000 + 10,000 handwritten digits, 28x28 gray."""
    digits = tuple(str(digit) for digit in range(10))
    return find_known(Known("mnist", "MNIST", "MNIST/raw", FILES, read_idx_files, digits), data)


@DATASETS.register
def fashion_mnist(data: DataConfig) -> Source:
    """Fashion-MNIST (Xiao et al. 2017, arXiv:1708.07747): 60,000 + 10,000 garments, 28x28 gray."""
    debian = "/usr/share/datasets/fashion-mnist"  # from Debian's package dataset-fashion-mnist
    known = Known("fashion_mnist", "FashionMNIST", "FashionMNIST/raw", FILES, read_idx_files, GARMENTS, installed=debian)
    return find_known(known, data)


@functools.lru_cache(maxsize=2)
def read_idx_files(uris: tuple[str, ...]) -> Arrays:
    """The arrays of the four files, in the order of FILES."""
    train, train_labels, test, test_labels = (_read_idx(uri) for uri in uris)
    for images, labels, uri in ((train, train_labels, uris[0]), (test, test_labels, uris[2])):
        if images.ndim != 3 or labels.shape != images.shape[:1]:
            raise InputError(f"{uri}: shape {images.shape} does not fit labels of shape {labels.shape}.")
    return {"train": (train, train_labels), "test": (test, test_labels)}


def _read_idx(uri: str) -> np.ndarray:
    """An array of bytes in the IDX format: two zeros, the type (8: bytes), the rank, big-endian sizes, values."""
    try:
        data = read_bytes(uri)
        data = gzip.decompress(data) if data[:2] == b"\x1f\x8b" else data
        if data[:3] != b"\0\0\x08":
            raise ValueError("its first bytes are not 0, 0, 8")
        shape = np.frombuffer(data, ">u4", count=data[3], offset=4)
        return np.frombuffer(data, np.uint8, offset=4 + 4 * data[3]).reshape(shape)
    except (ValueError, EOFError, IndexError, zlib.error, gzip.BadGzipFile) as error:
        raise InputError(f"{uri}: not a complete IDX file of bytes ({error}).") from None
