"""The titles of proxies, which are the names of the rows of a study."""

from dsopt.search.proxies import parse

DIFFERENT = [
    {"data": "full", "steps": 3},
    {"data": "random", "images": 40},
    {"data": "random", "images": 0.4},
    {"data": "random", "images": 40, "per_class": True},
    {"data": "random", "images": 40, "per_class": True, "steps": 3},
    {"data": "random", "images": 1_000_001},
    {"data": "random", "images": 1_000_002},
    {"data": "kcenter", "images": 40},
    {"data": "kcenter", "images": 40, "options": {"metric": "cosine"}},
    {"data": "runs/distill/set-1"},
    {"data": "runs/distill/set-1", "bound_rates": "use"},
    {"data": "full", "shared": "uniform"},
]


def test_different_proxies_are_called_differently() -> None:
    titles = [parse(given, "search.proxies").title(600) for given in DIFFERENT]
    assert len(set(titles)) == len(titles), titles


def test_a_title_is_short() -> None:
    assert parse({"data": "random", "images": 40, "steps": 600}, "search.proxy").title(600) == "random 40"
    given = {"data": "random", "images": 40, "per_class": True, "steps": 60}
    assert parse(given, "search.proxy").title(600) == "random 40, per_class, 60 steps"
