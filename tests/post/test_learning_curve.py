import json

import numpy as np
import pytest
from scipy.optimize import least_squares

from mlpipe.errors import ConfigError, DataError
from mlpipe.post.learning_curve import fit_learning_curve

SIZES = np.array([125.0, 250, 500, 750, 1000])

CURVES = {
    "power": lambda m: 0.05 + 3 * m**-0.5,
    "log": lambda m: 0.9 - 0.1 * np.log(m + 20),
    "arctan": lambda m: 0.04 + 0.8 * (1 - 2 / np.pi * np.arctan(0.01 * m)),
}


@pytest.mark.parametrize("family", list(CURVES))
def test_an_exact_curve_is_found_and_continued(family: str) -> None:
    curve = CURVES[family]
    found = fit_learning_curve(SIZES, curve(SIZES), variances=np.full(5, 1e-6), draws=10)
    assert found.family == family
    assert found.predict([2000, 4000]) == pytest.approx(curve(np.array([2000, 4000])), abs=2e-4)


def test_the_fit_is_the_weighted_least_squares_minimum() -> None:
    rng = np.random.default_rng(0)
    errors, variances = CURVES["power"](SIZES) + rng.normal(size=5) * 0.01, np.array([4, 3, 2, 1, 1]) * 1e-4
    found = fit_learning_curve(SIZES, errors, variances=variances, families=["power"], draws=5)

    def residuals(p):
        return (p[0] + p[1] * SIZES ** -p[2] - errors) / np.sqrt(variances)

    starts = [[0.01, 1, c] for c in (0.2, 0.5, 1.0)]
    bounds = ([0, 0, 0.01], [1, np.inf, 2])
    best = min(
        (least_squares(residuals, start, bounds=bounds, xtol=1e-14, ftol=1e-14) for start in starts),
        key=lambda r: r.cost,
    )
    assert (residuals(found.parameters) ** 2).sum() / 2 <= best.cost * (1 + 1e-4) + 1e-9


def test_nothing_is_negative_and_more_data_never_hurts() -> None:
    rising = fit_learning_curve(SIZES, [0.1, 0.12, 0.15, 0.2, 0.2], variances=np.full(5, 1e-4), draws=10)
    assert rising.parameters[1] == 0
    assert rising.predict(5000)[0] == pytest.approx(0.154, abs=1e-6)
    falling = fit_learning_curve(SIZES, 0.6 - 0.08 * np.log(SIZES), variances=np.full(5, 1e-4), draws=10)
    assert falling.predict([1e6]).min() >= 0
    assert min(falling.parameters) >= 0


@pytest.mark.slow
def test_the_band_covers_where_the_curve_goes() -> None:
    covered = 0
    for seed in range(60):
        rng = np.random.default_rng(seed)
        # The same test rows at every size: hard rows stay hard.
        hard = rng.random((800, 1))
        rows = (hard < CURVES["power"](SIZES)).astype(float)
        found = fit_learning_curve(SIZES, rows, families=["power"], level=0.9, draws=200, seed=seed)
        low, high = found.band([1500.0])
        covered += bool(low[0] <= CURVES["power"](1500.0) <= high[0])
    assert 0.8 <= covered / 60 <= 0.99


def test_the_band_of_images_in_groups_is_that_of_their_groups() -> None:
    """Each image of a patient is as hard as his others: so many patients tell as much as so many images."""
    few = (np.random.default_rng(0).random((40, 1)) < CURVES["power"](SIZES)).astype(float)
    options = {"families": ["power"], "level": 0.9, "draws": 200}
    alone = fit_learning_curve(SIZES, few, **options)
    groups = np.repeat(np.arange(40), 10)
    together, apart = (
        fit_learning_curve(SIZES, few.repeat(10, axis=0), groups=own, **options) for own in (groups, None)
    )
    assert together.parameters == pytest.approx(alone.parameters)
    assert together.drawn == pytest.approx(alone.drawn)
    wide, narrow = (np.subtract(*curve.band([1500.0])[::-1])[0] for curve in (together, apart))
    assert wide > 2 * narrow


