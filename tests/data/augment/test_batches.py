"""Steps for batches on the device: what happens to pixels happens to targets; seeds repeat it."""

from __future__ import annotations

from typing import Any

import kornia.augmentation
import numpy as np
import pytest
import torch
from scipy import stats
from timm.data.mixup import rand_bbox
from torch import Tensor
from torchvision.transforms import RandomErasing, v2

from mlpipe.data.augment import batches as device
from mlpipe.errors import ConfigError, DataError

torch.set_num_threads(1)

IMAGES = torch.randint(0, 256, (8, 3, 12, 10), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
TARGET = torch.eye(4)[torch.arange(8) % 4]
STEPS: list[Any] = [
    device.mixup(alpha=0.5),
    device.cutmix(),
    device.mixup_or_cutmix(),
    device.horizontal_flip(),
    device.vertical_flip(),
    device.random_crop(padding=0.3),
    device.random_erasing(p=0.8),
    device.adapt(kornia.augmentation.RandomAffine(30.0, p=1.0)),
    device.adapt(v2.RandomRotation(30)),
]


@pytest.mark.parametrize("step", STEPS)
def test_a_seed_repeats_it_and_shapes_stay(step: Any) -> None:
    results = []
    for seed in (1, 1, 2):
        torch.manual_seed(seed)
        images, target = step(IMAGES.clone(), TARGET.clone(), 5)
        assert images.shape == IMAGES.shape and target.shape == TARGET.shape
        assert images.float().min() >= 0 and images.float().max() <= 255.5
        assert torch.allclose(target.sum(dim=1), torch.ones(8))
        results.append(images.float())
    assert torch.equal(results[0], results[1]) and not torch.equal(results[0], results[2])


@pytest.mark.parametrize("size", [6, 20, (5, 14)])
def test_images_are_resized_as_torchvision_does_it(size: Any) -> None:
    height, width = (size, size) if isinstance(size, int) else size
    for images in (IMAGES, IMAGES.float() / 255):
        resized, target = device.resize(size=size)(images, TARGET, 5)
        assert resized.dtype == images.dtype and resized.shape == (8, 3, height, width) and target is TARGET
        expected = v2.functional.resize(images, [height, width], antialias=True)
        assert (resized.float() - expected.float()).abs().max() <= (1.0 if images.dtype == torch.uint8 else 1e-5)


def test_what_cannot_be_resized() -> None:
    with pytest.raises(ConfigError, match="resize needs a height and a width of one pixel or more, got \\[0, 4\\]"):
        device.resize(size=[0, 4])  # type: ignore[arg-type]
    with pytest.raises(DataError, match="resize takes images, not inputs of 3 axes"):
        device.resize(size=4)(IMAGES[..., None], TARGET, 5)


def test_mixup_blends_pixels_and_targets_alike() -> None:
    torch.manual_seed(0)
    # Images that hold their target's number everywhere: the blend of both must agree.
    numbers = torch.arange(8.0)
    images = numbers[:, None, None, None].expand(8, 1, 4, 4)
    mixed, target = device.mixup(alpha=1.0)(images, torch.eye(8), 1)
    assert torch.allclose(mixed[:, 0, 0, 0], target @ numbers, atol=1e-5)
    assert ((target > 0).sum(dim=1) <= 2).all() and (target.max(dim=1).values < 1).any()


def test_cutmix_shares_are_the_areas() -> None:
    numbers = torch.arange(8.0)
    images = numbers[:, None, None, None].expand(8, 1, 12, 10).clone()
    for seed in range(10):
        torch.manual_seed(seed)
        mixed, target = device.cutmix()(images, torch.eye(8), 1)
        areas = torch.stack([(mixed == number).float().mean(dim=(1, 2, 3)) for number in numbers], dim=1)
        assert torch.allclose(areas, target, atol=1e-5)


@pytest.mark.parametrize("make", [device.mixup, device.cutmix, device.mixup_or_cutmix])
def test_off_for_the_last_epochs(make: Any) -> None:
    step = make(off_epochs=2)
    for left, is_off in ((1, True), (2, True), (3, False)):
        torch.manual_seed(0)
        images, target = step(IMAGES, TARGET, left)
        assert torch.equal(images, IMAGES) == is_off and torch.equal(target, TARGET) == is_off


def test_unknown_labels_stay_unknown() -> None:
    labels = torch.tensor([[0.0, 1.0], [float("nan"), 1.0]])
    for seed in range(20):
        torch.manual_seed(seed)
        _, mixed = device.mixup(alpha=1.0)(IMAGES[:2], labels, 1)
        assert mixed[1, 0].isnan()


def test_crops_and_erasing_happen_to_each_image_on_its_own() -> None:
    torch.manual_seed(0)
    same = IMAGES[:1].expand(64, 3, 12, 10)
    cropped, _ = device.random_crop(padding=0.5)(same, TARGET, 1)
    assert len(torch.unique(cropped.reshape(64, -1), dim=0)) > 30
    erased, _ = device.random_erasing(p=0.5)(same, TARGET, 1)
    assert 10 < int((erased == same).flatten(1).all(dim=1).sum()) < 54
    flipped, _ = device.horizontal_flip(p=0.5)(same, TARGET, 1)
    mirrored = (flipped == same.flip(3)).flatten(1).all(dim=1)
    kept = (flipped == same).flatten(1).all(dim=1)
    assert (mirrored | kept).all() and mirrored.any() and kept.any()


def test_kornia_sees_zero_to_one_and_gives_back_the_range() -> None:
    step = device.adapt(kornia.augmentation.RandomHorizontalFlip(p=1.0), peak=65535.0)
    images, _ = step(IMAGES.float() * 257, TARGET, 1)
    assert torch.allclose(images, IMAGES.flip(3).float() * 257, atol=0.1)


def test_mixing_of_torchvision_is_refused() -> None:
    with pytest.raises(DataError, match=r"use mlpipe\.data\.augment\.batches\.mixup"):
        device.adapt(v2.MixUp(num_classes=4))


def one_hot_batch(n: int) -> tuple[Tensor, Tensor]:
    """Random images and a class for each of its own, so that a label says which images it comes from."""
    return torch.randint(0, 256, (n, 2, 8, 8), generator=torch.Generator().manual_seed(1)).float(), torch.eye(n)


def test_mixup_is_the_labels_combination_of_the_images_with_shares_from_beta() -> None:
    images, labels = one_hot_batch(6)
    step, shares = device.mixup(alpha=0.6), []
    torch.manual_seed(0)
    for _ in range(600):
        mixed, target = step(images, labels, 1)
        assert torch.allclose(mixed, torch.einsum("ij,jchw->ichw", target, images), atol=1e-3)
        own = target.diagonal()
        # Rows that met themselves keep everything; all others keep the batch's share.
        kept = own[own < 1]
        assert torch.allclose(kept, kept[:1].expand_as(kept))
        shares += kept[:1].tolist()
    assert stats.kstest(shares, stats.beta(0.6, 0.6).cdf).pvalue > 1e-3


def test_partners_are_as_often_any_image() -> None:
    images, labels = one_hot_batch(5)
    torch.manual_seed(0)
    met = torch.zeros(5, 5)
    for _ in range(500):
        _, target = device.mixup(alpha=5.0)(images, labels, 1)
        met += (target > 0).float() - torch.eye(5) * (target.diagonal() < 1).float()
    assert stats.chisquare(met.flatten().numpy()).pvalue > 1e-3


def test_cutmix_boxes_are_those_of_timm() -> None:
    size = 64
    images = torch.arange(2.0)[:, None, None, None].expand(2, 1, size, size)
    torch.manual_seed(0)
    ours: list[float] = []
    while len(ours) < 700:
        _, target = device.cutmix(alpha=1.0)(images, torch.eye(2), 1)
        if target[0, 0] < 1:
            ours.append(float(target[0, 0]))
    np.random.seed(0)
    theirs: list[float] = []
    while len(theirs) < 700:
        top, bottom, left, right = rand_bbox((size, size), np.random.beta(1.0, 1.0))
        if bottom > top and right > left:
            theirs.append(1 - (bottom - top) * (right - left) / size**2)
    assert stats.ks_2samp(ours, theirs).pvalue > 1e-3


def test_cutmix_pastes_one_rectangle_at_the_same_place() -> None:
    images, labels = one_hot_batch(6)
    for seed in range(20):
        torch.manual_seed(seed)
        mixed, target = device.cutmix()(images, labels, 1)
        partner = (target - torch.eye(6) * 2).argmax(dim=1)
        met = target.diagonal() < 1
        changed = (mixed != images).any(dim=1)
        box = changed[met].any(dim=0)
        rows, columns = box.any(dim=1).nonzero(), box.any(dim=0).nonzero()
        if len(rows):
            part = (slice(None), slice(None), slice(int(rows[0]), int(rows[-1]) + 1))
            across = slice(int(columns[0]), int(columns[-1]) + 1)
            wanted = images.clone()
            wanted[(*part, across)] = images[torch.where(met, partner, torch.arange(6))][(*part, across)]
            assert torch.equal(mixed, wanted)


@pytest.mark.parametrize("make", [device.mixup, device.cutmix, device.mixup_or_cutmix])
def test_batches_are_mixed_as_often_as_asked(make: Any) -> None:
    images, labels = one_hot_batch(6)
    step, mixed = make(p=0.4), 0
    torch.manual_seed(0)
    for _ in range(400):
        changed, target = step(images, labels, 9)
        assert torch.equal(changed, images) == torch.equal(target, labels)
        mixed += not torch.equal(target, labels)
    # A box outside the image or an order that is none changes nothing: a little less than p.
    assert 0.28 < mixed / 400 < 0.46
    assert torch.equal(make(p=0.0)(images, labels, 9)[1], labels)


def test_either_is_chosen_as_often_as_asked() -> None:
    images, labels = one_hot_batch(6)
    whole = images.clone()
    cut = 0
    step = device.mixup_or_cutmix(mixup_alpha=1.0, cutmix_alpha=1.0, switch=0.7)
    torch.manual_seed(0)
    for _ in range(300):
        mixed, _ = step(images, labels, 9)
        # Pasted pixels are pixels of some image; blended ones hardly ever.
        cut += bool((mixed[:, None] == whole[None]).any(dim=1).all())
    assert stats.binomtest(cut, 300, 0.7).pvalue > 1e-3


def test_unknown_labels_of_either_image_are_unknown_and_no_others() -> None:
    labels = torch.tensor([[0.0, 1.0], [float("nan"), 1.0], [1.0, 0.0]])
    images = IMAGES[:3].float()
    marks = torch.eye(3)
    for seed in range(20):
        torch.manual_seed(seed)
        _, met = device.mixup(alpha=1.0)(images, marks, 1)
        torch.manual_seed(seed)
        _, mixed = device.mixup(alpha=1.0)(images, labels, 1)
        assert torch.equal(mixed[:, 0].isnan(), met[:, 1] > 0)
        assert not mixed[:, 1].isnan().any()


@pytest.mark.parametrize(("make", "axis"), [(device.horizontal_flip, 3), (device.vertical_flip, 2)])
@pytest.mark.parametrize("p", [0.0, 0.3, 1.0])
def test_flips_mirror_as_often_as_asked(make: Any, axis: int, p: float) -> None:
    images = torch.arange(6, dtype=torch.uint8).reshape(1, 1, 2, 3).repeat(2000, 1, 1, 1)
    torch.manual_seed(0)
    turned, target = make(p=p)(images, TARGET, 1)
    mirrored = (turned == images.flip(axis)).flatten(1).all(dim=1)
    assert (mirrored | (turned == images).flatten(1).all(dim=1)).all() and target is TARGET
    assert stats.binomtest(int(mirrored.sum()), 2000, p).pvalue > 1e-3


@pytest.mark.parametrize("dtype", [torch.uint8, torch.float32])
def test_crops_are_windows_of_the_padded_image_each_as_often(dtype: torch.dtype) -> None:
    image = torch.arange(1, 97).reshape(1, 1, 8, 12).to(dtype)
    padded = torch.nn.functional.pad(image, (3, 3, 2, 2))[0, 0]
    windows = {padded[top : top + 8, left : left + 12].numpy().tobytes() for top in range(5) for left in range(7)}
    torch.manual_seed(0)
    cut, _ = device.random_crop(padding=0.25)(image.repeat(1500, 1, 1, 1), TARGET, 1)
    found = [one.contiguous().numpy().tobytes() for one in cut]
    assert cut.dtype == dtype and set(found) == windows
    assert stats.chisquare([found.count(window) for window in windows]).pvalue > 1e-3


def test_crops_keep_channels_together() -> None:
    torch.manual_seed(0)
    several = torch.stack([IMAGES[:, 0], IMAGES[:, 0], IMAGES[:, 0]], dim=1)
    cut, _ = device.random_crop(padding=0.5)(several, TARGET, 1)
    assert torch.equal(cut[:, 0], cut[:, 1]) and torch.equal(cut[:, 0], cut[:, 2])
    assert not torch.equal(cut, several)


@pytest.mark.parametrize("dtype", [torch.uint8, torch.float32])
def test_erasing_paints_rectangles_as_torchvision_draws_them_with_the_mean_colour(dtype: torch.dtype) -> None:
    n = 2500
    image = torch.randint(0, 120, (3, 40, 30), generator=torch.Generator().manual_seed(0)) * 2
    # All values are even and the first channel's mean is 116.8, rounded to 117: no pixel has the colour that is painted.
    image[0].flatten()[: (round(116.8 * 1200) - int(image[0].sum())) // 2] += 2
    image = image.to(dtype)
    mean = image.float().mean(dim=(1, 2))
    assert abs(float(mean[0]) - 116.8) < 0.01
    wanted = mean if dtype == torch.float32 else mean.round().to(dtype)
    torch.manual_seed(0)
    erased, _ = device.random_erasing(p=0.6, ratio=(0.3, 1.2))(image.expand(n, -1, -1, -1), TARGET, 1)
    changed = (erased != image).any(dim=1)
    painted = erased.permute(0, 2, 3, 1)[changed].float()
    assert erased.dtype == dtype and torch.allclose(painted, wanted.float().expand_as(painted), rtol=1e-5)
    boxes = []
    for mask in changed[changed.any(dim=(1, 2))]:
        rows, columns = mask.any(dim=1).nonzero(), mask.any(dim=0).nonzero()
        assert mask[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1].all()
        boxes.append((int(rows[0]), int(columns[0]), len(rows), len(columns)))
    assert stats.binomtest(len(boxes), n, 0.6).pvalue > 1e-3
    # There a shape is height over width.
    shapes = (1 / 1.2, 1 / 0.3)
    theirs = [RandomErasing.get_params(image.float(), (0.02, 0.33), shapes)[:4] for _ in boxes]
    for one, other in zip(zip(*boxes, strict=True), zip(*theirs, strict=True), strict=True):
        assert stats.ks_2samp(one, other).pvalue > 1e-3


def test_areas_that_are_no_range_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"device\.pipeline: scale of random_erasing must be"):
        device.random_erasing(scale=(0.4, 0.2))


@pytest.mark.parametrize("peak", [255.0, 65535.0, 1.0])
def test_kornia_is_called_with_images_from_zero_to_one(peak: float) -> None:
    transform = kornia.augmentation.RandomAffine(30.0, p=0.7)
    images = IMAGES.float() / 255 * peak
    torch.manual_seed(3)
    wanted = transform(images / peak) * peak
    torch.manual_seed(3)
    changed, target = device.adapt(transform, peak)(images, TARGET, 1)
    assert torch.allclose(changed, wanted, atol=1e-5 * peak) and target is TARGET
    brighter = device.adapt(kornia.augmentation.RandomBrightness((2.0, 2.0), clip_output=False, p=1.0), peak)
    assert float(brighter(images, TARGET, 1)[0].max()) == peak


def test_kornia_draws_for_each_image() -> None:
    torch.manual_seed(0)
    same = IMAGES[:1].expand(64, -1, -1, -1)
    changed, _ = device.adapt(kornia.augmentation.RandomRotation(30.0, p=1.0))(same, TARGET, 1)
    assert len(torch.unique(changed.flatten(1), dim=0)) == 64


@pytest.mark.parametrize("as_float", [False, True])
def test_torchvision_draws_for_each_image(as_float: bool) -> None:
    transform = v2.RandomAffine(30)
    images = IMAGES.float() if as_float else IMAGES
    torch.manual_seed(3)
    wanted = torch.stack([transform(image / 255 if as_float else image) for image in images])
    torch.manual_seed(3)
    changed, _ = device.adapt(transform)(images, TARGET, 1)
    assert changed.dtype == images.dtype
    assert torch.allclose(changed.float(), wanted.float() * (255 if as_float else 1), atol=1e-4)
    same = images[:1].expand(16, -1, -1, -1)
    # Small pictures turned by nearly the same angle are equal.
    assert len(torch.unique(device.adapt(transform)(same, TARGET, 1)[0].flatten(1), dim=0)) > 8


@pytest.mark.parametrize(
    ("transform", "sentence"),
    [
        (
            v2.CutMix(num_classes=4),
            "CutMix mixes images but not the targets of this program; use mlpipe.data.augment.batches.cutmix",
        ),
        (kornia.augmentation.RandomMixUpV2(), "RandomMixUpV2 mixes images but not the targets of this program; use"),
        (kornia.augmentation.RandomMosaic((8, 8)), "RandomMosaic mixes images but not the targets"),
        (kornia.augmentation.Normalize(0.5, 0.5), "Normalize does not belong here; leave it out: mlpipe normalises"),
        (v2.Normalize([0.5], [0.5]), "Normalize does not belong here; leave it out: mlpipe normalises"),
        (
            v2.Grayscale(1),
            "Grayscale gives torch.uint8 of shape (8, 1, 12, 10) for torch.uint8 of shape (8, 3, 12, 10)",
        ),
        (v2.RandomChoice([v2.Resize((5, 5)), v2.Resize((6, 6))]), "RandomChoice cannot take images of shape (8, 3, 12"),
    ],
)
def test_what_a_step_may_not_do(transform: Any, sentence: str) -> None:
    with pytest.raises(DataError) as refused:
        torch.manual_seed(0)
        device.adapt(transform)(IMAGES, TARGET, 1)
    assert refused.value.problems[0].startswith(f"augmentations.device.pipeline: {sentence}")


def test_images_that_a_transform_cannot_take_give_a_sentence_and_a_full_memory_does_not() -> None:
    hue = device.adapt(kornia.augmentation.ColorJiggle(0.1, 0.1, 0.1, 0.1, p=1.0))
    with pytest.raises(DataError, match=r"ColorJiggle cannot take images of shape \(8, 1, 12, 10\)"):
        hue(IMAGES[:, :1], TARGET, 1)

    class Full(torch.nn.Module):
        def forward(self, image: Tensor) -> Tensor:
            raise torch.OutOfMemoryError("no room")

    with pytest.raises(torch.OutOfMemoryError):
        device.adapt(Full())(IMAGES, TARGET, 1)


def test_steps_run_in_their_order_with_the_epochs_left() -> None:
    def note(images: Tensor, target: Tensor, epochs_left: int) -> tuple[Tensor, Tensor]:
        return images * 2, target + epochs_left

    assert device.adapt(note) is note
    images, target = device.apply([note, device.horizontal_flip(p=1.0), note], IMAGES.float(), TARGET, 3)
    assert torch.equal(images, IMAGES.float().flip(3) * 4) and torch.equal(target, TARGET + 6)
