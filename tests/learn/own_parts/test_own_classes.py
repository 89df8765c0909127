"""Losses, metrics, optimizers and schedules by import blocks: what they are called with, and what is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from mlpipe.config.schema import Metrics
from mlpipe.data.items import preprocessors
from mlpipe.data.sources.listings import record_files
from mlpipe.dialects.musket.commands import task
from mlpipe.errors import ConfigError, DataError
from mlpipe.learn.build import row_network
from mlpipe.learn.losses import keras
from mlpipe.learn.losses.labels import Labels
from mlpipe.learn.lr_schedulers import import_block as schedules
from mlpipe.learn.lr_schedulers.clock import Clock
from mlpipe.learn.optimizers import import_block as optimizers
from mlpipe.learn.own_parts import own_classes, own_code, own_metrics

CODE = """
import torch
class Squared:
    def __init__(self, power=2.0):
        self.power = power
    def call(self, y_true, y_pred):
        return ((y_true - y_pred).abs() ** self.power).sum(1)
class OneNumber(torch.nn.Module):
    def forward(self, y_true, y_pred):
        return ((y_true - y_pred) ** 2).mean()
class NoLoss:
    def __call__(self, y_true, y_pred):
        return y_true.sum(1)
class NotCallable: pass
class Fails:
    def __call__(self, *given):
        raise ValueError("no way")
class Hits:
    def __init__(self, at=1):
        self.at, self.hits, self.count = at, 0, 0
    def update_state(self, y_true, y_pred):
        best = y_pred.topk(self.at, 1).indices
        self.hits += int(y_true.gather(1, best).sum())
        self.count += len(y_true)
    def result(self):
        return self.hits / self.count
class Descent(torch.optim.SGD):
    def __init__(self, groups, lr, push=0.0):
        super().__init__(groups, lr=lr, momentum=push)
class Halves:
    def __init__(self, first):
        self.first = first
    def __call__(self, step):
        return self.first / 2 ** step
class Anything:
    def __init__(self, *groups, **named):
        self.named = named
    def call(self, y_true, y_pred):
        return ((y_true - y_pred) ** 2).sum(1)
class Constant:
    def __init__(self, **named):
        self.named = named
    def __call__(self, step):
        return 1.0
class Stepping(torch.optim.SGD):
    def __init__(self, groups, lr, **named):
        super().__init__(groups, lr=lr)
        self.named = named
def network(self, **named):
    made = torch.nn.Linear(2, 3)
    made.named = {"self": self, **named}
    return made
class Negative:
    def __call__(self, step):
        return -1.0
def function(y_true, y_pred):
    return (y_true - y_pred).sum(1)
