"""select: images and what is known of them -> a subset."""

from dsopt.jobs.job import Job
from dsopt.jobs.optimize import job as optimize

JOB = Job(
    about="""Select the images that matter, and write them as a small data set. What the method needs is made first.

    dsopt select preset=cifar10 data.root=... select.name=top_activation select.budget=4320
    dsopt select data.name=folder data.root=photos select.name=kcenter select.budget=0.1
""",
    keys="""
    select.name select.budget select.per_class select data.name data.root data.image_size
    embed.source embed.network embed.weights embed.table
    autoencoder.steps proxy.name proxy.steps teacher.name teacher.steps
    cluster.workers cluster.gpu storage seed
""",
    plan=optimize.plan_select,
    run=optimize.stages(optimize.plan_select),
)
