"""The page for those who come from other libraries: every command and every override on it composes."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

from mlpipe.arch import names
from mlpipe.config import compose

PAGE = (Path(__file__).parents[2] / "docs" / "coming_from.md").read_text("utf-8")
CELLS = [cell for line in PAGE.splitlines() if line.startswith("| ") for cell in [line.strip("| ").split(" | ")[-1]]]
SAID = sorted(
    {code for cell in CELLS for code in re.findall(r"`([^`]+)`", cell) if "=" in code or code.startswith("mml")}
)


def test_the_page_has_its_sections_and_its_words() -> None:
    assert re.findall(r"^## (\S+)", PAGE, re.MULTILINE) == ["fastai", "AutoGluon", "Ultralytics", "timm's", "Lightning"]
    assert len(SAID) > 80


@pytest.mark.program
@pytest.mark.parametrize("code", SAID)
def test_what_is_written_here_composes(code: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("best.pt", "FILE", "labels.csv"):
        Path(name).touch()
    Path("DIR").mkdir()
    words = shlex.split(code)
    _, mode, *words = words if words[0] == "mml" else ["mml", "train", "task=digits", *words]
    if "continue=latest" not in words:
        compose.compose(mode, words, compose.Facts(names.timm_names, network_tags=names.timm_tags))
