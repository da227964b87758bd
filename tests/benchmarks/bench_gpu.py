"""Images a second of training on a GPU: networks, precisions and augmentations, from images on the device and in memory.

    python tests/benchmarks/bench_gpu.py [--steps 200] [--batch 512]

Without a GPU it says so and measures nothing. Random images of 32 x 32 x 3; the time is that of all steps until the GPU is done,
after 20 steps that are not counted.
"""

import argparse
import time

import torch

from dsopt.augment.inputs import make_inputs
from dsopt.learners.classifier import Classifier
from dsopt.pipeline.training import batches
from dsopt.registry import MODELS
from dsopt.training.samplers.shuffle import shuffle
from dsopt.training.worker import Worker, set_arithmetic

PLAIN = ["shift", "flip"]
CASES = [
    *[("resnet21", precision, PLAIN, True, "off") for precision in ("fp32", "bf16", "fp16")],
    *[("convnet", "bf16", augment, True, "off") for augment in (PLAIN, ["randaugment"], ["trivialaugment_wide"], ["augmix"])],
    ("resnet21", "bf16", PLAIN, False, "off"),
    *[(name, "bf16", PLAIN, True, "on") for name in ("resnet21", "convnet")],
]
WARM = 20


def rate(name: str, precision: str, augment: list[str], resident: bool, how: str, steps: int, batch: int) -> tuple[float, float]:
    """Images a second, and GiB of memory at most."""
    device = torch.device("cuda")
    images = torch.randint(0, 256, (20_000, 32, 32, 3), dtype=torch.uint8).permute(0, 3, 1, 2)
    labels = torch.randint(0, 10, (20_000,)).to(device)
    inputs = make_inputs(augment, 32, "deviation")
    source = batches(shuffle(20_000, batch, 0), images.to(device) if resident else images, labels, inputs, 0, Worker(device=device))
    given = {"learning_rate": 0.05, "momentum": 0.9, "weight_decay": 0.004, "average": 0.999, "compile": how}
    learner = Classifier(MODELS.build(name)(3, 10), precision=precision, device=device, **given)  # type: ignore[arg-type]
    torch.cuda.reset_peak_memory_stats()
    for step in range(WARM + steps):
        if step == WARM:
            torch.cuda.synchronize()
            started = time.perf_counter()
        learner.update(source(step))
    torch.cuda.synchronize()
    return steps * batch / (time.perf_counter() - started), torch.cuda.max_memory_allocated() / 2**30


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=200)
    parser.add_argument("--batch", type=int, default=512)
    arguments = parser.parse_args()
    if not torch.cuda.is_available():
        print("bench_gpu.py: torch sees no GPU here; nothing is measured.")
        return
    set_arithmetic()
    print(f"{torch.cuda.get_device_name()}, torch {torch.__version__}, batches of {arguments.batch}")
    for name, precision, augment, resident, how in CASES:
        found, memory = rate(name, precision, augment, resident, how, arguments.steps, arguments.batch)
        augment = [*augment, "compiled"] if how == "on" else augment
        where = "on the GPU" if resident else "in memory"
        print(f"{name:<10} {precision:<5} {'+'.join(augment):<20} images {where:<10} {found:>10,.0f} images/s  {memory:5.1f} GiB")


if __name__ == "__main__":
    main()
