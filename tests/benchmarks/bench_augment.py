"""How fast augmentation is: whole batches with a draw for every image, beside torchvision and kornia, in one run.

    python tests/benchmarks/bench_augment.py [--images 1024] [--threads 1] [--repeat 5]

torchvision's transforms draw once for all they are given, so per-image augmentation is one call an image, as a data set's transform
does it. kornia draws for every image of a batch; it is asked where it is installed, and has no TrivialAugment. Wanted: at least 10
times as fast as torchvision.
"""

import argparse
import importlib
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor
from torchvision.transforms import v2

sys.path.insert(0, str(Path(__file__).parents[2]))

from dsopt.augment import draws
from dsopt.registry import AUGMENTATIONS

BILINEAR = v2.InterpolationMode.BILINEAR
THEIRS: dict[str, Callable[[Tensor], Tensor]] = {
    "flip": v2.RandomHorizontalFlip(),
    "shift": v2.RandomCrop(32, padding=4),
    "rotate": v2.RandomRotation(25, BILINEAR),  # type: ignore[arg-type]
    "blur": v2.GaussianBlur(15, (0.25, 2.25)),
    "randaugment": v2.RandAugment(),
    "trivialaugment_wide": v2.TrivialAugmentWide(),
    "augmix": v2.AugMix(),
}


def kornias() -> dict[str, Callable[[Tensor], Tensor]]:
    try:
        k = importlib.import_module("kornia.augmentation")
    except ImportError:
        return {}
    return {
        "flip": k.RandomHorizontalFlip(),
        "shift": k.RandomCrop((32, 32), padding=4),
        "rotate": k.RandomRotation(25.0, p=1.0),
        "blur": k.RandomGaussianBlur((15, 15), (0.25, 2.25), p=1.0),
        "randaugment": k.auto.RandAugment(2, 9),
    }


def timed(function: Callable[[], object]) -> float:
    began = time.perf_counter()
    function()
    return time.perf_counter() - began


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=1024)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--repeat", type=int, default=5)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    count, whole = arguments.images, torch.device("cpu")
    pixels = torch.randint(0, 256, (count, 32, 32, 3), dtype=torch.uint8).permute(0, 3, 1, 2)
    floats, planes = pixels.float() / 255, pixels.contiguous()
    third = kornias()
    print(
        f"{count} images of 32x32x3, {arguments.threads} threads, torch {torch.__version__}, medians of {arguments.repeat}"
        + ("" if third else "; kornia is not installed"),
        flush=True,
    )
    for name, transform in THEIRS.items():
        mine, images = AUGMENTATIONS.build(name), pixels if AUGMENTATIONS.traits(name).bytes else floats
        turns: dict[str, Callable[[], object]] = {
            "dsopt": lambda mine=mine, images=images: mine(images, draws(0, count, 0, count, whole)),
            "torchvision": lambda transform=transform: torch.stack([transform(image) for image in planes]),
        }
        if name in third:
            turns["kornia"] = lambda other=third[name]: other(floats.contiguous())
        for turn in turns.values():
            turn()
        found = [{who: timed(turn) for who, turn in turns.items()} for _ in range(arguments.repeat)]
        times = {who: statistics.median(round_[who] for round_ in found) for who in turns}
        ratios = [
            f"{who} {1000 * times[who]:.0f} ms: {statistics.median(r[who] / r['dsopt'] for r in found):.1f}x as fast as it"
            for who in turns
            if who != "dsopt"
        ]
        print(f"{name:<20} {1000 * times['dsopt']:6.1f} ms; " + "; ".join(ratios), flush=True)


if __name__ == "__main__":
    main()
