"""Styles of images: black bodies against a published table, cartoons against what a cartoon is."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from mlpipe.data.augment import styles
from mlpipe.errors import ConfigError

IMAGES = np.random.default_rng(0).integers(0, 255, (4, 20, 24, 3), dtype=np.uint8)
SEEDS = np.arange(4, dtype=np.uint64)


@pytest.mark.parametrize(
    ("kelvin", "light"),
    # Rows of M. Charity's table that are no ends of the lines by which it is stored.
    [(1200, (255, 83, 0)), (3000, (255, 180, 107)), (5000, (255, 228, 206)), (6600, (254, 249, 255)), (10_000, (204, 219, 255))],
)  # fmt: skip
def test_a_light_is_that_of_a_black_body(kelvin: float, light: tuple[int, int, int]) -> None:
    white = np.full((1, 2, 2, 3), 255, np.uint8)
    seen = styles.colour_temperature(kelvin=(kelvin, kelvin))(white, SEEDS[:1])[0]
    assert np.abs(seen[0, 0].astype(int) - light).max() <= 1
    half = styles.colour_temperature(kelvin=(kelvin, kelvin))(np.full((1, 2, 2, 3), 0.5, np.float32), SEEDS[:1])[0]
    assert half[0, 0] == pytest.approx(np.array(light) / 510, abs=0.003)


def test_a_cartoon_has_dark_outlines_and_stronger_colours() -> None:
    image = np.full((1, 40, 40, 3), (120, 100, 100), np.uint8)
    image[0, :, 20:] = (100, 200, 100)
    fixed = {"blur": (1.0, 1.0), "segmentation": (1.0, 1.0), "edges": (1.0, 1.0)}
    plain = styles.cartoon(**fixed, saturation=(1.0, 1.0))(image, SEEDS[:1])[0]
    black = (plain == 0).all(2)
    # One line where the colours meet, and nothing else.
    assert black[5:-5].any(1).all() and set(np.flatnonzero(black[5:-5].any(0))) <= {19, 20}
    # Near the line the filter of areas mixes both colours.
    away = np.r_[0:15, 25:40]
    assert np.abs(plain[:, away].astype(int) - image[0][:, away]).max() <= 2
    strong = styles.cartoon(**fixed, saturation=(2.0, 2.0))(image, SEEDS[:1])[0]
    before, after = (cv2.cvtColor(part[:1, :1], cv2.COLOR_RGB2HSV)[0, 0] for part in (plain, strong))
    assert int(after[1]) == pytest.approx(2 * int(before[1]), abs=3)


def test_large_images_have_lines_where_they_change_most() -> None:
    image = np.full((1, 60, 420, 3), 60, np.uint8)
    image[0, :, 200:] = 200
    drawn = styles.cartoon(blur=(1.0, 1.0), saturation=(1.0, 1.0), edges=(1.0, 1.0))(image, SEEDS[:1])[0]
    flat = styles.cartoon()(np.full((1, 60, 420, 3), 60, np.uint8), SEEDS[:1])[0]
    assert (flat == 60).all()
    assert (
        np.abs(drawn[10:-10, :190].astype(int) - 60).max() <= 2
        and np.abs(drawn[10:-10, 210:].astype(int) - 200).max() <= 2
    )


@pytest.mark.parametrize(
    ("step", "wrong"),
    [
        (lambda: styles.colour_temperature(kelvin=(100, 5000)), "kelvin: must be two bounds from 1000 to 40000"),
        (lambda: styles.cartoon(edges=(0.0, 1.0)), r"edges: must be two bounds >= 0\.01"),
        (lambda: styles.cartoon()(IMAGES[..., :1], SEEDS), "is for three channels, got 1"),
    ],
)
def test_what_does_not_fit_is_said(step: object, wrong: str) -> None:
    with pytest.raises(ConfigError, match=wrong):
        step()  # type: ignore[operator]
