"""Policies: their operations against torchvision's one image at a time, and what is drawn."""

import pytest
import torch
from torchvision.transforms.v2 import AugMix, InterpolationMode, RandAugment, TrivialAugmentWide
from torchvision.transforms.v2 import functional as tv

from dsopt.augment import draws
from dsopt.augment.augmix import OPERATIONS, augmix
from dsopt.augment.operations import change, sorted_by_operation
from dsopt.augment.randaugment import STANDARD, WIDE, randaugment, trivialaugment_wide

CPU = torch.device("cpu")
NAMES = ["ShearX", "ShearY", "TranslateX", "TranslateY", "Rotate", "Brightness", "Color", "Contrast", "Sharpness"]
NAMES += ["Posterize", "Solarize", "AutoContrast", "Equalize"]
POLICIES = {
    "randaugment": (STANDARD, RandAugment(), 31),
    "trivialaugment_wide": (WIDE, TrivialAugmentWide(), 31),
    "augmix": (OPERATIONS, AugMix(), 10),
}


def photographs(count: int) -> torch.Tensor:
    """Smooth color images with noise, uint8."""
    random = torch.Generator().manual_seed(0)
    coarse = torch.rand(count, 3, 5, 5, generator=random)
    smooth = torch.nn.functional.interpolate(coarse, (32, 30), mode="bicubic").clamp(0, 1)
    return (230 * smooth + 25 * torch.rand(smooth.shape, generator=random)).to(torch.uint8)


@pytest.mark.parametrize("sign", [-1, 1])
@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("policy", POLICIES)
def test_an_operation_is_torchvisions(policy: str, name: str, sign: int) -> None:
    operations, theirs, levels = POLICIES[policy]
    images, level = photographs(3), levels // 3
    magnitudes, signed = theirs._AUGMENTATION_SPACE[name]
    magnitudes = magnitudes(levels, 32, 30)
    magnitude = 0.0 if magnitudes is None else float(magnitudes[level]) * (sign if signed else 1)
    mine = operations[NAMES.index(name)](images.float() / 255, torch.full((3,), sign * level / (levels - 1)))
    apply = theirs._apply_image_or_video_transform
    mode = InterpolationMode.BILINEAR if policy == "augmix" else InterpolationMode.NEAREST
    expected = torch.stack([apply(image, name, magnitude, interpolation=mode, fill={}) for image in images])
    difference = (255 * mine - expected.float()).abs()
    # They round to bytes, some downwards; at the edges of what was moved, another of two equally near pixels may be taken.
    assert (difference > 2.01).float().mean() < (0.02 if name in NAMES[:5] else 0.001), difference.max()


@pytest.mark.parametrize("channels", [1, 3])
def test_equalize_is_torchvisions_to_the_byte(channels: int) -> None:
    some = [
        torch.zeros(channels, 32, 30),
        torch.full((channels, 32, 30), 200),
        torch.arange(960).view(1, 32, 30).expand(channels, 32, 30),
    ]
    some += [(torch.arange(960) % 960 == 7).view(1, 32, 30).expand(channels, 32, 30) * 9, *photographs(20)[:, :channels]]
    images = torch.stack([image.to(torch.uint8) for image in some])
    found = 255 * WIDE[NAMES.index("Equalize")](images.float() / 255, torch.ones(len(images)))
    assert torch.equal(found.round().to(torch.uint8), tv.equalize(images))
    torch.testing.assert_close(found, found.round(), rtol=0, atol=1e-3)


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("name", NAMES)
def test_an_operation_takes_both_layouts_and_one_channel(name: str, layout: torch.memory_format) -> None:
    images, strengths = photographs(6).float() / 255, torch.linspace(-1, 1, 6)
    given = images.contiguous(memory_format=layout)
    found = WIDE[NAMES.index(name)](given, strengths)
    torch.testing.assert_close(found, WIDE[NAMES.index(name)](images, strengths))
    assert torch.equal(given, images), "the input was modified"
    if name not in ("Color", "Contrast"):  # every channel by itself, but for the brightness of all
        torch.testing.assert_close(WIDE[NAMES.index(name)](given[:, 1:2], strengths), found[:, 1:2])


def test_policies_take_what_brightness_left_beyond_0_and_1() -> None:
    images = 3 * photographs(200).float() / 255 - 1
    for augment in (randaugment, trivialaugment_wide, augmix):
        assert torch.isfinite(augment(images, draws(0, 200, 0, 200, CPU))).all()


def test_every_image_has_the_operation_that_was_chosen_for_it() -> None:
    images, chosen = photographs(28).float() / 255, torch.arange(28) % 14
    strengths = torch.linspace(-1, 1, 28)
    (by_operation,) = sorted_by_operation(chosen[None], len(WIDE), CPU)
    together = change(images.clone(memory_format=torch.channels_last), WIDE, by_operation, strengths)
    for i in range(28):
        alone = WIDE[i % 14](images[i : i + 1], strengths[i : i + 1]) if i % 14 < 13 else images[i : i + 1]
        torch.testing.assert_close(together[i : i + 1], alone)


@pytest.mark.parametrize("augment", [randaugment, trivialaugment_wide, augmix])
def test_policies_stay_in_range_and_change_most_images(augment) -> None:
    images = photographs(200).float() / 255
    given = images.clone()
    found = augment(images, draws(0, 200, 0, 200, CPU))
    assert torch.equal(images, given) and found.min() >= -1e-6 and found.max() <= 1 + 1e-6
    changed = ((found - images).abs().flatten(1).amax(1) > 1e-3).float().mean()
    assert changed > 0.7  # one operation of 14 is none, and some are none at strength 0


def test_randaugment_of_no_operations_and_of_none_strong() -> None:
    images = photographs(50).float() / 255
    assert torch.equal(randaugment(images, draws(0, 50, 0, 50, CPU), number=0), images)
    changes = [(randaugment(images, draws(0, 50, 0, 50, CPU), magnitude=m) - images).abs().mean() for m in (0, 9, 30)]
    assert changes[0] < changes[1] < changes[2]


def test_augmix_blends_more_or_less_of_the_image() -> None:
    images = photographs(300).float() / 255
    found = augmix(images, draws(0, 300, 0, 300, CPU))
    distances = (found - images).abs().flatten(1).mean(1)
    assert distances.min() < 0.01 and distances.max() > 0.05
    stronger = augmix(images, draws(0, 300, 0, 300, CPU), severity=10)
    assert (stronger - images).abs().mean() > 1.5 * distances.mean()
    assert tv.get_size(found) == [32, 30]
