"""The coloring job: color photographs, or train a colorizer, measure it and show it."""

from dsopt.files import check_readable, check_writable
from dsopt.jobs.colorize import page, pictures
from dsopt.jobs.job import Job
from dsopt.pipeline.plan import Plan
from dsopt.progress import say
from dsopt.reporting.tables import aligned
from dsopt.stages import colorizer, ingest, measure_colors
from dsopt.storage import Stage
from dsopt.training.worker import this_process


def measured(plan: Plan, seed: int) -> Stage:
    """The measures of the configured colorizer, trained with a seed."""
    return measure_colors.measured(plan, colorizer.model(plan, seed))


def targets(plan: Plan) -> list[Stage]:
    """The colorizer where there are photographs to color; else the page of what it and those beside it are worth."""
    config, model = plan.config, _model(plan)
    if config.input:
        return [model]
    models = [model, *map(Stage.existing, config.colorize.beside)]
    return [page.page(plan, [measure_colors.measured(plan, each) for each in models])]


def _model(plan: Plan) -> Stage:
    """The colorizer of `colorize.model`, or the one that the other keys describe."""
    chosen = plan.config.colorize.model
    return Stage.existing(chosen) if chosen else colorizer.model(plan, plan.config.seed)


def colorize(plan: Plan) -> None:
    """Color `input`, or else measure the colorizer and leave a page."""
    config = plan.config
    if config.input:
        found, model = pictures.paths(config.input, config.output), _model(plan)
        folder = found.target if found.folder else found.target.rpartition("/")[0] or "/"
        check_readable(folder, "output")  # before a colorizer is trained
        check_writable(folder, "output")
        plan.run(model)
        device = this_process(config.cluster.gpu, config.cluster.cpus_per_worker).device
        pictures.color(found, colorizer.Colorizer(model, device))
        return
    targets(plan)  # whatever is wrong with the configuration is refused before any work
    plan.run(ingest.images(plan))  # only then it is known whether there are labels to measure by
    (report,) = targets(plan)
    plan.run(report)
    print("\n" + aligned(*page.lines(list(report.inputs.values()))) + "\n")
    say("colorizer", _model(plan).uri)
    say("report", report.path("report.html"))


JOB = Job(
    about="""Color grayscale photographs; without `input`, train a colorizer, measure it and show it on a page.

    dsopt colorize preset=colorize_gan data.name=cifar10 data.root=...
    dsopt colorize input=photo.jpg output=colored.jpg colorize.model=runs/colorizer/cifar10-...
    dsopt colorize input=photos output=colored preset=colorize_gan data.name=cifar10 data.root=...

Photographs may have any size and format, grayscale or not, local or on s3://. Each keeps its own lightness, pixel by pixel: the
network sees it with its shorter side as small as the images it was trained on, and its colors are enlarged.
""",
    keys="""
    input output colorize.model data.name data.root colorize.steps colorize.size colorize.loss colorize.terms
    colorize.beside colorize measure.extractor measure.weights measure.samples cluster.workers cluster.gpu storage seed
""",
    targets=targets,
    run=colorize,
)
