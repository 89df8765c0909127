"""One fold: resumed exactly, the best epoch kept, validation exact, the same with any number of workers."""

from __future__ import annotations

import dataclasses
import signal
from pathlib import Path

import numpy as np
import pytest
import torch
from pytest import MonkeyPatch

from mlpipe.errors import Interrupted, TrainingError
from mlpipe.learn import fit
from mlpipe.learn.build import fold
from mlpipe.learn.build.loaders import fold_data
from mlpipe.learn.build.loss import build_loss
from mlpipe.learn.build.network import build_network
from mlpipe.learn.callbacks import keeper, progress
from mlpipe.learn.callbacks.progress import Tick
from mlpipe.learn.job import FoldJob, Watch
from mlpipe.learn.module import FoldModule, draw_seed
from mlpipe.post import kind as post_kind
from mlpipe.post.measures import class_metrics
from tests.learn.conftest import job


def history(one: FoldJob) -> str:
    return (one.files.project.model_dir("digits", "record") / "metrics.csv").read_text()


@pytest.mark.program
@pytest.mark.parametrize(
    "overrides",
    [
        ["lr_scheduler=cosine"],
        ["lr_scheduler=step", "lr_scheduler.step_epochs=1"],
        # Only nine tenths less would count as an improvement, so the rate falls after the second and third epoch.
        ["lr_scheduler=plateau", "lr_scheduler.patience=0", "lr_scheduler.threshold=0.9", "lr_scheduler.factor=0.01"],
        ["lr_scheduler=one_cycle", "optimizer=sgd", "trainer.accumulate_grad_batches=2"],
        ["cbs=early", "cbs.early.patience=0"],
        ["peft=lora", "peft.rank=2", "peft.dropout=0.3"],
        ["optimizer.layer_decay=0.5", "arch.freeze=2"],
    ],
)
def test_resumed_is_bit_identical(overrides: list[str], tmp_path: Path, monkeypatch: MonkeyPatch) -> None:
    """F8: a continued run repeated the first epoch's order."""
    monkeypatch.setattr(keeper, "_SAVING_SHARE", 0)
    whole, cut = job(tmp_path / "whole", *overrides), job(tmp_path / "cut", *overrides)
    expected = fit.fit(whole, Watch())
    asked = 0
    per_epoch = len(fold_data(cut.recipe, cut.task, cut.view, cut.pack, 0).train_dataloader()) + 1

    def after_some_batches() -> bool:
        nonlocal asked
        asked += 1
        return asked > per_epoch + 4

    with pytest.raises(Interrupted):
        fit.fit(cut, Watch(should_stop=after_some_batches))
    record = fit.fit(cut, Watch())
    assert record.weights == expected.weights
    assert history(cut) == history(whole)
    assert record.scores == expected.scores
    assert not cut.files.checkpoint.exists()


def test_a_sigterm_that_lightning_sees_first_stops_the_fold_as_any_other(tmp_path: Path) -> None:
    """Lightning by itself ended the process with 0 when one came between the look at the wish to stop and its own."""
    one, looked = job(tmp_path, "trainer.max_epochs=1"), 0

    def too_early() -> bool:
        nonlocal looked
        looked += 1
        if looked == 2:
            signal.raise_signal(signal.SIGTERM)
        return False

    before = signal.signal(signal.SIGTERM, lambda number, frame: None)
    try:
        with pytest.raises(Interrupted):
            fit.fit(one, Watch(should_stop=too_early))
    finally:
        signal.signal(signal.SIGTERM, before)
    assert looked == 2


def test_an_epoch_that_takes_longer_than_the_time_is_cut_short_and_judged(tmp_path: Path) -> None:
    stop = ["callbacks=time_limit", "callbacks.time_limit.seconds=1e-6"]
    one = job(tmp_path, "trainer.max_epochs=3", *stop)
    ticks: list[Tick] = []
    record = fit.fit(one, Watch(report=ticks.append))
    assert len(ticks) == 1 < ticks[0].batches
    assert record.epochs == 1
    assert record.scores["val"]["accuracy"] is not None


def test_workers_do_not_change_the_weights_and_seeds_do(tmp_path: Path) -> None:
    short = ["trainer.max_epochs=1"]
    base = fit.fit(job(tmp_path / "a", *short), Watch()).weights
    assert fit.fit(job(tmp_path / "b", *short, num_workers=2), Watch()).weights == base
    assert fit.fit(job(tmp_path / "c", *short, "seed=7"), Watch()).weights != base


