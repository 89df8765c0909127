"""Callbacks, losses, samplers and the like of a user's own, and what is said where they are wrong."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
import torch.nn.functional as F  # noqa: N812

from mlpipe.errors import ConfigError, DataError
from mlpipe.learn.build import loss as fold_loss
from mlpipe.learn.build.callbacks import build_callbacks
from mlpipe.learn.build.loaders import batch_size, build_sampling
from mlpipe.learn.build.optimizer import build_optimizers
from mlpipe.learn.build.trial import try_recipe
from mlpipe.learn.job import FoldJob
from tests.learn.conftest import job

CODE = """
import pytorch_lightning as pl
import torch.nn.functional as F
from torch import nn
from torch.optim import SGD
from torch.optim.lr_scheduler import LRScheduler
from mlpipe.data.sampling import Sampling, shuffled

class Plain(pl.Callback):
    pass
class Short(pl.Callback):
    def on_train_start(self, trainer): ...
    def on_train_batch_end(self, *everything): ...
    def on_validation_end(self, trainer, module): ...
class Naming(pl.Callback):
    def __init__(self, path, monitor, every=2): self.given = path, monitor, every
def three(): return 3
def of_outputs(logits, labels, *, factor=1.0): return factor * F.cross_entropy(logits, labels)
def weighed(logits, target, weight=None): return (F.cross_entropy(logits, target, reduction='none') * weight).mean()
def fails(logits, target): return logits.no_such_thing()
def number(logits, target): return 3.0
class Counting(nn.Module):
    def __init__(self, class_counts, scale=1.0):
        super().__init__()
        self.register_buffer('weight', class_counts.float() * scale)
    def forward(self, logits, target): return F.cross_entropy(logits, target, self.weight)
class NoWord(nn.Module):
    def forward(self, logits, target): return F.cross_entropy(logits, target)
def made(counts): return NoWord()
def batches(batch_size=8): return Sampling(batch_size, 64, shuffled)
class Mine(SGD):
    def __init__(self, params, lr, power=1): super().__init__(params, lr=lr * power)
class Steady(LRScheduler):
    def __init__(self, optimizer, last_epoch=-1): super().__init__(optimizer, last_epoch)
    def get_lr(self): return [group['lr'] for group in self.optimizer.param_groups]
"""


@pytest.fixture
def code(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "own_parts_code.py").write_text(CODE)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    return tmp_path


def tried(made: FoldJob) -> None:
    try_recipe(made.recipe, made.task, made.pack, made.view.train)


def test_callbacks(code: Path) -> None:
    made = job(code, "cbs.a._target_=own_parts_code.Plain", "cbs.b._target_=own_parts_code.Naming", "cbs.b.path=q")
    _, naming = build_callbacks(made.recipe, "min")
    assert naming.given == ("q", "val/loss", 2)
    wrong = job(code, "+cbs.a._target_=own_parts_code.three")
    with pytest.raises(ConfigError, match="callbacks.a: own_parts_code.three gives no callback, got 'int'"):
        build_callbacks(wrong.recipe, "min")
    short = job(code, "+cbs.a._target_=own_parts_code.Short")
    with pytest.raises(ConfigError, match=r"callbacks.a: Short.on_train_start cannot be called") as caught:
        build_callbacks(short.recipe, "min")
    assert len(caught.value.problems) == 1 and "def on_train_start(self, trainer, pl_module)" in str(caught.value)
    with pytest.raises(ConfigError, match="LearningRateMonitor writes to a logger; add logging=csv"):
        job(code, "cbs.x._target_=pytorch_lightning.callbacks.LearningRateMonitor")
    job(code, "cbs.x._target_=pytorch_lightning.callbacks.LearningRateMonitor", "logging=csv")


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        ("cbs=[ema,swa]", r"callbacks.swa: does what callbacks.ema does already \(both are Averaging\); leave one"),
        (
            "cbs=[early,best_practice]",
            r"callbacks.early_validation: does what callbacks.early does .* of the same metric",
        ),
    ],
)
def test_callbacks_that_a_saved_state_could_not_tell_apart(tmp_path: Path, words: str, sentence: str) -> None:
    made = job(tmp_path, words)
    with pytest.raises(ConfigError, match=sentence):
        build_callbacks(made.recipe, "min")
    assert len(build_callbacks(job(tmp_path, "cbs=[early,early_train,ema]").recipe, "min")) == 3


@pytest.mark.program
def test_losses(code: Path) -> None:
    logits, target = torch.randn(6, 10, generator=torch.Generator().manual_seed(0)), torch.arange(6)
    expected = F.cross_entropy(logits, target)
    for more, factor in (
        (["loss._target_=own_parts_code.of_outputs", "loss.factor=2.0"], 2.0),
        (["loss._target_=own_parts_code.NoWord"], 1.0),
        (["loss._target_=own_parts_code.made"], 1.0),
    ):
        made = job(code, *more)
        loss = fold_loss.build_loss(made.recipe, made.task, made.view.train)
        assert float(loss(logits, target)) == pytest.approx(factor * float(expected))
    made = job(code, "loss._target_=own_parts_code.Counting", "loss.scale=0.5")
    loss = fold_loss.build_loss(made.recipe, made.task, made.view.train)
    assert loss.weight.tolist() == (made.task.class_counts(made.view.train) * 0.5).tolist()  # type: ignore[union-attr, operator]
    for name, said in (("fails", "fails .*no_such_thing"), ("number", "gives nothing to learn from, got 'float'")):
        with pytest.raises(ConfigError, match=f"loss: own_parts_code.{name} {said}"):
            tried(job(code, f"loss._target_=own_parts_code.{name}"))


def test_batches_optimizers_and_schedules(code: Path) -> None:
    made = job(code, "sampling._target_=own_parts_code.batches", "sampling.batch_size=5")
    assert batch_size(made.recipe) == 5
    with pytest.raises(
        ConfigError, match=r"sampling\._target_: own_parts_code.three must give a .*Sampling, got 'int'"
    ):
        build_sampling(job(code, "sampling._target_=own_parts_code.three").recipe)
    keys = ["optimizer._target_=own_parts_code.Mine", "optimizer.power=3", "optimizer.lr=0.1"]
    made = job(code, *keys, "lr_scheduler._target_=own_parts_code.Steady")
    optimizer, described = build_optimizers(made.recipe, 4, "min")(torch.nn.Linear(2, 2))
    assert optimizer.param_groups[0]["lr"] == pytest.approx(0.3)
    assert described["scheduler"].last_epoch == 0


def test_one_image_at_a_time_is_answered_where_it_cannot_be_learned(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"sampling\.batch_size: test_resnet cannot learn from one image at a time"):
        tried(job(tmp_path, "sampling.batch_size=1"))
    # Frozen statistics need no batch, and what has none never does.
    tried(job(tmp_path, "sampling.batch_size=1", "arch.freeze=true"))
    tried(job(tmp_path, "sampling.batch_size=1", "arch=test_vit", "preprocessing.size=160"))
    one = job(tmp_path, "sampling.batch_size=1")
    try_recipe(one.recipe, one.task, one.pack, one.view.train, beside=1)
