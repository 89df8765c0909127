"""The metric of solutions is the mean of their losses; its intervals' sums say the same."""

from __future__ import annotations

import numpy as np
import pytest

from mlpipe.post import kind as post_kind
from mlpipe.post import metrics
from mlpipe.post.intervals.by_metric import metric_intervals
from mlpipe.post.metrics import statistic

LOSSES = np.random.default_rng(0).gamma(2, size=(40, 1))
KNOWN = np.ones((40, 1))


def test_the_score_is_the_mean_loss_and_less_is_better() -> None:
    found = metrics.compute(post_kind.of("solutions").FINAL, LOSSES, KNOWN, "solutions")
    assert found == {"equation_loss": pytest.approx(LOSSES.mean())}
    assert metrics.direction("val/equation_loss") == "min" and post_kind.of("solutions").HEADLINE == "equation_loss"
    rows = metrics.details(LOSSES, KNOWN, ["channel 0"], "solutions")["classes"]
    assert rows == [{"class": "channel 0", "images": 40, "equation_loss": pytest.approx(LOSSES.mean())}]


def test_samples_without_initial_values_count_nowhere() -> None:
    outputs, targets = np.vstack([LOSSES, [[0.0]]]), np.vstack([KNOWN, [[np.nan]]])
    assert metrics.compute(["equation_loss"], outputs, targets, "solutions")["equation_loss"] == pytest.approx(
        LOSSES.mean()
    )
    assert metrics.compute(["equation_loss"], outputs[-1:], targets[-1:], "solutions") == {}


def test_draws_are_means_of_what_is_drawn() -> None:
    drawn = np.random.default_rng(1).multinomial(40, np.full(40, 1 / 40), 5).astype(float)
    found = statistic("equation_loss", LOSSES, KNOWN, "solutions").of_weights(drawn, np.arange(40))
    np.testing.assert_allclose(found, drawn @ LOSSES[:, 0] / 40)
    one = metric_intervals(["equation_loss"], LOSSES, KNOWN, kind="solutions")["equation_loss"]
    assert one.value == pytest.approx(LOSSES.mean()) and one.low < one.value < one.high
