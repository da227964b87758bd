"""The nearest other rows of every row."""

import torch
from jaxtyping import Float, Int
from torch import Tensor

from dsopt.selection.kernels.clusters import cluster
from dsopt.selection.kernels.distances import squared_distances

EXACT_ROWS = 50_000  # up to this number the search is exact: about a minute on two cores
LISTS = 4  # times the square root of the number of rows: clusters ...
PROBES = 64  # ... of which so many are searched
ITERATIONS = 5  # of k-means for these clusters
BLOCK = 1 << 24  # distances held at a time: 64 MB
PAIRS = 1 << 16  # pairs of rows compared at a time

Found = tuple[Float[Tensor, "m k"], Int[Tensor, "m k"]]


def nearest(embeddings: Float[Tensor, "n d"], k: int, of: Int[Tensor, " m"] | None = None) -> Found:
    """The squared Euclidean distances to the k nearest other rows and their indices, nearest first, ties broken by the lowest row.

    Exact up to `EXACT_ROWS` rows, and on a GPU. Beyond that, each row is compared with the rows of the 64 nearest of 4 sqrt(n)
    clusters (Jégou et al. 2011, "Product quantization for nearest neighbor search", section IV, without quantization), which misses
    few neighbours. faiss does so, if it is installed, with the clusters nearest to the row; else those nearest to the row's own
    cluster are searched, which takes somewhat longer for as many found. Unlike a graph index (HNSW) built by several threads,
    both are deterministic.

    Args:
        of: the rows whose neighbours are wanted; by default all.

    Raises:
        ValueError: k is negative, or there are not k other rows.
    """
    rows = torch.arange(len(embeddings), device=embeddings.device) if of is None else of
    if not 0 <= k < len(embeddings):
        raise ValueError(f"{len(embeddings)} rows do not have {k} others each")
    if len(embeddings) <= EXACT_ROWS or embeddings.is_cuda:
        return _compare_all(embeddings, rows, k)
    try:
        return _probe(embeddings, rows, k)
    except ImportError:
        return _around(embeddings, rows, k)


def _compare_all(x: Float[Tensor, "n d"], rows: Int[Tensor, " m"], k: int) -> Found:
    """The exact k nearest others of some rows: candidates come from matrix products, then their distances are computed exactly."""
    if not k or not len(rows):
        return x.new_empty(len(rows), k), rows.new_empty(len(rows), k)
    centered = x - x.mean(0)  # shorter vectors have smaller rounding errors in the differences of their squares
    squares = centered.square().sum(1)
    found = []
    for block in rows.split(max(BLOCK // len(x), 1)):
        here, others = _candidates(centered, squares, block, k)
        distances = _measure(x, block[here], others)
        order = distances.argsort(stable=True)
        order = order[here[order].argsort(stable=True)]  # by row, then distance, then the other row
        counts = here.bincount(minlength=len(block))
        best = order[(counts.cumsum(0) - counts)[:, None] + torch.arange(k, device=x.device)]
        found.append((distances[best], others[best]))
    return torch.cat([distances for distances, _ in found]), torch.cat([others for _, others in found])


def _candidates(
    x: Float[Tensor, "n d"], squares: Float[Tensor, " n"], block: Int[Tensor, " b"], k: int
) -> tuple[Int[Tensor, " p"], Int[Tensor, " p"]]:
    """Pairs (position in the block, row) that contain all k nearest others, and few more."""
    rough = torch.addmm(squares, x[block], x.T, alpha=-2).add_(squares[block, None])
    rough.scatter_(1, block[:, None], torch.inf)
    kth = rough.topk(k, largest=False, sorted=False).values.amax(1)  # several times as fast as `kthvalue`
    # The error of a rough squared distance is at most e (|x| + |y|)^2 with e = (d + 4) epsilon. If |y| < 2 |x|, that is at most
    # 9 e |x|^2; otherwise |x - y| > |y| / 2, and it is at most 9 e times the squared distance. The slack is twice that, since the
    # k-th distance has an error, too.
    slack = 18 * (x.shape[1] + 4) * torch.finfo(x.dtype).eps * (squares[block] + kth.clamp(min=0))
    here, others = (rough <= (kth + slack)[:, None]).nonzero(as_tuple=True)
    return here, others


def _measure(x: Float[Tensor, "n d"], some: Int[Tensor, " p"], others: Int[Tensor, " p"]) -> Float[Tensor, " p"]:
    """Squared distances of pairs of rows, from differences: exactly equal for equal rows, and exactly zero for identical ones."""
    pairs = zip(some.split(PAIRS), others.split(PAIRS), strict=True)
    return torch.cat([(x[a] - x[b]).square_().sum(1) for a, b in pairs])


def _around(x: Float[Tensor, "n d"], rows: Int[Tensor, " m"], k: int) -> Found:
    """The k nearest others among the clusters around the row's own; an exact search where these have too few."""
    lists = int(LISTS * len(x) ** 0.5)
    clusters = cluster(x, lists, torch.Generator().manual_seed(0), ITERATIONS)
    members = clusters.assignment.argsort(stable=True).split(clusters.assignment.bincount(minlength=lists).tolist())
    around = squared_distances(clusters.centroids, clusters.centroids).argsort(stable=True)[:, :PROBES]
    slot = torch.full((len(x),), -1).index_copy_(0, rows, torch.arange(len(rows)))
    distances, others = x.new_empty(len(rows), k), rows.new_empty(len(rows), k)
    for number, near in enumerate(around.tolist()):
        own = members[number][slot[members[number]] >= 0]
        if len(own):
            among = torch.cat([members[c] for c in {number, *near}]).sort().values  # of equal centroids any may be the nearest
            among = among if len(among) > k else torch.arange(len(x))
            distances[slot[own]], found = _compare_all(x[among], torch.searchsorted(among, own), k)
            others[slot[own]] = among[found]
    return distances, others


def _probe(x: Float[Tensor, "n d"], rows: Int[Tensor, " m"], k: int) -> Found:
    """The k nearest others among the clusters around each row; an exact search for rows whose clusters have too few."""
    import faiss

    count, size = x.shape
    lists = int(LISTS * count**0.5)
    index = faiss.IndexIVFFlat(faiss.IndexFlatL2(size), size, lists)
    index.nprobe = PROBES
    index.train(x[:: max(count // (64 * lists), 1)].numpy())
    index.add(x.numpy())
    distances, others = [], []
    for block in rows.split(PAIRS // 8):
        found = torch.from_numpy(index.search(x[block].numpy(), k + 1)[1]).long()
        missing = (found < 0).any(1)
        exact = found.clamp(min=0)
        measured = _measure(x, block.repeat_interleave(k + 1), exact.flatten()).view(len(block), k + 1)
        # A row finds itself, which is removed, or k + 1 rows at distance zero, of which the last is removed.
        measured[exact == block[:, None]] = torch.inf
        exact, by_row = exact.sort(dim=1)
        nearest_first = measured.gather(1, by_row).sort(dim=1, stable=True)
        near, which = nearest_first.values[:, :k], exact.gather(1, nearest_first.indices)[:, :k]
        near[missing], which[missing] = _compare_all(x, block[missing], k)
        distances.append(near)
        others.append(which)
    return torch.cat(distances), torch.cat(others)
