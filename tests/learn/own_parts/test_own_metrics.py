"""Functions of a folder's own files as metrics: against scikit-learn, and what is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.metrics import log_loss

from mlpipe.config.schema import Metrics
from mlpipe.errors import ConfigError, DataError
from mlpipe.learn.own_parts import own_metrics
from mlpipe.post import metrics
from mlpipe.post.measures import class_metrics

MODULE = """
import numpy as np
from sklearn.metrics import recall_score
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


@final_metric
def hmar_incorrect(model, items):
    # Of Bengali.AI: the macro recall of the three answers, the first one counted twice.
    truth = np.array([[one.argmax() for one in item.y] for item in items])
    said = np.array([[one.argmax() for one in item.prediction] for item in items])
    recalls = [recall_score(truth[:, n], said[:, n], average="macro") for n in range(3)]
    return np.average(recalls, weights=[2, 1, 1])


@final_metric
def shapes(model, items):
    return {"heads": len(items[0].y), "sizes": sum(one.size for one in items[0].prediction), "images": len(items)}


def off(y_true, y_pred):
    return (y_true - y_pred).abs().sum(1)


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

    def make(*names: str, **more: Any) -> Metrics:
        where = {"modules": str(folder), "stand_ins": ["musket_core"], **more}
        return Metrics(list(names), "auto", "val/loss", functions=list(names), **where)  # type: ignore[arg-type]

    return make


def test_they_are_measured_beside_mlpipes_own(section: Any) -> None:
    drawn = np.random.default_rng(0)
    logits, targets = drawn.normal(size=(50, 3)).astype(np.float32), drawn.integers(0, 3, 50)
    targets[7] = -1
    own = own_metrics.measures(section("cross", "right", "accuracy"), "classification", 3)
    found = metrics.compute(["cross", "right", "accuracy", "macro_f1"], logits, targets, own=own, kind="classification")
    known = targets >= 0
    probabilities = np.exp(class_metrics.log_softmax(logits[known]))
    assert found["cross"] == pytest.approx(log_loss(targets[known], probabilities), rel=1e-5)
    assert found["right"] == pytest.approx(class_metrics.accuracy(logits[known], targets[known]))
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
    assert metrics.compute(["both", "accuracy"], logits, targets, own=own, kind="classification") == {
        "share": 0.75,
        "images": 4,
        "accuracy": 0.75,
    }


# Three softmaxes over 3, 2 and 2 classes: what is true and what is predicted for four images.
ANSWERS = ([(0, 0), (0, 1), (1, 1), (2, 2)], [(0, 0), (0, 0), (1, 1), (1, 0)], [(0, 1), (1, 1), (1, 1), (1, 0)])
HEADS = [{"name": f"out{n}", "outputs": size, "activation": "softmax"} for n, size in enumerate((3, 2, 2))]


def answers(number: int) -> Any:
    """One-hot rows of what is true (0) or predicted (1), the heads side by side."""
    return np.concatenate([np.eye(max(3 - n, 2))[[one[number] for one in head]] for n, head in enumerate(ANSWERS)], 1)


def test_a_final_metric_of_several_heads_has_lists_of_arrays(section: Any) -> None:
    own = own_metrics.measures(section("hmar_incorrect", "shapes", heads=HEADS), "regression", 7)
    said, truth = answers(1), answers(0)
    # By hand: recalls of (1/2, 1, 1), (1, 1/2) and (0, 2/3), the first mean twice.
    assert own["hmar_incorrect"](said, truth) == pytest.approx((2 * 2.5 / 3 + 0.75 + 1 / 3) / 4)
    # Images of which a head is unknown are left out.
    truth[1, 3:5] = np.nan
    assert own["hmar_incorrect"](said, truth) == pytest.approx((2 * 1 + 0.75 + (0 + 0.5) / 2) / 4)
    assert own["shapes"](said, truth) == {"heads": 3, "sizes": 7, "images": 3}


def test_labels_of_several_heads_have_lists_of_probabilities(section: Any) -> None:
    heads = [{"outputs": 2, "activation": "sigmoid"}, {"outputs": 1, "activation": "sigmoid"}]
    own = own_metrics.measures(section("shapes", "off", heads=heads), "multilabel", 3)
    logits, truth = np.array([[0.0, 0.0, np.log(3.0)], [0.0, 0.0, 0.0]]), np.array([[1.0, 0.0, 1.0], [0.0, 0.0, 0.0]])
    assert own["shapes"](logits, truth) == {"heads": 2, "sizes": 3, "images": 2}
    # Sigmoids of 0.5 and 0.75.
    expected = {"off": pytest.approx((1.0 + 0.375) / 2), "out0_off": 1.0, "out1_off": pytest.approx(0.375)}
    assert metrics.compute(["off"], logits, truth, "multilabel", own) == expected
    assert metrics.compute(["out1_off"], logits, truth, "multilabel", own) == {"out1_off": pytest.approx(0.375)}


@pytest.mark.parametrize(("heads", "sentence"), [
    (HEADS[:2], r"metrics\.heads: have 5 outputs, the task has 7; give each head as many as it has"),
    ([{"outputs": 0}, *HEADS], r"metrics\.heads\[0\]\.outputs: must be a whole number >= 1, got 0"),
    ([{"outputs": 7, "activate": "softmax"}], r"metrics\.heads\[0\]\.activate: unknown key"),
])  # fmt: skip
def test_heads_that_do_not_fit(section: Any, heads: list[dict[str, Any]], sentence: str) -> None:
    with pytest.raises(ConfigError, match=sentence):
        own_metrics.measures(section("off", heads=heads), "regression", 7)


def test_a_metric_of_all_heads_has_none_of_one(section: Any) -> None:
    own = own_metrics.measures(section("hmar_incorrect", heads=HEADS), "regression", 7)
    with pytest.raises(ConfigError, match="there is no out0_hmar_incorrect: it is measured of all heads together"):
        own["out0_hmar_incorrect"](answers(1), answers(0))
    assert own_metrics.names_of(section("off", heads=HEADS)) == ["off", "out0_off", "out1_off", "out2_off"]
