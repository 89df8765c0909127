"""Augmentations that are drawn for each image: how often, from what, and that nothing else can be named inside."""

from __future__ import annotations

import math
from typing import Any

import albumentations
import cv2
import numpy as np
import pytest

from mlpipe.data.augment import random_choices
from mlpipe.errors import ConfigError

LEFT, UP = (
    {"_target_": "albumentations.HorizontalFlip", "p": 1.0},
    {"_target_": "albumentations.VerticalFlip", "p": 1.0},
)
IMAGES = np.random.default_rng(0).integers(0, 255, (200, 8, 8, 3), dtype=np.uint8)
SEEDS = np.arange(200, dtype=np.uint64)


def how_often(changed: Any) -> list[int]:
    """How many images are as they were, flipped one way, the other way, and both ways."""
    wanted = (IMAGES, IMAGES[:, :, ::-1], IMAGES[:, ::-1], IMAGES[:, ::-1, ::-1])
    return [int((changed == one).all(axis=(1, 2, 3)).sum()) for one in wanted]


def test_one_of_two_each_about_as_often() -> None:
    counts = how_often(random_choices.some_of(pipelines=[[LEFT], [UP]])(IMAGES, SEEDS))
    assert counts[0] == counts[3] == 0 and sum(counts) == 200 and min(counts[1:3]) > 70


def test_none_to_all_of_them_and_a_share_of_images() -> None:
    counts = how_often(random_choices.some_of(pipelines=[[LEFT], [UP]], least=0, most=None)(IMAGES, SEEDS))
    # None, one or two with a third each; which one is even.
    assert sum(counts) == 200 and min(counts) > 15
    counts = how_often(random_choices.some_of(pipelines=[[LEFT, UP]], p=0.25)(IMAGES, SEEDS))
    assert counts[1] == counts[2] == 0 and 30 < counts[3] < 70


def test_parameters_are_drawn_from_their_ranges() -> None:
    node = {"_target_": "albumentations.PixelDropout", "p": 1.0, "per_channel": False}
    changed = random_choices.with_drawn(transform=node, ranges={"dropout_prob": [0.2, 0.6]})(IMAGES + 0, SEEDS)
    shares = (changed == 0).all(axis=3).mean(axis=(1, 2))
    assert 0.1 < shares.min() < 0.3 and 0.5 < shares.max() < 0.75 and shares.mean() == pytest.approx(0.4, abs=0.03)


def test_edges_are_a_blend_with_the_laplacian() -> None:
    image = IMAGES[:1]
    laplacian = cv2.Laplacian(image[0].astype(np.float64), cv2.CV_64F, ksize=1, borderType=cv2.BORDER_REFLECT_101)
    expected = np.clip(np.rint(0.5 * image[0] + 0.5 * laplacian), 0, 255)
    found = random_choices.edges(alpha=(0.5, 0.5))(image, SEEDS[:1])[0]
    assert np.abs(found - expected).max() <= 1


def test_grey_is_that_of_albumentations() -> None:
    whole = random_choices.gray(alpha=(1.0, 1.0))(IMAGES[:2], SEEDS[:2])
    expected = albumentations.ToGray(p=1.0)(image=IMAGES[0])["image"]
    assert np.abs(whole[0].astype(int) - expected).max() <= 1
    assert (random_choices.gray(alpha=(0.0, 0.0))(IMAGES[:2], SEEDS[:2]) == IMAGES[:2]).all()


@pytest.mark.parametrize(
    ("node", "sentence"),
    [
        ({"_target_": "os.system", "command": "true"}, "is not allowed inside of another"),
        ({"_target_": "albumentations.core.composition.Compose"}, "is not allowed inside of another"),
        ({"_target_": "albumentations.HorizontalFlip", "q": []}, None),
        ({"_target_": "mlpipe.data.augment.random_choices.some_of", "pipelines": [], "least": 2}, "least and most"),
    ],
)
def test_nothing_else_can_stand_inside(node: dict[str, Any], sentence: str | None) -> None:
    if sentence is None:
        with pytest.warns(UserWarning, match="q"):
            random_choices.made(node)
        return
    with pytest.raises(ConfigError, match=sentence):
        random_choices.made(node)


def test_images_that_nothing_happens_to_may_have_a_pipeline_of_their_own() -> None:
    counts = how_often(random_choices.some_of(pipelines=[[LEFT]], p=0.25, otherwise=[UP])(IMAGES, SEEDS))
    assert counts[0] == counts[3] == 0 and 30 < counts[1] < 70 and sum(counts) == 200


