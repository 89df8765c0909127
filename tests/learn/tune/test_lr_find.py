"""The range test: an exponential ramp, fastai's smoothing, the two suggestions, and nothing left of it in a training."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import pytorch_lightning as pl
from pytorch_lightning.callbacks import Callback

from mlpipe.errors import ConfigError, Interrupted, TrainingError
from mlpipe.learn import fit, tune
from mlpipe.learn.job import Watch
from mlpipe.learn.machine.hardware import Numerics
from mlpipe.learn.tune import lr_find, short_runs
from tests.learn.conftest import job


def test_smoothing_is_the_weighted_mean_of_what_was_seen() -> None:
    losses = np.random.default_rng(0).normal(2, 1, 30)
    expected = [
        np.average(losses[: n + 1], weights=0.9 ** np.arange(n, -1, -1, dtype=float)) for n in range(len(losses))
    ]
    np.testing.assert_allclose(lr_find.smoothed(losses.tolist(), 0.9), expected)
    assert lr_find.smoothed([3.0, 1.0], 0.0) == [3.0, 1.0]


def curve(steps: int = 100) -> tuple[np.ndarray, np.ndarray]:
    """A loss that falls along a sigmoid of the rate's logarithm around 1e-3 and explodes from 1 on."""
    rates = np.geomspace(1e-7, 10, steps)
    x = np.log10(rates)
    return rates, 2 - 1.5 / (1 + np.exp(-4 * (x + 3))) + np.exp(6 * (x - 0.2))


def test_steepest_is_where_the_sigmoid_turns() -> None:
    rates, losses = curve()
    found = lr_find.suggestions(rates.tolist(), losses.tolist(), 100)
    assert np.log10(found["steepest"]) == pytest.approx(-3, abs=0.1)
    # The loss falls from the first step that counts (the 10th of 100) to its minimum; half of the way to that.
    lowest = int(losses.argmin())
    assert rates[10] < found["valley"] < rates[lowest]
    assert np.log10(found["valley"]) == pytest.approx(np.log10(rates[10 + (lowest - 10) // 2]), abs=0.3)


def test_the_valley_is_the_longest_falling_subsequence() -> None:
    losses = np.array([5.0, 9, 8, 7, 10, 6, 4, 3, 11, 12, 13, 14])
    # 9 8 7 6 4 3: six long, up to place 7; from place 1 a third and a half of a third on.
    assert lr_find._valley(losses) == 1 + 2 + 1


def test_a_short_test_suggests_from_what_it_has() -> None:
    rates = np.geomspace(1e-5, 1e-1, 8)
    # The first six steps count; the loss falls fastest from the third to the fourth.
    found = lr_find.suggestions(rates.tolist(), [5.0, 4.9, 4.7, 3.0, 2.9, 2.8, 9.0, 1.0], 8)
    assert found["steepest"] == pytest.approx(rates[2])
    assert lr_find.suggestions(rates[:3].tolist(), [3.0, 2.0, 1.5], 3)["steepest"] == pytest.approx(rates[0])


@pytest.mark.parametrize(
    ("losses", "sentence"),
    [
        (np.linspace(1, 2, 100), "the loss does not fall between 1e-07 and 10"),
        (np.linspace(2, 1, 16), "the loss exploded after 16 steps"),
    ],
)
def test_a_loss_that_suggests_nothing(losses: np.ndarray, sentence: str) -> None:
    rates = np.geomspace(1e-7, 10, len(losses))
    with pytest.raises(TrainingError, match=f"tune=lr_find: {sentence}; set optimizer.lr yourself"):
        lr_find.suggestions(rates.tolist(), losses.tolist(), 100)


@pytest.mark.program
def test_the_rate_rises_by_the_same_factor_on_the_folds_images(tmp_path: Path) -> None:
    one = job(tmp_path, "optimizer.layer_decay=0.5", "trainer.accumulate_grad_batches=2")
    found = lr_find.lr_find(steps=25, start=1e-5, end=1e-1, smoothing=0.5).find(one, Watch())
    rates = [row["lr"] for row in found.table]
    np.testing.assert_allclose(rates, np.geomspace(1e-5, 1e-1, 25)[: len(rates)], rtol=1e-6)
    assert found.chosen == {"lr_found": found.facts["valley"]}
    assert found.facts["ended_after"] == len(rates)
    assert 1.5 < found.table[0]["loss"] < 4
    again = lr_find.lr_find(steps=25, start=1e-5, end=1e-1, smoothing=0.5, suggest="steepest").find(one, Watch())
    assert again.table == found.table
    assert again.chosen == {"lr_found": found.facts["steepest"]}


def test_it_ends_when_the_loss_explodes(tmp_path: Path) -> None:
    one = job(tmp_path, "optimizer=sgd")
    found = lr_find.lr_find(steps=40, start=1e-3, end=1e6, smoothing=0.0, suggest="steepest").find(one, Watch())
    smooth = [row["smoothed"] for row in found.table]
    assert len(smooth) < 40
    assert all(value <= 4 * min(smooth[: n + 1]) for n, value in enumerate(smooth[:-1]))


@pytest.mark.program
def test_a_training_with_the_found_rate_is_the_one_with_that_rate(tmp_path: Path) -> None:
    given = job(tmp_path / "given", "trainer.max_epochs=1", "optimizer.lr=0.01")
    tuned = job(tmp_path / "tuned", "trainer.max_epochs=1")
    lr_find.lr_find(steps=20, start=1e-5, end=1e-2, smoothing=0.0).find(tuned, Watch())
    recipe = tune.applied(tuned.recipe, {"lr_found": 0.01})
    record = fit.fit(replace(tuned, recipe=recipe, origin=replace(tuned.origin, tuned={"lr_found": 0.01})), Watch())
    assert record.weights == fit.fit(given, Watch()).weights
    assert record.environment["lr_found"] == 0.01


def test_stages_take_the_found_rate_unless_they_name_their_own(tmp_path: Path) -> None:
    """A stage's rate is a number once `${optimizer.lr}` is resolved, which kept the one that was there before."""
    for words, rates in (
        ("stages=freeze_then_finetune", [0.5, 0.5]),
        ("stages=linear_then_finetune", [None, 0.5]),
        ("stages.list=[{epochs:1,lr:0.01},{epochs:1,lr:0.25},{epochs:1}]", [0.5, 0.25, None]),
    ):
        made = job(tmp_path, words, "optimizer.lr=0.01", "arch.pretrained=false")
        tuned = tune.applied(made.recipe, {"lr_found": 0.5})
        assert [one.lr for one in tuned.stages] == rates
        assert tuned.optimizer.params["lr"] == 0.5


def test_bounds_of_the_range_test_are_those_of_the_training(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    given: list[dict[str, object]] = []
    monkeypatch.setattr(pl, "Trainer", lambda **options: given.append(options))
    words = ["trainer.gradient_clip_val=0.5", "trainer.gradient_clip_algorithm=value"]
    made = job(tmp_path, *words)
    short_runs.short_trainer(made.recipe, Numerics("32-true", channels_last=False), 3, Callback(), 1)
    assert (given[0]["gradient_clip_val"], given[0]["gradient_clip_algorithm"]) == (0.5, "value")


def test_it_stops_when_asked(tmp_path: Path) -> None:
    with pytest.raises(Interrupted):
        lr_find.lr_find().find(job(tmp_path), Watch(should_stop=lambda: True))


def test_a_range_that_is_none() -> None:
    with pytest.raises(ConfigError, match="tune.end: must be larger than tune.start=1, got 0.5"):
        lr_find.lr_find(start=1.0, end=0.5)
