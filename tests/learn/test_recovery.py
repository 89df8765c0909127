"""A NaN loss and full memory do not end a training: it recovers, says so, and resumes exactly."""

from __future__ import annotations

import csv
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from pytest import MonkeyPatch
from torch import Tensor

from mlpipe.config.schema import Healing
from mlpipe.errors import Interrupted, TrainingError
from mlpipe.learn import checkpoints, fit, recovery
from mlpipe.learn.job import FoldJob, Watch
from mlpipe.learn.module import FoldModule
from mlpipe.learn.recovery import Healed, NotFinite, OutOfMemory
from tests.learn.conftest import job, joint_job

pytestmark = pytest.mark.program

Step = Callable[[FoldModule, dict[str, Tensor], int], Tensor]
QUICK = [
    "sampling.batch_size=32", "optimizer.lr=0.01", "lr_scheduler=step", "lr_scheduler.step_epochs=2", "split.test_fraction=0.9",
]  # fmt: skip


def broken_step(monkeypatch: MonkeyPatch, strike: Callable[[FoldModule, int, Tensor], Tensor]) -> None:
    """Put something in place of the loss of some training steps."""
    step: Step = FoldModule.training_step
    monkeypatch.setattr(
        FoldModule, "training_step", lambda module, batch, number: strike(module, number, step(module, batch, number))
    )


def no_number_above(rate: float, epoch: int) -> Callable[[FoldModule, int, Tensor], Tensor]:
    """The loss of an epoch's third batch is NaN as long as the rate is above a bound."""

    def strike(module: FoldModule, number: int, loss: Tensor) -> Tensor:
        now = float(module.trainer.optimizers[0].param_groups[0]["lr"])
        return loss * float("nan") if (module.current_epoch, number) == (epoch, 2) and now > rate else loss

    return strike


def little_memory(
    monkeypatch: MonkeyPatch, most: int, error: Exception | None = None, epoch: int = 1, after: int = 0
) -> list[int]:
    """More images than that do not fit through the network from an epoch and so many calls on; returns how many were tried."""
    seen: list[int] = []
    through = FoldModule._outputs_by_head

    def limited(module: FoldModule, images: Tensor, target: Tensor | None = None) -> dict[str, Tensor]:
        network, late = module.network, module.current_epoch >= epoch

        def hook(_: Any, given: tuple[Tensor, ...]) -> None:
            seen.append(len(given[0]))
            if len(given[0]) > most and late and len(seen) > after:
                raise error or torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB")

        handle = network.register_forward_pre_hook(hook)
        try:
            return through(module, images, target)
        finally:
            handle.remove()

    monkeypatch.setattr(FoldModule, "_outputs_by_head", limited)
    return seen


def rates(one: FoldJob) -> list[float]:
    text = (one.files.project.model_dir("digits", "record") / "metrics.csv").read_text()
    return [float(row["lr"]) for row in csv.DictReader(text.splitlines())]


def stop_in(epoch: int, batch: int) -> tuple[Callable[[], bool], Callable[[Any], None]]:
    """A wish to stop that comes up in an epoch's batch, as a watch's first two parts."""
    at: list[tuple[int, int]] = [(0, 0)]
    return lambda: at[0] >= (epoch, batch), lambda tick: at.__setitem__(0, (tick.epoch, tick.batch))


def test_a_loss_that_is_no_number_lowers_the_rate_from_its_epoch_on(tmp_path: Path, monkeypatch: MonkeyPatch) -> None:
    broken_step(monkeypatch, no_number_above(0.004, epoch=1))
    one, told = job(tmp_path, *QUICK, "trainer.max_epochs=4"), list[dict[str, Any]]()
    record = fit.fit(one, Watch(healed=told.append))
    assert rates(one) == pytest.approx([0.01, 0.0025, 0.00025, 0.00025])
    assert record.events == told and [event["lr_scale"] for event in told] == [0.5, 0.25]
    assert told[0]["text"] == (
        "digits fold 0: the loss is nan in epoch 2; back to the start of the epoch with 0.5 of the learning rate (1 of 3)"
    )
    assert record.epochs == 4 and not list(one.files.checkpoint.parent.glob("checkpoint*"))


def test_what_comes_before_the_trouble_is_as_without_it(
    saves_every_epoch: None, tmp_path: Path, monkeypatch: MonkeyPatch
) -> None:
    """The rate of the first epoch is not touched, however often it is replayed; nor does it matter what is saved."""
    whole = job(tmp_path / "whole", *QUICK)
    fit.fit(whole, Watch())
    broken_step(monkeypatch, no_number_above(0.004, epoch=1))
    healed = job(tmp_path / "healed", *QUICK)
    fit.fit(healed, Watch())
    first = [
        (one.files.project.model_dir("digits", "record") / "metrics.csv").read_text().splitlines()[1]
        for one in (whole, healed)
    ]
    assert first[0] == first[1]


