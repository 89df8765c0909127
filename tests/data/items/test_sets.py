"""Built-in sets of masks: run lengths in a table, and pairs of folders."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from mlpipe.data.items import sets
from mlpipe.errors import DataError

# By hand: in a picture of 3 rows and 4 columns, the places 1, 2 and 6 to 8 down the columns.
DOWN = np.array([[1, 0, 1, 0], [1, 0, 1, 0], [0, 1, 0, 0]], bool)
ALONG = np.array([[1, 1, 0, 0], [0, 1, 1, 1], [0, 0, 0, 0]], bool)


@pytest.fixture
def table(tmp_path: Path) -> Path:
    for name in "abc":
        Image.new("RGB", (4, 3), (9, 9, 9)).save(tmp_path / f"{name}.png")
    (tmp_path / "t.csv").write_text("id,runs\na,1 2 6 3\n")
    return tmp_path


def made(table: Path, **options: Any) -> sets.BinarySegmentationDataSet:
    return sets.BinarySegmentationDataSet([str(table)], str(table / "t.csv"), "id", "runs", **options)


def test_run_lengths_are_masks(table: Path) -> None:
    (table / "t.csv").write_text("id,runs\nb,1 2\na,1 2 6 3\nb,6 3\nc,\n")
    found = made(table)
    assert [found[row].id for row in range(3)] == ["a", "b", "c"] and found[0].x.shape == (3, 4, 3)
    assert [found.isPositive(row) for row in range(3)] == [True, True, False]
    for row in range(2):
        assert found[row].y.shape == (3, 4, 1) and (found[row].y[:, :, 0] == DOWN).all()
    assert not found[2].y.any()
    assert (made(table, rMask=False)[0].y[:, :, 0] == ALONG).all()


def test_starts_may_count_from_the_end_before_and_runs_be_of_another_size(table: Path) -> None:
    (table / "t.csv").write_text("id,runs\na,0 2 3 3\nb,-1\n")
    found = made(table, isRel=True)
    assert (found[0].y[:, :, 0] == DOWN).all() and not found[1].y.any()
    (table / "t.csv").write_text("id,runs\na,3 2\n")
    # Of 2 x 2 places the right column.
    assert made(table, maskShape=(2, 2))[0].y[:, :, 0].tolist() == [[False, False, True, True]] * 3


@pytest.mark.parametrize("runs", ["1", "1 x", "12 2", "0 3", "5 -2"])
def test_runs_that_cannot_be_meant_are_named(table: Path, runs: str) -> None:
    (table / "t.csv").write_text(f"id,runs\na,{runs}\n")
    with pytest.raises(DataError, match=f"image a: has no such run lengths, got '{runs}'"):
        made(table)[0]


def test_a_folder_of_masks_goes_with_one_of_images(tmp_path: Path) -> None:
    for name in ("images", "masks"):
        (tmp_path / name).mkdir()
    for name in "ab":
        Image.new("RGB", (4, 3), (9, 9, 9)).save(tmp_path / "images" / f"{name}.jpg")
    Image.fromarray((DOWN * 255).astype(np.uint8)).save(tmp_path / "masks" / "a.png")
    paths = str(tmp_path / "images"), str(tmp_path / "masks")
    with pytest.raises(DataError, match=r"masks: 1 image has no mask, got 'b\.jpg'"):
        sets.SimplePNGMaskDataSet(*paths)
    found = sets.SimplePNGMaskDataSet(*paths, generate=True)
    assert len(found) == 2 and (found[0].y[:, :, 0] == DOWN).all() and found[1].y.shape == (3, 4, 1)
    assert [found.isPositive(row) for row in range(2)] == [True, False]
    with pytest.raises(DataError, match="there is no such folder, got 'nowhere'"):
        sets.SimplePNGMaskDataSet(paths[0], "nowhere")
