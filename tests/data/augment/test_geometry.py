"""Steps of geometry and colour: against NumPy and torchvision, the same draw for the same seed, and which always run."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torchvision.transforms.v2 import functional

from mlpipe.data.augment import geometry, samples
from mlpipe.errors import ConfigError, DataError

IMAGES = np.random.default_rng(0).integers(0, 256, (3, 8, 12, 3), np.uint8)
SEEDS = np.arange(3, dtype=np.uint64)


def test_sizes_are_width_and_height() -> None:
    assert geometry.resize(size=(5, 4))(IMAGES, SEEDS).shape == (3, 4, 5, 3)
    cut = geometry.center_crop(size=(6, 4))(IMAGES, SEEDS)
    assert np.array_equal(cut, IMAGES[:, 2:6, 3:9])
    with pytest.raises(DataError, match="center_crop to 20 x 4 cannot take an image of 12 x 8 pixels"):
        geometry.center_crop(size=(20, 4))(IMAGES, SEEDS)
    with pytest.raises(ConfigError, match="resize takes width and height, got"):
        geometry.resize(size=(0, 4))


def test_a_resize_is_torchs_bilinear_one() -> None:
    images = IMAGES.astype(np.float32)
    wanted = torch.nn.functional.interpolate(
        torch.from_numpy(images).permute(0, 3, 1, 2), (5, 20), mode="bilinear", align_corners=False
    )
    got = geometry.resize(size=(20, 5))(images, SEEDS)
    assert np.allclose(got, wanted.permute(0, 2, 3, 1), atol=1e-3)


def test_a_turn_is_clockwise() -> None:
    square = IMAGES[:, :, :8]
    assert np.array_equal(geometry.rotate(degrees=90)(square, SEEDS), np.rot90(square, -1, (1, 2)))
    image = torch.from_numpy(IMAGES[0].astype(np.float32)).permute(2, 0, 1)
    wanted = functional.rotate(image, -20, interpolation=functional.InterpolationMode.BILINEAR).permute(1, 2, 0)
    got = geometry.rotate(degrees=20)(IMAGES[:1].astype(np.float32), SEEDS[:1])[0]
    inner = np.s_[2:-2, 3:-3]
    # OpenCV has 32 steps between two pixels.
    assert np.abs(got[inner] - wanted.numpy()[inner]).max() < 255 / 32


def test_colours_and_numbers() -> None:
    swapped = geometry.convert_color(code="RGB2BGR")(IMAGES, SEEDS)
    assert np.array_equal(swapped, IMAGES[..., ::-1])
    assert geometry.convert_color(code="RGB2GRAY")(IMAGES, SEEDS).shape == (3, 8, 12, 1)
    with pytest.raises(ConfigError, match="no such code, got 'RGB2GREY'; did you mean 'RGB2GRAY'"):
        geometry.convert_color(code="RGB2GREY")
    got = geometry.normalize(mean=0.5, std=0.25, white=255)(IMAGES, SEEDS)
    assert got.dtype == np.float32 and np.allclose(got / 255, (IMAGES / 255 - 0.5) / 0.25, atol=1e-5)


def test_random_ones_stay_in_their_bounds_and_follow_the_seed() -> None:
    seeds = np.arange(300, dtype=np.uint64)
    ramp = np.broadcast_to(np.arange(100, dtype=np.float32)[None, :, None], (300, 80, 100, 1))
    crops = geometry.jitter_crop(most=0.4)(ramp, seeds)
    lefts = np.array([crop[0, 0, 0] for crop in crops])
    rights = np.array([99 - crop[0, -1, 0] for crop in crops])
    assert (
        lefts.max() == rights.max() == 20
        and abs(lefts.mean() - 9.5) < 1
        and abs(np.corrcoef(lefts, rights)[0, 1]) < 0.2
    )
    assert all(crop.shape[0] >= 80 - 2 * 16 for crop in crops)
    again = geometry.jitter_crop(most=0.4)(ramp[:2], seeds[:2])
    assert np.array_equal(again[1], crops[1])
    zoomed = geometry.random_zoom(most=0.5)(ramp, seeds)
    assert zoomed.shape == ramp.shape
    spans = zoomed[:, 40, -1, 0] - zoomed[:, 40, 0, 0]
    assert spans.min() >= 49 and spans.max() <= 99 and spans.std() > 10
    turned = geometry.random_rotate(degrees=10)(ramp, seeds)
    assert turned.shape == ramp.shape and not np.array_equal(turned[0], turned[1])


@pytest.mark.parametrize(("side", "most"), [(16, 0.1), (20, 0.1), (28, 0.05)])
def test_small_images_are_cut_and_zoomed_too(side: int, most: float) -> None:
    seeds = np.arange(400, dtype=np.uint64)
    images = np.random.default_rng(0).random((400, side, side, 1)).astype(np.float32)
    rows = {crop.shape[0] for crop in geometry.jitter_crop(most=most)(images, seeds)}
    assert rows == {side, side - 1, side - 2}
    same = [
        np.allclose(one, other)
        for one, other in zip(geometry.random_zoom(most=most)(images, seeds), images, strict=True)
    ]
    # One pixel goes where c S / 2 is above one half.
    assert np.mean(same) == pytest.approx(0.5 / (most * side / 2), abs=0.1)


def test_nothing_is_cut_off_whole() -> None:
    for side in (1, 2, 3):
        crops = geometry.jitter_crop(most=0.99)(
            np.ones((50, side, side, 1), np.float32), np.arange(50, dtype=np.uint64)
        )
        assert min(min(crop.shape[:2]) for crop in crops) >= 1


def test_only_what_is_not_random_always_runs() -> None:
    fixed = [
        geometry.resize(size=(4, 4)),
        geometry.center_crop(size=(2, 2)),
        geometry.rotate(degrees=5),
        geometry.convert_color(code="RGB2BGR"),
        geometry.normalize(),
    ]
    drawn = [
        geometry.jitter_crop(most=0.1),
        geometry.random_zoom(most=0.1),
        geometry.random_rotate(degrees=5),
        samples.horizontal_flip(p=0.5),
    ]
    assert geometry.always([*drawn, *fixed]) == fixed


@pytest.mark.parametrize("spatial", [(7,), (4, 5), (3, 4, 5)])
def test_flips_along_every_axis_or_some(spatial: tuple[int, ...]) -> None:
    many, seeds = np.random.default_rng(1).normal(size=(400, *spatial, 2)), np.arange(400, dtype=np.uint64)
    flipped = geometry.random_flips()(many, seeds)
    axes = range(len(spatial))
    seen = np.zeros(2 ** len(spatial), int)
    for before, after in zip(many, flipped, strict=True):
        ways = [np.flip(before, [axis for axis in axes if number >> axis & 1]) for number in range(len(seen))]
        seen[[np.array_equal(way, after) for way in ways].index(True)] += 1
    assert seen.sum() == 400 and seen.min() > 400 / len(seen) / 2
    last = geometry.random_flips(p=1.0, axes=[len(spatial) - 1])
    assert np.array_equal(last(many, seeds), np.flip(many, -2))
    assert np.array_equal(geometry.random_flips()(list(many[:9]), seeds[:9]), flipped[:9])
    with pytest.raises(DataError, match=rf"random_flips names an axis that is not there, got \[{len(spatial)}\]"):
        geometry.random_flips(axes=[len(spatial)])(many, seeds)


def test_cells_of_a_jigsaw_come_one_step_far() -> None:
    """Each cell is still there, at its place or beside it; with no steps nothing moves."""
    cells = np.arange(1, 13).reshape(3, 4).repeat(5, 0).repeat(6, 1).astype(np.uint8)
    images, seeds = np.repeat(cells[None, :, :, None], 50, 0), np.arange(50, dtype=np.uint64)
    assert (geometry.jigsaw(rows=(3, 3), columns=(4, 4), steps=(0, 0))(images, seeds) == images).all()
    changed = np.asarray(geometry.jigsaw(rows=(3, 3), columns=(4, 4))(images, seeds))[..., 0]
    assert changed.shape == images.shape[:3] and (changed != images[..., 0]).any((1, 2)).mean() > 0.7
    for image in changed:
        grid = image[::5, ::6]
        assert (image == grid.repeat(5, 0).repeat(6, 1)).all() and sorted(grid.ravel()) == list(range(1, 13))
        for number in range(12):
            row, column = np.argwhere(grid == number + 1)[0]
            assert abs(row - number // 4) + abs(column - number % 4) <= 1


def test_a_jigsaw_that_divides_no_image_has_margins_or_is_refused() -> None:
    changed = geometry.jigsaw(rows=(3, 3), columns=(5, 5), steps=(0, 0))(IMAGES, SEEDS)
    assert np.array_equal(np.asarray(changed)[:, :8, 1:13], IMAGES) and np.asarray(changed).shape == (3, 9, 15, 3)
    with pytest.raises(DataError, match="jigsaw of 3 rows and 5 columns does not divide 12 x 8 pixels"):
        geometry.jigsaw(rows=(3, 3), columns=(5, 5), padded=False)(IMAGES, SEEDS)
    with pytest.raises(ConfigError, match=r"jigsaw\.steps: must be two bounds >= 0"):
        geometry.jigsaw(steps=(2, 1))


def test_numbers_that_sides_cannot_be_fitted_to() -> None:
    for values in ({"to": "ratio"}, {"to": "powers", "width": 1}, {"to": "multiples", "width": 2.5}):
        with pytest.raises(ConfigError, match="fitted"):
            geometry.fitted(way="crop", **values)  # type: ignore[arg-type]
