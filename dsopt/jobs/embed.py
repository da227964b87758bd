"""embed: every training image -> its embedding."""

from dsopt.jobs.job import Job
from dsopt.stages import embed

JOB = Job(
    about="""Compute an embedding of every training image. The autoencoder is trained first if needed.

    dsopt embed preset=cifar10 data.root=... cluster.workers=8
    dsopt embed data.name=folder data.root=photos embed.encoder=timm:convnext_tiny
""",
    keys="data.name data.root embed autoencoder loss cluster storage seed",
    targets=lambda plan: [embed.embeddings(plan)],
)
