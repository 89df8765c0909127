"""Figures for people have the digits that their images can tell."""

from __future__ import annotations

import pytest

from mlpipe.post import figures


@pytest.mark.parametrize(
    ("rows", "decimals"), [(1, 2), (10, 2), (24, 2), (100, 2), (101, 3), (300, 3), (1000, 3), (1001, 4), (10**6, 4)]
)
def test_one_image_more_or_less_is_seen_and_little_that_is_finer(rows: int, decimals: int) -> None:
    assert figures.decimals(rows) == decimals
    if 10 < rows <= 10_000:
        assert 10.0**-decimals <= 1 / rows < 10.0 ** (2 - decimals)


def test_a_figure_of_few_images_has_two_decimals() -> None:
    assert [figures.number(0.95833, rows) for rows in (24, 300, 5000, None)] == ["0.96", "0.958", "0.9583", "0.9583"]
    assert figures.number(12345.6, 24) == "1.235e+04"
    assert figures.number(None) == figures.number(float("nan")) == figures.number(float("inf")) == ""


def test_a_small_figure_keeps_two_digits() -> None:
    assert [figures.number(value, 24) for value in (0.0539, 0.00123, -0.0083, 1e-9, 0.0)] == [
        "0.054", "0.0012", "-0.0083", "0.00", "0.00",
    ]  # fmt: skip


def test_shares_and_intervals() -> None:
    assert [figures.percent(23 / 24, rows) for rows in (24, 300, 5000, None)] == ["96 %", "95.8 %", "95.8 %", "95.8 %"]
    assert figures.interval(0.78888, 1.0, 24) == "0.79 to 1.00"
    assert figures.interval(None, 1.0) == figures.interval(0.1, float("nan"), 3) == ""
