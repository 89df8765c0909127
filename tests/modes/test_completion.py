"""The command `mml completion`: what it prints, and what the shells' scripts ask."""

from __future__ import annotations

import io
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from mlpipe.cli import main
from mlpipe.modes import completion


def asked(shell: str, *typed: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> list[str]:
    text = "".join(f"{one}\0" for one in typed).encode()
    monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=io.BytesIO(text)))
    assert main(["completion", "--candidates", shell]) == 0
    return capsys.readouterr().out.splitlines()


def test_without_a_shell_it_says_how(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["completion"]) == 0
    shown = capsys.readouterr().out
    for line in ('eval "$(mml completion bash)"', 'eval "$(mml completion zsh)"', "mml completion fish | source"):
        assert line in shown


@pytest.mark.parametrize("shell", completion.SCRIPTS)
def test_scripts(shell: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["completion", shell]) == 0
    assert f"completion --candidates {shell}" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["zssh"], "completion: names one shell, got 'zssh'; did you mean 'zsh'?"),
        (["bash", "fish"], "completion: names one shell, got 'bash fish'; one of bash, zsh, fish"),
        (["--candidates"], "completion: names one shell, got ''; one of bash, zsh, fish"),
    ],
)
def test_wrong_shells(words: list[str], sentence: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["completion", *words]) == 2
    assert capsys.readouterr().err == f"{sentence}\n"


def test_answers_to_bash(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def bash(line: str, piece: str) -> list[str]:
        return asked("bash", line, piece, monkeypatch=monkeypatch, capsys=capsys)

    assert bash("mml trai", "trai") == ["train "] and bash("mml train trainer.max_e", "trainer.max_e") == [
        "trainer.max_epochs=",
    ]  # fmt: skip
    # Bash replaces what stands behind the equals sign, and ends a word in quotes itself.
    assert bash("mml train loss=foc", "foc") == ["focal "] and bash("mml train 'loss=foc", "loss=foc") == ["loss=focal"]
    assert bash("mml nothing=", "") == []


@pytest.mark.parametrize("shell", ["zsh", "fish"])
def test_answers_to_the_others(shell: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    said = asked(shell, "train", "'loss=foc", monkeypatch=monkeypatch, capsys=capsys)
    assert len(said) == 1 and said[0].startswith("loss=focal\tFocal loss")
    assert asked(shell, monkeypatch=monkeypatch, capsys=capsys)


def test_a_help_flag_on_the_line_is_one_of_its_words(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    said = asked("zsh", "train", "--help", "optimizer.weight", monkeypatch=monkeypatch, capsys=capsys)
    assert [one.partition("\t")[0] for one in said] == ["optimizer.weight_decay"]


def test_modules_of_the_current_folder_are_not_imported(tmp_path: Path) -> None:
    for name in ("torch", "yaml", "timm", "re", "ast", "difflib"):
        (tmp_path / f"{name}.py").write_text(f"raise SystemExit('{name} of the folder was run')")
    command = [str(Path(sys.executable).with_name("mml")), "completion", "--candidates", "zsh"]
    done = subprocess.run(
        command, input="train\0arch=resnet3\0", cwd=tmp_path, capture_output=True, text=True, check=True
    )
    assert "arch=resnet34" in done.stdout.splitlines()
