"""The main job: ingest, train the autoencoder, embed, select, train in two phases against the baselines, report."""

from collections import Counter
from dataclasses import replace

from dsopt.config import Config, SelectConfig
from dsopt.errors import JobError
from dsopt.jobs.job import Job
from dsopt.jobs.optimize import page
from dsopt.jobs.optimize.page import Rows
from dsopt.jobs.optimize.target import with_target
from dsopt.pipeline.plan import Plan
from dsopt.pipeline.step import run
from dsopt.progress import say
from dsopt.stages import classifier, embed, ingest, issues, linear, needs, script, select
from dsopt.stages.classifier import Row
from dsopt.storage import Stage, Table


def comparison(plan: Plan) -> Rows:
    """Every training run of the comparison: (row, seed, stage). Raises InputError for a configuration that it cannot have."""
    config, images = plan.config, ingest.images(plan)
    seeds = range(config.seed, config.seed + config.compare.seeds)
    chosen = select.subset(plan, config.select, config.seed)
    full = Row("full data", "full", 0.0, images)
    command = config.compare.command is not None
    pairs = [(full, seed) for seed in seeds]
    for name, settings in _named(_compared(config)):
        for split in [1.0] if command else config.compare.splits:
            for seed in seeds:
                subset = select.for_training(plan, settings, seed)
                row = Row(f"{name}, {100 * split:g}/{100 * (1 - split):g}", name, split, images, subset)
                pairs.append((row, seed))
    if command:
        return [(row, seed, script.run(plan, row, seed)) for row, seed in pairs]
    if config.extra.name != "none":  # every row, with and without extra images
        pairs += [(classifier.beside(plan, row, seed), seed) for row, seed in pairs]
    rows = [(row, seed, classifier.run(plan, row, seed)) for row, seed in pairs]
    if config.compare.equal_cost:
        longer = Row("full data + choosing", "full", 0.0, images, extra=chosen)
        plain_runs = {seed: stage for row, seed, stage in rows if row is full}
        rows += [(longer, seed, classifier.run(plan, longer, seed, plain_runs[seed])) for seed in seeds]
    return [*rows, *_probes(plan, rows, chosen)]


def _probes(plan: Plan, rows: Rows, chosen: Stage) -> Rows:
    """How far a linear classifier gets on the embeddings of all images and of every subset: a yardstick for all other rows.

    Only of embeddings that choosing needs anyway, one of whose encoders nothing here trains, and where rows are judged by test
    images, as it is.
    """
    config, found = plan.config, dict[tuple[str, int], tuple[Row, int, Stage]]()
    given = config.embed.source == "encoder" and any(name not in embed.TRAINED for name in config.embed.encoder)
    if (
        config.compare.probe
        and given
        and not config.train.validation
        and any(step.stage.kind == embed.EMBED for step in plan.to(chosen))
    ):
        for row, seed, _ in rows:
            if not row.added and not (row.subset and "judge" in row.subset.inputs):
                of = row.method if row.subset else "full data"
                same = Row(f"linear probe, {of}", row.method, float(row.subset is not None), row.images, row.subset)
                found.setdefault((of, seed), (same, seed, linear.run(plan, same, seed)))
    return list(found.values())


def _compared(config: Config) -> list[SelectConfig]:
    """The baselines and the chosen method; if that has soft labels, all of them with and without, for a fair comparison."""
    methods = [*(select.baseline(config, name) for name in config.compare.methods), config.select]
    both = [replace(method, soft_labels=labels) for labels in ("none", config.select.soft_labels) for method in methods]
    return [method for i, method in enumerate(both) if method not in both[:i]]


def _named(methods: list[SelectConfig]) -> list[tuple[str, SelectConfig]]:
    """Every method with the name of its rows: its settings are appended if another method has the same short name."""

    def short(method: SelectConfig) -> str:
        return method.method + ("" if method.soft_labels == "none" else "+soft")

    def in_full(method: SelectConfig) -> str:
        settings = ["per class"] * method.per_class + [f"{key}={value}" for key, value in method.options.items()]
        return " ".join([short(method), *settings])

    names = Counter(map(short, methods))
    return [(short(method) if names[short(method)] == 1 else in_full(method), method) for method in methods]


def unlabelled(plan: Plan) -> bool:
    """Whether the data set is ingested and has no labels to train with."""
    images = ingest.images(plan)
    return images.done() and not Table(images.uri).manifest["labelled"]


