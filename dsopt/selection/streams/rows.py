"""Rows that no process holds at once: methods see them in passes, block by block, on as many workers as there are.

A row is known by its place: its rank by id. What a pass gives for a row must depend on this row alone, and what it adds up must
be exact (`dsopt.selection.streams.exact`); then the answer depends neither on how rows lie in files nor on the workers.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from typing import Any, NamedTuple, Protocol, runtime_checkable

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from dsopt import storage
from dsopt.files import retried
from dsopt.selection.reading import blocks

Blocks = Iterator[tuple[Tensor, ...]]  # rows [b d], and of what was given for every row the part for these
Work = Callable[..., Any]
Form = Callable[[Tensor], Tensor]
RunParts = Callable[[Callable[[Any], Any], Sequence[Any]], Iterable[Any]]

TILE_ROWS = 1 << 17  # rows of one task: what it adds up is sent once for all of them
HOST = torch.device("cpu")
HELD_ROWS = 4096  # rows of a block, of rows in memory


@runtime_checkable
class Rows(Protocol):
    """Rows of embeddings in the order of their ids."""

    labels: Int[Tensor, " n"]
    size: int
    device: torch.device

    def __len__(self) -> int: ...

    def each(self, work: Work, *given: Tensor, only: Bool[Tensor, " n"] | None = None) -> Iterator[tuple[Int[Tensor, " m"], Any]]:
        """One pass: `work(blocks)` of all rows in tasks that may run anywhere, in any order; the task's places, and its result.

        Args:
            work: picklable; it gets an iterator of (rows [b d], a slice [b ...] of everything given) and returns tensors.
            given: tensors [n ...], a row of each for every row.
            only: tasks without any of these rows may be left out.
        """
        ...

    def gathered(self, work: Work, group: Int[Tensor, "n *s"], *given: Tensor) -> Iterator[tuple[Int[Tensor, " m"], Any]]:
        """`work(rows [m d], slices [m ...])` of the rows of every group 0, 1, ... together, in the order of ids; -1 is no group.
        A row may be in s groups: then groups are [n s], and what is given is [n s ...]."""
        ...

    def transposed(self, work: Work, columns: Sequence[Int[Tensor, " c"]]) -> Iterator[tuple[int, Any]]:
        """`work(rows [n c], number)` of all rows, in the order of ids, with only some elements each; number and result."""
        ...

    def seen_as(self, form: Form) -> "Rows":
        """The same rows after a function of blocks [b d] -> [b d], which treats every row by itself."""
        ...

    def within(self, kept: Bool[Tensor, " n"]) -> "Rows":
        """These rows alone."""
        ...


def take(rows: Rows, places: Int[Tensor, " m"]) -> Float[Tensor, "m d"]:
    """Some rows in memory, in the order asked for."""
    wanted = torch.zeros(len(rows), dtype=torch.bool)
    wanted[places] = True
    slot = torch.full((len(rows),), -1).index_copy_(0, places, torch.arange(len(places)))
    found = torch.empty(len(places), rows.size)
    for where, some in rows.each(_wanted, wanted, only=wanted):
        found[slot[where[wanted[where]]]] = some.float()
    return found


def per_row(rows: Rows, work: Work, *given: Tensor) -> Tensor:
    """One number for every row: `work(block, slices) -> [b]`, in one pass."""
    found = torch.empty(0)
    for where, some in rows.each(partial(_joined, work=work), *given):
        found = found if len(found) else torch.empty(len(rows), dtype=some.dtype)
        found[where] = some
    return found


def _wanted(blocks: Blocks) -> Tensor:
    return torch.cat([x[wanted] for x, wanted in blocks])


def _joined(blocks: Blocks, work: Work) -> Tensor:
    return torch.cat([work(*block) for block in blocks])


class HeldRows:
    """Rows in memory, so that a method is written once for both."""

    def __init__(self, embeddings: Float[Tensor, "n d"], labels: Int[Tensor, " n"] | None = None, form: Form | None = None) -> None:
        self.embeddings, self.form, self.size, self.device = embeddings, form, embeddings.shape[1], embeddings.device
        self.labels = torch.full((len(embeddings),), -1) if labels is None else labels

    def __len__(self) -> int:
        return len(self.embeddings)

    def each(self, work: Work, *given: Tensor, only: Tensor | None = None) -> Iterator[tuple[Tensor, Any]]:
        device = self.embeddings.device
        columns = [self.embeddings.split(HELD_ROWS), *(some.to(device).split(HELD_ROWS) for some in given)]
        yield torch.arange(len(self)), to_host(work((self._formed(x), *some) for x, *some in zip(*columns, strict=True)))

    def gathered(self, work: Work, group: Tensor, *given: Tensor) -> Iterator[tuple[Tensor, Any]]:
        for places, *slices in _members(group, given):
            here = (some.to(self.device) for some in slices)
            yield places, to_host(work(self._formed(self.embeddings[places.to(self.device)]), *here))

    def transposed(self, work: Work, columns: Sequence[Tensor]) -> Iterator[tuple[int, Any]]:
        for number, these in enumerate(columns):
            yield number, to_host(work(self.formed()[:, these.to(self.device)], number))

    def seen_as(self, form: Form) -> "HeldRows":
        return HeldRows(self.embeddings, self.labels, form if self.form is None else partial(_both, self.form, form))

    def within(self, kept: Tensor) -> "HeldRows":
        return HeldRows(self.embeddings[kept], self.labels[kept], self.form)

    def formed(self) -> Float[Tensor, "n d"]:
        """All rows as they are seen."""
        return self._formed(self.embeddings)

    def _formed(self, x: Tensor) -> Tensor:
        return x if self.form is None else self.form(x)


class _Tile(NamedTuple):
    """What one task reads: parts, the places of their rows in the order of the files, and which of these count."""

    parts: list[storage.Part]
    places: Int[Tensor, " m"]  # of the rows that count
    kept: Bool[Tensor, " r"]


class PartRows:
    """Rows of part files.

    Args:
        ids: of all rows, in the order of the parts and within them; the labels likewise.
        device: where blocks are put before they are worked on, in whatever process.
    """

    def __init__(
        self,
        parts: Sequence[storage.Part],
        ids: Int[np.ndarray, " n"],
        labels: Int[np.ndarray, " n"],
        size: int,
        run_parts: RunParts = map,
        device: str = "cpu",
    ) -> None:
        order = np.argsort(ids, kind="stable")
        places = torch.empty(len(ids), dtype=torch.int64)
        places[torch.from_numpy(order)] = torch.arange(len(ids))
        self.labels, self.size, self.run_parts, self.device = torch.from_numpy(labels[order]), size, run_parts, torch.device(device)
        self.form: Form | None = None
        groups = grouped_parts(parts, TILE_ROWS)
        split = places.split([sum(part.rows for part in group) for group in groups])
        pairs = zip(groups, split, strict=True)
        self.tiles = [_Tile(group, some, torch.ones(len(some), dtype=torch.bool)) for group, some in pairs]

    def __len__(self) -> int:
        return len(self.labels)

    def each(self, work: Work, *given: Tensor, only: Tensor | None = None) -> Iterator[tuple[Tensor, Any]]:
        items = [
            (number, tile.parts, tile.kept, [some[tile.places] for some in given])
            for number, tile in enumerate(self.tiles)
            if len(tile.places) and (only is None or bool(only[tile.places].any()))
        ]
        for number, result in self.run_parts(partial(_of_tile, work=work, form=self.form, device=self.device), items):
            yield self.tiles[number].places, result

    def gathered(self, work: Work, group: Tensor, *given: Tensor) -> Iterator[tuple[Tensor, Any]]:
        members, items = _members(group, given), []
        own = [group[tile.places].view(len(tile.places), -1) for tile in self.tiles]
        for number, (_, *slices) in enumerate(members):
            inside = [(of == number).any(1) for of in own]
            tiles = [self._only(tile, some) for tile, some in zip(self.tiles, inside, strict=True) if some.any()]
            items.append((number, tiles, slices))
        for number, result in self.run_parts(partial(_of_group, work=work, form=self.form, device=self.device), items):
            yield members[number][0], result

    def transposed(self, work: Work, columns: Sequence[Tensor]) -> Iterator[tuple[int, Any]]:
        items = [(number, self.tiles, these) for number, these in enumerate(columns)]
        yield from self.run_parts(partial(_of_columns, work=work, form=self.form, device=self.device), items)

    def seen_as(self, form: Form) -> "PartRows":
        return self._copy(form=form if self.form is None else partial(_both, self.form, form))

    def within(self, kept: Tensor) -> "PartRows":
        new = kept.cumsum(0) - 1
        tiles = [self._only(tile, kept[tile.places]) for tile in self.tiles]
        tiles = [tile._replace(places=new[tile.places]) for tile in tiles if len(tile.places)]
        return self._copy(labels=self.labels[kept], tiles=tiles)

    @staticmethod
    def _only(tile: _Tile, some: Bool[Tensor, " m"]) -> _Tile:
        """A tile with some of its rows, without the parts that hold none of them."""
        kept = tile.kept.clone()
        kept[tile.kept] = some
        inside = kept.split([part.rows for part in tile.parts])
        full = [(part, here) for part, here in zip(tile.parts, inside, strict=True) if here.any()]
        return _Tile([part for part, _ in full], tile.places[some], torch.cat([here for _, here in full]) if full else kept[:0])

    def _copy(self, **changes: Any) -> "PartRows":
        other = PartRows.__new__(PartRows)
        other.__dict__.update(self.__dict__, **changes)
        return other


def grouped_parts(parts: Sequence[storage.Part], most: int) -> list[list[storage.Part]]:
    """Group parts up to `most` rows; a part with more rows is a group of its own."""
    groups: list[list[storage.Part]] = [[]]
    rows = 0
    for part in parts:
        if groups[-1] and rows + part.rows > most:
            groups.append([])
            rows = 0
        groups[-1].append(part)
        rows += part.rows
    return groups


def to_host(result: Any) -> Any:
    """A task's result, which travels, without memory of a device."""
    if isinstance(result, Tensor):
        return result.cpu()
    if isinstance(result, tuple | list):
        moved = [to_host(part) for part in result]
        return type(result)(*moved) if hasattr(result, "_fields") else type(result)(moved)
    return result