def test_validation_is_exact_over_the_split(tmp_path: Path) -> None:
    """F14: val/loss was the mean of the batches' means."""
    one = job(tmp_path, "trainer.max_epochs=1", "sampling.eval_batch_size=7", "loss=ce", "loss.class_weights=balanced")
    record = fit.fit(one, Watch())
    network = build_network(one.recipe, one.task, one.pack, seed=0, pretrained=False).eval()
    from mlpipe.arch import weights

    weights.load(network, weights.read(one.files.project.model_dir("digits", "record") / "weights.safetensors"))
    images = torch.from_numpy(np.ascontiguousarray(one.pack.images[one.view.val].transpose(0, 3, 1, 2)))
    targets = torch.from_numpy(one.task.samples.targets[one.view.val])
    with torch.no_grad():
        logits = network(images)["target"]
    loss = build_loss(one.recipe, one.task, one.view.train)(logits, targets)
    assert record.scores["val"]["loss"] == pytest.approx(loss.item(), abs=1e-5)
    accuracy = class_metrics.accuracy(logits.numpy(), targets.numpy())
    assert record.scores["val"]["accuracy"] == pytest.approx(accuracy, abs=1e-12)


@pytest.mark.parametrize(("monitor", "best"), [("val/loss", min), ("val/accuracy", max)])
def test_best_is_the_best_epoch_not_the_last(monitor: str, best: object, tmp_path: Path) -> None:
    import csv

    one = job(tmp_path, f"metrics.monitor={monitor}", "optimizer.lr=0.02", "lr_scheduler=none", "trainer.max_epochs=4")
    record = fit.fit(one, Watch())
    rows = list(csv.DictReader(history(one).splitlines()))
    values = [float(row[monitor]) for row in rows]
    assert values[record.best_epoch] == best(values)  # type: ignore[operator]
    kept = record.scores["val"][monitor.removeprefix("val/")]
    assert kept == pytest.approx(best(values), abs=1e-5)  # type: ignore[operator]


def test_the_last_epoch_when_asked(tmp_path: Path) -> None:
    record = fit.fit(job(tmp_path, store_best=False), Watch())
    assert (record.best_epoch, record.epochs) == (2, 3)


def test_a_frozen_backbone_keeps_its_weights_and_statistics(tmp_path: Path) -> None:
    one = job(tmp_path, "arch.freeze=true", "trainer.max_epochs=1")
    before = build_network(one.recipe, one.task, one.pack, seed=draw_seed(42, 0, -1)).state_dict()
    fit.fit(one, Watch())
    from mlpipe.arch import weights

    after = weights.read(one.files.project.model_dir("digits", "record") / "weights.safetensors")
    same = {name for name in after if torch.equal(before[name], after[name])}
    assert {name for name in after if name.startswith("backbone.")} <= same
    assert "heads.target.weight" not in same


def test_a_loss_that_is_no_number_stops_with_its_cause(tmp_path: Path) -> None:
    one = job(tmp_path, "optimizer=sgd", "optimizer.lr=1e30", "lr_scheduler=none")
    with pytest.raises(TrainingError, match=r"digits fold 0: the loss is .* in epoch 1, batch .*lower optimizer.lr"):
        fit.fit(one, Watch())


def test_ticks_tell_where_it_is(tmp_path: Path) -> None:
    ticks: list[progress.Tick] = []
    fit.fit(job(tmp_path, "trainer.max_epochs=2"), Watch(report=ticks.append))
    assert (ticks[-1].epoch, ticks[-1].epochs, ticks[-1].batch) == (1, 2, ticks[-1].batches)
    assert all(tick.images_per_s > 0 and 0 <= tick.wait <= 1 for tick in ticks)


def test_the_record_can_be_rewritten_as_data(tmp_path: Path) -> None:
    record = fit.fit(job(tmp_path, "trainer.max_epochs=1"), Watch())
    assert dataclasses.asdict(record)["environment"]["precision"] == "32-true"
    assert record.timings["train_images_per_s"] > 0


def stop_after(calls: int) -> Watch:
    """A wish to stop that comes up after so many batches, of training and of validation."""
    asked = iter(range(1, 10**9))
    return Watch(should_stop=lambda: next(asked) > calls)


def calls_in_epoch(one: FoldJob) -> int:
    """How many batches of training and validation an epoch has."""
    data = fold_data(one.recipe, one.task, one.view, one.pack, 0)
    return len(data.train_dataloader()) + len(data.val_dataloader())


