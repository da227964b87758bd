"""evaluate: a distilled set, or any small images table -> the test accuracy of networks trained on it."""

from dsopt.jobs.distill import job as distill
from dsopt.jobs.job import Job

JOB = Job(
    about="""Train new networks on a distilled set, or on any small images table, and test them after the last step.

    dsopt evaluate input=runs/distill/digits-dd-...
    dsopt evaluate input=... 'evaluate.beside=[runs/distill/digits-random-...]' 'evaluate.networks=[lenet,convnet]'
""",
    keys="input evaluate cluster storage seed deterministic",
    targets=distill.targets_of_evaluate,
    run=distill.evaluate,
)
