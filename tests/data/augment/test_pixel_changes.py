"""Changes of pixels against OpenCV, SciPy, closed forms and the distributions that their documentation names."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from scipy import ndimage, stats

from mlpipe.data.augment import pixel_changes, random_choices
from mlpipe.errors import ConfigError

IMAGES = np.random.default_rng(0).integers(0, 255, (4, 20, 24, 3), dtype=np.uint8)
SEEDS = np.arange(4, dtype=np.uint64)
GREY = np.full((200, 32, 32, 1), 100, np.uint8)
MANY = np.arange(200, dtype=np.uint64)


@pytest.mark.parametrize(
    ("space", "code"), [("HSV", "HSV"), ("Lab", "LAB"), ("YCrCb", "YCrCb"), ("CIE", "XYZ"), ("BGR", "BGR")]
)
def test_colour_spaces_are_those_of_opencv(space: str, code: str) -> None:
    wanted = cv2.cvtColor(IMAGES[0], getattr(cv2, f"COLOR_RGB2{code}"))
    assert (pixel_changes.colour_space(to=[space])(IMAGES[:1], SEEDS[:1])[0] == wanted).all()
    # Back again, from a space that is no RGB.
    back = pixel_changes.colour_space(to=["RGB"], of=space)(wanted[None], SEEDS[:1])[0]
    assert (back == cv2.cvtColor(wanted, getattr(cv2, f"COLOR_{code}2RGB"))).all()


def test_a_share_of_another_colour_space() -> None:
    found = pixel_changes.colour_space(to=["GRAY"], alpha=(0.25, 0.25))(IMAGES[:1], SEEDS[:1])[0]
    grey = cv2.cvtColor(IMAGES[0], cv2.COLOR_RGB2GRAY)[:, :, None]
    assert np.abs(found - (0.75 * IMAGES[0] + 0.25 * grey)).max() <= 0.5


def test_no_saturation_is_grey_and_a_hue_of_zero_red() -> None:
    grey = pixel_changes.times_hue_saturation(saturation=(0.0, 0.0))(IMAGES, SEEDS)
    assert (np.ptp(grey.astype(int), 3) == 0).all() and (grey.max(3) == IMAGES.max(3)).all()
    red = pixel_changes.times_hue_saturation(hue=(0.0, 0.0))(IMAGES, SEEDS)
    assert (red[..., 0] == IMAGES.max(3)).all() and (red[..., 1] == red[..., 2]).all()


def test_a_bilateral_filter_is_that_of_opencv() -> None:
    step = pixel_changes.bilateral_blur(d=(5, 5), sigma_color=(60, 60), sigma_space=(40, 40))
    assert (step(IMAGES[:1], SEEDS[:1])[0] == cv2.bilateralFilter(IMAGES[0], 5, 60, 40)).all()
    assert (pixel_changes.bilateral_blur()(IMAGES, SEEDS) == IMAGES).all()


def test_a_matrix_is_a_correlation_with_mirrored_borders() -> None:
    matrix = [[0.5, 0.0, -1.0], [0.0, 1.0, 0.25], [0.0, 0.0, 0.0]]
    wanted = ndimage.correlate(IMAGES[0].astype(float), np.array(matrix)[:, :, None], mode="mirror")
    found = pixel_changes.convolved(matrix=matrix)(IMAGES[:1], SEEDS[:1])[0]
    assert np.abs(found - np.clip(np.rint(wanted), 0, 255)).max() <= 1


@pytest.mark.parametrize(("of", "variance"), [("laplace", 2 * 9**2), ("poisson", 9 + 9**2)])
def test_noise_has_the_variance_of_its_distribution(of: str, variance: float) -> None:
    added = pixel_changes.added_noise(of=of, scale=(9, 9))(GREY, MANY).astype(float) - 100
    assert added.mean() == pytest.approx(0, abs=0.1) and added.var() == pytest.approx(variance, rel=0.03)


@pytest.mark.parametrize(("by", "low", "high"), [("salt", 0.5, 1), ("pepper", 0, 0.5), ("salt_and_pepper", 0, 1)])
def test_salt_and_pepper_are_of_a_beta_distribution(by: str, low: float, high: float) -> None:
    after = pixel_changes.replaced_pixels(p=(0.3, 0.3), by=by)(GREY, MANY)
    new = after[after != 100] / 255
    assert len(new) / GREY.size == pytest.approx(0.3, abs=0.01) and low <= new.min() and new.max() <= high
    # Folded at a half, all three are the same: the arcsine distribution.
    folded = 0.5 + np.abs(new - 0.5)
    for share in (0.6, 0.75, 0.9):
        wanted = 2 * (stats.beta(0.5, 0.5).cdf(share) - 0.5)
        assert (folded < share).mean() == pytest.approx(wanted, abs=0.01)


def test_coarse_cells_are_replaced_as_a_whole() -> None:
    after = pixel_changes.replaced_pixels(p=(0.5, 0.5), by="range", values=(0, 50), cells=(4, 4))(GREY[:5], MANY[:5])
    changed = (after[..., 0] != 100).reshape(5, 4, 8, 4, 8).mean((2, 4))
    assert set(np.unique(changed)) == {0.0, 1.0} and after[after != 100].max() <= 50
    apart = pixel_changes.replaced_pixels(p=(0.5, 0.5), per_channel=1.0)(np.repeat(GREY[:5], 3, 3), MANY[:5])
    assert (apart[..., 0] != apart[..., 1]).any()


@pytest.mark.parametrize("of", ["average", "max", "min", "median"])
def test_blocks_have_one_number(of: str) -> None:
    found = pixel_changes.pooled(of=of, size=(4, 4))(IMAGES[:1], SEEDS[:1])[0].astype(float)
    reduce = {"average": np.mean, "max": np.max, "min": np.min, "median": np.median}[of]
    for row in range(0, 20, 4):
        for column in range(0, 24, 4):
            block = IMAGES[0, row : row + 4, column : column + 4].reshape(-1, 3)
            assert np.abs(found[row : row + 4, column : column + 4] - reduce(block, axis=0)).max() <= 0.5
    # What is left over at the sides is a block with what is nearest.
    assert pixel_changes.pooled(of=of, size=(7, 7))(IMAGES[:1], SEEDS[:1]).shape == (1, 20, 24, 3)


def test_few_colours_that_an_image_has_stay() -> None:
    rng = np.random.default_rng(0)
    colours = np.array([[10, 20, 30], [200, 30, 90], [40, 240, 120]], np.uint8)
    image = colours[rng.integers(0, 3, (16, 16))][None]
    assert (pixel_changes.fewer_colours(count=(3, 3))(image, SEEDS[:1]) == image).all()
    few = pixel_changes.fewer_colours(count=(5, 5), to=["Lab"])(IMAGES, SEEDS)
    assert all(len(np.unique(one.reshape(-1, 3), axis=0)) <= 5 for one in few)
    even = pixel_changes.fewer_colours(count=(4, 4), by="uniform")(IMAGES, SEEDS)
    assert set(np.unique(even)) == {32, 96, 160, 224} and np.abs(even.astype(int) - IMAGES).max() <= 32


def test_rectangles_are_filled() -> None:
    step = pixel_changes.cut_out(count=(1, 1), size=(0.25, 0.25), fill=(7, 7))
    areas = (step(GREY, MANY) == 7).sum((1, 2, 3))
    # Where the square of 8 x 8 lies inside it is whole; its middle is anywhere.
    assert areas.max() in (64, 72, 81) and areas.min() >= 16 and (areas >= 64).mean() > 0.4
    assert (pixel_changes.cut_out(count=(0, 0))(GREY, MANY) == GREY).all()


def test_snow_lies_on_what_is_dark() -> None:
    found = pixel_changes.snowy_ground(below=(100, 100), factor=(2.0, 2.0))(IMAGES[:1], SEEDS[:1])[0]
    plane = cv2.cvtColor(IMAGES[0], cv2.COLOR_RGB2HLS)
    light = plane[..., 1].astype(float)
    plane[..., 1] = np.clip(np.where(light < 100, 2 * light, light), 0, 255)
    assert (found == cv2.cvtColor(plane, cv2.COLOR_HLS2RGB)).all()


def test_fog_is_bright_and_everywhere_of_some_opacity() -> None:
    """With imgaug's numbers of Fog: opacity ((0.7 to 0.9) + 0.3 n) ** 0.9 x (0.4 to 0.9), brightness about 220 to 255."""
    fog = pixel_changes.clouds(
        brightness=(220, 255), grain=(-2, -1.5), unevenness=2.0, least=(0.7, 0.9), more=(0.3, 0.3), cells=(2, 8),
        exponent=(-4, -2), sparsity=(0.9, 0.9), density=(0.4, 0.9),
    )  # fmt: skip
    dark = fog(np.zeros((40, 32, 32, 3), np.uint8), MANY[:40]).astype(float)
    least = 0.7**0.9 * 0.4 * (220 - 10) * 0.7
    assert dark.min() > least and dark.mean() > 100 and dark.max() <= 255
    assert np.ptp(dark, axis=3).max() == 0 and dark.mean((1, 2, 3)).std() > 10


