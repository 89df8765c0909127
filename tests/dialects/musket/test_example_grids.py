"""Pictures of validation images by epoch: where they lie, and what stands under the images."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from PIL import Image

from mlpipe.dialects.musket import example_grids
from mlpipe.runs import maps


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


def test_masks_stand_beside_their_images(tmp_path: Path) -> None:
    said = np.zeros((2, 8, 8), np.uint8)
    said[0, :4] = 1
    true = np.array([said[0], said[0]])
    entry = {"epoch": 0, "stage": 0, "rows": [1, 0], "masks": maps.as_text(said)}
    (tmp_path / "examples.json").write_text(json.dumps([entry]))
    record: Any = SimpleNamespace(fold=0, classes=["background", "disc"], kind="segmentation")
    example_grids.draw(
        tmp_path, record, tmp_path / "examples.json", lambda rows: (np.full((2, 8, 8, 3), 90, np.uint8), true)
    )
    with Image.open(tmp_path / "0/0/epoch_0.jpg") as grid:
        pixels = np.asarray(grid).astype(int)
    # Six cells of 96 pixels with a gap of 6: image, true and predicted mask, twice.
    cells = [pixels[6:102, 6 + 102 * place : 102 + 102 * place] for place in range(6)]
    # JPEG blurs the edges.
    assert np.abs(cells[0][16:80, 16:80] - 90).max() < 6
    bright = [[bool(cell[10:40].mean() > 60), bool(cell[60:90].mean() > 60)] for cell in cells]
    assert bright == [[True, True], [True, False], [True, False], [True, True], [True, False], [False, False]]


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