"""
DRAWN = torch.Generator().manual_seed(1)
LOGITS, WEIGHTS = torch.randn(5, 3, generator=DRAWN), torch.rand(5, generator=DRAWN)
CLASSES = torch.tensor([0, 2, 1, 2, 0])
ONE_HOT = torch.eye(3)[CLASSES]
LABELS = {
    kind: Labels(kind, torch.tensor([1, 1, 1]), 5)  # type: ignore[arg-type]
    for kind in ("classification", "multilabel", "regression")
}


@pytest.fixture(autouse=True)
def code(tmp_path: Path) -> None:
    (tmp_path / "blocks_of_mine.py").write_text(CODE)


@pytest.mark.parametrize(("kind", "said"), [
    ("classification", LOGITS.softmax(1)), ("multilabel", LOGITS.sigmoid()), ("regression", LOGITS),
])  # fmt: skip
@pytest.mark.parametrize("weighted", [False, True])
def test_a_loss_gets_one_hot_targets_and_probabilities_or_numbers(kind: str, said: Any, weighted: bool) -> None:
    given: dict[str, Any] = {"name": "blocks_of_mine.Squared", "params": {"power": 3.0}, "weight": 2.0}
    loss = keras.keras(LABELS[kind], **given)
    target = CLASSES if kind == "classification" else ONE_HOT
    weight = WEIGHTS if weighted else torch.ones(5)
    expected = 2 * float((((ONE_HOT - said).abs() ** 3).sum(1) * weight).mean())
    assert float(loss(LOGITS, target, weight if weighted else None)) == pytest.approx(expected, rel=1e-5)


def test_a_loss_of_one_number_weighs_no_samples() -> None:
    loss = keras.keras(LABELS["regression"], name="blocks_of_mine.OneNumber")
    assert float(loss(LOGITS, ONE_HOT)) == pytest.approx(float(((LOGITS - ONE_HOT) ** 2).mean()))
    with pytest.raises(ConfigError, match="cannot weigh samples"):
        loss(LOGITS, ONE_HOT, WEIGHTS)


@pytest.mark.parametrize(("name", "error", "sentence"), [
    ("blocks_of_mine.NoLoss", ConfigError, "gives nothing to learn from"),
    ("blocks_of_mine.NotCallable", ConfigError, "cannot be called"),
    ("blocks_of_mine.Fails", ConfigError, r"Fails fails \(ValueError: no way\)"),
    ("blocks_of_mine.function", ConfigError, "is no class, got 'function'"),
    ("blocks_of_mine.Sqared", DataError, "has no such name, got 'Sqared'; did you mean 'Squared'"),
    ("os.system", DataError, "loss: names code from outside the current folder, got 'os'"),
    ("torch.nn.MSELoss", DataError, "names code from outside the current folder"),
])  # fmt: skip
def test_losses_that_are_refused(name: str, error: Any, sentence: str) -> None:
    with pytest.raises(error, match=sentence):
        keras.keras(LABELS["regression"], name=name)


def test_several_outputs_with_a_loss_and_a_metric_of_your_own() -> None:
    hits = {"import": "blocks_of_mine.Hits", "params": {"at": 2}, "name": "hits"}
    parts = [
        {"name": "kind", "loss": "blocks_of_mine.Squared", "kind": "classification", "metrics": [hits, "accuracy"]},
        {"name": "size", "loss": "mean_squared_error", "weight": 0.5},
    ]
    labels = Labels("regression", torch.zeros(4), 5, (3, 1))
    loss = keras.keras_outputs(labels, parts=parts)
    said, numbers = LOGITS.softmax(1), LOGITS[:, :1]
    outputs, target = torch.cat([said, numbers], 1), torch.cat([ONE_HOT, numbers + 1], 1)
    expected = float(((ONE_HOT - said) ** 2).sum(1).mean()) + 0.5
    assert float(loss(outputs, target)) == pytest.approx(expected, rel=1e-5)
    best = said.topk(2, 1).indices
    assert loss.measured(outputs, target)["kind_hits"] == pytest.approx(float(ONE_HOT.gather(1, best).sum() / 5))
    del parts[0]["kind"]
    with pytest.raises(ConfigError, match=r"loss\.parts\[0\]\.kind: is not what is predicted"):
        keras.keras_outputs(labels, parts=parts)


def test_metrics_by_state_or_by_call() -> None:
    blocks = [
        {"import": "blocks_of_mine.Hits", "name": "hits"},
        {"import": "blocks_of_mine.Squared", "params": {"power": 1.0}, "name": "apart"},
    ]
    found = own_metrics.measures(Metrics("auto", "auto", "val/loss", blocks=blocks), "classification", 3)
    logits, classes = LOGITS.numpy(), CLASSES.numpy()
    # A state starts anew each time.
    for _ in range(2):
        assert found["hits"](logits, classes) == pytest.approx(float((logits.argmax(1) == classes).mean()))
    expected = float((ONE_HOT - LOGITS.softmax(1)).abs().sum(1).mean())
    assert found["apart"](logits, classes) == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize(("block", "error", "sentence"), [
    ({"import": "blocks_of_mine.Hits"}, ConfigError, "is no metric of your own"),
    ({"import": "blocks_of_mine.Hits", "name": "a", "param": {}}, ConfigError, "is no metric of your own"),
    ({"import": "blocks_of_mine.Fails", "name": "a"}, ConfigError, r"fails \(ValueError: no way\)"),
    ({"import": "os.system", "name": "a"}, DataError, "names code from outside the current folder"),
])  # fmt: skip
def test_metrics_that_are_refused(block: Any, error: Any, sentence: str) -> None:
    with pytest.raises(error, match=sentence):
        own_metrics.measures(Metrics("auto", "auto", "val/loss", blocks=[block]), "classification", 3)


def test_an_optimizer_and_a_schedule() -> None:
    weight = torch.nn.Parameter(torch.ones(2))
    given: dict[str, Any] = {"name": "blocks_of_mine.Descent", "lr": 1.0, "params": {"push": 0.5}}
    optimizer = optimizers.optimizer([{"params": [weight]}], **given)
    assert optimizer.param_groups[0]["momentum"] == 0.5
    name = "blocks_of_mine.Halves"
    schedule = schedules.schedule(optimizer, Clock(4, 2), name=name, params={"first": 0.4})
    for step in range(6):
        assert optimizer.param_groups[0]["lr"] == pytest.approx(0.4 / 2**step)
        optimizer.step()
        schedule.step()
    state = schedule.state_dict()
    again = schedules.schedule(optimizer, Clock(4, 2), name=name, params={"first": 0.4})
    again.load_state_dict(state)
    assert again.last_epoch == 6


@pytest.mark.parametrize(("call", "error", "sentence"), [
    (lambda o: optimizers.optimizer([torch.nn.Parameter(torch.ones(1))], name="blocks_of_mine.Halves"), ConfigError,
     r"optimizer: blocks_of_mine\.Halves fails \(TypeError"),
    (lambda o: optimizers.optimizer(1e-3, name="blocks_of_mine.Descent"), ConfigError, "Descent fails"),
    (lambda o: schedules.schedule(o, Clock(1, 1), name="blocks_of_mine.Negative"), ConfigError,
     r"gives no rate for step 0, got -1\.0"),
    (lambda o: schedules.schedule(o, Clock(1, 1), name="subprocess.Popen"), DataError, "from outside the current"),
])  # fmt: skip
def test_optimizers_and_schedules_that_are_refused(call: Any, error: Any, sentence: str) -> None:
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.ones(1))], lr=np.float64(1.0))
    with pytest.raises(error, match=sentence):
        call(optimizer)


# Every name that something on the way from a configuration to the user's code has, or may have.
NAMES = ("name", "key", "function", "where", "kind", "label", "given", "named", "path", "params", "trust", "outputs",
         "make", "found", "args", "kwargs", "mode")  # fmt: skip


def test_own_code_may_call_its_parameters_what_it_likes() -> None:
    params = {name: number for number, name in enumerate(NAMES)}
    loss = keras.keras(LABELS["regression"], name="blocks_of_mine.Anything", params=params)
    assert float(loss(LOGITS, ONE_HOT)) == pytest.approx(float(((LOGITS - ONE_HOT) ** 2).sum(1).mean()), rel=1e-5)
    block = {"import": "blocks_of_mine.Anything", "params": params, "name": "mine"}
    measured = own_classes.measure("metrics.blocks", block, "regression", None)
    expected = float(((LOGITS - ONE_HOT) ** 2).sum(1).mean())
    assert measured(LOGITS.numpy(), ONE_HOT.numpy()) == pytest.approx(expected, rel=1e-5)
    weights = [torch.nn.Parameter(torch.zeros(1))]
    made = optimizers.optimizer([{"params": weights}], name="blocks_of_mine.Stepping", params=params)
    assert made.named == params  # type: ignore[attr-defined]
    clock = Clock(10, 2)
    schedule = schedules.schedule(made, clock, name="blocks_of_mine.Constant", params=params)
    assert schedule.get_last_lr() == [0.001]
    network = {"import": "blocks_of_mine.network", "params": {**params, "self": 1}}
    assert row_network.built(network, {"more": 2}, ()).named == {**params, "self": 1, "more": 2}


def test_functions_of_the_modules_may_too() -> None:
    def echo(*given: Any, **named: Any) -> Any:
        return given, named

    params = {**{name: number for number, name in enumerate(NAMES)}, "self": 1}
    assert own_code.called("arch", "echo", echo, 1, **params) == ((1,), params)
    assert preprocessors.called("task.preprocessing", "echo", echo, 1, **params) == ((1,), params)
    assert record_files.called("echo", echo, 1, **params) == ((1,), params)
    assert task.called("echo", echo, **params) == ((), params)
