"""The stop is Lightning's, and knows which direction is better."""

from __future__ import annotations

from mlpipe.learn.callbacks import early


def test_early_is_lightnings() -> None:
    stopping = early.early("val/accuracy", "max", patience=2, min_delta=0.01)
    assert (stopping.monitor, stopping.mode, stopping.patience, stopping.min_delta) == ("val/accuracy", "max", 2, 0.01)
    assert not stopping.check_finite


def test_what_is_watched_goes_in_its_own_direction() -> None:
    assert early.early("val/loss", "min", watch="val/macro_f1").mode == "max"
    assert early.early("val/accuracy", "max", watch="val/loss").mode == "min"
    assert early.early("val/accuracy", "max", watch="val/loss", watch_direction="max").mode == "max"
    # Of a function of one's own nobody knows it.
    assert early.early("val/accuracy", "max", watch="val/my_own").mode == "max"