def test_snow_is_white_and_falls_along_its_way() -> None:
    step = pixel_changes.snow_flakes(density=(0.02, 0.02), angle=(0.0, 0.0), speed=(0.2, 0.2), size=(0.2, 0.2))
    after = step(np.zeros((20, 64, 64, 3), np.uint8), MANY[:20]).astype(float)
    assert after.max() == 255 and 0 < after.mean() < 100 and np.ptp(after, axis=3).max() == 0
    # Upright traces: neighbours above each other are more alike than those beside each other.
    above, beside = (np.abs(np.diff(after[..., 0], axis=axis)).mean() for axis in (1, 2))
    assert above < 0.5 * beside


def test_cells_of_a_grid_have_their_mean_colour() -> None:
    step = pixel_changes.cells_of_one_colour(rows=(5, 5), columns=(6, 6), replaced=(1.0, 1.0))
    found = step(IMAGES[:1], SEEDS[:1])[0].astype(float)
    for row in range(0, 20, 4):
        for column in range(0, 24, 4):
            mean = IMAGES[0, row : row + 4, column : column + 4].reshape(-1, 3).mean(0)
            assert np.abs(found[row : row + 4, column : column + 4] - mean).max() <= 0.5
    # A quarter of 20 rows and of 24 columns.
    same = pixel_changes.cells_of_one_colour(row_shares=(0.25, 0.25), column_shares=(0.25, 0.25), replaced=(1.0, 1.0))
    assert (same(IMAGES[:1], SEEDS[:1])[0] == found).all()
    kept = pixel_changes.cells_of_one_colour(replaced=(0.0, 0.0))(IMAGES, SEEDS)
    assert (kept == IMAGES).all()


