"""The nearest of many points of a plane, in city-block distance: exact, in about the same time however many points there are."""

import math
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

AT_ONCE = 1 << 21  # distances computed at a time
STRIPS = 240  # at most, if no value is frequent: their numbers are bytes, which are sorted fast
SLACK = 3  # points more, on either side of a location
ROUNDING = 2**-22  # relative, more than that of a difference and of a sum


class Points(NamedTuple):
    """Points in some order; their places are those in the order of x."""

    x: Float[Tensor, " n"]
    y: Float[Tensor, " n"]
    places: Int[Tensor, " n"]

    def windows(self, start: Int[Tensor, "*q"], size: int, at_x: Tensor, at_y: Tensor) -> tuple[Tensor, Tensor]:
        """Distances of `size` points in a row from locations, and the places of these points: [*q size] each."""
        x, y, places = (some.unfold(0, size, 1)[start] for some in self)
        return x.sub_(at_x[..., None]).abs_().add_(y.sub_(at_y[..., None]).abs_()), places


class Plane(NamedTuple):
    """Points in three orders: of x, of y, and, in strips of x, of y."""

    by_x: Points
    by_y: Points
    by_strip: Points
    keys: Int[Tensor, " n"]  # of the points in strips: number of the strip, and rank of y
    starts: Int[Tensor, " s+3"]  # of strips, among the points in strips; an empty strip is first, and one last
    low: Float[Tensor, " s+4"]  # the least x of a strip; two strips without points are first, and two last
    high: Float[Tensor, " s+4"]  # the largest x
    width: int  # points in a strip, about, if no value is frequent


def plane(x: Float[Tensor, " n"], y: Float[Tensor, " n"], by_y: Int[Tensor, " n"], count: int) -> Plane:
    """Points sorted by x, for searches of up to `count` points; `by_y` are their places in the order of y."""
    n, width = len(x), _width(len(x), count)
    starts = _starts(x, width)
    strip = torch.zeros(n, dtype=torch.uint8, device=x.device).index_fill_(0, starts[1:], 1).cumsum(0, dtype=torch.uint8)
    numbers, ranks = strip.index_select(0, by_y).sort(stable=True)
    ends, none = torch.cat([starts[1:], starts.new_full((1,), n)]), x.new_full((2,), torch.inf)
    in_strips = _ordered(x, y, by_y.index_select(0, ranks))
    copied = _copied(in_strips, count)
    if 2 * int(copied.sum()) > n:
        return _without(in_strips.places[count:][copied].long(), x, y, by_y, count)
    return Plane(
        by_x=Points(x, y, torch.arange(n, dtype=by_y.dtype, device=x.device)),
        by_y=_ordered(x, y, by_y),
        by_strip=in_strips,
        keys=ranks.add_(numbers.long().mul_(n)),
        starts=torch.cat([starts[:1], starts, ends[-1:], ends[-1:]]),
        low=torch.cat([-none, x[starts], none]),
        high=torch.cat([-none, x[ends - 1], none]),
        width=width,
    )


def _copied(points: Points, count: int) -> Bool[Tensor, " m"]:
    """Which, after the first `count`, are never among the nearest, since as many coincident ones come before; it may miss some."""
    return (points.x[count:] == points.x[:-count]) & (points.y[count:] == points.y[:-count])


def _without(
    left_out: Int[Tensor, " m"], x: Float[Tensor, " n"], y: Float[Tensor, " n"], by_y: Int[Tensor, " n"], count: int
) -> Plane:
    """The plane without some points; the others are known by their places among all."""
    kept = torch.ones(len(x), dtype=torch.bool, device=x.device).index_fill_(0, left_out, False)
    fewer = plane(x[kept], y[kept], (kept.cumsum(0) - 1).to(by_y.dtype)[by_y[kept[by_y]]], count)
    places = kept.nonzero().squeeze(1).to(by_y.dtype)
    by_x, by_other, by_strip = (some._replace(places=places[some.places]) for some in fewer[:3])
    return fewer._replace(by_x=by_x, by_y=by_other, by_strip=by_strip)


def _ordered(x: Float[Tensor, " n"], y: Float[Tensor, " n"], places: Int[Tensor, " n"]) -> Points:
    return Points(x.index_select(0, places), y.index_select(0, places), places)


