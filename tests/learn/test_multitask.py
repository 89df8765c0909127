"""Several tasks with one body: the losses by hand, resumed exactly, each head its own task, records that can be used."""

from __future__ import annotations

import csv
import dataclasses
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch
from pytest import MonkeyPatch

from mlpipe.errors import ConfigError, DataError, Interrupted
from mlpipe.learn import fit, multitask
from mlpipe.learn.build import fold
from mlpipe.learn.build import network as networks
from mlpipe.learn.callbacks import keeper
from mlpipe.learn.job import FoldJob, Watch
from mlpipe.learn.multitask import Joint
from mlpipe.post import metrics
from mlpipe.post.measures import class_metrics
from mlpipe.predicting import records
from mlpipe.runs import predictions
from tests.learn.conftest import joint_job


def files_of(one: FoldJob) -> Path:
    return one.files.project.model_dir("digits", "record")


@pytest.mark.parametrize(
    ("weights", "workers", "overrides"),
    [
        pytest.param(None, 0, ["lr_scheduler=cosine"], marks=pytest.mark.program),
        pytest.param((1.0, 0.5, 2.0), 2, ["optimizer=sgd", "augmentations=mixup", "cbs=ema"], marks=pytest.mark.slow),
    ],
)
def test_resumed_is_bit_identical(
    weights: tuple[float, ...] | None, workers: int, overrides: list[str], tmp_path: Path, monkeypatch: MonkeyPatch
) -> None:
    monkeypatch.setattr(keeper, "_SAVING_SHARE", 0)
    whole, cut = (
        joint_job(tmp_path / name, *overrides, weights=weights, num_workers=workers) for name in ("whole", "cut")
    )
    expected = fit.fit(whole, Watch())
    assert cut.joint is not None
    data = multitask.fold_data(cut.recipe, cut.task, cut.view, cut.pack, cut.joint, 0)
    per_epoch, asked = len(data.train_dataloader()) + 1, 0

    def after_some_batches() -> bool:
        nonlocal asked
        asked += 1
        return asked > per_epoch + 4

    with pytest.raises(Interrupted):
        fit.fit(cut, Watch(should_stop=after_some_batches))
    record = fit.fit(cut, Watch())
    assert record.weights == expected.weights
    assert (files_of(cut) / "metrics.csv").read_text() == (files_of(whole) / "metrics.csv").read_text()
    assert record.co_tasks == expected.co_tasks and record.scores == expected.scores


def test_a_record_says_which_tasks_and_predicts_with_the_head_of_the_pivot(tmp_path: Path) -> None:
    one = joint_job(tmp_path)
    record = fit.fit(one, Watch())
    names = [(entry["name"], entry["head"], entry["kind"], entry["loss"]) for entry in record.co_tasks]
    assert names == [
        ("fashion_mini", "task1", "classification", "auto"),
        ("numbers", "task2", "regression", "auto"),
    ]
    assert all(entry["weight"] == "uncertainty" and entry["log_variance"] != 0 for entry in record.co_tasks)
    assert {"accuracy"} <= set(record.co_tasks[0]["val"]) and {"rmse"} <= set(record.co_tasks[1]["val"])
    row = list(csv.DictReader((files_of(one) / "metrics.csv").open()))[-1]
    last = {name: float(row[f"log_variance:{name}"]) for name in ("digits", "fashion_mini", "numbers")}
    parts = {name: float(row[f"train/loss:{name}"]) for name in last}
    assert all(0 < value < 5 for value in parts.values())
    out = tmp_path / "out.parquet"
    rows = one.view.val
    wanted = [records.RowsToPredict("digits", "val", one.task, one.pack, rows)]
    weights = files_of(one) / "weights.safetensors"
    records.predict(one.recipe, weights, 0, wanted, out, num_workers=0, co_tasks=record.co_tasks)
    found = predictions.load(out, "digits", "val")
    assert class_metrics.accuracy(found.logits, found.targets) == pytest.approx(
        record.scores["val"]["accuracy"], abs=1e-12
    )


def test_a_partner_is_scored_by_its_own_head_and_in_its_own_unit(tmp_path: Path) -> None:
    one = joint_job(tmp_path, "trainer.max_epochs=1")
    record = fit.fit(one, Watch())
    from mlpipe.arch import weights

    network = multitask.stored_network(one.recipe, one.task, one.pack, record.co_tasks).eval()
    weights.load(network, weights.read(files_of(one) / "weights.safetensors"))
    assert one.joint is not None
    for entry, partner in zip(record.co_tasks, one.joint.partners, strict=True):
        images = torch.from_numpy(partner.pack.images[partner.view.val].transpose(0, 3, 1, 2).copy())
        with torch.no_grad():
            outputs = network(images)[entry["head"]].numpy()
        targets = partner.task.samples.targets[partner.view.val]
        again = metrics.compute(list(entry["val"]), outputs, targets, entry["kind"])
        assert entry["val"] == pytest.approx(again, abs=1e-4)


