"""The main job: ingest, train the autoencoder, embed, select, train in two phases beside the baselines, report."""

from collections import Counter
from collections.abc import Callable
from dataclasses import replace

from dsopt.config import Config, SelectConfig
from dsopt.jobs.job import Job
from dsopt.jobs.optimize import page as report
from dsopt.pipeline.step import Step, run, unique
from dsopt.progress import say
from dsopt.stages import autoencoder, classifier, embed, ingest, select
from dsopt.stages.classifier import Row
from dsopt.storage import Table

Plan = list[Step]


def plan(config: Config) -> Plan:
    """All stages of the main job, in order; up to the subset for a data set that is known to have no labels."""
    images, _ = ingest.images(config)
    if images.done() and not Table(images.uri).manifest["labelled"]:
        return plan_select(config)
    rows, steps = comparison(config)
    return unique([*steps, report.page(config, rows)])


def comparison(config: Config) -> tuple[list[tuple[Row, int, Step]], Plan]:
    """Every training run of the comparison as (row, seed, step), and all steps that lead to them and are them."""
    images, _ = ingest.images(config)
    seeds = range(config.seed, config.seed + config.compare.seeds)
    chosen, steps = select.subset(config, config.select, config.seed)
    steps += classifier.scores(config, 0.0)[1]
    full = Row("full data", "full", 0.0, images)
    pairs = [(full, seed) for seed in seeds]
    for name, settings in _named(_compared(config)):
        for split in config.compare.splits:
            for seed in seeds:
                subset, subset_steps = select.subset(config, settings, seed)
                steps += subset_steps
                row = Row(f"{name}, {100 * split:g}/{100 * (1 - split):g}", name, split, images, subset)
                pairs.append((row, seed))
    for row, seed in pairs.copy() if config.extra.name != "none" else ():  # every row, with and without
        row, more = classifier.beside(config, row, seed)
        steps += more
        pairs.append((row, seed))
    rows = [(row, seed, classifier.run(config, row, seed)) for row, seed in pairs]
    if config.compare.equal_cost:
        longer = Row("full data + choosing", "full", 0.0, images, extra=chosen)
        plain_runs = {seed: step.stage for row, seed, step in rows if row is full}
        rows += [(longer, seed, classifier.run(config, longer, seed, plain_runs[seed])) for seed in seeds]
    return rows, unique([*steps, *(step for _, _, step in rows)])


def _compared(config: Config) -> list[SelectConfig]:
    """The baselines and the chosen method; if that has soft labels, all of them with and without: like beside like."""
    methods = [*(select.baseline(config, name) for name in config.compare.methods), config.select]
    both = [replace(method, soft_labels=labels) for labels in ("none", config.select.soft_labels) for method in methods]
    return [method for i, method in enumerate(both) if method not in both[:i]]


def _named(methods: list[SelectConfig]) -> list[tuple[str, SelectConfig]]:
    """Every method with the name of its rows: with what it is set to where the name alone is another's too."""

    def told(method: SelectConfig) -> str:
        return method.name + ("" if method.soft_labels == "none" else "+soft")

    def in_full(method: SelectConfig) -> str:
        settings = ["per class"] * method.per_class + [f"{key}={value}" for key, value in method.options.items()]
        return " ".join([told(method), *settings])

    names = Counter(map(told, methods))
    return [(told(method) if names[told(method)] == 1 else in_full(method), method) for method in methods]


def plan_ingest(config: Config) -> Plan:
    return ingest.images(config)[1]


def plan_embed(config: Config) -> Plan:
    return embed.embeddings(config)[1]


def plan_select(config: Config) -> Plan:
    return select.subset(config, config.select, config.seed)[1]


def plan_report(config: Config) -> Plan:
    """A report of the runs that are done; it trains nothing."""
    rows, _ = comparison(config)
    return [report.page(config, [(row, seed, step) for row, seed, step in rows if step.stage.done()])]


def plan_train(config: Config) -> Plan:
    """One training run over all workers: the autoencoder, or a classifier on the subset and then on everything."""
    if config.train.learner == "autoencoder":
        return autoencoder.model(config)[1]
    return classifier.alone(config)


def optimize(config: Config) -> None:
    """Run the plan; once the data set is there, see whether it has the labels that training needs."""
    run(plan_ingest(config), config)
    steps = plan(config)
    run(steps[1:], config)
    last = steps[-1].stage
    if last.kind == "select":
        say("optimize", f"the data set has no labels: done up to the subset, {last.uri}")
    else:
        say("subset", select.subset(config, config.select, config.seed)[0].uri)
        report.tell(last, comparison(config)[0])


def report_done(config: Config) -> None:
    """Report on the runs that are done, and tell."""
    (step,) = plan_report(config)
    run([step], config)
    report.tell(step.stage, [(row, seed, made) for row, seed, made in comparison(config)[0] if made.stage.done()])


def stages(make: Callable[[Config], Plan]) -> Callable[[Config], None]:
    """A job that runs a plan as it is."""
    return lambda config: run(make(config), config)


JOB = Job(
    about="""Make a data set smaller and training on it faster, and show what that gained. The main job.

    dsopt optimize preset=demo                                # real digits, minutes on 2 cores
    dsopt optimize preset=cifar10 data.root=... storage=...   # the selection paper's 4,320 images
    dsopt optimize data.name=folder data.root=photos select.budget=0.1

ingest -> autoencoder -> embed -> select -> train (subset, then everything; and the baselines) -> report.
Finished stages are reused; after an interruption, the same command resumes.
""",
    keys="""
    data.name data.root data.image_size data.channels select.name select.budget select.per_class select.soft_labels
    train.name train.steps train.batch_size train.learning_rate train.augment train.epochs train.seconds compare
    extra.name extra.amount extra.augment embed.source autoencoder.name autoencoder.steps autoencoder.batch_size
    proxy.name proxy.steps cluster.workers cluster.gpu storage seed
""",
    plan=plan,
    run=optimize,
)
