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
    assert [figures.number(value, 24) for value in (999.96, 1234.5, 12345.6, -98765.4, 12345678.9)] == [
        "1000", "1234", "12346", "-98765", "1.235e+07",
    ]  # fmt: skip
    assert figures.number(None) == figures.number(float("nan")) == figures.number(float("inf")) == ""


def test_what_is_not_bounded_has_no_more_digits_than_a_share() -> None:
    """Errors of 24 images were told as 123.46: a digit more than their images tell."""
    values = (1.2345, 9.996, 12.345, 123.45, -999.4, 999.6)
    assert [figures.number(value, 24) for value in values] == ["1.23", "10.0", "12.3", "123", "-999", "1000"]
    assert [figures.number(value, 300) for value in values] == ["1.234", "9.996", "12.35", "123.5", "-999.4", "999.6"]
    assert [figures.number(value) for value in values[2:]] == ["12.345", "123.45", "-999.40", "999.60"]
    for rows in (24, 300, 5000):
        for value in values[:1] + values[2:5]:
            digits = figures.number(value, rows).lstrip("-").replace(".", "")
            assert len(digits) == max(figures.decimals(rows) + 1, len(str(int(abs(value)))))


def test_ends_of_one_interval_are_equally_fine() -> None:
    assert figures.interval(9.87, 10.24, 24) == "9.9 to 10.2"
    assert figures.interval(-101.2, -99.87, 300) == "-101.2 to -99.9"
    assert figures.interval(0.95, 12.34, 24) == "0.95 to 12.3"
    assert figures.interval(1.0, 1.0, 24) == "1.00 to 1.00"


def test_a_small_figure_keeps_two_digits() -> None:
    assert [figures.number(value, 24) for value in (0.0539, 0.00123, -0.0083, 0.000123, 0.0)] == [
        "0.054", "0.0012", "-0.0083", "0.00012", "0.00",
    ]  # fmt: skip


def test_small_figures_of_one_thing_are_told_apart() -> None:
    """Losses of two folds of one recipe: none of them is 0."""
    assert [figures.number(value, 24) for value in (4.9e-6, 3.21e-7, -2e-9)] == ["4.9e-06", "3.2e-07", "-2.0e-09"]
    assert figures.interval(3.21e-7, 0.00049, 24) == "3.2e-07 to 0.00049"


@pytest.mark.parametrize("rows", [24, 300, 5000])
def test_what_sums_leave_by_rounding_is_nothing(rows: int) -> None:
    left = sum([0.1] * 10) - 1.0
    assert left != 0
    assert figures.number(left, rows) == figures.number(0.0, rows)


def test_parameters_of_small_networks_have_all_digits() -> None:
    assert [figures.parameters(many) for many in (748, 9_999, 11_176_512)] == ["748", "9999", "11.18 M"]


def test_shares_and_intervals() -> None:
    assert [figures.percent(23 / 24, rows) for rows in (24, 300, 5000, None)] == ["96 %", "95.8 %", "95.8 %", "95.8 %"]
    assert figures.interval(0.78888, 1.0, 24) == "0.79 to 1.00"
    assert figures.interval(None, 1.0) == figures.interval(0.1, float("nan"), 3) == ""


def test_a_prevalence_names_its_classes() -> None:
    assert figures.prevalence(["healthy", "ill"], [0.98, 0.02]) == "healthy 0.98, ill 0.02"
    assert figures.prevalence([], [0.98, 0.02]) == "0.98, 0.02"
