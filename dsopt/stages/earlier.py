"""Embeddings that were made before, of a data set that has grown since: what they are of, and where each of them lies."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
from jaxtyping import Bool, Float32, Int64

from dsopt.config import Config
from dsopt.errors import InputError
from dsopt.files import read_table
from dsopt.progress import say
from dsopt.stages.kept import earlier_subset
from dsopt.storage import Part, Stage, Table

ELSEWHERE = ("name", "options")  # keys of the data that say where images are, not what working copies are made of them


class Earlier(NamedTuple):
    """A finished embeddings table, and the images that it is of."""

    table: Table
    images: Table

    def input(self, role: str) -> Stage:
        """The network that made it, as an input of the table that extends it. Raises InputError if no such network made it."""
        uri = self.table.input(role)
        if uri is None:
            raise self._refusal(f"was embedded without {role}, which embed.encoder has now")
        return Stage.existing(uri)

    def check(self, made_of: Mapping[str, Any], data: Mapping[str, Any]) -> None:
        """Refuse to extend it by embeddings that are not comparable.

        Args:
            made_of: what the new embeddings are made of.
            data: what the working copies are made of: the keys of the data set that differ from their defaults.
        """
        before = {key: value for key, value in self.table.manifest["made_of"].items() if key != "extends"}
        if before != made_of:
            raise self._refusal(f"was embedded otherwise: {before or 'as by default'}; now {dict(made_of)}")
        known = self.images.manifest["made_of"].get("data", {})
        first, now = ({key: value for key, value in copies.items() if key not in ELSEWHERE} for copies in (known, data))
        if first != now:
            raise self._refusal(f"its working copies were made otherwise: {first}; now {now}")

    def _refusal(self, why: str) -> InputError:
        return InputError(f"embed.extends={self.table.uri}: {why}.")


class Reused(NamedTuple):
    """Where the embeddings of images lie in an earlier table.

    Args:
        places: for each part of the images, of each of its rows, counted over all earlier parts; -1: nowhere.
    """

    places: list[Int64[np.ndarray, " rows"]]
    parts: list[Part]

    def read(self, places: Int64[np.ndarray, " m"]) -> Float32[np.ndarray, "m d"]:
        """The embeddings at some places."""
        ends = np.cumsum([part.rows for part in self.parts])
        of = np.searchsorted(ends, places, side="right")
        found: np.ndarray | None = None
        for index in np.unique(of).tolist():
            column = read_table(self.parts[index].uri, ["embedding"])["embedding"].combine_chunks().to_numpy_ndarray()
            found = np.empty((len(places), column.shape[1]), np.float32) if found is None else found
            found[of == index] = column[places[of == index] - (ends[index] - self.parts[index].rows)]
        assert found is not None
        return found


def earlier(config: Config) -> Earlier | None:
    """The embeddings that `embed.extends` names. Raises InputError if they are no finished embeddings of images."""
    if config.embed.extends is None:
        return None
    table = Table(config.embed.extends)
    kind, images = table.manifest["stage"], table.input("images")
    if kind != "embed" or "split" in table.manifest["made_of"] or images is None:
        raise InputError(f"embed.extends={config.embed.extends}: is of kind {kind}; expected the embeddings of training images.")
    return Earlier(table, Table(images))


def extended(config: Config) -> Config:
    """The configuration, with `embed.extends` where `select.extends` implies it: the embeddings that the subset was chosen by."""
    if config.select.extends is None or config.embed.extends or config.embed.source == "table":
        return config
    subset = earlier_subset(config.select.extends)
    return replace(config, embed=replace(config.embed, extends=subset.input("embeddings")))


def reuse(before: Earlier, images: Table, label: str) -> Reused:
    """Find images, by the digests of their originals, among those that were embedded before, and tell what has changed.

    Images without a digest, such as rows of arrays, are embedded anew. It takes 32 bytes an image, twice.
    """
    known, digests = _digests(before.images), [_words(table["digest"]) for table in images.blocks("train", ["digest"])]
    places = [known(words, valid) for words, valid in digests]
    old = sum(int((found >= 0).sum()) for found in places)
    rows, gone = images.rows("train"), before.images.rows("train") - len(np.unique(np.concatenate([f[f >= 0] for f in places])))
    say(label, f"of {rows:,} images {old:,} were embedded before, {rows - old:,} are new; {gone:,} of before are gone")
    return Reused(places, before.table.parts())


Words = Int64[np.ndarray, "n 2"]


def _digests(images: Table) -> Callable[[Words, Bool[np.ndarray, " n"]], Int64[np.ndarray, " n"]]:
    """Finds digests among those of a table: their places, counted over its training images; -1 for those that it lacks."""
    pairs = [_words(table["digest"]) for table in images.blocks("train", ["digest"])]
    words, valid = (np.concatenate(column) for column in zip(*pairs, strict=True))
    order = np.flatnonzero(valid)
    order = order[np.lexsort((words[order, 1], words[order, 0]))]  # of equal ones the first
    first = words[order, 0]

    def find(wanted: Words, there: Bool[np.ndarray, " n"]) -> Int64[np.ndarray, " n"]:
        if not len(order):
            return np.full(len(wanted), -1)
        at = order[np.minimum(np.searchsorted(first, wanted[:, 0]), len(order) - 1)]
        # The first 64 bits are as good as unique. Should two images share them, the second one is embedded again.
        return np.where(there & (words[at] == wanted).all(1), at, -1)

    return find


def _words(digests: pa.ChunkedArray) -> tuple[Words, Bool[np.ndarray, " n"]]:
    """Hexadecimal digests as two whole numbers each, and which of them are there."""
    texts: Sequence[str | None] = digests.to_pylist()
    joined = bytes.fromhex("".join(text or "0" * 32 for text in texts))
    return np.frombuffer(joined, np.int64).reshape(-1, 2), np.array([text is not None for text in texts], bool)
