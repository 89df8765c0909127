"""Keys and options of other programs, near names, and what to write in their place."""

from __future__ import annotations

import pytest

from mlpipe.config import catalog, suggestions
from mlpipe.config.suggestions import Here

HERE = Here(
    "train",
    (
        "seed", "proj", "mode.cv", "mode.nested", "mode.folds", "task.root", "task.name", "arch.name", "arch.weights",
        "optimizer.lr", "optimizer.weight_decay", "trainer.max_epochs", "split.folds", "sampling.batch_size",
        "lr_scheduler.warmup_epochs", "loss.label_smoothing", "preprocessing.size", "preprocessing.resize",
    ),
    ("folder", "csv", "digits"),
    (*catalog.groups(), "cbs"),
)  # fmt: skip


@pytest.mark.parametrize(
    ("name", "value", "told"),
    [
        ("epochs", "10", "write trainer.max_epochs=10"),
        ("trainer.epochs", "10", "write trainer.max_epochs=10"),
        ("train.max_epochs", "10", "write trainer.max_epochs=10"),
        ("training.lr", "1e-3", "write optimizer.lr=1e-3"),
        ("optimizer.learning_rate", "0.1", "write optimizer.lr=0.1"),
        ("max-epochs", "3", "write trainer.max_epochs=3"),
        ("Learning_Rate", "3", "write optimizer.lr=3"),
        ("momentum", "0.9", "write optimizer=sgd optimizer.momentum=0.9"),
        ("data", "digits", "write task=digits"),
        ("data", "table.csv", "write task=csv task.file=table.csv"),
        ("data", "my pictures", "write 'task.root=my pictures'"),
        ("val_split", "20", "write split=holdout split.val_fraction=0.20 mode.nested=false"),
        ("imgsz", "(224, 160)", "write preprocessing.size=[224,160]"),
        ("resize", "pad", "write preprocessing.resize=pad"),
        ("resize", "256", "write preprocessing.size=256"),
        ("folds", "[0,1]", "write mode.folds=[0,1]"),
        ("metrics", "[auc, f1]", "write 'metrics.train=[auc, f1]'"),
        ("metrics", "auc", "write metrics.train=[auroc]"),
        ("folds", "5", "write split.folds=5"),
        ("sched", "OneCycleLR", "write lr_scheduler=one_cycle"),
        ("optimizer.name", "Adam", "write optimizer=adam"),
        ("verbose", "1", "leave it out: the terminal shows what matters, and the run's log.txt has everything"),
        ("decay_all", "true", "write optimizer.decay_all=true with optimizer=adamw"),
        ("calibrator", "beta", "write mode.calibrator=beta"),
        ("task.rot", "x", "did you mean 'root'? write task.root=x"),
        ("xyzzy", "1", ""),
    ],
)
def test_the_key_to_write(name: str, value: str, told: str) -> None:
    assert suggestions.for_key(name, value, HERE) == told


@pytest.mark.parametrize(
    ("group", "word", "told"),
    [
        ("loss", "CrossEntropyLoss", "did you mean 'ce'?"),
        ("loss", "focalloss", "did you mean 'focal'?"),
        ("loss", "foca", "did you mean 'focal'?"),
        ("callbacks", "ModelCheckpoint", "leave it out: the best epoch is kept by itself, see mode.store_best"),
        ("callbacks", "ReduceLROnPlateau", "write lr_scheduler=plateau"),
        ("preprocessing", "300", "write preprocessing.size=300"),
        ("split", "10", "write split=kfold split.folds=10"),
        ("task", "pictures/all", "write task=folder task.root=pictures/all"),
        ("optimizer", "adam,sgd", "add -m to run each of them, or write optimizer=adam"),
        ("tta", "zzz", "options: crop, d4, flips, hv, none, own, rotate, stored, views"),
    ],
)
def test_the_option_to_write(group: str, word: str, told: str) -> None:
    assert suggestions.for_option(group, word, catalog.options(group)) == told


def test_several_tasks_of_one_name_are_listed() -> None:
    told = suggestions.for_option("task", "cats", ["folder", "cats-00000001", "cats-00000002"])
    assert told == "several begin so: cats-00000001, cats-00000002; write one of them whole"


def test_a_mode_by_another_name() -> None:
    assert suggestions.for_mode("fine-tune") == "mml train stages=freeze_then_finetune"
    assert suggestions.for_mode("eval") == "mml test"
    assert suggestions.for_mode("trian") == ""


LR_FIND = Here("lr_find", ("mode.fold", "mode.steps", "mode.nested", "split.folds", "seed"), (), catalog.groups())


@pytest.mark.parametrize(
    ("name", "value", "told"),
    [
        ("mode.folds", "[0]", "write mode.fold=0"),
        ("mode.folds", "[3,1]", "write mode.fold=3"),
        ("mode.folds", "2", "write mode.fold=2"),
        ("folds", "[1]", "write mode.fold=1"),
        ("folds", "10", "write split.folds=10"),
        ("fold", "1", "write mode.fold=1"),
        ("which_fold", "1", "write mode.fold=1"),
    ],
)
def test_a_mode_of_one_fold_is_asked_for_its_own_key(name: str, value: str, told: str) -> None:
    assert suggestions.for_key(name, value, LR_FIND) == told


def test_what_was_written_is_no_suggestion() -> None:
    here = Here("pp", ("mode.subroutines", "seed"), (), catalog.groups())
    assert suggestions.for_key("mode.folds", "[0]", here) == ""


@pytest.mark.parametrize("value", ["parameters", "[parameters]"])
def test_a_list_has_its_own_brackets(value: str) -> None:
    here = Here("clean", ("mode.subroutines", "seed"), (), catalog.groups())
    assert suggestions.for_key("mode.what", value, here) == "write mode.subroutines=[parameters]"
