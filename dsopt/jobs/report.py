"""report: the training runs of a comparison that are done -> its tables and its page."""

from dsopt.jobs.job import Job
from dsopt.jobs.optimize import job as optimize

JOB = Job(
    about="""Write the report of the finished training runs of `dsopt optimize`, with the same arguments; trains nothing.

    dsopt report preset=demo
""",
    keys="storage seed data.name data.root select.name select.budget compare train.name train.steps",
    targets=optimize.targets_of_report,
    run=optimize.report,
)
