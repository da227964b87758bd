"""What `jobs/colorize.py` does: colour photographs, or train a colorizer, measure it and show it."""

from dsopt.config import Config
from dsopt.jobs.colorize import page as colorize_page
from dsopt.jobs.colorize import pictures as photos
from dsopt.jobs.job import Job
from dsopt.pipeline.step import Step, run, unique
from dsopt.progress import say
from dsopt.reporting.tables import aligned
from dsopt.stages import colorizer, ingest, measure_colors
from dsopt.storage import Stage
from dsopt.training.worker import this_process


def trial(config: Config, seed: int) -> list[Step]:
    """What a colorizer's measures take with one seed, from the data set on; the last step measures."""
    model, steps = colorizer.model(config, seed)
    return unique([*steps, *measure_colors.measured(config, model)[1]])


def plan(config: Config) -> list[Step]:
    """The steps that lead to the colorizer and, without photographs to colour, to what it and those beside it are worth."""
    model, steps = _model(config)
    return steps if config.input else _page(config, [model, *map(Stage.existing, config.colorize.beside)], steps)


def _page(config: Config, models: list[Stage], steps: list[Step]) -> list[Step]:
    measures = []
    for model in models:
        stage, more = measure_colors.measured(config, model)
        measures.append(stage)
        steps = [*steps, *more]
    return unique([*steps, colorize_page.page(config, measures)])


def _model(config: Config) -> tuple[Stage, list[Step]]:
    """The colorizer of `colorize.model`, or the one that the other keys describe with the steps that lead to it."""
    if config.colorize.model:
        return Stage.existing(config.colorize.model), []
    return colorizer.model(config, config.seed)


def colorize(config: Config) -> None:
    """Colour `input`, or else measure the colorizer and leave a page."""
    if config.input:
        found = photos.paths(config.input, config.output)
        model, steps = _model(config)
        run(steps, config)
        device = this_process(config.cluster.gpu, config.cluster.cpus_per_worker).device
        photos.colour(found, colorizer.Colorizer(model, device))
        return
    plan(config)
    run(ingest.images(config)[1], config)  # only then it is known whether there are labels to measure by
    steps = plan(config)
    run(steps, config)
    head, lines = colorize_page.lines(list(steps[-1].stage.inputs.values()))
    print("\n" + aligned(head, lines) + "\n")
    say("colorizer", _model(config)[0].uri)
    say("report", steps[-1].stage.path("report.html"))


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
    plan=plan,
    run=colorize,
)
