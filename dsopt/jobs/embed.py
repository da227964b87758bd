"""embed: every training image -> its embedding."""

from dsopt.jobs.job import Job
from dsopt.jobs.optimize import job as optimize

JOB = Job(
    about="""Compute an embedding of every training image. The autoencoder is trained first if needed.

    dsopt embed preset=cifar10 data.root=... cluster.workers=8
    dsopt embed data.name=folder data.root=photos embed.source=network embed.weights=resnet18.pt
""",
    keys="data.name data.root embed autoencoder loss cluster storage seed",
    plan=optimize.plan_embed,
    run=optimize.stages(optimize.plan_embed),
)
