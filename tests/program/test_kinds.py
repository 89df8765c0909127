"""Labels, numbers, weights and groups through the whole program: better than chance, and what is stored of them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from sklearn.datasets import load_digits

from mlpipe.cli import main
from mlpipe.runs import predictions, records
from mlpipe.runs.project import Project

FAST = [
    "arch=test_resnet", "arch.pretrained=false", "sys.threads=1", "preprocessing.size=16", "split=holdout",
    "mode.nested=false", "split.test_fraction=0.25", "optimizer.lr=4e-3", "augmentations=none",
]  # fmt: skip
DIGITS = load_digits()


def arrays(folder: Path, targets: np.ndarray) -> str:
    np.savez(folder / "digits.npz", images=(DIGITS.images * 15).astype(np.uint8), targets=targets)
    return str(folder / "digits.npz")


def train(folder: Path, *arguments: str, epochs: int = 6) -> records.ModelRecord:
    steps = "mode.subroutines=[train,predict,test]"
    assert main(["train", *FAST, f"trainer.max_epochs={epochs}", steps, f"out_dir={folder / 'r'}", *arguments]) == 0
    (record,) = records.load_all(Project(folder / "r" / "default"))
    return record


def test_labels(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    digit = DIGITS.target
    labels = np.stack([digit % 2 == 0, digit > 4, np.isin(digit, (0, 6, 8, 9))], axis=1).astype(float)
    record = train(tmp_path, "task=arrays", f"task.file={arrays(tmp_path, labels)}")
    assert record.kind == "multilabel" and record.classes == ["label0", "label1", "label2"]
    assert record.scores["test"]["auroc"] > 0.9  # type: ignore[operator]
    assert [row["class"] for row in record.details["test"]["classes"]] == record.classes
    stored = predictions.load(
        Project(tmp_path / "r" / "default").predictions_file(record.pivot, record.id), record.pivot, "test"
    )
    assert stored.targets.shape == stored.logits.shape == (len(stored), 3)
    assert "auroc of 1 recipe" in capsys.readouterr().out


def test_numbers_come_back_in_their_unit(tmp_path: Path) -> None:
    brightness = DIGITS.images.mean(axis=(1, 2)) * 100 + 5000
    record = train(tmp_path, "task=arrays", f"task.file={arrays(tmp_path, brightness)}", "task.kind=regression")
    assert record.kind == "regression" and record.scores["test"]["r2"] > 0.5  # type: ignore[operator]
    path = Project(tmp_path / "r" / "default").predictions_file(record.pivot, record.id)
    stored = predictions.load(path, record.pivot, "test")
    assert abs(float(stored.logits.mean()) - brightness.mean()) < 60
    assert record.scores["test"]["rmse"] < brightness.std()  # type: ignore[operator]


@pytest.fixture
def table(tmp_path: Path) -> Path:
    folder = tmp_path / "pictures"
    folder.mkdir()
    lines = ["path,label,group,weight"]
    for index in range(0, 240):
        Image.fromarray((DIGITS.images[index] * 15).astype(np.uint8)).save(folder / f"{index}.png")
        lines.append(f"{index}.png,{'even' if DIGITS.target[index] % 2 == 0 else 'odd'},p{index // 6},{1 + index % 3}")
    (folder / "t.csv").write_text("\n".join(lines) + "\n")
    return folder / "t.csv"


def test_weights_change_the_training_and_groups_stay_whole(tmp_path: Path, table: Path) -> None:
    tasks_folder = tmp_path / "tables"
    weighted = train(tmp_path / "a", "task=csv", f"task.file={table}", f"data_dir={tasks_folder}", epochs=2)
    plain = train(tmp_path / "b", "task=csv", f"task.file={table}", "task.weight=null", epochs=2)
    assert weighted.weights != plain.weights
    (described,) = tasks_folder.glob("t-*/task.json")
    stored = json.loads(described.read_text())
    (split,) = stored["splits"].values()
    folds: dict[str, set[int]] = {}
    for group, fold in zip(stored["samples"]["group"], split["fold"], strict=True):
        folds.setdefault(group, set()).add(fold)
    assert len(folds) == 40 and all(len(found) == 1 for found in folds.values())


def test_a_foreign_loss_takes_no_weights(table: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["task=csv", f"task.file={table}", "loss._target_=torch.nn.CrossEntropyLoss", "trainer.max_epochs=1"]
    assert main(["train", *FAST, *arguments]) == 2
    assert "takes no weights of images, the task has them" in capsys.readouterr().err


def test_a_term_that_takes_no_weights_is_named(table: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["task=csv", f"task.file={table}", "loss=composite", "loss.expression=bce+0.1*lovasz"]
    assert main(["train", *FAST, *arguments]) == 2
    assert "loss.expression: lovasz takes no weights of images, the task has them" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["loss=mse"], "loss: mse is for regression or images tasks, this task is classification"),
        (["metrics.monitor=val/rmse"], "metrics.monitor: no metric of classification tasks, got 'val/rmse'"),
        (["sampling=balanced", "sampling.sample_count=0"], "sampling.sample_count: must be a whole number >= 1"),
        (
            ["augmentations.cpu.pipeline=[{_target_:albumentations.Normalize}]"],
            "augmentations.cpu.pipeline: Normalize",
        ),
        (
            ["augmentations.device.pipeline=[{_target_:torchvision.transforms.v2.MixUp,num_classes:2}]"],
            "use mlpipe.data.augment.batches.mixup",
        ),
        (["optimizer.clip_norm=1", "trainer.gradient_clip_val=1"], "bounds the gradients too; leave one of them out"),
        (["lr_scheduler=piecewise", "lr_scheduler.ratios=[1]"], "lr_scheduler.ratios: do not fit the boundaries"),
        (["lr_scheduler=plateau", "lr_scheduler.watch=val/acuracy"], "lr_scheduler.watch: no metric of classification"),
        (
            ["cbs=early", "cbs.early.watch=val/f1"],
            "callbacks.early.watch: no metric of classification tasks, got 'val/f1'",
        ),
        (
            ["lr_scheduler=variator", "lr_scheduler.plateau={watch: val/lss}"],
            "no metric of classification tasks, got 'val/lss'; write lr_scheduler.plateau.watch=val/loss",
        ),
        (
            [
                "stages.list=[{epochs: 1, callbacks: {early: {_target_: mlpipe.learn.callbacks.early.early, watch: val/x}}}]"
            ],
            "stages.list[0].callbacks.early.watch: no metric of classification tasks, got 'val/x'",
        ),
        (
            ["lr_scheduler=variator", "lr_scheduler.then={to_lr: 1, then: {epoch: 1}}"],
            "lr_scheduler.then.then.epoch: unknown key; did you mean 'epochs'?",
        ),
        (["lr_scheduler=variator", "lr_scheduler.plateau={factor: 2}"], "plateau.factor: must be a number > 0 and < 1"),
    ],
)
def test_parts_that_do_not_fit_are_refused_before_anything_is_written(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], sentence: str
) -> None:
    assert main(["train", *FAST, "task=digits", f"out_dir={tmp_path / 'r'}", *arguments]) == 2
    assert sentence in capsys.readouterr().err
    assert not (tmp_path / "r").exists()


RECIPES: list[list[Any]] = [
    ["augmentations=mixup", "cbs=ema", "optimizer=lion", "lr_scheduler=warmup"],
    ["augmentations=cutmix", "cbs=swa", "optimizer=lamb", "lr_scheduler=polynomial", "sampling=balanced"],
    ["augmentations=erasing", "optimizer=rmsprop", "lr_scheduler=cyclic", "sampling=subset", "logging=csv"],
    [
        "augmentations=albumentations",
        "optimizer.clip_norm=1",
        "trainer.accumulate_grad_batches=3",
        "logging=tensorboard",
    ],
    ["augmentations=kornia", "optimizer=nadam", "lr_scheduler=inverse_time", "loss=poly1"],
    ["augmentations=resized_crop", "preprocessing=original", "preprocessing.resize=pad", "preprocessing.size=16"],
    ["augmentations=trivial", "optimizer=lars", "lr_scheduler=cosine_restart", "loss=focal"],
]


@pytest.mark.parametrize("recipe", RECIPES)
def test_recipes_train(tmp_path: Path, recipe: list[str]) -> None:
    record = train(tmp_path, "task=digits", *recipe, epochs=2)
    assert record.scores["test"]["accuracy"] is not None and record.epochs == 2