def targets(plan: Plan) -> list[Stage]:
    """The report of the comparison, or the subset if the data set has no labels."""
    plan = plan.having(with_target(plan.config))
    if unlabelled(plan):
        return [select.subset(plan, plan.config.select, plan.config.seed)]
    return [page.page(plan, comparison(plan), {}, audited(plan))]


def audited(plan: Plan) -> Stage | None:
    """What the first section of the page tells."""
    subset = select.subset(plan, plan.config.select, plan.config.seed)
    return issues.at_hand(plan, subset) if plan.config.compare.audit else None


def optimize(plan: Plan) -> None:
    """Run the comparison and print its results. The data set comes first: only then it is known whether it has labels.

    Raises:
        JobError: runs failed; the others are finished, and the table and the page have them all.
    """
    plan = plan.having(with_target(plan.config))
    config = plan.config
    comparison(plan)  # a wrong configuration is refused before any work
    plan.run(ingest.images(plan))
    if unlabelled(plan):
        needs.no_overlooked_labels(ingest.images(plan), config)
        subset = select.subset(plan, config.select, config.seed)
        plan.run(subset)
        say("optimize", f"the data set has no labels: done up to the subset, {subset.uri}")
        return
    rows, found = comparison(plan), audited(plan)
    failed = plan.attempt(*([found] if found else []), *(stage for _, _, stage in rows))
    draw(plan, rows, failed, found)
    lost = Counter(row.title for row, _, stage in rows if stage.hash in failed)
    if lost:
        named = "; ".join(f"{title} ({count} of {config.compare.seeds})" for title, count in lost.items())
        raise JobError(f"optimize: {lost.total()} of {len(rows)} runs failed: {named}. The same command tries them again.")


def draw(plan: Plan, rows: Rows, failed: dict[str, str], found: Stage | None) -> None:
    """Write the report, and print its table."""
    stage = page.page(plan, rows, failed, found if found and found.done() else None)
    run([plan.step(stage)])
    subset = select.subset(plan, plan.config.select, plan.config.seed)
    if subset.done():
        say("subset", subset.uri)
    page.print_results(stage, plan.config, rows, failed)


def targets_of_report(plan: Plan) -> list[Stage]:
    """The report of the finished runs; it trains nothing."""
    plan = plan.having(with_target(plan.config))
    return [page.page(plan, *ended(plan), _found(plan))]


def report(plan: Plan) -> None:
    """Write the report of the finished runs, and print their table."""
    plan = plan.having(with_target(plan.config))
    draw(plan, *ended(plan), _found(plan))


def _found(plan: Plan) -> Stage | None:
    """What an audit found; a report looks at no image that was not looked at."""
    found = audited(plan)
    return found if found and found.done() else None


def ended(plan: Plan) -> tuple[Rows, dict[str, str]]:
    """The runs of the comparison that are finished or have failed, and why these did, by the hash of their stage."""
    rows = comparison(plan)
    failed = {stage.hash: reason for _, _, stage in rows if (reason := stage.failure()) is not None}
    return [one for one in rows if one[2].done() or one[2].hash in failed], failed


JOB = Job(
    about="""Make a data set smaller and training on it faster, and show what that gained. The main job.

    dsopt optimize preset=demo                                # real digits, minutes on 2 cores
    dsopt optimize preset=cifar10 data.root=... storage=...   # the selection paper's 4,320 images
    dsopt optimize data.name=folder data.root=photos select.budget=0.1
    dsopt optimize compare.command="python train.py --data {subset} --seed {seed} --out {out}"   # your own training

ingest -> autoencoder -> embed -> select -> train (subset, then everything; and the baselines) -> report.
Finished stages are reused; after an interruption or a failed run, the same command resumes.
""",
    keys="""
    data.name data.root data.image_size data.channels select.name select.budget select.per_class select.ids select.soft_labels
    train.name train.steps train.batch_size train.learning_rate train.augment train.epochs train.seconds
    compare.seeds compare.methods compare.splits compare.equal_cost compare.target compare.command
    extra.name extra.amount embed.encoder autoencoder.name autoencoder.steps
    proxy.name proxy.steps cluster.workers cluster.gpu storage seed
""",
    targets=targets,
    run=optimize,
)
