"""The page with one experiment in four languages: its files and commands as they stand there, each to a stated accuracy."""

from __future__ import annotations

import re
import shlex
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from sklearn.datasets import load_digits

from mlpipe.cli import main
from mlpipe.runs import records
from mlpipe.runs.project import Project

PAGE = (Path(__file__).parents[2] / "docs" / "one_experiment.md").read_text("utf-8")
SECTIONS = {part.partition("\n")[0]: part for part in PAGE.split("\n## ")}
LANGUAGES = ("mlpipe", "Musket", "Barrage", "rmldnn")
FILES = {
    "mlpipe": "native.yaml",
    "Musket": "experiments/first/config.yaml",
    "Barrage": "barrage.json",
    "rmldnn": "rmldnn.json",
}
CUT = 1400


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Digits as files and tables, and what the page shows."""
    monkeypatch.setattr(sys, "path", list(sys.path))
    for name in ("digit_code", "modules.digit_code"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    found = load_digits()
    pixels = np.round(found.images * (255 / 16)).astype(np.uint8)
    tables: dict[str, list[str]] = {"train": [], "test": []}
    for row, label in enumerate(found.target):
        part = "train" if row < CUT else "test"
        path = tmp_path / "digits" / part / str(label) / f"{row:04d}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels[row]).save(path)
        tables[part].append(f"{path.relative_to(tmp_path)},{label}")
    for part, name in (("train", "train.csv"), ("test", "val.csv")):
        (tmp_path / name).write_text("\n".join(["path,label", *tables[part]]) + "\n")
    code = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)[0]
    for place in ("digit_code.py", "modules/digit_code.py"):
        (tmp_path / place).parent.mkdir(exist_ok=True)
        (tmp_path / place).write_text(code)
    for language, name in FILES.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(re.findall(r"```(?:yaml|json)\n(.*?)```", SECTIONS[language], re.DOTALL)[0])
    return tmp_path


def commands(language: str) -> list[list[str]]:
    return [shlex.split(line)[1:] for line in re.findall(r"^mml .*$", SECTIONS[language], re.MULTILINE)]


@pytest.mark.parametrize("language", LANGUAGES)
def test_each_language_has_its_commands(language: str) -> None:
    words = [command[0] for command in commands(language)]
    assert words == (["train"] if language == "mlpipe" else ["convert", "train"])


@pytest.mark.program
@pytest.mark.parametrize("language", LANGUAGES)
def test_the_experiment_in_a_language(folder: Path, language: str) -> None:
    for mode, *arguments in commands(language):
        more = ["sys.threads=1", "sys.num_workers=0"] if mode == "train" else []
        assert main([mode, *arguments, *more]) == 0, (mode, arguments)
    project = next(text.removeprefix("proj=") for text in commands(language)[-1] if text.startswith("proj="))
    (record,) = records.load_all(Project(folder / "results" / project))
    scores = record.scores.get("test") or record.scores["val"]
    accuracy = scores.get("accuracy", scores.get("val_y_accuracy"))
    assert accuracy is not None and accuracy >= 0.85, record.scores


@pytest.mark.program
@pytest.mark.parametrize("language", LANGUAGES[1:])
def test_what_is_converted_is_a_recipe_again(folder: Path, language: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["convert", f"recipe={FILES[language]}"]) == 0
    (folder / "converted.yaml").write_text(capsys.readouterr().out)
    ((*_, last),) = [[command for command in commands(language) if command[0] == "train"]]
    given = [text for text in last[1:] if not text.startswith("recipe=")]
    assert main(["train", "recipe=converted.yaml", *given, "--dry-run", "sys.threads=1"]) == 0