@pytest.mark.parametrize(
    ("given", "side"),
    [({"size": (0.5, 0.5), "least": 1}, 2), ({"cells": (2, 2), "least": 1}, 4), ({"size": (0.1, 0.1)}, 2)],
)
def test_cells_of_a_grid_are_dropped_whole(given: Any, side: int) -> None:
    """8 pixels in 4 cells (half of them), in 2, and in the least number, 4."""
    bright = np.full_like(IMAGES, 200)
    changed = random_choices.dropped_cells(p=(0.3, 0.3), **given)(bright, SEEDS)
    cells = changed.reshape(200, 8 // side, side, 8 // side, side, 3)
    assert (cells == cells[:, :, :1, :, :1, :1]).all() and set(np.unique(cells)) == {0, 200}
    assert (cells == 0).mean() == pytest.approx(0.3, abs=0.05)


def test_channels_may_have_cells_and_turns_of_their_own() -> None:
    bright = np.full_like(IMAGES, 200)
    dropped = random_choices.dropped_cells(p=(0.5, 0.5), per_channel=1.0)(bright, SEEDS) == 0
    assert (dropped[..., 0] != dropped[..., 1]).any() and dropped.mean() == pytest.approx(0.5, abs=0.05)
    turned = random_choices.inverted(p=0.25, per_channel=1.0)(IMAGES, SEEDS)
    which = (turned == 255 - IMAGES).all(axis=(1, 2))
    assert ((turned == IMAGES).all(axis=(1, 2)) != which).all() and which.mean() == pytest.approx(0.25, abs=0.06)
    assert any(0 < row.sum() < 3 for row in which)


@pytest.mark.parametrize("given", [{"cells": (1, 8)}, {"size": (0.125, 1.0)}])
def test_the_sides_of_a_grid_have_numbers_of_cells_of_their_own(given: Any) -> None:
    """imgaug draws M and N of M x N cells: one row of four columns and more is no rarity, and one by chance is."""
    bright = np.full_like(IMAGES, 200)
    dropped = random_choices.dropped_cells(p=(0.5, 0.5), least=1, **given)(bright, SEEDS)[..., 0] == 0
    is_one_row = (dropped == dropped[:, :1]).all(axis=(1, 2))
    has_many_columns = (dropped[:, 0, 1:] != dropped[:, 0, :-1]).sum(axis=1) >= 3
    assert (is_one_row & has_many_columns).sum() >= 2


def test_contrast_has_a_factor_for_each_image_or_channel() -> None:
    doubled = random_choices.linear_contrast(alpha=(2.0, 2.0))
    depths = np.array([[[[0, 20000, 40000, 65535]]]], np.uint16)
    assert doubled(depths, SEEDS[:1]).tolist() == [[[[0, 7233, 47233, 65535]]]]
    shares = np.array([[[[0.0, 0.4, 0.6, 1.0]]]], np.float32)
    assert doubled(shares, SEEDS[:1]).ravel() == pytest.approx([0.0, 0.3, 0.7, 1.0])
    even = np.full_like(IMAGES, 227)
    alike = random_choices.linear_contrast(alpha=(0.2, 1.0))(even, SEEDS)
    assert (alike == alike[:, :1, :1, :1]).all() and 147 <= alike.min() < 155 and 220 < alike.max() <= 227
    apart = random_choices.linear_contrast(alpha=(0.2, 1.0), per_channel=1.0)(even, SEEDS)
    assert (apart == apart[:, :1, :1]).all() and ((apart[..., 0] != apart[..., 1]).mean() > 0.9)
    with pytest.raises(ConfigError, match="must be two bounds >= 0"):
        random_choices.linear_contrast(alpha=(0.5, 0.2))


def test_hue_and_saturation_are_moved_by_one_number_or_by_two() -> None:
    """imgaug 0.3: hue turns by value / 255 of 180 steps, saturation grows by the value, one draw for both or one for each."""
    grey = cv2.cvtColor(np.full((4, 4, 3), (20, 100, 180), np.uint8), cv2.COLOR_HSV2RGB)
    images = np.repeat(grey[None], 60, axis=0)
    hsv = cv2.cvtColor(grey, cv2.COLOR_RGB2HSV)[0, 0].astype(int)
    wanted = [(hsv[0] + int(51 / 255 * 180)) % 180, hsv[1] + 51, hsv[2]]
    found = random_choices.hue_saturation(value=(51, 51))(images, SEEDS[:60])[0]
    back = cv2.cvtColor(found, cv2.COLOR_RGB2HSV)[0, 0].astype(int)
    assert np.abs(back - wanted).max() <= 2

    def moves(step: Any) -> np.ndarray:
        changed = [cv2.cvtColor(image, cv2.COLOR_RGB2HSV)[0, 0].astype(int) for image in step(images, SEEDS[:60])]
        return np.array([((one[0] - hsv[0] + 90) % 180 - 90, one[1] - hsv[1]) for one in changed])

    together = moves(random_choices.hue_saturation(value=(-60, 60)))
    assert np.abs(together[:, 0] - together[:, 1] * 180 / 255).max() <= 3 and together[:, 1].std() > 20
    apart = moves(random_choices.hue_saturation(value=(-60, 60), per_channel=1.0))
    assert abs(np.corrcoef(apart.T)[0, 1]) < 0.4
    half = moves(random_choices.hue_saturation(value=(-60, 60), per_channel=0.5))
    assert 15 < (np.abs(half[:, 0] - half[:, 1] * 180 / 255) > 3).sum() < 45
    only = moves(random_choices.hue_saturation(saturation=(30, 30)))
    assert np.abs(only - [0, 30]).max() <= 2


def test_hue_of_deeper_images_is_that_of_bytes() -> None:
    image = np.random.default_rng(3).integers(30, 220, (1, 6, 6, 3)).astype(np.uint8)
    step = random_choices.hue_saturation(hue=(40, 40), saturation=(-20, -20))
    wanted = step(image, SEEDS[:1]).astype(float)
    shares = step((image / 255).astype(np.float32), SEEDS[:1]) * 255
    # Bytes of hue and saturation are rounded twice.
    assert np.abs(shares - wanted).max() < 6 and np.abs(shares - wanted).mean() < 2
    with pytest.raises(ConfigError, match="hue_saturation: is for three channels, got 1"):
        step(image[..., :1], SEEDS[:1])
    with pytest.raises(ConfigError, match="hue_saturation.value: must be two bounds from -255 to 255"):
        random_choices.hue_saturation(value=(0, 300))


def test_powers_may_be_of_each_channel() -> None:
    even = np.full_like(IMAGES, 64)
    squared = random_choices.gamma_contrast(gamma=(2.0, 2.0))(even, SEEDS)
    assert (squared == round(255 * (64 / 255) ** 2)).all()
    alike = random_choices.gamma_contrast(gamma=(0.5, 2.0))(even, SEEDS)
    assert (alike == alike[:, :1, :1, :1]).all() and alike.min() < 20 and alike.max() > 120
    apart = random_choices.gamma_contrast(gamma=(0.5, 2.0), per_channel=1.0)(even, SEEDS)
    assert (apart == apart[:, :1, :1]).all() and (apart[..., 0] != apart[..., 1]).mean() > 0.9
    with pytest.raises(ConfigError, match="must be two bounds >= 0"):
        random_choices.gamma_contrast(gamma=(2.0, 0.5))


@pytest.mark.parametrize("share", [0.1, 0.5, 0.9])
def test_curves_of_contrast_by_their_formulas(share: float) -> None:
    even = np.full((1, 4, 4, 3), share, np.float64)
    curve = random_choices.sigmoid_contrast(gain=(8.0, 8.0), cutoff=(0.4, 0.4))(even, SEEDS[:1])
    assert curve == pytest.approx(1 / (1 + math.exp(8 * (0.4 - share))))
    logarithm = random_choices.log_contrast(gain=(0.7, 0.7))(even, SEEDS[:1])
    assert logarithm == pytest.approx(0.7 * math.log(1 + share) / math.log(2))
    of_bytes = random_choices.log_contrast()(np.full((1, 4, 4, 3), 255, np.uint8), SEEDS[:1])
    assert of_bytes.dtype == np.uint8 and (of_bytes == 255).all()


def test_curves_may_be_of_each_channel() -> None:
    even = np.full_like(IMAGES, 64)
    for step in (
        random_choices.sigmoid_contrast(gain=(2.0, 12.0), cutoff=(0.2, 0.8), per_channel=1.0),
        random_choices.log_contrast(gain=(0.5, 2.0), per_channel=1.0),
    ):
        apart = step(even, SEEDS)
        assert (apart == apart[:, :1, :1]).all() and (apart[..., 0] != apart[..., 1]).mean() > 0.9
    with pytest.raises(ConfigError, match="log_contrast.gain: must be two bounds >= 0"):
        random_choices.log_contrast(gain=(2.0, 0.5))
    with pytest.raises(ConfigError, match="sigmoid_contrast.cutoff: must be two bounds"):
        random_choices.sigmoid_contrast(cutoff=(0.6, 0.4))


def test_polar_images_are_those_of_opencv() -> None:
    images = np.random.default_rng(0).integers(0, 200, (2, 21, 30, 3), dtype=np.uint8)
    seeds = np.array([1, 2], np.uint64)
    step = random_choices.in_polar(pipeline=[{"_target_": "albumentations.InvertImg", "p": 1.0}])
    flags, centre, radius = cv2.WARP_FILL_OUTLIERS, (15.0, 10.5), float(np.hypot(15, 10.5))
    for image, changed in zip(images, step(images, seeds), strict=True):
        polar = 255 - cv2.warpPolar(image, (0, 0), centre, radius, flags)
        assert (changed == cv2.warpPolar(polar, (30, 21), centre, radius, flags | cv2.WARP_INVERSE_MAP)).all()
    grey = images[..., :1]
    assert np.asarray(step(grey, seeds)).shape == grey.shape


def test_a_transform_of_torchvision_may_stand_inside_of_another() -> None:
    images = np.random.default_rng(0).integers(0, 255, (2, 8, 8, 3), dtype=np.uint8)
    node = {"_target_": "torchvision.transforms.v2.RandomHorizontalFlip", "p": 1.0}
    assert (
        random_choices.some_of(pipelines=[[node]])(images, np.arange(2, dtype=np.uint64)) == images[:, :, ::-1]
    ).all()
    with pytest.raises(
        ConfigError, match="is not allowed inside of another, got 'torchvision.transforms.v2.functional"
    ):
        random_choices.some_of(pipelines=[[{"_target_": "torchvision.transforms.v2.functional"}]])


INVERT = {"_target_": "albumentations.InvertImg", "p": 1.0}
PLAIN = np.full((40, 6, 8, 3), 100, np.uint8)


def test_a_blend_by_a_gradient() -> None:
    """From the second version to the first along the width, and turned along the height."""
    ends = {"low": (0.0, 0.0), "high": (1.0, 1.0), "start": (0.0, 0.0), "end": (1.0, 1.0)}
    wide = random_choices.blended_along(first=[INVERT], **ends)(PLAIN, SEEDS[:40])
    assert wide[0, 3, :, 1] == pytest.approx(100 + 55 * np.linspace(0, 1, 8), abs=0.5)
    tall = random_choices.blended_along(second=[INVERT], axis="y", **ends)(PLAIN, SEEDS[:40])
    assert tall[0, :, 3, 1] == pytest.approx(155 - 55 * np.linspace(0, 1, 6), abs=0.5)


def test_a_blend_in_cells_of_a_grid() -> None:
    board = random_choices.blended_in_cells(first=[INVERT], rows=(2, 2), columns=(4, 4), checkered=True)(
        PLAIN, SEEDS[:40]
    )
    assert (board[0, :, :, 0] == np.kron([[155, 100, 155, 100], [100, 155, 100, 155]], np.ones((3, 2)))).all()
    whole = np.asarray(random_choices.blended_in_cells(first=[INVERT], rows=(2, 2), columns=(4, 4))(PLAIN, SEEDS[:40]))
    # Either version in each of 320 cells, with the same chance.
    assert set(np.unique(whole)) == {100, 155} and abs((whole == 155).mean() - 0.5) < 0.1
    between = random_choices.blended_in_cells(first=[INVERT], rows=(9, 9), columns=(1, 2), alpha=(0.2, 0.4))(
        PLAIN, SEEDS[:40]
    )
    assert 110 < between.min() < 114 and 120 < between.max() < 123


def test_a_blend_by_hue() -> None:
    """Pixels of one colour get one share, which is that of its range of hues."""
    colours = np.array([(255, 0, 0), (0, 255, 0)], np.uint8)
    image = np.tile(np.repeat(colours, 4, 0)[np.newaxis, np.newaxis], (200, 6, 1, 1))
    split = {"bins": (2, 2), "smoothness": (0.0, 0.0), "rotation": (0.0, 0.0)}
    seen = np.asarray(random_choices.blended_by_hue(first=[INVERT], **split)(image, SEEDS))
    assert (seen == seen[:, :1, :1]).all(axis=(1, 3))[:, :4].all()
    inverted = (seen[:, 0, 0] == (0, 255, 255)).all(1)
    # Both hues lie in the first of the two ranges, red at 0 and green at 60 of 256.
    assert (inverted == (seen[:, 0, 4] == (255, 0, 255)).all(1)).all() and 60 < inverted.sum() < 140
    turned = np.asarray(
        random_choices.blended_by_hue(first=[INVERT], **{**split, "rotation": (140.0, 140.0)})(image, SEEDS)
    )
    assert ((turned[:, 0, 0, 0] == 0) != (turned[:, 0, 4, 0] == 255)).any()


def test_ranges_of_blends_that_are_none_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"blended_along\.low: must be two bounds from 0 to 1"):
        random_choices.blended_along(low=(0.5, 1.5))
    with pytest.raises(ConfigError, match=r"blended_in_cells\.rows: must be two bounds"):
        random_choices.blended_in_cells(rows=(0, 2), columns=(1, 1))
    with pytest.raises(ConfigError, match=r"blended_by_hue\.bins: must be two bounds from 1 to 256"):
        random_choices.blended_by_hue(bins=(1, 300))