@pytest.mark.program
def test_stopped_again_and_again(saves_every_epoch: None, tmp_path: Path) -> None:
    whole, cut = job(tmp_path / "whole"), job(tmp_path / "cut")
    expected, epoch = fit.fit(whole, Watch()), calls_in_epoch(cut)
    # In the first epoch (nothing is saved yet), before and in the first validation, between two epochs, in the last one.
    for stop in (3, epoch - 2, epoch - 1, epoch, epoch + 2, epoch - 1, epoch):
        with pytest.raises(Interrupted):
            fit.fit(cut, stop_after(stop))
    record = fit.fit(cut, Watch())
    assert record.weights == expected.weights
    assert history(cut) == history(whole)
    assert record.scores == expected.scores
    assert "resumed: timings are of the last part" in record.notes


@pytest.mark.parametrize(
    "overrides",
    [
        ["cbs=early", "cbs.early.patience=0", "cbs.early.min_delta=100", "optimizer.lr=0.003"],
        pytest.param(
            [
                "lr_scheduler=plateau",
                "lr_scheduler.patience=0",
                "metrics.monitor=val/accuracy",
                "lr_scheduler.threshold=9",
            ],
            marks=pytest.mark.program,
        ),
        pytest.param(
            ["lr_scheduler=variator", "lr_scheduler.epochs=1", "lr_scheduler.plateau={patience: 0, threshold: 0.9}"],
            marks=pytest.mark.program,
        ),
    ],
)
def test_stopped_in_the_last_validation(overrides: list[str], saves_every_epoch: None, tmp_path: Path) -> None:
    """The weights are chosen by then: after an early stop, no further epoch may follow."""
    whole, cut = job(tmp_path / "whole", *overrides), job(tmp_path / "cut", *overrides)
    expected = fit.fit(whole, Watch())
    assert expected.epochs == (2 if "cbs=early" in overrides else 3)
    with pytest.raises(Interrupted):
        fit.fit(cut, stop_after(expected.epochs * calls_in_epoch(cut)))
    record = fit.fit(cut, Watch())
    assert (record.weights, record.epochs, record.best_epoch) == (
        expected.weights,
        expected.epochs,
        expected.best_epoch,
    )
    assert history(cut) == history(whole)


@pytest.mark.program
@pytest.mark.parametrize("num_workers", [1, 2])
def test_resumed_with_loader_processes_is_bit_identical(
    num_workers: int, saves_every_epoch: None, tmp_path: Path
) -> None:
    """Loader processes fetch several batches ahead, of the right epoch even before the training goes on."""
    whole, cut = job(tmp_path / "whole"), job(tmp_path / "cut", num_workers=num_workers)
    expected = fit.fit(whole, Watch())
    with pytest.raises(Interrupted):
        fit.fit(cut, stop_after(calls_in_epoch(cut) + 4))
    assert fit.fit(cut, Watch()).weights == expected.weights
    assert history(cut) == history(whole)


def test_equal_seeds_give_equal_weights_and_folds_differ(tmp_path: Path) -> None:
    short = ["trainer.max_epochs=1"]
    first = fit.fit(job(tmp_path / "a", *short), Watch())
    assert fit.fit(job(tmp_path / "b", *short), Watch()).weights == first.weights
    assert fit.fit(job(tmp_path / "c", *short, fold=1), Watch()).weights != first.weights


def test_plateau_lowers_the_rate_of_the_next_epoch(tmp_path: Path) -> None:
    import csv

    overrides = ["lr_scheduler=plateau", "lr_scheduler.patience=0", "lr_scheduler.threshold=0.99", "optimizer.lr=0.01"]
    one = job(tmp_path, *overrides, "trainer.max_epochs=4")
    fit.fit(one, Watch())
    rates = [float(row["lr"]) for row in csv.DictReader(history(one).splitlines())]
    assert rates == pytest.approx([0.01, 0.01, 0.001, 0.0001])


@pytest.mark.parametrize("watch", ["lr", "train/accuracy"])
def test_a_plateau_watches_what_is_told_of_an_epoch_and_never_logged(watch: str, tmp_path: Path) -> None:
    import csv

    still = ["lr_scheduler.patience=0", "lr_scheduler.threshold=9", "lr_scheduler.threshold_mode=abs"]
    watched = [f"lr_scheduler.watch={watch}", "lr_scheduler.watch_direction=max", "metrics.while_training=true"]
    one = job(tmp_path, "lr_scheduler=plateau", *still, *watched, "optimizer.lr=0.01", "trainer.max_epochs=3")
    fit.fit(one, Watch())
    rates = [float(row["lr"]) for row in csv.DictReader(history(one).splitlines())]
    assert rates == pytest.approx([0.01, 0.01, 0.001])


