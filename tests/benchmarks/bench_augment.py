"""How fast augmentation is: whole batches with a draw for every image, beside torchvision and kornia, in one run.

    python tests/benchmarks/bench_augment.py [--images 1024] [--threads 1] [--repeat 5] [--only NAME ...]

torchvision's transforms draw once for all they are given, so per-image augmentation is one call an image, as a data set's transform
does it. kornia draws for every image of a batch; it is asked where it is installed, and has no TrivialAugment. Wanted: at least 10
times as fast as torchvision. Mixtures are not here: torchvision makes them of batches too, of all images at one share.

Times are the processor's, the best of the turns that all take by turns: so a machine that has other work can be measured too. With
more threads they add up, and the ratios are of work, not of waiting.
"""

import argparse
import importlib
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
    "crop": v2.RandomCrop(24),
    "flip": v2.RandomHorizontalFlip(),
    "shift": v2.RandomCrop(32, padding=4),
    "rotate": v2.RandomRotation(25, BILINEAR),  # type: ignore[arg-type]
    "blur": v2.GaussianBlur(15, (0.25, 2.25)),
    "brightness": v2.ColorJitter(brightness=(0.75, 1.25)),  # it multiplies where ours adds
    "contrast": v2.ColorJitter(contrast=(0.2, 1.8)),
    "cutout": v2.RandomErasing(1.0, (0.25, 0.25), (1.0, 1.0)),  # whole squares of 16 x 16, none over the border
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
    began = time.process_time()
    function()
    return time.process_time() - began


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=1024)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--repeat", type=int, default=5)
    parser.add_argument("--only", nargs="+", choices=THEIRS, default=list(THEIRS))
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    count, whole = arguments.images, torch.device("cpu")
    pixels = torch.randint(0, 256, (count, 32, 32, 3), dtype=torch.uint8).permute(0, 3, 1, 2)
    floats, planes = pixels.float() / 255, pixels.contiguous()
    third = kornias()
    print(
        f"{count} images of 32x32x3, {arguments.threads} threads, torch {torch.__version__}, best of {arguments.repeat}"
        + ("" if third else "; kornia is not installed"),
        flush=True,
    )
    for name in arguments.only:
        mine, transform = AUGMENTATIONS.build(name), THEIRS[name]
        images = pixels if AUGMENTATIONS.traits(name).bytes else floats
        turns: dict[str, Callable[[], object]] = {
            "dsopt": lambda mine=mine, images=images: mine(images, draws(0, count, 0, count, whole)),
            "torchvision": lambda transform=transform: torch.stack([transform(image) for image in planes]),
        }
        if name in third:
            turns["kornia"] = lambda other=third[name]: other(floats.contiguous())
        for turn in turns.values():
            turn()
        found = [{who: timed(turn) for who, turn in turns.items()} for _ in range(arguments.repeat)]
        best = {who: min(round_[who] for round_ in found) for who in turns}
        others = [
            f"{who} {1000 * best[who]:.0f} ms: {best[who] / best['dsopt']:.1f}x as fast as it" for who in turns if who != "dsopt"
        ]
        print(f"{name:<20} {1000 * best['dsopt']:6.1f} ms; " + "; ".join(others), flush=True)


if __name__ == "__main__":
    main()
