"""What one pass over a task's images takes."""

from __future__ import annotations

from dataclasses import replace

import pytest

from mlpipe.running.image_times import ImageTimes

TIMES = ImageTimes(images=1000, read=0.001, evaluate=0.01, size=128, parameters=10)


def test_a_pass_grows_with_the_pixels_and_with_what_is_not_read_yet() -> None:
    assert TIMES.one_pass(128) == pytest.approx(1000 * (0.01 * 1.1 + 0.001))
    assert TIMES.one_pass(256, is_cached=True) == pytest.approx(4 * 1000 * 0.01 * 1.1)
    assert TIMES.one_pass(64) == pytest.approx(1000 * (0.01 * 1.1 / 4 + 0.001))


@pytest.mark.parametrize(("seconds", "size"), [(12.1, 128), (11.9, 96), (7.2, 96), (7.1, 64), (0.1, 64)])
def test_fewer_pixels_where_a_pass_takes_too_long(seconds: float, size: int) -> None:
    assert TIMES.size_within(seconds) == size


def test_small_images_stay_as_they_are() -> None:
    assert replace(TIMES, size=28).size_within(0.1) == 28
    assert replace(TIMES, size=100).size_within(11.5) == 96


@pytest.mark.parametrize(
    ("features", "rows", "longer"), [(96, 900, 2.0), (2304, 728, 4.0), (2304, 1536, 3.0), (0, 10, 4.0)]
)
def test_a_fit_to_mirror_images_takes_as_much_longer_as_its_products_are_larger(
    features: int, rows: int, longer: float
) -> None:
    assert replace(TIMES, features=features).mirrored_fit(rows) == longer
