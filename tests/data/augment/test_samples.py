"""Random changes: the same for a sample in any batch, uniform, and nothing but what they say."""

from __future__ import annotations

import functools
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from scipy import stats
from torch.nn import functional
from torchvision.transforms import RandomErasing, RandomResizedCrop
from torchvision.transforms.v2.functional import adjust_contrast

from mlpipe.data.augment import samples
from mlpipe.data.sampling import epoch_seeds, sample_seeds
from mlpipe.errors import ConfigError, DataError

Windows = npt.NDArray[np.int64]
torch.set_num_threads(1)

IMAGES = np.random.default_rng(0).integers(1, 256, (40, 16, 12, 3), dtype=np.uint8)
SEEDS = sample_seeds(tuple(f"sample{index}" for index in range(40)))


def images_of(n: int, height: int, width: int, channels: int, *, dtype: type = np.uint8, seed: int = 0) -> Any:
    """Noise over the whole range of the type."""
    values = np.random.default_rng(seed).random((n, height, width, channels))
    return values.astype(dtype) if dtype == np.float32 else (values * (np.iinfo(dtype).max + 1)).astype(dtype)


PIPELINE = [
    samples.random_crop(padding=0.25),
    samples.horizontal_flip(),
    samples.vertical_flip(),
]


@pytest.mark.parametrize("size", [1, 3, 40])
def test_a_sample_does_not_depend_on_its_batch(size: int) -> None:
    whole = samples.apply(PIPELINE, IMAGES, SEEDS)
    order = np.random.default_rng(1).permutation(40)
    for start in range(0, 40, size):
        rows = order[start : start + size]
        assert (samples.apply(PIPELINE, IMAGES[rows], SEEDS[rows]) == whole[rows]).all()


def test_inputs_stay_as_they_are() -> None:
    before = IMAGES.copy()
    result = samples.apply(PIPELINE, IMAGES, SEEDS)
    assert (before == IMAGES).all() and (result != before).any()
    assert result.shape == IMAGES.shape and result.dtype == np.uint8


def test_draws_are_uniform_and_independent_for_neighbouring_seeds_numbers_and_epochs() -> None:
    seeds = np.arange(4000, dtype=np.uint64)
    for number in range(4):
        assert stats.kstest(samples.uniform(seeds, number), "uniform").pvalue > 1e-3
    names = sample_seeds(tuple(f"{index:05d}" for index in range(4000)))
    for epoch in range(4):
        drawn = samples.uniform(epoch_seeds(names, 1, 0, epoch), 0)
        assert stats.kstest(drawn, "uniform").pvalue > 1e-3
    first, second = samples.uniform(seeds, 0), samples.uniform(seeds, 1)
    assert abs(np.corrcoef(first, second)[0, 1]) < 0.06
    assert abs(np.corrcoef(first[1:], first[:-1])[0, 1]) < 0.06
    assert first.min() >= 0 and first.max() < 1


def test_mix_is_splitmix64() -> None:
    """The first outputs of SplitMix64 seeded with 1234567, as published with its reference implementation."""
    wanted = [6457827717110365317, 3203168211198807973, 9817491932198370423, 4593380528125082431]
    state = np.array([1234567], np.uint64)
    assert [int(samples.mix(state, number)[0]) for number in range(4)] == wanted


def test_steps_of_a_pipeline_draw_independently() -> None:
    n = 2000
    images = np.zeros((n, 2, 2, 1), np.uint8)
    images[:, 0, 0] = 1
    seeds = np.arange(n, dtype=np.uint64)
    turned = samples.apply([samples.horizontal_flip(), samples.vertical_flip()], images, seeds)
    corners = [int((turned[:, row, column, 0] == 1).sum()) for row in (0, 1) for column in (0, 1)]
    assert sum(corners) == n
    assert stats.chisquare(corners).pvalue > 1e-3


