"""child: the best finalist, trained from scratch on all training images, tested once, and exported."""

import torch

from dsopt.augment.inputs import View, make_inputs
from dsopt.config import Config, differing
from dsopt.data.batches import in_order
from dsopt.data.loading import load
from dsopt.errors import JobError
from dsopt.files import write_bytes
from dsopt.jobs.search.child import EVALUATION_BATCH, classifier, rate
from dsopt.jobs.search.trials import ranked
from dsopt.learners.classifier import Classifier
from dsopt.pipeline import networks, outputs
from dsopt.pipeline.plan import Plan
from dsopt.pipeline.training import Run, finish, fit_run, shuffled
from dsopt.search.exported import ChildSpec, dump, network_of, restore
from dsopt.seeds import derive
from dsopt.stages import needs
from dsopt.storage import Kind, Stage, Table
from dsopt.training.loop import Phase
from dsopt.training.worker import Worker

CHILD = Kind("child")


def best(plan: Plan, finalists: Stage) -> Stage:
    """The training run of the best finalist."""
    config = plan.config
    made_of = differing(config, "search.train", "search.space", "seed")
    inputs, name = {"images": finalists.inputs["images"], "finalists": finalists}, f"{config.data.name}-{config.search.space.name}"
    return plan.add(CHILD, name, made_of, inputs, _train, where="worker", title="train the best child", needs=needs.labels_and_test)


def _train(worker: Worker, stage: Stage, config: Config) -> None:
    settings, table = config.search.train, Table(stage.inputs["images"].uri)
    facts, seed = table.manifest, derive(config.seed, stage.hash)
    space, child = config.search.space, ranked(stage.inputs["finalists"])[0]["child"]
    shape = (facts["channels"], facts["num_classes"], facts["image_size"])
    about = ChildSpec(space.name, dict(space.options), child, *shape, settings.standardise)
    inputs, images = make_inputs(settings.augment, about.size, settings.standardise), load(table.uri, "train")
    torch.manual_seed(derive(seed, "weights"))
    learner = classifier(network_of(about), settings, worker)
    feed = shuffled(images, inputs, min(settings.batch_size, len(images.ids)), seed, worker)
    run = Run(stage, f"train {child}", config.seed, settings.batch_size)
    state = fit_run(run, learner, [Phase(feed.source, rate(settings, (), settings.steps), settings.steps)], config, worker)
    tested = load(table.uri, "test")

    def test(trained: Classifier) -> dict[str, float]:
        return trained.evaluate(in_order(tested.images, tested.labels, EVALUATION_BATCH, inputs.test, worker.device))

    found, network = test(learner), learner.average.averaged_network()
    exported = dump(about, network)
    reloaded = classifier(restore(exported)[0], settings, worker)
    if abs(test(reloaded)["accuracy"] - found["accuracy"]) > 0.5 / len(tested.ids):
        raise JobError(f"{stage.uri}: the exported file does not reproduce the accuracy of the trained child.")
    # A unique name: two drivers that finish at once each write a file, and the manifest names the one that its metrics belong to.
    file = outputs.unique_name("child", "pt")
    if not stage.done():
        write_bytes(stage.path(file), exported)
    described = about._asdict() | {"inputs": networks.described_inputs(View(about.size, about.size), [], settings.standardise)}
    finish(run, config, worker, state, found, network, described, exported=file, child=child)