def _members(group: Int[Tensor, "n *s"], given: Sequence[Tensor]) -> list[tuple[Tensor, ...]]:
    """The places of every group, in order, and their slices of what is given."""
    flat = group.flatten()
    order = flat.argsort(stable=True)[int((flat < 0).sum()) :]
    split = order.split(flat[order].bincount().tolist()) if len(order) else ()
    each = max(len(flat), 1) // max(len(group), 1)
    return [(some // each, *(values.flatten(0, group.ndim - 1)[some] for values in given)) for some in split]


def _both(first: Form, then: Form, x: Tensor) -> Tensor:
    return then(first(x))


@retried
def _of_tile(
    item: tuple[int, list[storage.Part], Tensor, list[Tensor]], work: Work, form: Form | None, device: torch.device
) -> Any:
    number, parts, kept, given = item
    return number, to_host(work(_read(parts, kept, given, form, device)))


@retried
def _of_group(item: tuple[int, list[_Tile], list[Tensor]], work: Work, form: Form | None, device: torch.device) -> Any:
    number, tiles, given = item
    places = torch.cat([tile.places for tile in tiles])
    found = torch.cat([x for tile in tiles for (x,) in _read(tile.parts, tile.kept, [], form, HOST)])
    return number, to_host(work(found[places.argsort()].to(device), *(some.to(device) for some in given)))


@retried
def _of_columns(item: tuple[int, list[_Tile], Tensor], work: Work, form: Form | None, device: torch.device) -> Any:
    number, tiles, columns = item
    these = partial(_some_columns, columns=columns)
    form = these if form is None else partial(_both, form, these)
    found = torch.empty(sum(len(tile.places) for tile in tiles), len(columns))
    for tile in tiles:
        done = 0
        for (x,) in _read(tile.parts, tile.kept, [], form, HOST):
            found[tile.places[done : done + len(x)]] = x
            done += len(x)
    return number, to_host(work(found.to(device), number))


def _some_columns(x: Tensor, columns: Tensor) -> Tensor:
    return x[:, columns]


def _read(parts: list[storage.Part], kept: Tensor, given: list[Tensor], form: Form | None, device: torch.device) -> Blocks:
    """The rows that count with their slices of what was given, which holds rows that count alone."""
    row = place = 0
    for part in parts:
        for _, _, x in blocks(part):
            here = kept[row : row + len(x)]
            row += len(x)
            x = x if bool(here.all()) else x[here]
            if len(x):
                x = x.to(device)
                yield x if form is None else form(x), *(some[place : place + len(x)].to(device) for some in given)
            place += len(x)