@pytest.mark.parametrize("p", [0.0, 0.3, 1.0])
@pytest.mark.parametrize(("step", "axis"), [(samples.horizontal_flip, 1), (samples.vertical_flip, 0)])
def test_flips_mirror_as_often_as_asked(step: object, axis: int, p: float) -> None:
    image = np.arange(6, dtype=np.uint8).reshape(2, 3, 1)
    images = np.repeat(image[None], 3000, axis=0)
    turned = step(p=p)(images, np.arange(3000, dtype=np.uint64))  # type: ignore[operator]
    same = (turned == image).all(axis=(1, 2, 3))
    flipped = (turned == np.flip(image, axis)).all(axis=(1, 2, 3))
    assert (same | flipped).all()
    assert abs(flipped.mean() - p) < 4 * np.sqrt(p * (1 - p) / 3000) + 1e-9


def test_alternating_flips_mirror_the_odd_seeds_alone_whatever_stands_before() -> None:
    seeds = np.arange(40, dtype=np.uint64)
    step = samples.alternating_flip()
    expected = np.where((np.arange(40) % 2 == 1)[:, None, None, None], IMAGES[:, :, ::-1], IMAGES)
    assert (samples.apply([step], IMAGES, seeds) == expected).all()
    assert (samples.apply([samples.random_crop(padding=0.0), step], IMAGES, seeds) == expected).all()
    # Images of several sizes go through it one by one.
    ragged, wanted = ([image[: 10 + number % 3] for number, image in enumerate(of)] for of in (IMAGES, expected))
    turned = samples.apply([step], ragged, seeds)
    assert all((one == image).all() for one, image in zip(turned, wanted, strict=True))


def test_turns_change_the_lowest_bit_of_seeds_alone() -> None:
    turned = [samples.alternating_seeds(SEEDS, SEEDS, epoch) for epoch in range(4)]
    assert all((one >> np.uint64(1) == SEEDS >> np.uint64(1)).all() for one in turned)
    assert (turned[0] == SEEDS).all() and (turned[2] == SEEDS).all()
    assert (turned[1] ^ SEEDS == 1).all() and (turned[3] ^ SEEDS == 1).all()


def test_crops_are_windows_of_the_padded_image_and_every_window_occurs() -> None:
    image = np.arange(1, 97, dtype=np.uint8).reshape(8, 12, 1)
    padded = np.pad(image, ((2, 2), (3, 3), (0, 0)))
    windows = {padded[top : top + 8, left : left + 12].tobytes() for top in range(5) for left in range(7)}
    seeds = np.arange(1500, dtype=np.uint64)
    cut = samples.random_crop(padding=0.25)(np.repeat(image[None], 1500, axis=0), seeds)
    found = [one.tobytes() for one in cut]
    assert set(found) == windows
    counts = [found.count(window) for window in windows]
    assert stats.chisquare(counts).pvalue > 1e-3


def test_no_padding_is_no_change() -> None:
    assert (samples.random_crop(padding=0.0)(IMAGES, SEEDS) == IMAGES).all()


GREY16 = np.random.default_rng(3).integers(0, 65536, (20, 10, 10, 1)).astype(np.uint16)
MANY = np.arange(20, dtype=np.uint64) * np.uint64(977)


@pytest.mark.parametrize(
    "step",
    [
        samples.rotate90(),
        samples.brightness_contrast(),
        samples.random_erasing(p=1.0),
        samples.random_resized_crop(size=10),
    ],
)
@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float32"])
def test_steps_keep_type_and_shape_and_depend_on_the_own_seed(step: samples.Step, dtype: str) -> None:
    images = (
        (GREY16 / 65535).astype(dtype) if dtype == "float32" else (GREY16 >> (8 * (dtype == "uint8"))).astype(dtype)
    )
    images = images.repeat(5, axis=3)
    changed = step(images, MANY)
    assert changed.shape == images.shape and changed.dtype == images.dtype
    assert (step(images[::-1], MANY[::-1])[::-1] == changed).all()
    assert (changed != images).any()


def test_quarter_turns_are_numpys() -> None:
    turned = samples.rotate90()(GREY16, MANY)
    turns = [[(turned[i] == np.rot90(GREY16[i], k)).all() for k in range(4)].index(True) for i in range(20)]
    assert set(turns) == {0, 1, 2, 3}


def test_brightness_and_contrast_stay_in_range() -> None:
    white = np.full((20, 4, 4, 1), 250, np.uint8)
    changed = samples.brightness_contrast(brightness=0.5, contrast=0.0)(white, MANY)
    assert changed.max() == 255 and changed.min() >= 250 - 128
    flat = [len(np.unique(image)) for image in changed]
    assert flat == [1] * 20


