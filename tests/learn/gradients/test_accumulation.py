"""A step of several batches is that of one batch with all their images, in the last group of an epoch too."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor

from mlpipe.errors import Interrupted
from mlpipe.learn import fit, task_weights
from mlpipe.learn.build import fold
from mlpipe.learn.gradients import accumulation
from mlpipe.learn.job import FoldJob, Watch
from tests.learn.conftest import job, joint_job

RECIPE = [
    "arch.drop_rate=0", "augmentations=none", "optimizer=sgd", "optimizer.lr=0.1", "optimizer.momentum=0",
    "optimizer.nesterov=false", "optimizer.weight_decay=0", "lr_scheduler=none", "sampling.batch_size=70",
    "trainer.max_epochs=1", "split.test_fraction=0.8",
]  # fmt: skip


def trained(made: FoldJob) -> dict[str, Tensor]:
    """The weights after the training, those of the last epoch."""
    return {name: one.clone() for name, one in fit.train(made, Watch()).module.network.state_dict().items()}


def by_hand(made: FoldJob, groups: list[list[int]]) -> dict[str, Tensor]:
    """The same by a loop of torch: one backward pass of the mean over all images of a group, then w -= lr * gradient."""
    module, data, _ = fold.first_stage(made, Watch())
    network, batches = module.network.train(), list(data.train_dataloader())
    for group in groups:
        logits = torch.cat([network(batches[number]["images"])["target"] for number in group])
        loss = F.cross_entropy(logits, torch.cat([batches[number]["target"] for number in group]))
        gradients = torch.autograd.grad(loss, list(network.parameters()))
        with torch.no_grad():
            for parameter, gradient in zip(network.parameters(), gradients, strict=True):
                parameter -= 0.1 * gradient
    return dict(network.state_dict())


def same(found: dict[str, Tensor], expected: dict[str, Tensor]) -> None:
    for name, tensor in expected.items():
        # Sums of single precision in another order; weights are about 0.1.
        torch.testing.assert_close(found[name], tensor, rtol=2e-5, atol=1e-5)


@pytest.mark.program
@pytest.mark.parametrize("group", [1, 3, 7])
def test_a_step_is_that_of_one_batch_of_all_its_images(tmp_path: Path, group: int) -> None:
    made = job(tmp_path, *RECIPE, f"trainer.accumulate_grad_batches={group}", store_best=False)
    _, data, _ = fold.first_stage(made, Watch())
    sizes = data.batch_sizes(0)[0]
    # The last batch is smaller.
    assert len(sizes) == 5 and sizes[-1] < sizes[0] == 70
    same(trained(made), by_hand(made, [list(range(5))[first : first + group] for first in range(0, 5, group)]))


@pytest.mark.program
def test_schedules_of_accumulation_alike(tmp_path: Path) -> None:
    scheduler = "+callbacks.s._target_=pytorch_lightning.callbacks.GradientAccumulationScheduler"
    scheduled = job(tmp_path, *RECIPE, scheduler, "+callbacks.s.scheduling={0: 3}", store_best=False)
    same(trained(scheduled), by_hand(scheduled, [[0, 1, 2], [3, 4]]))


@pytest.mark.program
def test_the_loss_that_is_shown_is_the_batchs_own(tmp_path: Path) -> None:
    shown: dict[int, list[float]] = {}
    for group in (1, 3):
        ticks: list[Any] = []
        # Steps of nothing, so that the losses are the same.
        made = job(tmp_path / str(group), *RECIPE, "optimizer.lr=1e-30", f"trainer.accumulate_grad_batches={group}")
        fit.train(made, Watch(report=ticks.append))
        shown[group] = [float(tick.batch_loss) for tick in ticks]
    assert shown[1] == shown[3]


@pytest.mark.program
def test_an_interruption_within_a_group_changes_nothing(tmp_path: Path, saves_every_epoch: None) -> None:
    keys = [*RECIPE, "trainer.accumulate_grad_batches=3", "trainer.max_epochs=3"]
    whole = trained(job(tmp_path / "whole", *keys, store_best=False))
    made = job(tmp_path / "parts", *keys, store_best=False)
    # In the middle of the last, incomplete group of the second epoch, and of a full one of the third.
    for batches in (9, 7):
        with pytest.raises(Interrupted):
            fit.train(made, Watch(should_stop=_after(batches)))
    found = trained(made)
    assert all(torch.equal(found[name], tensor) for name, tensor in whole.items())


def _after(batches: int) -> Callable[[], bool]:
    calls = iter(range(batches))
    return lambda: next(calls, None) is None


def test_every_task_counts_by_its_own_images(tmp_path: Path) -> None:
    """The gradients of a group of two joint steps are those of the tasks' means over both steps."""
    weights = (1.0, 0.5, 2.0)
    made = joint_job(tmp_path, *RECIPE, "trainer.accumulate_grad_batches=4", weights=weights)
    module, data, _ = fold.first_stage(made, Watch())
    assert len(module.heads) == 3
    sizes = data.batch_sizes(1)
    batches = data.train_dataloader()
    batches.sampler.set_epoch(1)  # type: ignore[attr-defined]
    steps = list(batches)
    counts = [[len(step["target"]) for step in steps]]
    counts += [[len(step["co"][other]["target"]) for step in steps] for other in range(2)]
    assert sizes == counts
    last = len(steps) - len(steps) % 4
    for of_task in sizes:
        shares = [accumulation.share(of_task, number, 4) / 4 for number in range(last, len(steps))]
        assert sum(shares) == pytest.approx(1.0)
        together = sum(of_task[last:])
        assert shares == pytest.approx([size / together for size in of_task[last:]])


@pytest.mark.parametrize(("batches", "group"), [(7, 3), (6, 3), (5, 8), (1, 4)])
def test_what_a_step_has_once_adds_up_to_one(batches: int, group: int) -> None:
    for first in range(0, batches, group):
        numbers = range(first, min(first + group, batches))
        assert sum(accumulation.step_factor(batches, number, group) / group for number in numbers) == pytest.approx(1.0)


def test_learned_weights_of_tasks_take_a_step_as_one_batch() -> None:
    """Kendall's loss of the mean of two steps, from two steps that are added up as Lightning does in a group of four."""
    losses, s = torch.tensor([[1.0, 2.0], [3.0, 5.0]]), torch.tensor([0.3, -0.2])
    kinds: list[Any] = ["classification", "regression"]
    expected = task_weights.uncertainty(losses.mean(0), s, kinds)
    once = accumulation.step_factor(2, 0, 4)
    parts = [task_weights.uncertainty(step * accumulation.share([8, 8], 0, 4), s, kinds, once) / 4 for step in losses]
    assert float(sum(parts)) == pytest.approx(float(expected))
