"""How fast the greedy selection methods are beside the usual ways, in one run.

    python tests/benchmarks/bench_greedy.py [--threads 2] [--repeat 3] [--usual-picks 200]

kcenter: 4,320 of 50,000 x 216 against the usual loop (as in DeepCore: `torch.cdist` of all rows to the new centre, then a
running minimum); wanted: at least 5x as fast. The loop takes the same time for every pick: it is timed for `--usual-picks`, and
that is scaled up. facility_location and graph_cut: 432 of 5,000 x 216, a class of CIFAR-10, against apricot, both from the
embeddings to the choice; needs `apricot-select`. grad_match and the others: how long they take.
"""

import argparse
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

sys.path.insert(0, str(Path(__file__).parents[2]))

from dsopt.registry import SELECTORS
from dsopt.selection.kernels.distances import similarity, squared_distances, unit

SIZE, ROWS, BUDGET = 216, 50_000, 4320


def random_features(rows: int) -> torch.Tensor:
    return torch.randn(rows, SIZE, generator=torch.Generator().manual_seed(0)).relu()


def clustered_features(rows: int) -> torch.Tensor:
    """Like a network's: rectified, in clusters of several sizes, most variance in few directions."""
    generator = torch.Generator().manual_seed(1)
    spectrum = torch.arange(1, SIZE + 1) ** -0.7
    turn = torch.linalg.qr(torch.randn(SIZE, SIZE, generator=generator)).Q
    centres = 3 * torch.randn(60, SIZE, generator=generator) * spectrum
    widths = 0.5 + torch.rand(60, 1, generator=generator)
    which = torch.randint(60, (rows,), generator=generator)
    noise = torch.randn(rows, SIZE, generator=generator) * spectrum
    return ((centres[which] + widths[which] * noise) @ turn.T).relu()


def usual_kcenter(embeddings: torch.Tensor, first: int, picks: int) -> list[int]:
    chosen = [first]
    nearest = torch.cdist(embeddings, embeddings[chosen]).squeeze(1)
    while len(chosen) < picks:
        chosen.append(int(nearest.argmax()))
        nearest = torch.minimum(nearest, torch.cdist(embeddings, embeddings[chosen[-1:]]).squeeze(1))
    return chosen


def seconds(function: Callable[[], object]) -> float:
    began = time.perf_counter()
    function()
    return time.perf_counter() - began


def alternate(repeat: int, ours: Callable[[], object], theirs: Callable[[], object]) -> tuple[float, float]:
    """The median seconds of both, each first by turns."""
    times: tuple[list[float], list[float]] = ([], [])
    for turn in range(repeat):
        for which in (0, 1) if turn % 2 else (1, 0):
            times[which].append(seconds((ours, theirs)[which]))
    return statistics.median(times[0]), statistics.median(times[1])


def select(name: str, embeddings: torch.Tensor, budget: int) -> torch.Tensor:
    labels = torch.zeros(len(embeddings), dtype=torch.int64)
    return SELECTORS.build(name)(embeddings, labels, budget, torch.Generator()).indices


def kcenter(repeat: int, usual_picks: int) -> None:
    for kind, embeddings in (("random", random_features(ROWS)), ("clustered", clustered_features(ROWS))):
        chosen = select("kcenter", embeddings, BUDGET).tolist()
        usual = usual_kcenter(embeddings, chosen[0], usual_picks)
        same = sum(a == b for a, b in zip(chosen, usual, strict=False))
        mine, theirs = alternate(
            repeat, lambda x=embeddings: select("kcenter", x, BUDGET), lambda x=embeddings: usual_kcenter(x, 0, usual_picks)
        )
        scaled = theirs / usual_picks * BUDGET
        print(
            f"kcenter, {kind}, {BUDGET:,} of {ROWS:,} x {SIZE}: {mine:.1f} s; the usual loop {theirs:.1f} s for {usual_picks}: "
            f"{scaled:.0f} s if scaled to {BUDGET:,}, {scaled / mine:.1f}x as fast; {same} of {usual_picks} picks are the same",
            flush=True,
        )


def covered(similar: torch.Tensor, chosen: torch.Tensor) -> float:
    return float(similar[:, chosen].amax(1).double().sum())


def cut(similar: torch.Tensor, chosen: torch.Tensor) -> float:
    return float(similar[:, chosen].double().sum() - similar[chosen][:, chosen].double().sum())


def submodular(repeat: int) -> None:
    try:
        import apricot
    except ImportError:
        print("facility_location, graph_cut: apricot is not installed (pip install apricot-select)")
        return
    embeddings, budget = clustered_features(5000), 432
    similar = similarity(squared_distances(unit(embeddings), unit(embeddings)))
    for name, objective, theirs in (
        ("facility_location", covered, apricot.FacilityLocationSelection(budget, metric="precomputed", optimizer="lazy")),
        ("graph_cut", cut, apricot.GraphCutSelection(budget, metric="precomputed", optimizer="lazy")),
    ):

        def usual(theirs: Any = theirs) -> torch.Tensor:
            x = torch.nn.functional.normalize(embeddings.double(), dim=1)
            return torch.from_numpy(theirs.fit(((1 + x @ x.T) / 2).numpy()).ranking.astype("int64"))

        ratio = objective(similar, select(name, embeddings, budget)) / objective(similar, usual())
        mine, apricot_s = alternate(repeat, lambda name=name: select(name, embeddings, budget), usual)
        print(
            f"{name}, {budget} of 5,000 x {SIZE}: {mine:.2f} s; apricot {apricot_s:.2f} s: {apricot_s / mine:.1f}x as fast, "
            f"at {ratio:.6f} of its objective",
            flush=True,
        )


def others() -> None:
    embeddings = clustered_features(ROWS)
    for name in ("max_distance", "herding", "graph_cut", "facility_location"):
        took = seconds(lambda name=name: select(name, embeddings, BUDGET))
        print(f"{name}, {BUDGET:,} of {ROWS:,} x {SIZE}: {took:.1f} s", flush=True)
    generator = torch.Generator().manual_seed(2)
    labels = torch.randint(10, (ROWS,), generator=generator)
    scores = (torch.randn(ROWS, 10, generator=generator) + 2 * torch.eye(10)[labels]).softmax(1)
    grad_match = SELECTORS.build("grad_match")
    for rows, budget in ((labels == 0).nonzero().squeeze(1), 432), (torch.arange(ROWS), BUDGET):
        took = seconds(lambda r=rows, b=budget: grad_match(embeddings[r], labels[r], b, torch.Generator(), scores[r]))
        print(f"grad_match, {budget:,} of {len(rows):,} x {SIZE}, 10 classes: {took:.1f} s", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--usual-picks", type=int, default=200)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    kcenter(arguments.repeat, arguments.usual_picks)
    submodular(arguments.repeat)
    others()


if __name__ == "__main__":
    main()
