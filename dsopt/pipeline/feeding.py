"""The batches of each phase of a classifier's training: from which set, by which sampler, and without the held-out images."""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from functools import cache, cached_property
from typing import Any, get_args

import torch
from jaxtyping import Bool, Float32, Int64
from torch import Tensor, nn

from dsopt.augment.inputs import Inputs
from dsopt.config import TrainConfig, plain
from dsopt.data.background import BackgroundLoader
from dsopt.data.batches import Batch
from dsopt.data.encoded import Encoded
from dsopt.data.holdout import divided, held_out, unselected
from dsopt.data.images import Images, find, joined
from dsopt.data.loading import load
from dsopt.errors import InputError
from dsopt.learners.classifier import Classifier
from dsopt.pipeline.training import Feed, batches, learner_of, on_device
from dsopt.registry import MODELS, SAMPLERS
from dsopt.seeds import derive
from dsopt.storage import Stage, Table
from dsopt.training.loop import Stateful
from dsopt.training.overlap import Overlap
from dsopt.training.samplers.contract import Sampler, Score
from dsopt.training.worker import Worker

PhaseConfig = dict[str, Any]  # a phase as in `train.phases`


def sampler_of(phase: PhaseConfig, train: TrainConfig) -> dict[str, Any]:
    """The name and options of a phase's sampler: its own, else that of the run on full data, else "shuffle"."""
    return phase.get("sampler") or (plain(train.sampler) if phase["data"] == "full" else {"name": "shuffle"})


def check(phases: Sequence[PhaseConfig], train: TrainConfig, added: bool = False) -> None:
    """Refuse phases that cannot be fed.

    Args:
        added: whether extra images are trained on too.

    Raises:
        InputError: a sampler that does not suit its phase or extra images, or validation without held-out images.
    """
    if (train.validate_every or train.validate_passes) and not train.validation:
        raise InputError(f"train.validate_every={train.validate_every}: needs held-out images; give train.validation, their share.")
    for phase in phases:
        name = sampler_of(phase, train)["name"]
        if SAMPLERS.traits(name).steps and ("seconds" in phase or "until_seconds" in phase):
            raise InputError(
                f"train.sampler.name={name}: needs to know the length of its phase; give it steps or epochs, not seconds."
            )
        if SAMPLERS.traits(name).scores and added:
            raise InputError(f"train.sampler.name={name}: needs scores, and extra images have none; expected extra.name=none.")
        if phase["data"] == "overlap" and ("passes" in phase or added):
            kind = "extra images" if added else "passes"
            raise InputError(f"train.overlap=true: cannot be combined with {kind}: their images are not known in advance.")


def scored(phases: Sequence[PhaseConfig], train: TrainConfig) -> bool:
    """Whether the sampler of any phase needs a proxy's scores."""
    return any(SAMPLERS.traits(sampler_of(phase, train)["name"]).scores for phase in phases)


def _check_alike(given: Table, images: Table) -> None:
    """Raises InputError for a subset whose images differ in kind from the test images: it belongs to another data set."""
    found = given.manifest
    for key, expected in images.about().items():
        if found.get(key) is not None and expected is not None and found[key] != expected:
            raise InputError(f"train.subset: {given.uri} has {key} {found[key]}, {images.uri} {expected}; give its own data.name.")


