"""Values that are nearly right, or of another program."""

from __future__ import annotations

import pytest

from mlpipe.config import near_values


@pytest.mark.parametrize(
    ("key", "value", "options", "meant"),
    [
        ("mode.calibrator", "platt", (), "affine"),
        ("mode.calibrator", "Isotonic-Regression", (), "isotonic"),
        ("mode.calibrator", "temprature", ("temperature", "beta"), "temperature"),
        ("trainer.precision", "FP16", (), "16-mixed"),
        ("trainer.devices", -1, (), "auto"),
        ("trainer.devices", 1, (), ""),
        ("mode.suggest", "steep", (), "steepest"),
        ("mode.search", "zzz", ("search", "greedy"), ""),
        ("some.key", "lon", ("long_one", "short"), "long_one"),
    ],
)
def test_the_value_that_is_meant(key: str, value: object, options: tuple[str, ...], meant: str) -> None:
    assert near_values.for_value(key, value, options) == meant


@pytest.mark.parametrize(
    ("value", "form"),
    [
        ("flase", ("false", False)),
        ("ture", ("true", True)),
        ("yes", ("true", True)),
        ("None", ("null", None)),
        ("0,01", ("0.01", 0.01)),
        ("20%", ("20", 20)),
        ("10 epochs", ("10", 10)),
        ("train,test", ("[train,test]", ["train", "test"])),
        (16.0, ("16", 16)),
        (20, ("0.2", 0.2)),
        (1, ("true", True)),
        ([3], ("3", 3)),
    ],
)
def test_other_forms_of_a_value(value: object, form: tuple[str, object]) -> None:
    assert form in near_values.other_forms(value)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), 10**400, "", [], {}, None])
def test_no_value_breaks_it(value: object) -> None:
    near_values.other_forms(value)
    near_values.for_value("optimizer.lr", value)
