"""The generating job: train a generator, generate images with it, measure them, show them."""

from dsopt.jobs.generate import page
from dsopt.jobs.job import Job
from dsopt.pipeline.plan import Plan
from dsopt.progress import say
from dsopt.reporting import beside
from dsopt.reporting.tables import aligned
from dsopt.stages import generator, ingest, measure, samples
from dsopt.storage import Stage, Table


def generated(plan: Plan, seed: int) -> Stage:
    """The images of the configured generator, trained with a seed."""
    config = plan.config
    if config.measure.cas:
        generator.check_labelled(config, "measure.cas=true")
    count = 1.0 if config.generate.samples is None else config.generate.samples
    return samples.images(plan, generator.base(plan), count, seed)


def measured(plan: Plan, seed: int) -> Stage:
    """The measures of the images of the configured generator, trained with a seed."""
    return measure.measured(plan, generated(plan, seed), seed)


def targets(plan: Plan) -> list[Stage]:
    """The page; without measures if the data set is known to lack the labels that they need."""
    config, images, found = plan.config, ingest.images(plan), generated(plan, plan.config.seed)
    measures = None
    if config.measure.extractor != "classifier" or not images.done() or Table(images.uri).manifest["labelled"]:
        measures = measure.measured(plan, found, config.seed)
    return [page.page(plan, found, measures)]


def generate(plan: Plan) -> None:
    """Train, generate and print the measures. The data set comes first: only then it is known whether it has labels."""
    config = plan.config
    targets(plan)  # a wrong configuration is refused before any work
    plan.run(ingest.images(plan))
    (report,) = targets(plan)
    plan.run(report)
    if "measures" in report.inputs:
        print("\n" + aligned(page.HEAD, page.lines(report.inputs["measures"])) + "\n")
        if cells := beside.lines(config, page.values(report.inputs["measures"])):
            print(aligned(beside.HEAD, cells) + "\n")
    else:
        say("generate", "the data set has no labels to measure by; measure.extractor=inception needs none")
    say("samples", report.inputs["samples"].uri)
    say("report", report.path("report.html"))


JOB = Job(
    about="""Train a generator of images, generate some, measure them against real ones, and show them on a page.

    dsopt generate preset=dcgan data.name=fashion_mnist    # or gan, lsgan, ebgan, wgan, sngan, cdcgan, ...: help=presets
    dsopt generate preset=cdcgan generate.images=subset select.name=random_balanced select.budget=0.1
    dsopt train data.name=... train.subset=runs/samples/... train.split=1    # a classifier on generated images alone

Finished stages are reused; after an interruption, the same command resumes.
""",
    keys="""
    data.name data.root data.image_size generate.learner generate.images generate.samples generate.generator
    generate.discriminator generate.loss generate.terms generate.steps generate.batch_size generate measure.extractor
    measure.weights measure.samples measure.cas measure.neighbours select.name select.budget cluster.workers cluster.gpu
    storage seed
""",
    targets=targets,
    run=generate,
)