class Feeder:
    """The batches of a run's phases, on a worker.

    Args:
        stage: of the run; its inputs are `images` and, where needed, `subset`, `scores` and `added`. Added images extend the
            subset, or the full set if there is no subset.
        inputs: how images become inputs of the network.
    """

    def __init__(self, stage: Stage, train: TrainConfig, seed: int, inputs: Inputs, worker: Worker) -> None:
        self.stage, self.train, self.seed, self.inputs, self.worker = stage, train, seed, inputs, worker
        self.table = Table(stage.inputs["images"].uri)
        needed = {phase["data"] for phase in stage.made_of["phases"]}
        if needed != {"full"} and "subset" not in stage.inputs:
            raise InputError("train.phases: a phase trains on the subset, but there is none; give train.subset or select.")
        self.reading = 0.0  # seconds that reading and decoding what is there before the first step takes, from the cache too
        self.arriving, self._overlaps = None, "overlap" in needed  # the full set while it loads in the background
        self._held: Images | None = None
        if self._overlaps:
            if train.validation:
                self._held = self.held_out()  # read before, and not charged: what is held out is only measured with
            classes = self.table.manifest["num_classes"]
            more = {"streamed": train.streamed, "size": inputs.loaded}
            self.arriving = BackgroundLoader(self.table.uri, "train", self.subset, classes, worker.device, **more)

    def close(self) -> None:
        if self.arriving:
            self.arriving.close()

    @cached_property
    def subset(self) -> Images:
        given = Table(self.stage.inputs["subset"].uri)
        _check_alike(given, self.table)
        decoded = True if self._overlaps else self.train.decoded  # what arrives beside them is decoded, too
        images = load(given.uri, given.training(), size=self.inputs.loaded, decoded=decoded)
        self.reading += images.seconds
        return on_device(self._with_added(self._trained_on(images, None), None), self.worker.device)

    @cached_property
    def full(self) -> Images:
        if self.arriving:
            return self._divided(self.arriving.whole(), False, self.train.streamed)
        streamed, whole = self.train.streamed, self._whole()
        self.reading += whole.seconds
        images = self._trained_on(whole, streamed)
        images = images if "subset" in self.stage.inputs else self._with_added(images, streamed)
        return on_device(images, self.worker.device, streamed)

    def pausing(self) -> AbstractContextManager[None]:
        """While this lasts, an evaluation say, nothing arrives."""
        return self.arriving.paused() if self.arriving else nullcontext()

    def load(self) -> None:
        """Load the images of all phases, but those that are to arrive in the background."""
        for phase in self.stage.made_of["phases"]:
            if phase["data"] != "overlap":
                self.rows(phase)

    def rows(self, phase: PhaseConfig) -> int:
        """How many images a phase draws from."""
        late = phase["data"] == "full" and self.arriving is not None
        return len(self._late_ids() if late else self._set(phase).ids)

    def held_out(self) -> Images:
        """The training images that are held out for validation."""
        if self._held is not None:
            return self._held
        if self.train.validate_on == "unselected":
            given = Table(self.stage.inputs["subset"].uri)
            subset = torch.from_numpy(given.read(given.training(), ["id"])["id"].to_numpy().copy())
            return unselected(self._whole(), subset, self.train.validation, self.seed, self.train.streamed)
        return self._divided(self._whole(), True, self.train.streamed)

    def __call__(self, index: int, phase: PhaseConfig, steps: int | None) -> Feed:
        """The feed of a phase.

        Args:
            steps: the length of the phase; None if it is given in seconds.
        """
        seed = derive(self.seed, "phase", index)
        if phase["data"] == "overlap":
            assert self.arriving is not None
            held, order = self._held_rows(self._all_ids()), derive(seed, "order")
            draw = Overlap(self.arriving, self.train.batch_size, order, held, self.worker.meet, self.train.overlap_easiest)
            return Feed(batches(draw, self.arriving.images, self.arriving.labels, self.inputs, seed, self.worker), draw)
        late = phase["data"] == "full" and self.arriving is not None
        draw = self._sampler(phase, self._late_ids() if late else self._set(phase).ids, steps, derive(seed, "order"))

        @cache  # after an overlap phase the images are there only once the phase starts, so the source is created then
        def source() -> Callable[[int], Batch]:
            images = self._set(phase)
            if late:
                self.worker.meet()
            labels = images.labels if images.soft is None else images.soft
            return batches(draw, images.images, labels, self.inputs, seed, self.worker)

        memory = draw if isinstance(draw, Stateful) else None
        return Feed((lambda step: source()(step)) if late else source(), memory)

    def _whole(self) -> Images:
        streamed, decoded = self.train.streamed, self.train.decoded
        return load(self.table.uri, "train", streamed=streamed, size=self.inputs.loaded, decoded=decoded)

    def _set(self, phase: PhaseConfig) -> Images:
        return self.full if phase["data"] == "full" else self.subset

    def _all_ids(self) -> Int64[Tensor, " n"]:
        """The ids of the full set, read without its images."""
        return torch.from_numpy(self.table.read("train", ["id"])["id"].to_numpy().copy())

    def _late_ids(self) -> Int64[Tensor, " n"]:
        """Those of the images to train on once all have arrived."""
        ids = self._all_ids()
        return ids if (held := self._held_rows(ids)) is None else ids[~held]

    def _held_rows(self, ids: Int64[Tensor, " n"]) -> Bool[Tensor, " n"] | None:
        """Which of these images are held out; None: none is."""
        return held_out(ids, self.train.validation, self.seed) if self.train.validation else None

    def _sampler(self, phase: PhaseConfig, ids: Int64[Tensor, " n"], steps: int | None, seed: int) -> Sampler:
        chosen = sampler_of(phase, self.train)
        traits, make = SAMPLERS.traits(chosen["name"]), SAMPLERS.build(chosen["name"], chosen.get("options"))
        more = [steps] if traits.steps else []
        more += [self._scores(ids)] if traits.scores else []
        more += [self._small_classifier] if traits.small_classifier else []
        return make(len(ids), self.train.batch_size, seed, *more)

    def _scores(self, ids: Int64[Tensor, " n"]) -> dict[str, Float32[Tensor, " n"]]:
        """The scores of these images, from the proxy's training."""
        table = Table(self.stage.inputs["scores"].uri).read(columns=["id", *get_args(Score)])
        known = torch.from_numpy(table["id"].to_numpy().copy())
        rows = find(ids, known)
        if (rows < 0).any():
            raise InputError(f"train.sampler: the proxy has no score for image {int(ids[rows < 0][0])}.")
        return {name: torch.from_numpy(table[name].to_numpy().copy())[rows] for name in get_args(Score)}

    def _small_classifier(self, width: int) -> Classifier:
        """A classifier that is trained alongside the main one, to score images for the sampler."""
        manifest, size = self.table.manifest, MODELS.traits("classifier24").input_size
        torch.manual_seed(derive(self.seed, "judge"))  # a label of the seed: another would change the weights
        network = MODELS.build("classifier24", {"width": width})(manifest["channels"], manifest["num_classes"])
        return learner_of(nn.Sequential(nn.Upsample((size, size)), network), self.train, self.worker)

    def _with_added(self, images: Images, streamed: bool | None) -> Images:
        if "added" not in self.stage.inputs:
            return images
        added = load(self.stage.inputs["added"].uri, size=self.inputs.loaded, decoded=not isinstance(images.images, Encoded))
        return joined(images, added, self.table.manifest["num_classes"], streamed)

    def _trained_on(self, images: Images, streamed: bool | None) -> Images:
        if self.train.validate_on == "unselected":
            return images
        return self._divided(images, False, streamed)

    def _divided(self, images: Images, held: bool, streamed: bool | None) -> Images:
        return divided(images, self.train.validation, self.seed, "train.validation", held=held, streamed=streamed)
