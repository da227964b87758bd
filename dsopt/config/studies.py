"""Keys of the jobs that train many networks: comparisons, sweeps and searches."""

from dataclasses import dataclass
from typing import Any, Literal

from dsopt import registry
from dsopt.config.keys import SHARE, Bound, Choice, above, at_least, choice, each, interval, key, matching, part
from dsopt.config.training import OptimizerConfig

BELOW_ALL = interval("(0, 1)")
GPUS = Bound("a share in [0, 1] or a whole number", lambda value: 0 <= value <= 1 or (value > 1 and value == int(value)))


@dataclass
class CompareConfig:
    seeds: int = key(3, "training runs per row, with seeds seed, seed+1, ...", at_least(1))
    methods: list[str] = key(["random", "random_balanced"], "baselines beside select.name", family=registry.SELECTORS)
    splits: list[float] = key([1.0, 0.5], "values of train.split to compare, a row each", each(SHARE))
    equal_cost: bool = key(True, "one more row: full data, trained longer by the seconds that selection takes")
    probe: bool = key(True, "more rows: linear classifiers of embeddings by a pretrained encoder or fixed filters")
    audit: bool = key(
        True, "the first section of pages: what an audit found; the main job looks at the pixels for it, see `dsopt audit`"
    )
    target: float | None = key(
        None,
        "also show when a row's accuracy on held-out images stays above this: 0.9",
        interval("(0, 1)"),
    )
    command: str | None = key(
        None,
        "your own training in place of the built-in one, such as 'python train.py --data {subset} --seed {seed} --out {out}'; also "
        "{ids}, {test}; the keys train.*, splits, equal_cost and probe have no meaning then",
    )
    export: Literal["folder", "webdataset", "parquet"] = key("folder", "how {subset} and {test} of the command are written")
    gpus: float = key(1.0, "GPUs per run of the command, if there are any; 0.25: four runs on each GPU; 0: none", GPUS)
    cpus: int | None = key(None, "CPUs per run of the command; not given: an equal share for each of cluster.workers", at_least(1))


@dataclass
class AdviseConfig:
    minutes: float = key(30.0, "how long pilots may train, all together; what choosing needs is made besides", above(0))
    share: float = key(0.2, "steps of all pilots together, as a share of one full training's", above(0))
    sizes: list[float] = key(
        [0.01, 0.03, 0.1, 0.3], "shares of the training images that pilots train on, besides all", each(BELOW_ALL)
    )
    seeds: int = key(2, "pilots of every size and length but the longest, with seeds seed, seed+1, ...", at_least(1))
    within: float = key(0.01, "how much less accuracy than with all images is good enough", interval("(0, 1)"))


@dataclass
class SweepConfig:
    of: str = key(
        "train", "what a trial makes: train (a classifier), probe (a linear one, of embeddings), generate, colorize or distill"
    )
    title: str = key(
        "sweep", "short name, for the folder and the page", matching(r"[\w.-]+", "a word of letters, digits, _, - and .")
    )
    grid: dict[str, Any] = key({}, "keys with lists of values, every combination a row: sweep.grid.train.split=[0,0.5,1]")
    rows: dict[str, Any] = key({}, "named lists of overrides, each at every point of the grid: {BLUR: [extra.name=copies]}")
    also: list[list[str]] = key([], "rows beside the grid, each a list of overrides: [[train.split=0]]", example="[train.split=0]")
    equal_cost: bool = key(False, "one more row: full data, trained longer by the seconds that selection takes")
    seeds: int = key(3, "runs per row, with seeds seed, seed+1, ...; a search runs each sample once", at_least(1))
    x: str | None = key(None, "key on the x axis of the figure; not given: the first key of the grid with numeric values")
    searcher: Literal["grid", "random", "optuna"] = key("grid", "grid: run sweep.grid; random, optuna: sample from sweep.space")
    space: dict[str, Any] = key(
        {}, "search space: sweep.space.train.learning_rate={log: [0.001, 0.5]}, {uniform: [low, high]}, or a list of values"
    )
    samples: int = key(20, "trials of a search", at_least(1))
    scheduler: Literal["none", "asha"] = key("none", "asha: stop trials early whose validation accuracy falls behind")
    grace: float = key(0.1, "asha: share of its budget that every trial gets", interval("(0, 1)"))
    reduction: int = key(3, "asha: one in this many trials continues at each halving", at_least(2))
    gpus: float = key(1.0, "GPUs per trial, if workers have any; 0.25: four trials on each GPU", SHARE)


@dataclass
class ChildConfig(OptimizerConfig):
    steps: int = key(600, "optimizer steps of a full training", at_least(1))
    batch_size: int = key(64, "images per step; fewer if a proxy has fewer", at_least(1))
    learning_rate: float = key(0.05, "learning rate of SGD, the same for every child", above(0))
    standardise: Literal["deviation", "variance"] = key("deviation", "divide images by their standard deviation or variance")
    weight_decay: float = key(5e-4, "weight decay, on fully connected layers only")
    precision: Literal["auto", "bf16", "fp16", "fp32"] = key("fp32", "bf16 is no faster for tiny networks")


@dataclass
class SharedConfig:
    steps: int = key(2000, "training steps of the shared weights, each on one batch with a newly sampled child", at_least(1))
    rounds: int = key(10, "rounds of controller updates during these steps", at_least(1))
    updates: int = key(30, "controller updates per round", at_least(1))
    samples: int = key(10, "children sampled per controller update", at_least(1))
    learning_rate: float = key(0.0035, "learning rate of the controller's Adam", above(0))
    candidates: int = key(1000, "children sampled from the trained controller at the end", at_least(1))
    batches: int = key(10, "held-out batches that each candidate is scored on; the ten best are then scored on all", at_least(1))


@dataclass
class SearchConfig:
    space: Choice = choice(registry.SPACES, "mini216", "the space of networks (children) to search")
    strategy: Choice = choice(registry.STRATEGIES, "random", "how children are chosen")
    children: int = key(60, "children to try", at_least(1))
    proxy: dict[str, Any] = key(
        {}, "cheap stand-in for a child's full training: {data: random_balanced, images: 100, steps: 200}; not given: full training"
    )
    set: str | None = key(None, "folder of a distilled set or other images table, for presets to name: {data: '${search.set}'}")
    proxies: list[dict[str, Any]] = key(
        [],
        "proxies whose ranking of children is compared with that of full training; none: no study",
        example="{data: random_balanced, images: 100, steps: 200}",
    )
    known: int = key(60, "random children that are trained in full, the ground truth of the study", at_least(1))
    seeds: int = key(3, "full trainings per child of the ground truth, and per finalist", at_least(1))
    finalists: int = key(5, "best children of the search, trained in full before one is chosen", at_least(1))
    validation: float = key(0.2, "share of the training images held out to evaluate children on", interval("(0, 1)"))
    train: ChildConfig = part(ChildConfig, "how a child is trained")
    shared: SharedConfig = part(SharedConfig, "weight sharing (ENAS): proxies with `shared: reinforce` or `uniform`")
    ahead: int = key(16, "children proposed before the first result; larger: more in parallel, with less feedback", at_least(1))
    bundle: int = key(8, "children sent to a worker at once; fewer if other workers would be idle", at_least(1))
    gpus: float = key(1.0, "GPUs per worker, if there are any; 0.25: four workers on each GPU", SHARE)