def test_a_plateau_after_a_ramp_watches_a_metric_that_nobody_asked_for(tmp_path: Path) -> None:
    import csv

    lowered = "{patience: 0, threshold: 9, threshold_mode: abs, factor: 0.5, watch: val/macro_f1}"
    overrides = ["lr_scheduler=variator", "lr_scheduler.epochs=1", f"lr_scheduler.plateau={lowered}"]
    one = job(tmp_path, *overrides, "lr_scheduler.to_lr=0.002", "optimizer.lr=0.001", "trainer.max_epochs=5")
    fit.fit(one, Watch())
    rows = list(csv.DictReader(history(one).splitlines()))
    assert [float(row["lr"]) for row in rows] == pytest.approx([0.001, 0.002, 0.002, 0.001, 0.0005])
    assert all(0 <= float(row["val/macro_f1"]) <= 1 for row in rows)


@pytest.mark.parametrize(
    ("overrides", "expected"),
    [
        (["lr_scheduler=step", "lr_scheduler.step_epochs=1"], [0.01, 0.001, 0.0001]),
        pytest.param(
            ["lr_scheduler=cosine", "lr_scheduler.interval=epoch", "lr_scheduler.warmup_epochs=0"],
            [0.01, 0.0075, 0.0025],
            marks=pytest.mark.program,
        ),
        pytest.param(
            ["lr_scheduler=cosine", "lr_scheduler.warmup_epochs=1"], [0.01 / 6, 0.01, 0.005], marks=pytest.mark.program
        ),
        pytest.param(
            ["lr_scheduler=cosine", "lr_scheduler.warmup_epochs=0", "trainer.accumulate_grad_batches=3"],
            [0.01, 0.0075, 0.0025],
            marks=pytest.mark.program,
        ),
    ],
)
def test_the_history_has_the_rate_that_each_epoch_began_with(
    overrides: list[str], expected: list[float], tmp_path: Path
) -> None:
    import csv

    one = job(tmp_path, *overrides, "optimizer.lr=0.01")
    fit.fit(one, Watch())
    rates = [float(row["lr"]) for row in csv.DictReader(history(one).splitlines())]
    assert rates == pytest.approx(expected)


def test_class_weights_come_from_the_training_rows_alone(tmp_path: Path) -> None:
    """F27: class weights counted validation images."""
    from sklearn.utils.class_weight import compute_class_weight

    one = job(tmp_path, "trainer.max_epochs=1", "loss=ce", "loss.class_weights=balanced")
    few = np.concatenate([one.view.train[one.task.samples.targets[one.view.train] != 3][:60], one.view.train[:60]])
    one = dataclasses.replace(one, view=dataclasses.replace(one.view, train=np.unique(few)))
    seen = fold.first_stage(one, Watch())[0].loss.weight
    assert isinstance(seen, torch.Tensor)
    targets = one.task.samples.targets[one.view.train]
    expected = compute_class_weight("balanced", classes=np.arange(10), y=targets)
    assert seen.tolist() == pytest.approx(expected.tolist(), rel=1e-6)


def test_the_training_loss_is_the_mean_over_images(tmp_path: Path, monkeypatch: MonkeyPatch) -> None:
    import csv

    one = job(tmp_path, "trainer.max_epochs=1", "sampling.batch_size=100")
    losses: list[tuple[float, int]] = []
    step = FoldModule.training_step

    def spy(self: FoldModule, batch: dict[str, torch.Tensor], batch_idx: int) -> torch.Tensor:
        loss = step(self, batch, batch_idx)
        losses.append((loss.item(), len(batch["target"])))
        return loss

    monkeypatch.setattr(FoldModule, "training_step", spy)
    fit.fit(one, Watch())
    assert len({count for _, count in losses}) == 2
    assert sum(count for _, count in losses) == len(one.view.train)
    mean = sum(loss * count for loss, count in losses) / len(one.view.train)
    (row,) = csv.DictReader(history(one).splitlines())
    assert float(row["train/loss"]) == pytest.approx(mean, rel=1e-5)


def test_a_monitor_that_is_never_a_number(tmp_path: Path, monkeypatch: MonkeyPatch) -> None:
    monkeypatch.setitem(post_kind.of("classification").METRICS, "auroc", lambda logits, targets: float("nan"))
    one, told = job(tmp_path, "trainer.max_epochs=2", "metrics.monitor=val/auroc"), list[str]()
    record = fit.fit(one, Watch(told=told.append))
    assert record.best_epoch == 1
    (sentence,) = told
    assert sentence.endswith(
        "val/auroc was NaN in every epoch, so that none is the best: the last one's weights are kept"
    )
    assert sentence.partition(": ")[2] in record.notes
