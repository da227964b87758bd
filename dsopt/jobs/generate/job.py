"""The generating job: train a generator, make images with it, measure them, show them."""

from dsopt.config import Config
from dsopt.jobs.generate import page as generate_page
from dsopt.jobs.job import Job
from dsopt.pipeline.step import Step, run, unique
from dsopt.progress import say
from dsopt.reporting.tables import aligned
from dsopt.stages import generator, ingest, measure, samples
from dsopt.storage import Stage, Table


def trial(config: Config, seed: int) -> list[Step]:
    """What a generator's measures take with one seed, from the data set on; the last step measures."""
    made, steps = _samples(config, seed)
    return unique([*steps, *measure.measured(config, made, seed)[1]])


def _samples(config: Config, seed: int) -> tuple[Stage, list[Step]]:
    if config.measure.cas:
        generator.check_labelled(config, "measure.cas=true")
    base, steps = generator.base(config)
    made, more = samples.images(config, base, 1.0 if config.generate.samples is None else config.generate.samples, seed)
    return made, [*steps, *more]


def plan(config: Config) -> list[Step]:
    """All stages of the job, in order; without measures for a data set that is known to have no labels to measure by."""
    made, steps = _samples(config, config.seed)
    images, _ = ingest.images(config)
    measured = None
    if config.measure.extractor != "classifier" or not images.done() or Table(images.uri).manifest["labelled"]:
        measured, more = measure.measured(config, made, config.seed)
        steps += more
    return unique([*steps, generate_page.page(config, made, measured)])


def generate(config: Config) -> None:
    """Run the plan; once the data set is there, see whether it has the labels that measuring takes. Tell the measures."""
    plan(config)
    run(ingest.images(config)[1], config)
    steps = plan(config)
    run(steps, config)
    page = steps[-1].stage
    if "measures" in page.inputs:
        print("\n" + aligned(generate_page.HEAD, generate_page.lines(page.inputs["measures"])) + "\n")
    else:
        say("generate", "the data set has no labels to measure by; measure.extractor=inception takes none")
    say("samples", page.inputs["samples"].uri)
    say("report", page.path("report.html"))


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
    plan=plan,
    run=generate,
)
