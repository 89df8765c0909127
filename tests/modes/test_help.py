"""Pages of help: every mode, group, option and key has one, words are found, and nothing heavy is imported for it."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from mlpipe.cli import main
from mlpipe.config import catalog, keys
from mlpipe.errors import INPUT_IS_WRONG
from mlpipe.modes import WORDS, help

HEAVY = {"torch", "timm", "numpy", "hydra", "omegaconf", "yaml", "pytorch_lightning", "pandas"}


@pytest.fixture(autouse=True)
def wide(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "4000")


def shown(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    assert main(list(arguments)) == 0
    return capsys.readouterr().out


def test_the_first_page_names_modes_words_groups_and_options(capsys: pytest.CaptureFixture[str]) -> None:
    page = shown(capsys, "--help")
    names = {line.split()[0] for line in page.splitlines() if line.startswith("  ")}
    assert {*catalog.options("mode"), *WORDS, *catalog.groups()} - {"mode"} <= names
    assert "  callbacks (cbs)  none, best_practice," in page
    assert page == shown(capsys, "help")


def test_a_modes_page_has_its_keys_the_groups_and_what_is_changed_first(capsys: pytest.CaptureFixture[str]) -> None:
    page = shown(capsys, "train", "--help")
    lines = {line.split()[0]: line for line in page.splitlines() if line.startswith("  ")}
    assert page.startswith("mml train [group=option] [key=value] ...")
    assert {f"mode.{name}" for name in ("nested", "subroutines", "folds", "strict_validation")} <= set(lines)
    for group in catalog.groups():
        assert group == "mode" or all(option in lines[group] for option in catalog.options(group))
    assert "24" not in lines["trainer.max_epochs"] and "recommend.epochs" in lines["trainer.max_epochs"]
    assert "0.05" in lines["optimizer.weight_decay"] and "never of norms" in lines["optimizer.weight_decay"]


def test_the_keys_that_are_changed_first_are_twenty_keys(capsys: pytest.CaptureFixture[str]) -> None:
    assert len(set(help.FIRST)) == 20 and all(keys.find(name) for name in help.FIRST)
    page = shown(capsys, "tl", "--help")
    assert all(f"  {name} " in page for name in help.FIRST)


@pytest.mark.parametrize(
    "arguments",
    [
        ("train", "--help", "optimizer"),
        ("train", "optimizer", "--help"),
        ("--help", "optimizer"),
        ("help", "optimizer"),
        ("help", "train", "optimizer"),
        ("train", "-h", "optimizer"),
    ],
)
def test_a_group_is_asked_for_in_any_way(arguments: tuple[str, ...], capsys: pytest.CaptureFixture[str]) -> None:
    page = shown(capsys, *arguments)
    assert page.startswith("optimizer=OPTION; options, adamw where nothing is said:\n  adamw ")
    assert all(f"\n  {option} " in page for option in catalog.options("optimizer"))
    assert all(f"\n  {name} " in page for name in keys.of_group("optimizer"))


def test_a_keys_page(capsys: pytest.CaptureFixture[str]) -> None:
    lines = [" ".join(line.split()) for line in shown(capsys, "help", "optimizer.weight_decay").splitlines()]
    assert lines[0] == "optimizer.weight_decay"
    assert lines[1].startswith("meaning Weight decay; never of norms, biases, and what the network itself lists")
    assert "values a number >= 0" in lines
    assert "default 1.0e-4 in lars, sgd" in lines and "default 0.05 in adamw" in lines
    assert "write mml train optimizer.weight_decay=VALUE" in lines
    assert any(line.startswith("used by mlpipe.learn.optimizers.adam.adamw, ") for line in lines)


def test_a_default_that_is_another_keys_value_says_which_and_what_it_comes_to(
    capsys: pytest.CaptureFixture[str],
) -> None:
    page = " ".join(shown(capsys, "train", "--help", "trainer.max_epochs").split())
    assert "default ${recommend.epochs}, which is 20 (task=fashion_mini 24, digits 10, elpv 12)" in page
    assert "used by stages.epochs, which takes it by default" in page
    naming = [file for file in catalog.docs_dir().rglob("*.md") if "trainer.max_epochs" in file.read_text("utf-8")]
    named = set(re.findall(r"(docs/[\w/]+\.md):\d+ \(", page))
    assert len(named) == 3 and named <= {f"docs/{file.relative_to(catalog.docs_dir())}" for file in naming}


def test_an_alias_leads_to_its_group_and_keys(capsys: pytest.CaptureFixture[str]) -> None:
    assert shown(capsys, "help", "cbs").startswith("callbacks=OPTION, also written cbs;")
    assert "values   a whole number >= 0" in shown(capsys, "help", "cbs.early.patience")


def pages() -> Iterator[tuple[str, str]]:
    for group in (*catalog.groups(), keys.LAUNCHER):
        yield group, f"{group}=OPTION"
        for option in catalog.options(group):
            yield f"{group}={option}", f"mml {option} " if group == "mode" else f"{group}={option}"
    for name in [*keys.all_keys(), "trainer.benchmark", "arch.weights_strict"]:
        yield name, name


@pytest.mark.program
def test_everything_has_a_page(capsys: pytest.CaptureFixture[str]) -> None:
    listed = list(pages())
    for word, beginning in listed:
        assert help.main([word]) == 0
        page = capsys.readouterr().out
        assert page.startswith(beginning) or f"\n\n{beginning}" in page, word
        if (key := keys.find(word)) is not None:
            assert key.meaning() in page or key.meaning("train" if key.group == "mode" else "") in page, word
    assert len(listed) > 650


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["lr"], "keys:\n  optimizer.lr "),
        (["learning", "rate"], "keys:\n  optimizer.lr "),
        (["epochs=3"], "  trainer.max_epochs "),
        (["Focal"], "  loss=focal "),
        (["early", "stopping"], "  callbacks=early "),
        (["label", "smoothing"], "  loss.label_smoothing "),
        (["caruana"], "  mode.search "),
        (["temperature"], "  mode.temperature "),
        (["prevalence"], "docs/post.md:"),
        (["calibrat"], "  mml post "),
        (["lr"], "groups:\n  lr_scheduler "),
        (["transfer", "learning"], "  mml tl "),
        (["slurm"], "  hydra/launcher=slurm "),
        (["faster", "precision"], "one of them is in:"),
        (["exit", "codes"], "docs/errors.md:1 (Exit codes and errors)"),
        (["bs"], "bs, as other programs call it: write sampling.batch_size=VALUE"),
        (["imgsz"], "write preprocessing.size=VALUE"),
        (["early", "stopping"], "early_stopping, as other programs call it: write cbs=early"),
    ],
)
def test_words_are_found(words: list[str], expected: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert expected in shown(capsys, "help", *words)


@pytest.mark.parametrize(
    ("word", "near"),
    [
        ("optmizer", "near names: optimizer"),
        ("lr_schedular", "near names: lr_scheduler"),
        ("optimizer.lrr", "optimizer.lr"),
        ("optmizer=sgd", "near names: optimizer"),
        ("weigth_decay", "optimizer.weight_decay"),
        ("upgrrade", "upgrade"),
        ("efficientnetv2", "mml models efficientnetv2"),
        ("qqqqqq", "mml help lists modes, groups and options"),
    ],
)
def test_an_unknown_word_gets_near_names(word: str, near: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", "--help", word]) == INPUT_IS_WRONG
    sentence = capsys.readouterr().err
    assert sentence.startswith(f"help: nothing is known of {word!r}; ") and near in sentence


def test_a_key_of_the_mode_that_stands_in_front_is_meant(capsys: pytest.CaptureFixture[str]) -> None:
    lines = [" ".join(line.split()) for line in shown(capsys, "predict", "--help", "source").splitlines()]
    assert lines[0] == "mode.source" and lines[1].startswith("meaning New images to predict in place")
    assert "write mml predict mode.source=VALUE" in lines


def test_letters_may_be_capital(capsys: pytest.CaptureFixture[str]) -> None:
    assert shown(capsys, "help", "Optimizer.LR") == shown(capsys, "help", "optimizer.lr")


@pytest.mark.parametrize(("word", "page"), [("arch=resnet18.a1_in1k", "arch=timm\n"), ("task=mine", "task=OPTION;")])
def test_names_that_are_no_options(word: str, page: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert shown(capsys, "help", word).startswith(page)


def test_words_of_the_command_line_that_are_no_keys_have_pages(capsys: pytest.CaptureFixture[str]) -> None:
    assert "meaning  Go on with a run that was stopped" in shown(capsys, "help", "continue")
    assert "meaning  Take the best values of a study" in shown(capsys, "help", "use_best_params")


def test_a_word_that_is_a_mode_and_a_group_has_both_pages(capsys: pytest.CaptureFixture[str]) -> None:
    page = shown(capsys, "help", "task")
    assert page.startswith("mml task [group=option]") and "\n\ntask=OPTION; options, fashion_mini" in page


def test_folders_of_ones_own_have_help(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "conf" / "loss").mkdir(parents=True)
    (tmp_path / "squares.py").write_text('def squared(labels, *, scale: float = 1.0):\n    """A loss.\n\n    Args:\n'
                                         '        scale: What it is multiplied by.\n    """\n')  # fmt: skip
    (tmp_path / "conf" / "loss" / "squared.yaml").write_text("# Brier's loss\n_target_: squares.squared\nscale: 1.0\n")
    page = shown(capsys, "train", "loss=squared", "--help", "--config-dir=conf")
    assert page.startswith("loss=squared\n\nBrier's loss\n\nkeys:\n  loss.scale  1.0  What it is multiplied by.")
    assert "\n  squared " in shown(capsys, "train", "loss", "--help", "--config-dir=conf")


def test_a_whole_command_with_help_shows_the_mode(capsys: pytest.CaptureFixture[str]) -> None:
    assert shown(capsys, "train", "task=digits", "optimizer.lr=0.1", "--help") == shown(capsys, "train", "--help")


def test_lines_end_where_the_terminal_does(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "100")
    assert max(map(len, shown(capsys, "train", "--help").splitlines())) <= 100


@pytest.mark.parametrize("arguments", [["help", "learning", "rate"], ["train", "--help", "task"], ["help", "zzz"]])
def test_nothing_heavy_is_imported(arguments: list[str]) -> None:
    code = f"import sys; from mlpipe.cli import main; main({arguments!r}); print(*sys.modules, file=sys.stderr)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not set(done.stderr.split()) & HEAVY


def test_no_arguments_are_wrong_and_show_the_first_page(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == INPUT_IS_WRONG
    assert capsys.readouterr().out.startswith("mml MODE [group=option]")


def test_version_is_a_word(capsys: pytest.CaptureFixture[str]) -> None:
    assert shown(capsys, "version") == shown(capsys, "--version")
