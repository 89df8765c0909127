"""Random changes: the same for a sample in any batch, uniform, and nothing but what they say."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from mlpipe.data import augmentations
from mlpipe.data.sampling import epoch_seeds, sample_seeds

IMAGES = np.random.default_rng(0).integers(1, 256, (40, 16, 12, 3), dtype=np.uint8)
SEEDS = sample_seeds(tuple(f"sample{index}" for index in range(40)))
PIPELINE = [
    augmentations.random_crop(padding=0.25),
    augmentations.horizontal_flip(),
    augmentations.vertical_flip(),
]


@pytest.mark.parametrize("size", [1, 3, 40])
def test_a_sample_does_not_depend_on_its_batch(size: int) -> None:
    whole = augmentations.apply(PIPELINE, IMAGES, SEEDS)
    order = np.random.default_rng(1).permutation(40)
    for start in range(0, 40, size):
        rows = order[start : start + size]
        assert (augmentations.apply(PIPELINE, IMAGES[rows], SEEDS[rows]) == whole[rows]).all()


def test_inputs_stay_as_they_are() -> None:
    before = IMAGES.copy()
    result = augmentations.apply(PIPELINE, IMAGES, SEEDS)
    assert (before == IMAGES).all() and (result != before).any()
    assert result.shape == IMAGES.shape and result.dtype == np.uint8


def test_draws_are_uniform_and_independent_for_neighbouring_seeds_numbers_and_epochs() -> None:
    seeds = np.arange(4000, dtype=np.uint64)
    for number in range(4):
        assert stats.kstest(augmentations.uniform(seeds, number), "uniform").pvalue > 1e-3
    names = sample_seeds(tuple(f"{index:05d}" for index in range(4000)))
    for epoch in range(4):
        drawn = augmentations.uniform(epoch_seeds(names, 1, 0, epoch), 0)
        assert stats.kstest(drawn, "uniform").pvalue > 1e-3
    first, second = augmentations.uniform(seeds, 0), augmentations.uniform(seeds, 1)
    assert abs(np.corrcoef(first, second)[0, 1]) < 0.06
    assert abs(np.corrcoef(first[1:], first[:-1])[0, 1]) < 0.06
    assert first.min() >= 0 and first.max() < 1


def test_mix_is_splitmix64() -> None:
    """The first outputs of SplitMix64 seeded with 1234567, as published with its reference implementation."""
    wanted = [6457827717110365317, 3203168211198807973, 9817491932198370423, 4593380528125082431]
    state = np.array([1234567], np.uint64)
    assert [int(augmentations.mix(state, number)[0]) for number in range(4)] == wanted


def test_steps_of_a_pipeline_draw_independently() -> None:
    n = 2000
    images = np.zeros((n, 2, 2, 1), np.uint8)
    images[:, 0, 0] = 1
    seeds = np.arange(n, dtype=np.uint64)
    turned = augmentations.apply([augmentations.horizontal_flip(), augmentations.vertical_flip()], images, seeds)
    corners = [int((turned[:, row, column, 0] == 1).sum()) for row in (0, 1) for column in (0, 1)]
    assert sum(corners) == n
    assert stats.chisquare(corners).pvalue > 1e-3


@pytest.mark.parametrize("p", [0.0, 0.3, 1.0])
@pytest.mark.parametrize(("step", "axis"), [(augmentations.horizontal_flip, 1), (augmentations.vertical_flip, 0)])
def test_flips_mirror_as_often_as_asked(step: object, axis: int, p: float) -> None:
    image = np.arange(6, dtype=np.uint8).reshape(2, 3, 1)
    images = np.repeat(image[None], 3000, axis=0)
    turned = step(p=p)(images, np.arange(3000, dtype=np.uint64))  # type: ignore[operator]
    same = (turned == image).all(axis=(1, 2, 3))
    flipped = (turned == np.flip(image, axis)).all(axis=(1, 2, 3))
    assert (same | flipped).all()
    assert abs(flipped.mean() - p) < 4 * np.sqrt(p * (1 - p) / 3000) + 1e-9


def test_crops_are_windows_of_the_padded_image_and_every_window_occurs() -> None:
    image = np.arange(1, 97, dtype=np.uint8).reshape(8, 12, 1)
    padded = np.pad(image, ((2, 2), (3, 3), (0, 0)))
    windows = {padded[top : top + 8, left : left + 12].tobytes() for top in range(5) for left in range(7)}
    seeds = np.arange(1500, dtype=np.uint64)
    cut = augmentations.random_crop(padding=0.25)(np.repeat(image[None], 1500, axis=0), seeds)
    found = [one.tobytes() for one in cut]
    assert set(found) == windows
    counts = [found.count(window) for window in windows]
    assert stats.chisquare(counts).pvalue > 1e-3


def test_no_padding_is_no_change() -> None:
    assert (augmentations.random_crop(padding=0.0)(IMAGES, SEEDS) == IMAGES).all()