def test_channels_are_evened_tile_by_tile_as_opencv_does() -> None:
    found = pixel_changes.even_tiles(clip=(3.0, 3.0), tiles=(4, 4))(IMAGES[:1], SEEDS[:1])[0]
    made = cv2.createCLAHE(3.0, (4, 4))
    for channel in range(3):
        assert (found[..., channel] == made.apply(np.ascontiguousarray(IMAGES[0, ..., channel]))).all()


def test_of_dropped_channels_some_stay() -> None:
    images = np.full((300, 2, 2, 3), 9, np.uint8)
    seeds = np.arange(300, dtype=np.uint64)
    for kept, p, mean in ((0, 0.4, 1.8), (1, 1.0, 1.0), (2, 1.0, 2.0)):
        left = (pixel_changes.dropped_channels(p=(p, p), kept=kept)(images, seeds)[:, 0, 0] > 0).sum(1)
        assert left.min() >= kept and left.mean() == pytest.approx(mean, abs=0.15)


@pytest.mark.parametrize("exponent", [-3.0, -1.0, 0.0])
def test_noise_has_the_spectrum_that_it_is_asked_for(exponent: float) -> None:
    powers = []
    for seed in range(40):
        field = pixel_changes.spectral_noise(np.random.default_rng(seed), (64, 64), exponent, 64, "linear")
        assert field.min() == 0 and field.max() == 1
        powers.append(np.abs(np.fft.fft2((field - field.mean()) / field.std())) ** 2)
    mean = np.mean(powers, 0)
    low, high = np.log(mean[0, 2]), np.log(mean[0, 16])
    assert (high - low) / (np.log(16) - np.log(2)) == pytest.approx(2 * exponent, abs=0.6)


