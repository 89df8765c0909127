"""The direction of what is watched, and the metrics that schedules and callbacks watch in place of the monitor."""

from __future__ import annotations

from pathlib import Path

import pytest

from mlpipe.learn import monitoring
from tests.learn.conftest import job


@pytest.mark.parametrize(
    ("watch", "said", "expected"),
    [
        ("val/accuracy", None, "max"),
        ("val/rmse", None, "min"),
        ("val/loss", None, "min"),
        # Those of one of several outputs: errors were maximised.
        ("val/age_rmse", None, "min"),
        ("val/age_loss", None, "min"),
        ("val/age_loss_mse", None, "min"),
        ("val/kind_accuracy", None, "max"),
        # The configuration's word counts most; the monitor's direction where nothing is known of what is watched.
        ("val/accuracy", "min", "min"),
        ("val/own", None, "otherwise"),
        ("val/age_own", None, "otherwise"),
        (None, None, "otherwise"),
    ],
)
@pytest.mark.parametrize("otherwise", ["min", "max"])
def test_the_direction_of_what_is_watched(watch: str | None, said: str | None, expected: str, otherwise: str) -> None:
    found = monitoring.direction_of(watch, said, otherwise)  # type: ignore[arg-type]
    assert found == (otherwise if expected == "otherwise" else expected)


def test_what_is_watched_is_measured_in_every_epoch(tmp_path: Path) -> None:
    made = job(
        tmp_path, "lr_scheduler=plateau", "lr_scheduler.watch=val/nll", "callbacks=early", "cbs.early.watch=val/brier"
    )
    assert monitoring.watched_metrics(made.recipe) == [
        ("lr_scheduler.watch", "val/nll"),
        ("callbacks.early.watch", "val/brier"),
    ]
    assert monitoring.val_metrics(made.recipe, made.task) == ["accuracy", "nll", "brier"]
