"""The auditing job: find what may be wrong with a data set, and show it."""

from dsopt.audit.contract import Needs
from dsopt.jobs.audit import page
from dsopt.jobs.job import Job
from dsopt.pipeline.plan import Plan
from dsopt.progress import say
from dsopt.reporting.issues import HEAD, lines
from dsopt.reporting.tables import aligned
from dsopt.stages import ingest, issues
from dsopt.storage import Stage, Table


def targets(plan: Plan) -> list[Stage]:
    """The page; without checks of labels if the data set is known to have none that could be judged."""
    return [page.page(plan, issues.issues(plan, _possible(plan)))]


def _possible(plan: Plan) -> tuple[Needs, ...]:
    images = ingest.images(plan)
    return issues.NEEDS if not images.done() or not _why_not(plan) else ("looks", "embeddings")


def _why_not(plan: Plan) -> str:
    """Why the labels of the data set, which is ingested, cannot be checked."""
    images, folds = Table(ingest.images(plan).uri), plan.config.probe.folds
    if not images.manifest["labelled"]:
        return "the data set has no labels"
    if images.manifest["num_classes"] < 2:
        return "all labels are the same"
    few = plan.config.audit.judge == "probe" and images.rows("train") < 2 * folds
    return f"{images.rows('train')} training images are too few for {folds} folds" if few else ""


def audit(plan: Plan) -> None:
    """Check everything, and print what was found. The data set comes first: only then it is known whether it has labels."""
    targets(plan)  # a wrong configuration is refused before any work
    plan.run(ingest.images(plan))
    if issues.kinds(plan.config, "scores") and (reason := _why_not(plan)):
        say("audit", f"labels are not checked: {reason}")
    (report,) = targets(plan)
    plan.run(report)
    found = report.inputs["issues"]
    manifest = Table(found.uri).manifest
    if manifest["found"]:
        print("\n" + aligned(HEAD, lines(manifest["found"], list(manifest["found"]))) + "\n")
    say("audit", f"looked for {', '.join(manifest['looked_for'])}" + ("" if manifest["found"] else ": found none"))
    say("issues", found.path(manifest["csv"]))
    say("report", report.path("report.html"))


JOB = Job(
    about="""Find what may be wrong with a data set, and show it: duplicates, leaks, wrong labels, outliers, spoiled pictures.

    dsopt audit data.name=folder data.root=photos
    dsopt audit data.name=fashion_mnist audit.kinds=[exact_duplicates,leaks,'dark(below=0.1)']
    dsopt select data.name=folder data.root=photos select.drop=[exact_duplicates,leaks,label_errors]    # choose without them

Nothing is changed or deleted: it writes a table of issues, also as issues.csv, and a page with pictures.
Finished stages are reused; after an interruption, the same command resumes.
""",
    keys="""
    data.name data.root data.image_size audit.kinds audit.judge embed.encoder embed.weights embed.source embed.table
    autoencoder.steps probe.folds proxy.name proxy.steps cluster.workers cluster.gpu storage seed
""",
    targets=targets,
    run=audit,
)