def test_smooth_noise_is_smooth_and_reaches_from_0_to_1() -> None:
    fields = np.stack(
        [pixel_changes.smooth_noise(np.random.default_rng(seed), (48, 64), 8, "linear") for seed in range(40)]
    )
    assert fields.shape == (40, 48, 64) and 0 <= fields.min() < 0.2 and 0.8 < fields.max() <= 1
    assert fields.mean() == pytest.approx(0.5, abs=0.03)
    near = np.corrcoef(fields[:, :, :-1].ravel(), fields[:, :, 1:].ravel())[0, 1]
    assert near > 0.95


def test_a_blend_of_two_versions() -> None:
    invert, up = (
        {"_target_": "albumentations.InvertImg", "p": 1.0},
        {"_target_": "albumentations.VerticalFlip", "p": 1.0},
    )
    found = random_choices.blended(first=[invert], second=[up], alpha=(0.25, 0.25))(IMAGES, SEEDS)
    assert np.abs(found - (0.25 * (255 - IMAGES.astype(float)) + 0.75 * IMAGES[:, ::-1])).max() <= 0.5
    each = random_choices.blended(first=[invert], alpha=(0.0, 1.0), over="pixels")(GREY[:20], MANY[:20]).astype(float)
    # A share of each pixel, drawn evenly.
    assert each.std() == pytest.approx(55 / np.sqrt(12), rel=0.05) and each.min() >= 100 and each.max() <= 155
    whole = random_choices.blended(first=[invert], over="smooth")(GREY[:20], MANY[:20])
    assert whole.min() == 100 and whole.max() == 155


def test_channels_that_are_not_named_stay() -> None:
    invert = {"_target_": "albumentations.InvertImg", "p": 1.0}
    found = random_choices.on_channels(channels=[1], pipeline=[invert])(IMAGES, SEEDS)
    assert (found[..., 1] == 255 - IMAGES[..., 1]).all() and (found[..., ::2] == IMAGES[..., ::2]).all()
    with pytest.raises(ConfigError, match="images have the channels 0, 1, 2"):
        random_choices.on_channels(channels=[3], pipeline=[invert])(IMAGES, SEEDS)


@pytest.mark.parametrize(
    ("step", "wrong"),
    [
        (lambda: pixel_changes.colour_space(to=["HSV"], alpha=(0, 2)), "alpha: must be two bounds from 0 to 1"),
        (lambda: pixel_changes.colour_space(to=[]), "must be one of RGB"),
        (lambda: pixel_changes.bilateral_blur(d=(0, 3)), "d: must be two bounds from 1 to 99"),
        (lambda: pixel_changes.added_noise(of="laplace", scale=(3, 1)), "scale: must be two bounds >= 0"),
        (lambda: pixel_changes.convolved(matrix=[[1.0], [1.0, 2.0]]), "must have rows of one length"),
        (lambda: pixel_changes.colour_space(to=["HSV"])(GREY, MANY), "is for three channels, got 1"),
        (lambda: random_choices.blended(first=[{"_target_": "os.system"}]), "is not allowed inside of another"),
    ],
)
def test_what_does_not_fit_is_said(step: object, wrong: str) -> None:
    with pytest.raises(ConfigError, match=wrong):
        step()  # type: ignore[operator]


def test_a_cloud_is_one_noise() -> None:
    """Noise and one minus it are alike, so that half of the cloud is seen; the larger of several noises would be more."""
    step = pixel_changes.clouds(
        brightness=(200.0, 200.0), unevenness=0.0, more=(1.0, 1.0), sparsity=(1.0, 1.0), density=(1.0, 1.0)
    )
    assert abs(float(np.mean(step(np.zeros_like(GREY), MANY))) - 100) < 4


STILL = {
    "density": (1.0, 1.0), "evenness": (1.0, 1.0), "size": (0.0, 0.0), "alike": (1.0, 1.0), "speed": (0.0, 0.0),
    "blur": (0.0, 0.0), "sigma": (0.01, 0.01),
}  # fmt: skip


def test_flakes_cover_what_is_darker_and_glow_on_what_is_not() -> None:
    """Snow that falls on each pixel: imgaug's salt is the bright half of a beta distribution, of a mean of 1 / 2 + 1 / pi."""
    step = pixel_changes.snow_flakes(**STILL)
    found = np.asarray(step(np.zeros_like(GREY), MANY))
    assert np.percentile(found, 2) >= 127 and abs(found.mean() - 255 * (0.5 + 1 / np.pi)) < 1
    white = np.asarray(step(np.full_like(GREY, 230), MANY))
    # A tenth of what falls is added, and 230 are covered by what is brighter.
    salt = 255 * (0.5 + np.abs(np.random.default_rng(5).beta(0.5, 0.5, 200_000) - 0.5))
    assert abs(white.mean() - np.maximum(np.minimum(230 + 0.1 * salt, 255), salt).mean()) < 1


