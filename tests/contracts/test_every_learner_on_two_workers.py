"""Two workers on halves of every batch train as one does on the whole batches, interrupted or not: whatever trains, in one pair of
processes.

Learners are made of every loss, term, likelihood and optimizer, and every distillation method is tried; what is new is tested by
being there. Networks are convolutional, and channels-last once a learner has placed them. They normalize each image for itself, or
with `sync_batch_norm`: the statistics of half a batch are not those of the whole.
"""

import functools
import importlib
import inspect
import pkgutil
import sys
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any, NamedTuple, get_args
from unittest import mock

import pytest
import torch
import torch.distributed as dist
from small_adversaries import LATENT, SIZE, batch, learner, pairs, settings, with_term
from torch import Tensor, nn
from torch.multiprocessing.spawn import spawn

import dsopt.learners
from dsopt.config import Choice, GenerateConfig
from dsopt.data.batches import Batch
from dsopt.distillation.contract import Distiller
from dsopt.learners.autoencoder import AutoencoderLearner
from dsopt.learners.classifier import Classifier
from dsopt.learners.compiled import How
from dsopt.learners.optimizers import Name
from dsopt.learners.placement import whole
from dsopt.learners.variational import VariationalLearner
from dsopt.models.whitened import Whitening
from dsopt.pipeline import adversaries
from dsopt.registry import DISTILLERS, LIKELIHOODS, LOSSES, MODELS, TERMS
from dsopt.training.loop import Learner, Phase, State, fit
from dsopt.training.worker import Worker

sys.path.append(str(Path(__file__).parent.parent / "distillation"))
import small

pytestmark = pytest.mark.slow

STEPS, STOP = 3, 2  # of a run, and after how many it is interrupted
PLACE: dict[str, Any] = {"precision": "fp32", "device": torch.device("cpu")}


class Case(NamedTuple):
    """What trains, made for a worker, and its whole batches."""

    make: Callable[[Worker], Learner]
    batch: Callable[[int], Batch] = batch
    double: bool = False  # in float64: Adam makes whole steps of what rounding leaves of zeros


def _classifier(
    optimizer: Name, worker: Worker, norm: Callable[[int], nn.Module] = nn.Identity, whitens: bool = False, **more: Any
) -> Classifier:
    torch.manual_seed(worker.rank)
    first = Whitening(1, 2) if whitens else nn.Conv2d(1, 8, 2)
    network = nn.Sequential(
        first, nn.Conv2d(8, 4, 2, 2), norm(4), nn.LeakyReLU(), nn.Conv2d(4, 6, 3), nn.Flatten(), nn.Linear(6, 3)
    )
    given = {"learning_rate": 0.1, "momentum": 0.9, "weight_decay": 0.004, "average": 0.9, "world": worker.world, **PLACE, **more}
    return Classifier(network, optimizer=optimizer, **given)


def _autoencoder(loss: str, worker: Worker, norm: Callable[[int], nn.Module] = nn.Identity, **more: Any) -> AutoencoderLearner:
    torch.manual_seed(worker.rank)
    network = nn.Sequential(nn.Conv2d(1, 4, 3, padding=1), norm(4), nn.LeakyReLU(), nn.Conv2d(4, 1, 3, padding=1))
    chosen = LOSSES.build(loss)()
    judge = nn.Sequential(nn.Conv2d(1, 4, 4, 2, 1), nn.LeakyReLU(), nn.Flatten(), nn.Linear(64, 1), nn.Flatten(0))
    judge = judge if chosen.critic else None
    return AutoencoderLearner(network, chosen, judge, learning_rate=0.1, momentum=0.9, world=worker.world, **PLACE, **more)


def _variational(likelihood: str, worker: Worker, sync: bool = False) -> Learner:
    torch.manual_seed(worker.rank)
    low = 0.0 if LIKELIHOODS.traits(likelihood).low == 0.0 else -1.0
    generator = next(n for n in MODELS.names() if MODELS.traits(n).kind == "generator" and MODELS.traits(n).low == low)
    given = GenerateConfig(
        generator=Choice(generator, {"width": 4}),
        encoder=Choice("infogan_encoder", {"width": 4}),
        likelihood=Choice(likelihood),
        latent=LATENT,
    )
    networks = map(nn.Module.train if sync else by_image, adversaries.autoencoder("generate", given, (1, SIZE, 3)))
    density = LIKELIHOODS.build(likelihood)
    # Rounding alone decides where Adam moves a bias before batch normalization: by little, so that it does not count.
    more = {"sync_batch_norm": sync, "learning_rate": 1e-5 if sync else 1e-3, "world": worker.world, **PLACE}
    return VariationalLearner(*networks, density, split=lambda b: (b.images, None), **more)


