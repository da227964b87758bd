"""An earlier subset that is extended: which images of a data set that has grown are in it."""

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from jaxtyping import Float
from safetensors.torch import load, save
from torch import Tensor

from dsopt.config import SelectConfig
from dsopt.errors import InputError
from dsopt.files import join, read_bytes, read_table, write_bytes
from dsopt.progress import say
from dsopt.selection.choose import CHOSEN, resolve
from dsopt.storage import Stage, Table

CENTROIDS = "centroids.safetensors"  # of the clusters that a subset was chosen by
COLUMNS = ["digest", "key", "rank", "score", "reason"]
KEPT = "kept, "  # what a reason starts with


def earlier_subset(uri: str) -> Table:
    """The subset that `select.extends` names. Raises InputError if it is none."""
    table = Table(uri)
    if table.manifest["stage"] != "select":
        raise InputError(f"select.extends={uri}: is of kind {table.manifest['stage']}; expected a subset, DIR/select/...")
    return table


def kept(uri: str, images: Table, label: str) -> pa.Table:
    """The images of an earlier subset, in its order, with its scores and reasons, as `dsopt.selection.choose.CHOSEN`.

    An image is known by the digest of its original, or, without one, by its key. Images that are gone are told and left out.
    """
    before = pa.concat_tables([read_table(part.uri, COLUMNS) for part in earlier_subset(uri).parts()]).sort_by("rank")
    now = [read_table(part.uri, ["id", "digest", "key"]) for part in images.parts("train")]
    named, wanted = _names(pa.concat_tables(now)), _names(before)
    place = pc.index_in(wanted, named)  # pyright: ignore[reportAttributeAccessIssue]
    found = before.filter(place.is_valid())
    ids = np.concatenate([table["id"].to_numpy() for table in now])[place.drop_null().to_numpy()]
    if gone := len(before) - len(found):
        say(label, f"{gone:,} of {len(before):,} images of {uri} are gone")
    reasons = [reason if reason.startswith(KEPT) else KEPT + reason for reason in found["reason"].to_pylist()]
    return pa.table([ids, np.arange(len(found), dtype=np.int32), found["score"].combine_chunks(), reasons], schema=CHOSEN)


def keep_centroids(stage: Stage, centroids: Float[Tensor, "k d"]) -> None:
    """Write them beside a subset that is being made, for one that extends it."""
    write_bytes(stage.path(CENTROIDS), save({"centroids": centroids.contiguous()}))


def centroids(uri: str, method: str, label: str) -> Float[Tensor, "k d"] | None:
    """Of the clusters that an earlier subset was chosen by, if the same method chose it; it says how many."""
    table = earlier_subset(uri)
    if table.manifest.get("centroids") is None or table.manifest["method"] != method:
        return None
    found = load(read_bytes(join(table.uri, table.manifest["centroids"])))["centroids"]
    say(label, f"goes on from the centroids of {len(found):,} clusters")
    return found


def others(select: SelectConfig, rows: int, before: pa.Table, dropped: np.ndarray, label: str) -> int:
    """How many images are still to be chosen.

    Args:
        dropped: ids of images that are left out, of which those that are kept stay.

    Raises:
        InputError: fewer are wanted than are kept, or more than there are.
    """
    count = resolve(select.budget, rows) - len(before)
    if count < 0:
        raise InputError(
            f"select.budget={select.budget}: {select.extends} has {len(before):,} images that are there; give as many."
        )
    there = rows - len(np.union1d(before["id"].to_numpy(), dropped))
    if count > there:
        raise InputError(
            f"select.budget={select.budget}: {len(before):,} images are kept, {count:,} more are wanted, and select.drop leaves "
            f"{there:,}; give fewer."
        )
    say(label, f"{len(before):,} images are kept, {count:,} are chosen from the others")
    return count


def followed(before: pa.Table, chosen: pa.Table) -> pa.Table:
    """Both, one after the other, with ranks that go on."""
    ranks = pa.array(np.arange(len(before), len(before) + len(chosen), dtype=np.int32))
    return pa.concat_tables([before, chosen.set_column(1, "rank", ranks)])


def _names(rows: pa.Table) -> pa.Array:
    return pc.coalesce(rows["digest"], rows["key"]).combine_chunks()  # pyright: ignore[reportAttributeAccessIssue]
