"""ingest: any data set -> the images table."""

from dsopt.jobs.job import Job
from dsopt.stages import ingest

JOB = Job(
    about="""Read a data set into the images table: decoded, checked, and resized once.

    dsopt ingest data.name=folder data.root=photos storage=runs
""",
    keys="data cluster.workers storage",
    targets=lambda plan: [ingest.images(plan)],
)
