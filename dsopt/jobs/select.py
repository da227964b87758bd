"""select: images and what is known of them -> a subset."""

from dsopt.jobs.job import Job
from dsopt.stages import select

JOB = Job(
    about="""Select the images that matter, and write them as a small data set. What the method needs is made first.

    dsopt select preset=cifar10 data.root=... select.name=top_activation select.budget=4320
    dsopt select data.name=folder data.root=photos select.name=kcenter select.budget=0.1
    dsopt select data.name=folder data.root=photos select.ids=chosen.txt     # these, by their ids or keys
    dsopt select data.name=folder data.root=photos select.budget=0.1 select.extends=runs/select/...    # keep an earlier subset
""",
    keys="""
    select.name select.budget select.per_class select.ids select.extends select data.name data.root data.image_size
    embed.encoder embed.weights embed.source embed.table
    autoencoder.steps proxy.name proxy.steps teacher.name teacher.steps
    cluster.workers cluster.gpu storage seed
""",
    targets=lambda plan: [select.subset(plan, plan.config.select, plan.config.seed)],
)