def by_image(network: nn.Module) -> nn.Module:
    """The network with normalizations of single images in place of batch normalization."""
    for module in list(network.modules()):
        for name, child in module.named_children():
            if isinstance(child, nn.modules.batchnorm._BatchNorm):
                setattr(module, name, nn.GroupNorm(1, child.num_features, affine=child.affine))
    return network


def _distiller(name: str, augment: tuple[str, ...], worker: Worker, compile: How = "off") -> Distiller:
    torch.manual_seed(worker.rank)
    options = {"bptt": {"length": 3, "window": 2}, "halving": {"rounds": 1}, "frepo": {"pool": 2, "strength": 0.1}}
    options |= {"gradient_matching": {"inner": 2}} if compile == "on" else {}
    return DISTILLERS.build(name, options.get(name))(small.problem(world=worker.world, augment=augment, compile=compile))


def cases() -> dict[str, Case]:
    found = {f"classifier {name}": Case(functools.partial(_classifier, name)) for name in get_args(Name)}
    synchronized = functools.partial(_classifier, "sgd", norm=nn.BatchNorm2d, sync_batch_norm=True)
    found |= {"classifier with batch normalization over all": Case(synchronized)}
    found |= {"classifier that whitens its first batch": Case(functools.partial(_classifier, "sgd", whitens=True))}
    found |= {f"autoencoder {name}": Case(functools.partial(_autoencoder, name)) for name in LOSSES.names()}
    synchronized = functools.partial(_autoencoder, LOSSES.names()[0], norm=nn.BatchNorm2d, sync_batch_norm=True)
    found |= {"autoencoder with batch normalization over all": Case(synchronized)}
    found |= {f"variational {name}": Case(functools.partial(_variational, name)) for name in LIKELIHOODS.names()}
    losses = {loss: settings("dcgan_generator", judge, loss, ("concat", "concat")) for loss, judge in reversed(pairs())}
    terms = {f"with {name}": with_term(name) for name in TERMS.names()}
    ways = {"in several steps": settings("dcgan_generator", "mlp_discriminator", discriminator_steps=2, optimizer="rmsprop")}
    augmented = {"augmented": settings("dcgan_generator", "dcgan_discriminator", differentiable=["color", "translation", "cutout"])}
    for name, given in (losses | terms | ways | augmented).items():
        found[f"adversarial {name}"] = Case(functools.partial(learner, given, change=by_image))
    normed = settings("dcgan_generator", "dcgan_discriminator", judge={"norm": "batch"}, sync_batch_norm=True)
    found["adversarial with batch normalization over all"] = Case(functools.partial(learner, normed))
    found["variational with batch normalization over all"] = Case(functools.partial(_variational, "gaussian", sync=True))
    for name in DISTILLERS.names():
        if DISTILLERS.traits(name).learns:
            found[f"distiller {name}"] = Case(functools.partial(_distiller, name, ()), small.batch, double=True)
    for name in ("dm", "gradient_matching"):
        found[f"distiller {name}, augmented"] = Case(functools.partial(_distiller, name, ("flip",)), small.batch, double=True)
    for name in DISTILLERS.names():
        if DISTILLERS.traits(name).compiles:
            augment = ("flip",) if name != "dd" else ()
            made = functools.partial(_distiller, name, augment, compile="on")
            found[f"distiller {name}, compiled"] = Case(made, small.batch, double=True)
    return found


class _Interrupted(Exception): ...


class _Memory:
    """A checkpoint of the first worker, in memory."""

    data: bytes | None = None

    def load(self) -> bytes | None:
        return self.data

    def save(self, data: bytes) -> None:
        self.data = data


