import functools
import io
import pickle
import tarfile
import zlib
from typing import Any

import numpy as np

from dsopt.config import DataConfig
from dsopt.data.sources.downloads import Known, find_known
from dsopt.data.sources.source import Arrays, Source
from dsopt.errors import InputError
from dsopt.files import read_bytes
from dsopt.registry import DATASETS

CIFAR10_CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
CIFAR100_CLASSES = """
    apple aquarium_fish baby bear beaver bed bee beetle bicycle bottle bowl boy bridge bus butterfly camel can castle
    caterpillar cattle chair chimpanzee clock cloud cockroach couch crab crocodile cup dinosaur dolphin elephant
    flatfish forest fox girl hamster house kangaroo keyboard lamp lawn_mower leopard lion lizard lobster man
    maple_tree motorcycle mountain mouse mushroom oak_tree orange orchid otter palm_tree pear pickup_truck pine_tree
    plain plate poppy porcupine possum rabbit raccoon ray road rocket rose sea seal shark shrew skunk skyscraper snail
    snake spider squirrel streetcar sunflower sweet_pepper table tank telephone television tiger tractor train trout
    tulip turtle wardrobe whale willow_tree wolf woman worm
"""


@DATASETS.register
def cifar10(data: DataConfig) -> Source:
    """CIFAR-10 (Krizhevsky 2009): 50,000 + 10,000 photographs of 10 classes, 32x32 color."""
    files = (*(f"data_batch_{i}" for i in range(1, 6)), "test_batch")
    archive = "cifar-10-python.tar.gz"
    return find_known(Known("cifar10", "CIFAR10", "cifar-10-batches-py", files, read_batches, CIFAR10_CLASSES, archive), data)


@DATASETS.register
def cifar100(data: DataConfig) -> Source:
    """CIFAR-100 (Krizhevsky 2009) with its fine labels: 50,000 + 10,000 photographs of 100 classes, 32x32 color."""
    classes, archive = tuple(CIFAR100_CLASSES.split()), "cifar-100-python.tar.gz"
    return find_known(Known("cifar100", "CIFAR100", "cifar-100-python", ("train", "test"), read_batches, classes, archive), data)


@functools.lru_cache(maxsize=1)
def read_batches(uris: tuple[str, ...]) -> Arrays:
    """The arrays of the "python version" of CIFAR: its files, the test batch last, or the archive that contains them."""
    try:
        blobs = [read_bytes(uri) for uri in uris]
        if len(blobs) == 1:
            blobs = _members(blobs[0])
        batches = [_unpickled(blob) for blob in blobs]
        images = [np.asarray(batch["data"], np.uint8).reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1) for batch in batches]
        labels = [np.asarray(batch.get("labels") or batch["fine_labels"]) for batch in batches]
    except (
        pickle.UnpicklingError,
        tarfile.TarError,
        zlib.error,
        EOFError,
        KeyError,
        ValueError,
        AttributeError,
    ) as error:
        raise InputError(f"{uris[0]}: CIFAR's python files are damaged ({type(error).__name__}: {error}).") from None
    return {"train": (np.concatenate(images[:-1]), np.concatenate(labels[:-1])), "test": (images[-1], labels[-1])}


def _members(archive: bytes) -> list[bytes]:
    """The batches in an archive, the test batch last."""
    with tarfile.open(fileobj=io.BytesIO(archive)) as tar:
        files = {member.name.rpartition("/")[2]: member for member in tar.getmembers() if member.isfile()}
        names = sorted(name for name in files if name.startswith("data_batch") or name == "train")
        names.append("test" if "test" in files else "test_batch")
        return [tar.extractfile(files[name]).read() for name in names]  # type: ignore[union-attr]


class _ArraysOnly(pickle.Unpickler):
    """Allows NumPy arrays only: a pickle of unknown origin could run any code."""

    def find_class(self, module: str, name: str) -> Any:
        wanted = {"_reconstruct", "ndarray", "dtype", "_frombuffer"}
        if (module.partition(".")[0] == "numpy" and name in wanted) or (module, name) == ("_codecs", "encode"):
            return super().find_class(module, name)
        raise pickle.UnpicklingError(f"it contains {module}.{name}, which is not allowed")


def _unpickled(blob: bytes) -> dict[str, Any]:
    if blob[:2] == b"\x1f\x8b":
        blob = zlib.decompress(blob, wbits=31)  # 16 + 15: gzip header, largest window
    return _ArraysOnly(io.BytesIO(blob), encoding="latin1").load()