def test_a_step_is_the_weighted_sum_of_each_tasks_own_loss(tmp_path: Path) -> None:
    one = joint_job(tmp_path, "arch.drop_rate=0", weights=(1.0, 0.25, 3.0))
    assert one.joint is not None
    module, _, _ = fold.first_stage(one, Watch())
    network = module.network.eval()
    data = multitask.fold_data(one.recipe, one.task, one.view, one.pack, one.joint, 0)
    batch = next(iter(data.train_dataloader()))

    class Trainer:
        max_epochs, loggers, current_epoch = 1, (), 0

    module._trainer = Trainer()  # type: ignore[assignment]
    with torch.no_grad():
        found = module.training_step(batch, 0)
        digits = torch.nn.functional.cross_entropy(network(batch["images"])["target"], batch["target"])
        clothes, numbers = batch["co"]
        second = torch.nn.functional.cross_entropy(network(clothes["images"])["task1"], clothes["target"])
        rows = one.joint.partners[1].task.samples.targets[:350]
        error = (network(numbers["images"])["task2"] - numbers["target"]) / torch.tensor(rows.std(axis=0))
        third = (error**2).mean()
    assert float(found) == pytest.approx(float(digits + 0.25 * second + 3 * third), rel=1e-5)


@pytest.mark.program
def test_the_history_has_the_mean_loss_of_each_task_over_its_images(tmp_path: Path) -> None:
    """350 numbers come in ten batches of 32 and one of 30, each once; a mean of means counted the last as whole."""
    still = ["arch=test_vit", "preprocessing.size=32", "arch.drop_rate=0", "augmentations=none", "trainer.max_epochs=1"]
    one = joint_job(tmp_path, *still, "optimizer=sgd", "optimizer.lr=1e-12", weights=(1.0, 1.0, 1.0))
    fit.fit(one, Watch())
    (row,) = csv.DictReader((files_of(one) / "metrics.csv").open())
    assert one.joint is not None
    numbers = one.joint.partners[1]
    network, _, _ = fold.first_network(one)
    rows = numbers.view.train
    images = torch.from_numpy(numbers.pack.images[rows].transpose(0, 3, 1, 2).copy())
    with torch.no_grad():
        outputs = network.eval()(images)["task2"].numpy().astype(np.float64)
    truth = numbers.task.samples.targets[rows].astype(np.float64)
    expected = float((((outputs - truth) / truth.std(axis=0)) ** 2).mean())
    assert float(row["train/loss:numbers"]) == pytest.approx(expected, rel=2e-6)


@pytest.mark.program
def test_outputs_of_the_pivot_are_written_beside_other_tasks(tmp_path: Path) -> None:
    """The names of validation images were asked of loaders of several tasks, which had none, and ended the training."""
    one = joint_job(tmp_path, "trainer.max_epochs=1", "cbs=output_files", f"cbs.outputs.folder={tmp_path / 'out'}")
    fit.fit(one, Watch())
    with h5py.File(tmp_path / "out" / "output_1.h5") as file:
        assert len(file) == len(one.view.val)


def test_the_configured_loss_goes_to_the_tasks_that_it_fits(tmp_path: Path) -> None:
    one = joint_job(tmp_path, "loss=focal")
    assert one.joint is not None
    assert [multitask.partner_loss(one.recipe, partner)[1] for partner in one.joint.partners] == ["focal", "auto"]
    listed = joint_job(tmp_path, "loss=ce", "loss.class_weights=[1,2,1,1,1,1,1,1,1,1]")
    assert listed.joint is not None
    assert multitask.partner_loss(listed.recipe, listed.joint.partners[0])[1] == "ce"


def test_what_cannot_be_learned_together(tmp_path: Path, monkeypatch: MonkeyPatch) -> None:
    one = joint_job(tmp_path)
    assert one.joint is not None
    multitask.try_joint(one.recipe, one.task, one.pack, one.view.train, one.joint)
    first = one.joint.partners[0]
    larger = dataclasses.replace(first, pack=first.pack.with_images(np.zeros((1300, 20, 20, 1), np.uint8)))
    with pytest.raises(DataError, match="images of 16 x 16 x 1 and 20 x 20 x 1; choose a size"):
        multitask.try_joint(one.recipe, one.task, one.pack, one.view.train, Joint((larger,), (1.0, 1.0)))

    class OneHead(torch.nn.Module):
        def forward(self, images: torch.Tensor) -> dict[str, torch.Tensor]:
            return {"target": torch.zeros(len(images), 10)}

    monkeypatch.setattr(networks, "build_network", lambda *given, **options: OneHead())
    with pytest.raises(ConfigError, match="arch: gives no 10 outputs for fashion_mini"):
        multitask.try_joint(one.recipe, one.task, one.pack, one.view.train, Joint((first,), (1.0, 1.0)))
