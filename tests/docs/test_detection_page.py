"""The page on boxes: every command on it runs, on made shapes."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path

import pytest

from mlpipe.cli import main
from tests.build import shapes

PAGE = (Path(__file__).parents[2] / "docs" / "detection.md").read_text("utf-8")
COMMANDS = re.findall(r"^mml .*$", PAGE, re.MULTILINE)


@pytest.mark.program
def test_the_commands_of_the_page_run_one_after_another(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert len(COMMANDS) == 5
    content = json.loads(shapes(tmp_path / "shapes", 30, side=64).read_text("utf-8"))
    names = [image["file_name"] for image in content["images"]]
    classes = [one["name"] for one in content["categories"]]
    lines = ["path,x0,y0,x1,y1,class"]
    for box in content["annotations"]:
        x, y, width, height = box["bbox"]
        lines.append(f"{names[box['image_id']]},{x},{y},{x + width},{y + height},{classes[box['category_id']]}")
    (tmp_path / "shapes/boxes.csv").write_text("\n".join(lines))
    monkeypatch.chdir(tmp_path)
    for command in COMMANDS:
        assert main(shlex.split(command)[1:]) == 0, command
    # The table has the boxes of the JSON file.
    first, second = (json.loads(file.read_text("utf-8")) for file in tmp_path.glob("data/boxes-*/task.json"))
    assert first["source"]["boxes"] == second["source"]["boxes"]
    assert len(list(tmp_path.glob("data/boxes-*/cache/*/index.json"))) == 1
    assert list(tmp_path.glob("data/boxes-*/plots/samples_*.png"))
