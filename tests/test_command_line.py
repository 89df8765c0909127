"""How words are read: options, words apart, pairs of quotes, paths; right lines stay as they are."""

from __future__ import annotations

from pathlib import Path

import pytest

from mlpipe.command_line import check_mode, parse
from mlpipe.errors import ConfigError
from tests.conftest import make_pictures


@pytest.mark.parametrize(
    "words",
    [
        ["task=folder", "task.root=../a b/c", "optimizer.lr=0.1"],
        ["arch=resnet18,resnet50", "-m"],
        ["+callbacks.x._target_=a.b", "~lr_scheduler", "++given.rate=1"],
        ["stages.list=[{epochs:2,lr:1e-3,freeze:backbone}]", "optimizer.lr=${given.rate}"],
        ["task=digits+subset?0.1", "mode.compare=[resnet18,latest]"],
        ["loss=composite", "loss.expression=ce+0.1*dice", "proj="],
        ["recipe=file.yaml", "continue=latest", "hpo.storage=sqlite:///a.db"],
    ],
)
def test_right_words_stay_as_they_are(words: list[str]) -> None:
    call = parse(["train", *words])
    assert call.overrides == [word for word in words if word != "-m"]
    assert call.notes == []


@pytest.mark.parametrize(
    ("words", "read"),
    [
        (["--task", "folder", "--epochs", "5"], ["task=folder", "epochs=5"]),
        (["--task=folder", "--lr=0.1"], ["task=folder", "lr=0.1"]),
        (["--optimizer.lr", "-1"], ["optimizer.lr=-1"]),
        (["--amp", "task=digits"], ["amp=true", "task=digits"]),
        (["--no-pretrained"], ["pretrained=false"]),
        (["--batch-size", "16"], ["batch_size=16"]),
        (["-lr", "0.1"], ["lr=0.1"]),
        (["task.root", "=", "a"], ["task.root=a"]),
        (["task.root=", "a"], ["task.root=a"]),
        (["task.root", "=a"], ["task.root=a"]),
        (["task:folder", "task.root:a/b"], ["task=folder", "task.root=a/b"]),
        (["task:", "folder"], ["task=folder"]),
        (["task", "folder", "lr", "0.1"], ["task=folder", "lr=0.1"]),
        (["task=folder task.root=a"], ["task=folder", "task.root=a"]),
        (["\u2014task", "folder"], ["task=folder"]),
    ],
)
def test_words_that_are_written_otherwise(words: list[str], read: list[str]) -> None:
    call = parse(["train", *words])
    assert call.overrides == read
    assert call.notes == [f"read as: mml train {' '.join(read)}"]


def test_the_mode_within_a_pair_of_quotes() -> None:
    call = parse(["train task=folder task.root=a"])
    check_mode(call)
    assert (call.mode, call.overrides) == ("train", ["task=folder", "task.root=a"])


@pytest.mark.parametrize(
    ("words", "read"),
    [
        (["train", "pictures"], ["task=folder", "task.root=pictures"]),
        (["train", "task=folder", "pictures"], ["task=folder", "task.root=pictures"]),
        (["create", "pictures/", "task.name=a"], ["task=folder", "task.root=pictures/", "task.name=a"]),
        (["train", "with,comma"], ["task=folder", "task.root='with,comma'"]),
        (["train", "table.csv"], ["task=csv", "task.file=table.csv"]),
        (["train", "recipe.yaml"], ["recipe=recipe.yaml"]),
        (["convert", "recipe.yaml"], ["recipe=recipe.yaml"]),
        (["predict", "pictures/dark"], ["mode.source=pictures/dark"]),
        (["predict", "proj=a", "pictures/dark/000.jpg"], ["proj=a", "mode.source=pictures/dark/000.jpg"]),
    ],
)
def test_a_path_alone(words: list[str], read: list[str], picture_folder: Path, tmp_path: Path) -> None:
    make_pictures(tmp_path / "with,comma", {"dark": 2, "light": 2})
    for name in ("table.csv", "recipe.yaml"):
        (tmp_path / name).write_text("")
    assert parse(words).overrides == read


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["train", "pictures/dark"], "holds images, but no folders of classes"),
        (["train", "task=digits", "pictures"], "task=digits says which images already"),
        (["train", "picture/"], "there is no such file or folder; did you mean 'pictures'?"),
        (["train", "digits"], "digits: is not an override; write task=digits"),
        (["train", "resnet18"], "resnet18: is not an override; write arch=resnet18"),
        (["train", "predict"], "write mode.subroutines=[train,predict]"),
        (["train", "--package"], "--package: unknown option; leave it out"),
        (["train", "--dry_run"], "--dry_run: unknown option; did you mean '--dry-run'?"),
        (["train", "help"], "help: is not an override; write --help"),
    ],
)
def test_words_that_cannot_be_read(words: list[str], sentence: str, picture_folder: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        parse(words)
    assert sentence in str(caught.value)


def test_words_behind_help_are_left_to_it() -> None:
    assert parse(["train", "--help", "optimizer.lr"]).overrides == ["optimizer.lr"]


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["task=folder"], "write mml train task=folder"),
        (["mode=post", "proj=a"], "write mml post"),
        (["evaluation", "proj=a"], "write mml test proj=a"),
        (["pictures"], "write mml train pictures, or mml predict pictures"),
        (["trian"], "did you mean 'train'?"),
        (["presett=fast"], "presett: unknown key; write preset=fast"),
        (["task=folder", "epochs=3"], "epochs: unknown key; write trainer.max_epochs=3"),
        (["optimzer.lr=0.1"], "write optimizer.lr=0.1"),
    ],
)
def test_a_first_word_that_is_no_mode(words: list[str], sentence: str, picture_folder: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        check_mode(parse(words))
    assert sentence in str(caught.value)


@pytest.mark.parametrize(
    "word", ["task=folder", "task.root=a", "recipe=a.yaml", "continue=latest", "cbs.early.patience=3"]
)
def test_a_right_key_without_a_mode_is_answered_with_the_mode_alone(word: str) -> None:
    with pytest.raises(ConfigError) as caught:
        check_mode(parse([word]))
    assert [sentence.partition(":")[0] for sentence in caught.value.problems] == ["mode"]
