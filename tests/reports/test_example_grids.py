"""Pictures of validation images by epoch: where they lie, and what stands under the images."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from PIL import Image

from mlpipe.reports.layouts import example_grids


def test_a_grid_for_each_epoch_of_a_stage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shown: list[list[str]] = []
    draw = example_grids.gallery.grid
    monkeypatch.setattr(
        example_grids.gallery,
        "grid",
        lambda images, captions, path: (shown.append(captions), draw(images, captions, path)),
    )
    entries = [
        {"epoch": 0, "stage": 0, "rows": [4, 2], "outputs": [[1.0, 0.0], [0.0, 2.0]]},
        {"epoch": 1, "stage": 1, "rows": [4], "outputs": [[-1.0, 0.0]]},
        {"epoch": 2, "stage": 1, "rows": [4], "outputs": [[3.0, 0.0]]},
    ]
    (tmp_path / "examples.json").write_text(json.dumps(entries))
    record: Any = SimpleNamespace(fold=3, classes=["cat", "dog"], kind="classification")
    asked: list[list[int]] = []

    def images(rows: list[int]) -> tuple[Any, Any]:
        asked.append(rows)
        return np.zeros((len(rows), 8, 8, 3), np.uint8), np.array([1, 0])[: len(rows)]

    example_grids.draw(tmp_path / "examples", record, tmp_path / "examples.json", images)
    files = sorted(path.relative_to(tmp_path).as_posix() for path in tmp_path.glob("examples/**/*.jpg"))
    assert files == ["examples/0/3/epoch_0.jpg", "examples/1/3/epoch_0.jpg", "examples/1/3/epoch_1.jpg"]
    assert asked == [[4, 2], [4], [4]]
    assert shown == [["dog > cat", "cat > dog"], ["dog > dog"], ["dog > cat"]]
    with Image.open(tmp_path / files[0]) as grid:
        assert grid.format == "JPEG"


@pytest.mark.parametrize(
    ("kind", "targets", "expected"),
    [
        ("multilabel", [[1.0, 1.0], [0.0, 0.0]], ["cat+dog", "-"]),
        ("regression", [[1.23456, 2.0]], ["1.23 2"]),
        ("classification", [-1, 0], ["?", "cat"]),
    ],
)
def test_captions(kind: str, targets: list[Any], expected: list[str]) -> None:
    assert example_grids.names_of(np.array(targets), ["cat", "dog"], kind) == expected
