"""Training and evaluation speed of a network on this machine."""

from __future__ import annotations

import itertools

import pytest
import timm

from mlpipe.arch import names
from mlpipe.config import compose
from mlpipe.learn.machine import speed
from tests.build import SMALL


def test_speed_without_training_takes_a_step_for_three_evaluations(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every look at the clock is a second later than the one before: a call takes one second."""
    recipe = compose.compose("train", ["task=digits", *SMALL], compose.Facts(names.timm_names)).recipe
    clock = itertools.count()
    monkeypatch.setattr("mlpipe.learn.machine.speed.time.perf_counter", lambda: float(next(clock)))
    looked = speed.speed(recipe, 1, 16, 10, 4, learns=False, most_seconds=5.0)
    both = speed.speed(recipe, 1, 16, 10, 4, most_seconds=5.0)
    assert (looked.evaluate, looked.train) == (0.25, 0.75)
    assert (both.evaluate, both.train) == (0.25, 0.25)
    network = timm.create_model("test_resnet", in_chans=1, num_classes=10)
    assert looked.parameters == sum(parameter.numel() for parameter in network.parameters())