@mock.patch.object(torch, "compile", lambda module, mode, dynamic: module)  # traced alone: to compile takes half a minute a graph
def trained(case: Case, worker: Worker, interrupted: bool) -> dict[str, Tensor]:
    """All that a run ends with: weights or images, and the losses of its steps."""
    torch.set_default_dtype(torch.float64 if case.double else torch.float32)

    def source(step: int) -> Batch:
        given = case.batch(step)
        part = slice(worker.rank * len(given.labels) // worker.world, (worker.rank + 1) * len(given.labels) // worker.world)
        return given._replace(images=given.images[part], labels=given.labels[part])

    def stopping(step: int) -> Batch:
        if step == STOP:
            raise _Interrupted
        return source(step)

    def run(made: Learner, batches: Callable[[int], Batch]) -> State:
        return fit(made, [Phase(batches, lambda p: 1.0, STEPS)], report_every=1, checkpoint=memory, checkpoint_seconds=-1.0)

    memory = _Memory() if interrupted else None
    if interrupted:
        with pytest.raises(_Interrupted):
            run(case.make(worker), stopping)
    made = case.make(worker)
    state = run(made, source)
    torch.set_default_dtype(torch.float32)
    return _ended(made, state)


def _ended(made: Learner, state: State) -> dict[str, Tensor]:
    packed = made.state_dict()
    parts = [value for network in packed.get("networks", {}).values() for value in network.values()]
    if isinstance(made, Distiller):
        parts = [part for part in made.synthetic() if part is not None]
    losses = torch.tensor([value for *_, value in state.rows], dtype=torch.float64)
    return {"weights": torch.cat([part.detach().double().flatten() for part in parts]), "losses": losses}


def _worker(rank: int, folder: str) -> None:
    torch.set_num_threads(1)
    rendezvous = f"file://{folder}/rendezvous"
    dist.init_process_group("gloo", init_method=rendezvous, rank=rank, world_size=2, timeout=timedelta(seconds=60))
    found = {}
    for name, case in cases().items():
        for interrupted in (False, True):
            try:
                found[name, interrupted] = trained(case, Worker(rank, 2), interrupted)
            except RuntimeError as error:  # told by the test; the other worker fails in the same way
                found[name, interrupted] = repr(error)
    part = torch.arange(5.0)[:2] if rank == 0 else torch.arange(5.0)[2:]
    found["parts", False] = {"whole": whole(part, 2)}
    torch.save(found, f"{folder}/{rank}.pt")
    dist.destroy_process_group()


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory) -> list[dict[tuple[str, bool], dict[str, Tensor]]]:
    """What each of two workers ends with, by case and whether it was interrupted."""
    folder = tmp_path_factory.mktemp("two")
    spawn(_worker, (str(folder),), nprocs=2)
    return [torch.load(folder / f"{rank}.pt", weights_only=True) for rank in range(2)]


@pytest.mark.parametrize("name", cases())
def test_two_workers_train_as_one_does(name, both):
    (first, resumed), (second, _) = ([found[name, interrupted] for interrupted in (False, True)] for found in both)
    assert not isinstance(first, str), first
    assert torch.equal(first["weights"], second["weights"]), "they differ from each other"
    alone = trained(cases()[name], Worker(), False)
    assert distance(first["weights"], alone["weights"]) < 1e-4, "they do not train as one does"
    torch.testing.assert_close(first["losses"], alone["losses"], rtol=1e-3, atol=1e-5)
    assert not isinstance(resumed, str), resumed
    assert torch.equal(resumed["weights"], first["weights"]) and torch.equal(resumed["losses"], first["losses"])


def test_parts_of_a_batch_are_joined_though_one_is_longer(both):
    assert all(found["parts", False]["whole"].tolist() == [0, 1, 2, 3, 4] for found in both)


def distance(found: Tensor, expected: Tensor) -> float:
    return float((found - expected).norm() / expected.norm())


def test_every_learner_is_tried():
    tried = {type(case.make(Worker())) for case in cases().values() if not case.double}
    modules = [importlib.import_module(found.name) for found in pkgutil.iter_modules(dsopt.learners.__path__, "dsopt.learners.")]
    classes = [found for module in modules for _, found in inspect.getmembers(module, inspect.isclass)]
    ours = {found for found in classes if found.__module__.startswith("dsopt.")}  # not what a module imports from torch
    assert tried == {found for found in ours if hasattr(found, "update") and hasattr(found, "load_state_dict")} - {Learner}