@pytest.mark.parametrize("saves", [True, False])
@pytest.mark.parametrize("stop", [(1, 1), (1, 4), (2, 2)])
def test_resumed_after_a_rollback_is_bit_identical(
    stop: tuple[int, int], saves: bool, tmp_path: Path, monkeypatch: MonkeyPatch
) -> None:
    monkeypatch.setattr("mlpipe.learn.callbacks.keeper._SAVING_SHARE", 0 if saves else 10**9)
    broken_step(monkeypatch, no_number_above(0.004, epoch=1))
    whole, cut = job(tmp_path / "whole", *QUICK), job(tmp_path / "cut", *QUICK)
    expected = fit.fit(whole, Watch())
    with pytest.raises(Interrupted):
        fit.fit(cut, Watch(*stop_in(*stop)))
    record = fit.fit(cut, Watch())
    assert (record.weights, record.scores, record.events) == (expected.weights, expected.scores, expected.events)


@pytest.mark.parametrize("wanted", [["healing.rollbacks=2"], ["healing=none"]])
def test_once_too_often_is_an_error(wanted: list[str], tmp_path: Path, monkeypatch: MonkeyPatch) -> None:
    broken_step(monkeypatch, no_number_above(0.0, epoch=0))
    one, told = job(tmp_path, *QUICK, *wanted), list[dict[str, Any]]()
    said = r"2 times it went back and lowered the learning rate, to 0.25 of it \(healing.rollbacks=2\)$"
    with pytest.raises(
        TrainingError,
        match=r"the loss is nan in epoch 1, batch 3 .*" + (said if "healing=none" not in wanted else "32-true$"),
    ):
        fit.fit(one, Watch(healed=told.append))
    assert len(told) == (2 if "rollbacks" in wanted[0] else 0)


def test_a_gradient_that_is_no_number_never_reaches_the_weights(tmp_path: Path, monkeypatch: MonkeyPatch) -> None:
    """The square root's slope at zero is infinite, while the loss is a number."""

    def strike(module: FoldModule, number: int, loss: Tensor) -> Tensor:
        if module.current_epoch == 1 and number == 3 and module.lr_scale == 1:
            parameter = next(module.network.parameters())
            return loss + (parameter.sum() * 0).sqrt()
        return loss

    broken_step(monkeypatch, strike)
    record = fit.fit(job(tmp_path, *QUICK), Watch())
    assert [event["found"] for event in record.events] == ["the gradients are not finite"]
    assert all(value is not None for value in record.scores["val"].values())


def test_weights_that_the_last_step_broke_are_not_judged_or_saved(tmp_path: Path, monkeypatch: MonkeyPatch) -> None:
    module_step = FoldModule.optimizer_step

    def overflow(module: FoldModule, epoch: int, batch: int, optimizer: Any, closure: Any = None) -> None:
        module_step(module, epoch, batch, optimizer, closure)
        if epoch == 1 and batch + 1 == module.trainer.num_training_batches and module.lr_scale == 1:
            with torch.no_grad():
                next(module.network.parameters()).fill_(float("inf"))

    monkeypatch.setattr(FoldModule, "optimizer_step", overflow)
    record = fit.fit(job(tmp_path, *QUICK), Watch())
    assert [event["found"] for event in record.events] == ["the weights are no longer finite"]
    assert record.epochs == 3


CPU = RuntimeError(
    "[enforce fail at alloc_cpu.cpp:127] err == 0. DefaultCPUAllocator: can't allocate memory: you tried"
)


@pytest.mark.parametrize("error", [None, CPU])
def test_memory_that_runs_out_makes_parts_of_the_batch(
    error: Exception | None, tmp_path: Path, monkeypatch: MonkeyPatch
) -> None:
    seen, told = little_memory(monkeypatch, 10, error), list[dict[str, Any]]()
    one = job(tmp_path, *QUICK, "trainer.max_epochs=2")
    record = fit.fit(one, Watch(healed=told.append))
    assert [event["micro_batch"] for event in told] == [16, 8]
    assert record.events == told and "batch normalisation sees 8 images" in told[1]["text"]
    assert rates(one) == pytest.approx([0.01, 0.01])
    # The first epoch has whole batches, each time.
    assert seen.count(32) > 3 and max(seen[-8:]) <= 10


@pytest.mark.parametrize("stop", [(1, 2), (2, 2)])
def test_resumed_after_memory_ran_out_is_bit_identical(
    stop: tuple[int, int], saves_every_epoch: None, tmp_path: Path, monkeypatch: MonkeyPatch
) -> None:
    with monkeypatch.context() as patched:
        little_memory(patched, 10)
        whole, cut = job(tmp_path / "whole", *QUICK), job(tmp_path / "cut", *QUICK)
        expected = fit.fit(whole, Watch())
        with pytest.raises(Interrupted):
            fit.fit(cut, Watch(*stop_in(*stop)))
    # There is room enough now, but what was mended stays mended.
    record = fit.fit(cut, Watch())
    assert (record.weights, record.scores, record.events) == (expected.weights, expected.scores, expected.events)


