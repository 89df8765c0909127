"""Functions of a folder's own files as metrics: against scikit-learn, and what is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.metrics import log_loss

from mlpipe.config.schema import Metrics
from mlpipe.errors import ConfigError, DataError
from mlpipe.learn import own_metrics
from mlpipe.post import metrics

MODULE = """
from musket_core.metrics import final_metric, keras_metric


@keras_metric
def cross(y_true, y_pred):
    return -(y_true * y_pred.log()).sum(1)


@final_metric
def right(model, items):
    return sum(item.y.argmax() == item.prediction.argmax() for item in items) / len(items)


def table(y_true, y_pred):
    return y_true


@final_metric
def both(model, items):
    return {"share": right(model, items), "images": len(items)}


def failing(y_true, y_pred):
    raise RuntimeError("no metric today")


def accuracy(y_true, y_pred):
    return 7
"""


@pytest.fixture
def section(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    folder = tmp_path / "modules"
    folder.mkdir()
    (folder / f"metrics_{tmp_path.name.replace('-', '_')}.py").write_text(MODULE)
    monkeypatch.chdir(tmp_path)

    def make(*names: str) -> Metrics:
        where = {"modules": str(folder), "stand_ins": ["musket_core"]}
        return Metrics(list(names), "auto", "val/loss", functions=list(names), **where)  # type: ignore[arg-type]

    return make


def test_they_are_measured_beside_mlpipes_own(section: Any) -> None:
    drawn = np.random.default_rng(0)
    logits, targets = drawn.normal(size=(50, 3)).astype(np.float32), drawn.integers(0, 3, 50)
    targets[7] = -1
    own = own_metrics.measures(section("cross", "right", "accuracy"), "classification", 3)
    found = metrics.compute(["cross", "right", "accuracy", "macro_f1"], logits, targets, own=own)
    known = targets >= 0
    probabilities = np.exp(metrics.log_softmax(logits[known]))
    assert found["cross"] == pytest.approx(log_loss(targets[known], probabilities), rel=1e-5)
    assert found["right"] == pytest.approx(metrics.accuracy(logits[known], targets[known]))
    # A function goes before mlpipe's metric of its name.
    assert found["accuracy"] == 7 and 0 < found["macro_f1"] < 1


def test_labels_with_unknown_entries_are_left_out(section: Any) -> None:
    logits = np.array([[2.0, -1.0], [0.5, 0.5], [-3.0, 1.0]])
    targets = np.array([[1.0, 0.0], [1.0, np.nan], [0.0, 1.0]])
    own = own_metrics.measures(section("cross"), "multilabel", 2)
    expected = np.mean([np.log1p(np.exp(-2.0)), np.log1p(np.exp(-1.0))])
    assert own["cross"](logits, targets) == pytest.approx(expected, rel=1e-5)
    assert np.isnan(own["cross"](logits[1:2], targets[1:2]))


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("table", r"table gives no number, got \[8, 2\]"),
        ("failing", r"failing fails \(RuntimeError: no metric today\)"),
    ],
)
def test_what_is_no_metric(section: Any, name: str, sentence: str) -> None:
    with pytest.raises(ConfigError, match=sentence):
        own_metrics.measures(section(name), "multilabel", 2)


def test_a_name_that_nobody_has(section: Any) -> None:
    with pytest.raises(DataError, match="did you mean 'cross'"):
        own_metrics.measures(section("crss"), "classification", 2)


def test_one_that_gives_several_numbers_has_each_under_its_name(section: Any) -> None:
    logits, targets = np.eye(4)[[0, 1, 2, 2]] * 3, np.array([0, 1, 2, 3])
    own = own_metrics.measures(section("both"), "classification", 4)
    assert metrics.compute(["both", "accuracy"], logits, targets, own=own) == {
        "share": 0.75,
        "images": 4,
        "accuracy": 0.75,
    }
