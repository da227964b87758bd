"""A step of a conditional SNGAN (one of the discriminator, one of the generator), beside the same networks written plainly.

    python tests/benchmarks/bench_sngan.py [--repeats 15] [--threads 1] [--width 64] [--batch 32]

"plain" is how a tutorial has it: torch.nn.utils.spectral_norm, shortcuts convolved at the larger size, gradients into the
discriminator in the generator's step, Adam and the average of the weights one tensor after another. Both are timed in one process,
turn by turn; the fastest of the repeats counts, as processor time. Before that, the blocks are compared on equal weights.
"""

import argparse
import copy
import time

import torch
import torch.nn.functional as F
from torch import nn
from torch.nn.utils import spectral_norm

from dsopt.config import AdversarialConfig, Choice
from dsopt.data.batches import Batch
from dsopt.models.sngan import Down, Up
from dsopt.pipeline import adversaries
from dsopt.training.worker import Worker

CLASSES, LATENT = 10, 128


class ConditionalNorm(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.norm, self.gain, self.bias = nn.BatchNorm2d(width, affine=False), nn.Embedding(10, width), nn.Embedding(10, width)

    def forward(self, x, y):
        return self.gain(y)[:, :, None, None] * self.norm(x) + self.bias(y)[:, :, None, None]


class PlainUp(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.norm1, self.norm2 = ConditionalNorm(width), ConditionalNorm(width)
        self.conv1, self.conv2 = nn.Conv2d(width, width, 3, padding=1), nn.Conv2d(width, width, 3, padding=1)
        self.shortcut = nn.Conv2d(width, width, 1)

    def forward(self, x, y):
        h = self.conv1(F.interpolate(F.relu(self.norm1(x, y)), scale_factor=2))
        return self.conv2(F.relu(self.norm2(h, y))) + self.shortcut(F.interpolate(x, scale_factor=2))


class PlainGenerator(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.first, self.width = nn.Linear(LATENT, 16 * width), width
        self.blocks = nn.ModuleList([PlainUp(width) for _ in range(3)])
        self.norm, self.last = nn.BatchNorm2d(width), nn.Conv2d(width, 3, 3, padding=1)

    def forward(self, z, y):
        x = self.first(z).view(-1, self.width, 4, 4)
        for block in self.blocks:
            x = block(x, y)
        return torch.tanh(self.last(F.relu(self.norm(x))))


class PlainDown(nn.Module):
    def __init__(self, inputs, outputs, halve, first=False, wrap=spectral_norm):
        super().__init__()
        self.halve, self.first = halve, first
        self.conv1, self.conv2 = wrap(nn.Conv2d(inputs, outputs, 3, padding=1)), wrap(nn.Conv2d(outputs, outputs, 3, padding=1))
        self.shortcut = wrap(nn.Conv2d(inputs, outputs, 1)) if halve else None

    def forward(self, x):
        h = self.conv2(F.relu(self.conv1(x if self.first else F.relu(x))))
        if not self.halve:
            return h + x
        return F.avg_pool2d(h, 2) + F.avg_pool2d(self.shortcut(x), 2)


class PlainDiscriminator(nn.Module):
    def __init__(self, width):
        super().__init__()
        shapes = [(3, True, True), (width, True), (width, False), (width, False)]
        self.blocks = nn.Sequential(*(PlainDown(inputs, width, *more) for inputs, *more in shapes))
        self.score, self.embedding = spectral_norm(nn.Linear(width, 1)), spectral_norm(nn.Embedding(10, width))

    def forward(self, x, y):
        h = F.relu(self.blocks(x)).sum((2, 3))
        return self.score(h).squeeze(1) + (self.embedding(y) * h).sum(1)


class Plain:
    def __init__(self, width):
        self.generator, self.discriminator = PlainGenerator(width), PlainDiscriminator(width // 2)
        self.average = copy.deepcopy(self.generator)
        self.adam_g = torch.optim.Adam(self.generator.parameters(), 2e-4, betas=(0.0, 0.9), foreach=False)
        self.adam_d = torch.optim.Adam(self.discriminator.parameters(), 2e-4, betas=(0.0, 0.9), foreach=False)

    def update(self, batch):
        real, y = batch.images * 2 - 1, batch.labels
        with torch.no_grad():
            fake = self.generator(torch.randn(len(y), LATENT), y)
        loss = F.relu(1 - self.discriminator(real, y)).mean() + F.relu(1 + self.discriminator(fake, y)).mean()
        self.adam_d.zero_grad()
        loss.backward()
        self.adam_d.step()
        loss = -self.discriminator(self.generator(torch.randn(len(y), LATENT), y), y).mean()
        self.adam_g.zero_grad()
        loss.backward()
        self.adam_g.step()
        with torch.no_grad():
            for mine, trained in zip(self.average.parameters(), self.generator.parameters(), strict=True):
                mine.mul_(0.999).add_(trained, alpha=0.001)


def ours(width):
    settings = AdversarialConfig(
        generator=Choice("sngan_generator", {"condition": "batch_norm", "width": width}),
        discriminator=Choice("sngan_discriminator", {"condition": "projection", "width": width // 2}),
        loss=Choice("hinge"),
        beta1=0.0,
        beta2=0.9,
    )
    networks = adversaries.build("generate", settings, (3, 32, CLASSES, LATENT), (3, 32, CLASSES))
    return adversaries.learner(
        "generate",
        settings,
        networks,
        lambda batch: (batch.images * 2 - 1, batch.labels),
        lambda count, random: torch.randn(count, LATENT, generator=random),
        Worker(),
    )


def compare_blocks():
    """The same weights in both give the same values."""
    plain, fast = PlainUp(8), Up(8, CLASSES, "nearest")
    for i, norm in enumerate((plain.norm1, plain.norm2)):
        nn.init.normal_(norm.gain.weight), nn.init.normal_(norm.bias.weight)
        fast.norms[i].layer.embedding.weight.data = torch.cat([norm.gain.weight, norm.bias.weight], 1).detach()
    for mine, theirs in zip([*fast.convolutions, fast.shortcut], [plain.conv1, plain.conv2, plain.shortcut], strict=True):
        mine.load_state_dict(theirs.state_dict())
    x, y = torch.randn(4, 8, 6, 6), torch.tensor([0, 3, 3, 9])
    torch.testing.assert_close(fast(x, y), plain(x, y), rtol=1e-4, atol=1e-5)
    plain, fast = PlainDown(8, 8, True, wrap=lambda layer: layer), Down(8, 8, halve=True)
    for mine, theirs in zip([*fast.convolutions, fast.shortcut], [plain.conv1, plain.conv2, plain.shortcut], strict=True):
        mine.load_state_dict(theirs.state_dict())
    torch.testing.assert_close(fast(x), plain(x), rtol=1e-4, atol=1e-5)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=15)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--width", type=int, default=64, help="of the generator; the discriminator has half")
    parser.add_argument("--batch", type=int, default=32)
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    torch.manual_seed(0)
    compare_blocks()
    learners, seconds = {"ours": ours(given.width), "plain": Plain(given.width)}, {"ours": [], "plain": []}
    counts = [sum(p.numel() for p in made.generator.parameters()) for made in learners.values()]
    assert counts[0] == counts[1], counts
    images = torch.rand(given.batch, 3, 32, 32).contiguous(memory_format=torch.channels_last)
    for step in range(given.repeats + 2):
        batch = Batch(images, torch.randint(0, CLASSES, (given.batch,)), step)
        for name, learner in learners.items():
            started = time.process_time()
            learner.update(batch)
            if step > 1:
                seconds[name].append(time.process_time() - started)
    for name, values in seconds.items():
        print(f"{name:<6} {min(values):7.3f} processor s a step, median {sorted(values)[len(values) // 2]:.3f}")
    print(f"plain / ours: {min(seconds['plain']) / min(seconds['ours']):.2f}")


if __name__ == "__main__":
    main()
