"""What training told about every image, for methods that need it."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import torch
from jaxtyping import Float, Int
from torch import Tensor

from dsopt import storage
from dsopt.errors import InputError, unknown
from dsopt.files import read_table
from dsopt.selection.reading import schema_of


class Scores(NamedTuple):
    """Ids, sorted, and the scores of each."""

    ids: Int[Tensor, " n"]
    columns: Float[Tensor, "n s"]

    def of(self, ids: Int[Tensor, " m"], where: str) -> Float[Tensor, "m s"]:
        """The scores of some rows. Raises InputError if one has none.

        Args:
            where: the rows' file, for the message.
        """
        found = torch.searchsorted(self.ids, ids).clamp(max=len(self.ids) - 1)
        if not torch.equal(self.ids[found], ids):
            raise InputError(f"{where} and its like: the scores table has no id {int(ids[self.ids[found] != ids][0])}.")
        return self.columns[found]


def read_scores(parts: Sequence[storage.Part], names: Sequence[str], method: str) -> Scores:
    """Columns of a scores table. Raises InputError if it has not all of them, or a score is not finite."""
    if not parts:
        raise InputError(f"select.name={method} needs a scores table with {', '.join(names)}.")
    found = schema_of(parts[0]).names
    for name in names:
        if name not in found:
            raise unknown(f"{parts[0].uri}: column", name, found)
    # By column: one of them holds the probabilities of all classes.
    table = pa.concat_tables([read_table(part.uri, ["id", *names]) for part in parts])
    ids = torch.from_numpy(table["id"].to_numpy().copy())
    columns = torch.cat([_matrix(table[name]) for name in names], 1)
    if not columns.isfinite().all():
        raise InputError(f"{parts[0].uri}: a score is null or not finite; did the proxy's training diverge?")
    order = ids.argsort()
    return Scores(ids[order], columns[order])


def _matrix(column: pa.ChunkedArray) -> Float[Tensor, "n s"]:
    """A column of numbers, or of lists of equal length."""
    values = column.combine_chunks()
    flat = values.flatten() if pa.types.is_fixed_size_list(values.type) else values
    return torch.from_numpy(flat.to_numpy(zero_copy_only=False).astype(np.float32)).view(len(values), -1)
