"""A finished subset as a torch data set, for the user's own training loop."""

from collections.abc import Callable
from typing import Any

import torch
from jaxtyping import Float32, Int32, Int64
from PIL import Image
from torch import Tensor

from dsopt.data.images import decode
from dsopt.storage import Table


class SubsetDataset(torch.utils.data.Dataset):
    """A finished subset (or any images table) for the user's own training loop: items are (image, label).

    An image is a uint8 tensor [c, h, w], or the result of `transform` on a PIL image, as in torchvision's data sets.
    A label is an int (-1: no label), or a float tensor [classes] if the table has soft labels.

    Attributes:
        ids, labels, ranks, scores: tensors [n]; ranks and scores are None if the table has none.
        classes: the names of the labels, if they are known.
    """

    ids: Int64[Tensor, " n"]
    labels: Int64[Tensor, " n"]
    ranks: Int32[Tensor, " n"] | None
    scores: Float32[Tensor, " n"] | None
    classes: list[str] | None

    def __init__(self, uri: str, transform: Callable[[Image.Image], Any] | None = None) -> None:
        table = Table(uri)
        rows = table.read(table.training())
        decoded = decode(rows)
        self.ids, self.images, self.labels = decoded.ids, decoded.images, decoded.labels
        self.ranks = torch.from_numpy(rows["rank"].to_numpy().copy()) if "rank" in rows.column_names else None
        self.scores = torch.from_numpy(rows["score"].to_numpy().copy()) if "score" in rows.column_names else None
        self.classes = table.manifest.get("classes")
        self.transform = transform
        self._soft = decoded.soft

    def __len__(self) -> int:
        return len(self.ids)

    def __getitem__(self, index: int) -> tuple[Any, int | Float32[Tensor, " classes"]]:
        image = self.images[index]
        label = int(self.labels[index]) if self._soft is None else self._soft[index]
        if self.transform is None:
            return image, label
        return self.transform(Image.fromarray(image.permute(1, 2, 0).squeeze(2).numpy())), label


def load_subset(uri: str, transform: Callable[[Image.Image], Any] | None = None) -> SubsetDataset:
    """A finished subset as a map-style data set, from a local folder or s3://.

    Raises:
        InputError: there is no finished stage.
    """
    return SubsetDataset(uri, transform)