def _width(n: int, count: int) -> int:
    """Points in a strip: of n scattered in a square, the `count` nearest lie within half its width on either side."""
    return max(math.isqrt(2 * count * n), n // STRIPS)


def _window(n: int, count: int, width: int) -> int:
    """Points of a strip among which those of the `count` nearest may be expected that are in it: twice as many, at least."""
    return min(2 * (max(math.ceil(count * width / math.sqrt(2 * count * n)), count) + count // 4 + SLACK), n)


def _starts(x: Float[Tensor, " n"], width: int) -> Int[Tensor, " s"]:
    """Where strips of about `width` points start: none divides points of equal x, and those of many have a strip of their own."""
    values = x[::width].unique_consecutive()
    first, after = torch.searchsorted(x, values), torch.searchsorted(x, values, right=True)
    return torch.cat([first, after[(after - first >= width) & (after < len(x))]]).unique()[:256]


def nearest(
    plane: Plane, at_x: Float[Tensor, " q"], at_y: Float[Tensor, " q"], count: int
) -> tuple[Float[Tensor, "q c"], Int[Tensor, "q c"]]:
    """Distances and places of the `count` points nearest to each location; of equally near ones, those of the first places.

    Few points beside the location's y are looked at, in its strip and in those beside it. Where others could be as near, all are
    looked at whose x, or whose y, is no farther off than the last of those that were found.
    """
    keys, nearer = _in_windows(plane, at_x, at_y, count)
    distances = _split(keys[:, -1])[0]
    # Coincident points are in order of place: those at distance 0 are the first of all.
    unsure = ((distances >= nearer) & (distances > 0)).nonzero().squeeze(1)
    if len(unsure):
        keys[unsure] = _along(plane, at_x[unsure], at_y[unsure], distances[unsure], count)
    return _split(keys)


def _in_windows(
    plane: Plane, at_x: Float[Tensor, " q"], at_y: Float[Tensor, " q"], count: int
) -> tuple[Int[Tensor, "q c"], Float[Tensor, " q"]]:
    """The nearest in windows of three strips, and a distance which all points outside have at least."""
    n, points = len(plane.keys), plane.by_strip
    size = _window(n, count, plane.width)
    own = (torch.searchsorted(plane.low[2:-2], at_x, right=True) - 1).clamp_(min=0)
    strips, across, up = own[:, None] + torch.arange(-1, 2, device=at_x.device), at_x[:, None], at_y[:, None]
    begin, end = plane.starts[strips + 1], plane.starts[strips + 2]
    middle = torch.searchsorted(plane.keys, strips * n + torch.searchsorted(plane.by_y.y, at_y)[:, None])
    start = torch.maximum(torch.minimum(middle - size // 2, end - size), begin).clamp_(max=n - size)
    distances, places = points.windows(start, size, across, up)
    inside = torch.arange(size, device=at_x.device)
    distances.masked_fill_((inside < (begin - start)[..., None]) | (inside >= (end - start)[..., None]), torch.inf)
    aside = torch.maximum(plane.low[strips + 2] - across, across - plane.high[strips + 2]).clamp_(min=0)
    below = (up - points.y[(start - 1).clamp_(min=0)]).masked_fill_(start <= begin, torch.inf)
    above = (points.y[(start + size).clamp_(max=n - 1)] - up).masked_fill_(start + size >= end, torch.inf)
    beyond = torch.minimum(at_x - plane.high[own], plane.low[own + 4] - at_x)
    return _first(distances.flatten(1), places.flatten(1), count), torch.minimum(
        (aside + torch.minimum(below, above)).amin(1), beyond
    )


def _along(
    plane: Plane, at_x: Float[Tensor, " q"], at_y: Float[Tensor, " q"], reach: Float[Tensor, " q"], count: int
) -> Int[Tensor, "q c"]:
    """The nearest, none of which is farther off than `reach`: of all points whose x, or y if they are fewer, is no farther off."""
    first_x, many_x = _within(plane.by_x.x, at_x, reach)
    first_y, many_y = _within(plane.by_y.y, at_y, reach)
    found = torch.empty(len(at_x), count, dtype=torch.int64, device=at_x.device)
    for points, first, many, mine in (
        (plane.by_x, first_x, many_x, many_x <= many_y),
        (plane.by_y, first_y, many_y, many_x > many_y),
    ):
        these = mine.nonzero().squeeze(1)
        sizes, order = many[these].sort()
        these = these[order]
        for batch, size in _batches(sizes.tolist(), count):
            some = these[batch]
            start = first[some].clamp_(max=len(points.x) - size)
            found[some] = _first(*points.windows(start, size, at_x[some], at_y[some]), count)
    return found


def _within(values: Float[Tensor, " n"], at: Float[Tensor, " q"], reach: Float[Tensor, " q"]) -> tuple[Tensor, Tensor]:
    """The first of sorted values within reach, and how many there are; rather too many, for reasons of rounding."""
    reach = reach + (reach + at.abs()) * ROUNDING
    first = torch.searchsorted(values, at - reach)
    return first, torch.searchsorted(values, at + reach, right=True) - first


def _batches(sizes: list[int], count: int) -> list[tuple[slice, int]]:
    """Divide ascending sizes into slices, each with its largest size: within one, they differ little or are few."""
    found, start = [], 0
    for stop in range(1, len(sizes) + 1):
        if stop == len(sizes) or sizes[stop] > max(2 * sizes[start], 4 * count) or (stop - start + 1) * sizes[stop] > AT_ONCE:
            found.append((slice(start, stop), max(sizes[stop - 1], count)))
            start = stop
    return found


def _first(distances: Float[Tensor, "q w"], places: Int[Tensor, "q w"], count: int) -> Int[Tensor, "q c"]:
    """The least pairs of distance and place: floats of one sign are in the order of their bits."""
    keys = (distances.view(torch.int32).long() << 32) + places
    return keys.amin(1, keepdim=True) if count == 1 else keys.topk(count, largest=False).values


def _split(keys: Tensor) -> tuple[Tensor, Tensor]:
    return (keys >> 32).int().view(torch.float32), keys & 0xFFFFFFFF