def test_rows_and_order() -> None:
    rng = np.random.default_rng(1)
    rows = (rng.random((300, 5)) < CURVES["power"](SIZES)).astype(float)
    found = fit_learning_curve(SIZES, rows, draws=20)
    again = fit_learning_curve(SIZES[::-1], rows[:, ::-1], draws=20)
    assert again.parameters == found.parameters
    assert set(found.held_out_errors) == {"power", "log", "arctan"}
    assert found.family == min(found.held_out_errors, key=found.held_out_errors.get)
    assert json.loads(json.dumps(found.as_plain()))["family"] == found.family
    three = fit_learning_curve(SIZES[:3], rows[:, :3], draws=5)
    assert three.family == "power" and "too few to choose" in three.notes[0]


def test_what_cannot_be_fitted() -> None:
    with pytest.raises(DataError, match="three different positive sizes needed"):
        fit_learning_curve([1, 2], [0.1, 0.2], variances=[1, 1])
    with pytest.raises(DataError, match="mean errors need their variances"):
        fit_learning_curve([1, 2, 3], [0.1, 0.2, 0.3])
    with pytest.raises(DataError, match="variances must be positive"):
        fit_learning_curve([1, 2, 3], [0.1, 0.2, 0.3], variances=[0, 1, 1])
    with pytest.raises(DataError, match="finite errors of each size"):
        fit_learning_curve([1, 2, 3], [0.1, 0.2], variances=[1, 1])
    with pytest.raises(ConfigError, match="unknown family"):
        fit_learning_curve([1, 2, 3], [0.1, 0.2, 0.3], variances=[1, 1, 1], families=["powr"])


def test_an_error_that_falls_faster_than_its_family_has_no_level() -> None:
    errors = 0.5 - 0.0004 * SIZES
    found = fit_learning_curve(SIZES, errors, variances=np.full(5, 1e-4), families=["power"], draws=5)
    assert found.parameters[0] == 0
    c = np.linspace(0.01, 2, 4000)[:, None]
    basis = SIZES**-c
    slopes = (basis @ errors) / (basis**2).sum(axis=1)
    best = ((slopes[:, None] * basis - errors) ** 2).sum(axis=1).min()
    assert ((found.predict(SIZES) - errors) ** 2).sum() == pytest.approx(best, rel=1e-4)


def test_the_band_is_as_wide_as_the_chance_in_the_test_rows() -> None:
    rows = (np.random.default_rng(2).random((400, 1)) < CURVES["power"](SIZES)).astype(float)
    found = fit_learning_curve(SIZES, rows, families=["power"], level=0.9, draws=300)
    low, high = found.band(SIZES)
    expected = 2 * 1.645 * rows.std(axis=0) / np.sqrt(400)
    assert (high - low) == pytest.approx(expected, rel=0.25)


@pytest.mark.parametrize("unit", [1e-6, 1e6])
def test_the_unit_of_errors_changes_nothing_but_the_unit(unit: float) -> None:
    """Squared errors of lengths are the same curve in millimetres and in metres; those of one size without any count too."""
    rng = np.random.default_rng(0)
    errors = rng.normal(size=(300, 5)) ** 2 * CURVES["power"](SIZES)
    for rows in (errors, np.where(np.arange(5) == 4, 0.0, errors)):
        plain, other = (fit_learning_curve(SIZES, rows * factor, draws=50) for factor in (1.0, unit))
        assert other.family == plain.family
        assert other.predict([2000, 4000]) / unit == pytest.approx(plain.predict([2000, 4000]), abs=1e-9)
        assert other.band([2000])[1] / unit == pytest.approx(plain.band([2000])[1], abs=1e-9)


def test_test_images_of_a_single_group_make_nothing_certain() -> None:
    rows = (np.random.default_rng(0).random((200, 1)) < CURVES["power"](SIZES)).astype(float)
    options = {"families": ["power"], "draws": 50}
    together, apart = (fit_learning_curve(SIZES, rows, groups=own, **options) for own in (["one"] * 200, None))
    assert np.array_equal(together.drawn, apart.drawn)
    assert together.notes == (
        "all test rows are of one group: they are drawn one by one, and the band may be too narrow",
    )
    assert apart.notes == ()