def test_without_batch_statistics_parts_change_rounding_only(tmp_path: Path, monkeypatch: MonkeyPatch) -> None:
    quick = [*QUICK, "arch=test_vit", "arch.drop_rate=0", "preprocessing.size=160", "trainer.max_epochs=1"]
    small = ["split.test_fraction=0.95", "optimizer=sgd"]
    whole, parts = job(tmp_path / "whole", *quick, *small), job(tmp_path / "parts", *quick, *small)
    expected = fit.fit(whole, Watch())
    little_memory(monkeypatch, 10, epoch=0)
    record = fit.fit(parts, Watch())
    assert "batch normalisation" not in record.events[-1]["text"]
    assert record.scores["val"]["loss"] == pytest.approx(expected.scores["val"]["loss"], rel=1e-4)


def test_several_tasks_learned_together_in_parts(tmp_path: Path, monkeypatch: MonkeyPatch) -> None:
    little_memory(monkeypatch, 70, epoch=0)
    record = fit.fit(joint_job(tmp_path, "trainer.max_epochs=1", "sampling.batch_size=64"), Watch())
    assert record.events[-1]["micro_batch"] == 64 // 2 ** len(record.events) and record.co_tasks


def test_nothing_left_to_halve_is_an_error(tmp_path: Path, monkeypatch: MonkeyPatch) -> None:
    little_memory(monkeypatch, 0)
    one = job(tmp_path, "sampling.batch_size=4", "split.test_fraction=0.95", "trainer.max_epochs=2")
    with pytest.raises(
        TrainingError, match=r"memory ran out in epoch 2 with 2 images at a time .*; choose a smaller arch"
    ):
        fit.fit(one, Watch())


def test_other_errors_are_not_mended(tmp_path: Path, monkeypatch: MonkeyPatch) -> None:
    little_memory(monkeypatch, 1, RuntimeError("shapes do not fit"))
    with pytest.raises(RuntimeError, match="shapes do not fit"):
        fit.fit(job(tmp_path, *QUICK), Watch())
    caught = RuntimeError(
        "Caught RuntimeError in DataLoader worker process 0: DefaultCPUAllocator: can't allocate memory"
    )
    assert not recovery.is_out_of_memory(caught) and recovery.is_out_of_memory(CPU)


def test_events_hold_from_their_epoch_on(tmp_path: Path) -> None:
    healed = Healed(Healing(rollbacks=5, lr_factor=0.1), tmp_path / "events.json", "x fold 0")
    healed.not_finite(NotFinite("", 3, 0, "the loss is nan"))
    healed.memory(OutOfMemory("", 2, 0, 1), batch=9)
    healed.not_finite(NotFinite("", 5, 1, "the loss is inf"))
    again = Healed(Healing(), tmp_path / "events.json", "x fold 0")
    assert [again.lr_scale(epoch) for epoch in (2, 3, 9)] == pytest.approx([1.0, 0.1, 0.1])
    assert [again.lr_scale(epoch, 1) for epoch in (4, 5)] == pytest.approx([1.0, 0.1])
    assert [again.micro_batch(epoch) for epoch in (1, 2, 3)] == [None, 5, 5]


@pytest.mark.parametrize("damaged", ["tensors", "state.json", "both"])
def test_a_damaged_state_is_named_and_not_used(damaged: str, saves_every_epoch: None, tmp_path: Path) -> None:
    four = [*QUICK, "trainer.max_epochs=4"]
    whole, cut, told = job(tmp_path / "whole", *four), job(tmp_path / "cut", *four), list[dict[str, Any]]()
    expected = fit.fit(whole, Watch())
    with pytest.raises(Interrupted):
        fit.fit(cut, Watch(*stop_in(3, 1)))
    newest = cut.files.checkpoint / checkpoints.STATE_FILE
    tensors = cut.files.checkpoint / checkpoints._tensors_file_name(newest)
    for path in {"state.json": [newest], "tensors": [tensors], "both": list(cut.files.checkpoint.iterdir())}[damaged]:
        content = path.read_bytes()
        middle = len(content) // 2
        path.write_bytes(content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :])
    first: list[int] = []
    record = fit.fit(cut, Watch(report=lambda tick: first.append(tick.epoch), healed=told.append))
    assert first[0] == (0 if damaged == "both" else 2)
    assert len(told) == (2 if damaged == "both" else 1) and str(newest) in told[0]["text"]
    way = "the fold starts anew" if damaged == "both" else "goes on from the state before"
    assert told[-1]["text"].endswith(f"; {way}")
    assert (record.weights, record.scores, record.events) == (expected.weights, expected.scores, told)