def test_erasing_paints_a_rectangle_with_the_mean_colour() -> None:
    images = np.random.default_rng(0).integers(0, 256, (20, 30, 30, 3), np.uint8)
    erased = samples.random_erasing(p=1.0, scale=(0.1, 0.2))(images, MANY)
    for before, after in zip(images, erased, strict=True):
        changed = (before != after).any(axis=2)
        rows, columns = np.flatnonzero(changed.any(axis=1)), np.flatnonzero(changed.any(axis=0))
        window = after[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
        assert (window == np.rint(before.mean(axis=(0, 1))).astype(np.uint8)).all()
        assert 0.05 < window.shape[0] * window.shape[1] / 900 < 0.25
    assert (samples.random_erasing(p=0.0)(images, MANY) == images).all()


def test_resized_crops_cover_the_wanted_areas() -> None:
    ramp = np.arange(64 * 64, dtype=np.float32).reshape(1, 64, 64, 1).repeat(200, axis=0) / 64**2
    seeds = np.arange(200, dtype=np.uint64)
    cut = samples.random_resized_crop(size=32, scale=(0.2, 0.5), ratio=(1.0, 1.0))(ramp, seeds)
    heights = (cut[:, -1, 0, 0] - cut[:, 0, 0, 0]) * 64
    assert heights.min() > 0.8 * 0.2**0.5 * 64 and heights.max() < 1.05 * 0.5**0.5 * 64
    whole = samples.random_resized_crop(size=64, scale=(1.0, 1.0), ratio=(1.0, 1.0))(ramp, seeds)
    assert (whole == ramp).all()


ALL_STEPS: dict[str, samples.Step] = {
    "random_crop": samples.random_crop(padding=0.25),
    "horizontal_flip": samples.horizontal_flip(),
    "vertical_flip": samples.vertical_flip(),
    "rotate90": samples.rotate90(),
    "random_resized_crop": samples.random_resized_crop(size=9),
    "brightness_contrast": samples.brightness_contrast(),
    "random_erasing": samples.random_erasing(p=0.7),
}


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
@pytest.mark.parametrize("channels", [1, 3, 7])
@pytest.mark.parametrize("name", ALL_STEPS)
def test_every_step_depends_on_the_sample_and_the_epoch_only(name: str, channels: int, dtype: type) -> None:
    images = images_of(40, 12, 12, channels, dtype=dtype)
    before, step = images.copy(), ALL_STEPS[name]
    first, second = epoch_seeds(SEEDS, 1, 0, 0), epoch_seeds(SEEDS, 1, 0, 1)
    whole = step(images, first)
    assert whole.dtype == dtype and whole.shape[::3] == (40, channels)
    assert (images == before).all()
    order = np.random.default_rng(2).permutation(40)
    for start in range(0, 40, 7):
        rows = order[start : start + 7]
        np.testing.assert_array_equal(step(images[rows], first[rows]), whole[rows])
    assert (step(images, second) != whole).any()


def test_rotations_turn_as_torch_does_and_each_as_often() -> None:
    images = images_of(400, 6, 6, 3)
    turned = samples.rotate90()(images, np.arange(400, dtype=np.uint64))
    quarter = [torch.rot90(torch.from_numpy(images), number, (1, 2)).numpy() for number in range(4)]
    which = np.array([[(turned[index] == part[index]).all() for part in quarter] for index in range(400)])
    assert (which.sum(axis=1) == 1).all()
    assert stats.chisquare(which.sum(axis=0)).pvalue > 1e-3


def test_rotations_of_images_that_are_not_square_are_refused() -> None:
    with pytest.raises(DataError, match="rotate90 takes square images, not 12 x 16 pixels; put it after"):
        samples.rotate90()(IMAGES, SEEDS)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
@pytest.mark.parametrize("channels", [1, 3, 7])
def test_resized_crops_average_where_they_shrink_and_interpolate_where_they_grow(channels: int, dtype: type) -> None:
    whole = {"scale": (1.0, 1.0), "ratio": (1.0, 1.0)}
    images = images_of(3, 12, 12, channels, dtype=dtype)
    tensor = torch.from_numpy(images.astype(np.float64)).permute(0, 3, 1, 2)
    step = 1e-6 if dtype == np.float32 else 1.0
    smaller = samples.random_resized_crop(size=4, **whole)(images, SEEDS[:3])
    wanted = functional.avg_pool2d(tensor, 3).permute(0, 2, 3, 1).numpy()
    np.testing.assert_allclose(smaller, wanted, rtol=1e-6, atol=0.51 * step)
    larger = samples.random_resized_crop(size=24, **whole)(images, SEEDS[:3])
    wanted = functional.interpolate(tensor, size=24, mode="bilinear").permute(0, 2, 3, 1).numpy()
    np.testing.assert_allclose(larger, wanted, rtol=1e-6, atol=1.01 * step)
    same = samples.random_resized_crop(size=12, **whole)(images, SEEDS[:3])
    np.testing.assert_array_equal(same, images)


def cut_windows(monkeypatch: pytest.MonkeyPatch, step: samples.Step, height: int, width: int, n: int) -> Windows:
    """Top, left, height and width of each window that a step cuts out of an image, shape (n, 4)."""
    places = np.arange(height * width, dtype=np.float32).reshape(height, width, 1)
    found = []

    def note(window: npt.NDArray[np.float32], size: int) -> npt.NDArray[np.float32]:
        top, left = divmod(int(window[0, 0, 0]), width)
        found.append((top, left, *window.shape[:2]))
        np.testing.assert_array_equal(window, places[top : top + window.shape[0], left : left + window.shape[1]])
        return np.zeros((size, size, 1), np.float32)

    monkeypatch.setattr(samples, "_resized", note)
    step(np.repeat(places[None], n, axis=0), np.arange(n, dtype=np.uint64))
    return np.array(found)


@pytest.mark.parametrize(("height", "width"), [(50, 50), (40, 90)])
def test_windows_are_drawn_as_torchvision_draws_them(monkeypatch: pytest.MonkeyPatch, height: int, width: int) -> None:
    scale, ratio = (0.2, 1.0), (0.6, 1.8)
    step = samples.random_resized_crop(size=4, scale=scale, ratio=ratio)
    ours = cut_windows(monkeypatch, step, height, width, 1500)
    torch.manual_seed(0)
    image = torch.zeros(1, height, width)
    theirs = np.array([RandomResizedCrop.get_params(image, list(scale), list(ratio)) for _ in range(1500)])
    for column in range(4):
        assert stats.ks_2samp(ours[:, column], theirs[:, column]).pvalue > 1e-3
    for measure in (np.multiply, np.divide):
        assert stats.ks_2samp(measure(ours[:, 3], ours[:, 2]), measure(theirs[:, 3], theirs[:, 2])).pvalue > 1e-3


@pytest.mark.parametrize(("height", "width"), [(10, 100), (100, 10)])
def test_images_too_narrow_for_any_window_give_their_middle(
    monkeypatch: pytest.MonkeyPatch, height: int, width: int
) -> None:
    step = samples.random_resized_crop(size=4, scale=(0.9, 1.0), ratio=(0.75, 4 / 3))
    ours = cut_windows(monkeypatch, step, height, width, 3)
    theirs = RandomResizedCrop.get_params(torch.zeros(1, height, width), [0.9, 1.0], [0.75, 4 / 3])
    assert np.abs(ours - np.array(theirs)).max() <= 1
    assert (ours[:, 2:] == theirs[2:]).all()


def test_images_of_several_sizes_give_one_array() -> None:
    sizes = [(30, 20), (8, 9), (20, 20), (5, 41)]
    images = [images_of(1, height, width, 3, seed=height)[0] for height, width in sizes]
    steps = [samples.horizontal_flip(), samples.random_resized_crop(size=10), samples.vertical_flip()]
    together = samples.apply(steps, images, SEEDS[:4])
    assert isinstance(together, np.ndarray) and together.shape == (4, 10, 10, 3)
    for index, image in enumerate(images):
        alone = samples.apply(steps, [image], SEEDS[index : index + 1])
        np.testing.assert_array_equal(alone[0], together[index])
    direct = samples.random_resized_crop(size=10)(images, SEEDS[:4])
    np.testing.assert_array_equal(direct[1], samples.random_resized_crop(size=10)(images[1:2], SEEDS[1:2])[0])


def test_contrast_is_torchvisions_for_grey_images() -> None:
    images = images_of(20, 9, 9, 1, dtype=np.float32)
    changed = samples.brightness_contrast(brightness=0.0, contrast=0.6)(images, SEEDS[:20])
    for index, factor in enumerate(1 + (2 * samples.uniform(SEEDS[:20], 1) - 1) * 0.6):
        wanted = adjust_contrast(torch.from_numpy(images[index]).permute(2, 0, 1), float(factor))
        np.testing.assert_allclose(changed[index], wanted.permute(1, 2, 0).numpy(), atol=1e-6)


@pytest.mark.parametrize(("dtype", "peak"), [(np.uint8, 255), (np.uint16, 65535), (np.float32, 1)])
def test_brightness_adds_up_to_its_share_of_the_range_and_clips(dtype: type, peak: int) -> None:
    images = images_of(2000, 2, 2, 1, dtype=dtype)
    seeds = np.arange(2000, dtype=np.uint64)
    changed = samples.brightness_contrast(brightness=0.5, contrast=0.0)(images, seeds).astype(np.float64)
    shift = (changed - images) / peak
    clipped = (changed == 0) | (changed == peak)
    assert clipped.any() and not clipped.all()
    # Where nothing is clipped all pixels of an image move alike, and evenly between the bounds.
    free = ~clipped.any(axis=(1, 2, 3))
    step = 1e-6 if dtype == np.float32 else 1.01 / peak
    assert (np.ptp(shift[free], axis=(1, 2, 3)) <= step).all()
    wanted = (2 * samples.uniform(seeds, 0) - 1) * 0.5
    np.testing.assert_allclose(shift[free, 0, 0, 0], wanted[free], atol=step)
    assert stats.kstest(wanted, stats.uniform(-0.5, 1).cdf).pvalue > 1e-3


def erased_boxes(changed: npt.NDArray[np.bool_]) -> Windows:
    """Top, left, height and width of the changed part of each changed image; it must be a full rectangle."""
    found = []
    for mask in changed[changed.any(axis=(1, 2))]:
        rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
        assert mask[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1].all()
        found.append((rows[0], columns[0], len(rows), len(columns)))
    return np.array(found)


def test_erasing_paints_rectangles_as_torchvision_draws_them_with_the_mean_colour() -> None:
    n = 2500
    image = images_of(1, 40, 30, 3)[0]
    image[0, 0] = 255
    # No pixel has the mean colour, so that every painted one is seen.
    mean = np.rint(image.mean(axis=(0, 1))).astype(np.uint8)
    image[(image == mean).all(axis=2)] += 1
    mean = np.rint(image.mean(axis=(0, 1))).astype(np.uint8)
    seeds = np.arange(n, dtype=np.uint64)
    erased = samples.random_erasing(p=0.6, ratio=(0.3, 1.2))(np.repeat(image[None], n, axis=0), seeds)
    changed = (erased != image).any(axis=3)
    assert (erased[changed] == mean).all()
    boxes = erased_boxes(changed)
    assert stats.binomtest(len(boxes), n, 0.6).pvalue > 1e-3
    torch.manual_seed(0)
    tensor = torch.zeros(3, 40, 30)
    # There a shape is height over width.
    shapes = (1 / 1.2, 1 / 0.3)
    theirs = np.array([RandomErasing.get_params(tensor, (0.02, 0.33), shapes)[:4] for _ in range(len(boxes))])
    for column in range(4):
        assert stats.ks_2samp(boxes[:, column], theirs[:, column]).pvalue > 1e-3


@pytest.mark.parametrize("step", [samples.random_erasing, functools.partial(samples.random_resized_crop, size=8)])
def test_areas_and_shapes_that_are_no_ranges_are_refused_together(step: Any) -> None:
    with pytest.raises(ConfigError) as caught:
        step(scale=(0.5, 1.5), ratio=(2.0, 1.0))
    assert [sentence.partition(" must be")[0].split()[1] for sentence in caught.value.problems] == ["scale", "ratio"]
    with pytest.raises(ConfigError, match="scale of"):
        step(scale=(0.0, 0.5))
    with pytest.raises(ConfigError, match="ratio of"):
        step(ratio=(0.0, 1.0))
