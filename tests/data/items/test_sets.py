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


def test_every_class_has_a_mask_of_its_own(table: Path) -> None:
    (table / "t.csv").write_text("id,runs,kind\nb,1 2,x\na,1 2,y\nb,6 3,x\na,6 3,x\nb,2 1,y\nc,,z\n")
    found = sets.MultiClassSegmentationDataSet(str(table), str(table / "t.csv"), "id", "runs", "kind")
    assert found.classes == ["x", "y", "z"] and [found[row].id for row in range(3)] == ["a", "b", "c"]
    assert found[0].y.shape == (3, 4, 3) and found[0].y.dtype == bool
    # By hand, down the columns: the places 1 and 2 are of y, 6 to 8 of x.
    first = np.zeros((3, 4), bool)
    first[:2, 0] = True
    assert (found[0].y[:, :, 1] == first).all() and (found[0].y[:, :, 0] == DOWN ^ first).all()
    assert (found[1].y[:, :, 0] == DOWN).all() and found[1].y[:, :, 1].sum() == 1 and not found[1].y[:, :, 2].any()
    assert [found.isPositive(row) for row in range(3)] == [True, True, False] and not found[2].y.any()


def test_columns_whose_names_have_parts_are_taken_apart(table: Path) -> None:
    (table / "t.csv").write_text("ImageId_ClassId,runs\na.png_1,1 2\na.png_2,6 3\nb.png_1,\n")
    given = str(table), str(table / "t.csv"), "ImageId", "runs"
    found = sets.MultiClassSegmentationDataSet(*given, "ClassId")
    assert found.classes == ["1", "2"] and [found[row].id for row in range(2)] == ["a.png", "b.png"]
    assert (found[0].y.any(2) == DOWN).all()
    (table / "t.csv").write_text("id,runs,kind\na,1 2,x_9\nb,6 3,y_1\n")
    given = str(table), str(table / "t.csv"), "id", "runs"
    assert sets.MultiClassSegmentationDataSet(*given, "kind:0").classes == ["x", "y"]


def test_the_first_items_alone(table: Path) -> None:
    (table / "t.csv").write_text("id,runs,kind\nb,1 2,x\na,1 2,y\nc,6 3,x\n")
    given = str(table), str(table / "t.csv"), "id"
    assert len(sets.BinaryClassificationDataSet(*given, "kind", len=2)) == 2
    assert [len(sets.BinaryClassificationDataSet(*given, "kind", len=most)) for most in (-1, 9)] == [3, 3]
    assert len(sets.BinarySegmentationDataSet(*given, "runs", len=1)) == 1
    assert len(sets.MultiClassSegmentationDataSet(*given, "runs", "kind", len=1)) == 1
