"""train: images, and perhaps a subset of them -> one trained network."""

from dsopt.jobs.job import Job
from dsopt.pipeline.plan import Plan
from dsopt.stages import autoencoder, classifier
from dsopt.storage import Stage


def targets(plan: Plan) -> list[Stage]:
    """One training run over all workers."""
    return [autoencoder.model(plan) if plan.config.train.learner == "autoencoder" else classifier.alone(plan)]


JOB = Job(
    about="""Train one network on all workers: a classifier on a subset and then on everything, or the autoencoder.

    dsopt train train.split=0.9 train.subset=s3://bucket/runs/select/...
    dsopt train train.split=0 train.name=convnet cluster.workers=4        # on the full set alone
    dsopt train train.learner=autoencoder cluster.workers=4
""",
    keys="""
    train.name train.subset train.split train.steps train.batch_size train.learning_rate train.schedule train.augment train.size
    train.weights train.optimizer train.weight_decay train.label_smoothing train.validation train.epochs train.seconds
    train.phases train.overlap train.sampler train.progressive train.learner train.batch_size_per_worker train.rate_rule
    train.sync_batch_norm extra.name extra.amount data.name data.root data.image_size select.name select.budget cluster storage seed
""",
    targets=targets,
)