def test_drops_blend_by_how_bright_they_are() -> None:
    found = pixel_changes.snow_flakes(**STILL, grey=(200.0, 200.0))(np.zeros_like(GREY), MANY)
    salt = 0.5 + np.abs(np.random.default_rng(5).beta(0.5, 0.5, 200_000) - 0.5)
    assert abs(float(np.mean(found)) - (200 * np.minimum(1.3 * salt, 1)).mean()) < 1


def test_few_drops_that_fall_fast_are_hardly_seen() -> None:
    """The way that a drop falls shares its brightness."""
    fast = {**STILL, "density": (0.001, 0.001), "speed": (0.5, 0.5)}
    found = np.asarray(pixel_changes.snow_flakes(**fast, grey=(255.0, 255.0))(np.zeros_like(GREY), MANY))
    assert 0 < np.percentile(found.max((1, 2, 3)), 90) < 128


def test_the_way_of_flakes_turns_with_the_clock() -> None:
    way = pixel_changes._way(9, 45.0)
    rows, columns = np.mgrid[:9, :9] - 4
    # The brighter end is the upper one, which goes right.
    assert (way * rows).sum() < -0.5 and (way * columns).sum() > 0.5
    assert way.sum() == pytest.approx(1)


@pytest.mark.parametrize(("count", "wanted"), [(3, [43, 128, 213]), (256, list(range(256)))])
def test_even_colours_are_the_middles_of_their_parts(count: int, wanted: list[int]) -> None:
    """Rounded, as in imgaug, where all 256 stay as they are."""
    image = np.arange(256, dtype=np.uint8).reshape(1, 16, 16, 1)
    found = pixel_changes.fewer_colours(count=(count, count), by="uniform")(image, SEEDS[:1])
    assert np.unique(np.asarray(found)).tolist() == wanted


def test_noise_of_a_spectrum_is_made_with_four_places_at_least() -> None:
    """With one, of which imgaug's sizes may be, it was zero everywhere."""
    for sides in ((32, 40), (2, 40)):
        field = pixel_changes.spectral_noise(np.random.default_rng(0), sides, -2.0, 1, "nearest")
        assert field.shape == sides and field.min() == 0 and field.max() == 1
        assert len(np.unique(field)) == (16 if sides[0] > 4 else 8)


@pytest.mark.parametrize(("space", "code", "channel"), [("Lab", "LAB", 0), ("HSV", "HSV", 2), ("HLS", "HLS", 1)])
def test_an_even_lightness_is_that_of_opencv(space: str, code: str, channel: int) -> None:
    """imgaug's way: the channel of the lightness alone, in the colour space; a fourth channel stays."""
    with_alpha = np.concatenate([IMAGES, IMAGES[..., :1]], 3)
    for clip in (None, (3.0, 3.0)):
        plane = cv2.cvtColor(IMAGES[0], getattr(cv2, f"COLOR_RGB2{code}"))
        own = np.ascontiguousarray(plane[..., channel])
        plane[..., channel] = cv2.equalizeHist(own) if clip is None else cv2.createCLAHE(3.0, (4, 4)).apply(own)
        wanted = cv2.cvtColor(plane, getattr(cv2, f"COLOR_{code}2RGB"))
        step = pixel_changes.even_lightness(space=space, clip=clip, tiles=(4, 4))  # type: ignore[arg-type]
        assert (step(IMAGES[:1], SEEDS[:1])[0] == wanted).all()
        four = step(with_alpha[:1], SEEDS[:1])[0]
        assert (four[..., :3] == wanted).all() and (four[..., 3] == IMAGES[0, ..., 0]).all()


def test_an_even_lightness_of_grey_images() -> None:
    grey = IMAGES[..., :1]
    assert (
        pixel_changes.even_lightness()(grey[:1], SEEDS[:1])[0, ..., 0] == cv2.equalizeHist(grey[0, ..., 0].copy())
    ).all()
