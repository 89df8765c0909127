"""Four folders of images and masks: pairs by name and by order, parts, ids, and what is refused how."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mlpipe.data import sources, task
from mlpipe.data.sources.targets import mask_files
from mlpipe.errors import DataError


def picture(path: Path, value: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.zeros((6, 8), np.uint8)
    pixels[:, :4] = value
    Image.fromarray(pixels).save(path)


@pytest.fixture
def folders(tmp_path: Path) -> dict[str, str]:
    for part in ("a", "b"):
        for number in range(1, 4):
            picture(tmp_path / part / "x" / "deep" / f"{number}.png", 200 + number + 10 * (part == "b"))
            picture(tmp_path / f"{part}y" / f"m{number}.png", number)
    where = {"train": "a/x", "train_masks": "ay", "test": "b/x", "test_masks": "by"}
    return {key: str(tmp_path / folder) for key, folder in where.items()}


def test_pairs_by_order_keep_their_parts(folders: dict[str, str], tmp_path: Path) -> None:
    made = sources.mask_folders(**folders, pairing="order", values=[0, 1, 2, 3], classes=list("abcd"))
    assert made.samples.ids == tuple(f"{part}/deep/{n}.png" for part in ("test", "train") for n in (1, 2, 3))
    assert made.samples.parts == ("test",) * 3 + ("train",) * 3 and made.kind == "segmentation"
    assert np.allclose(made.samples.targets[4], [0.5, 0, 0.5, 0])
    task.save(made, tmp_path / "task.json")
    stored = task.load(tmp_path / "task.json")
    assert sources.reader(stored, 1)(1)[0, 0, 0] == 212
    mask = mask_files.rows_of(stored)(1)
    assert mask.shape == (6, 8, 1) and np.unique(mask).tolist() == [0, 2]


def test_test_images_may_have_no_masks(folders: dict[str, str]) -> None:
    del folders["test_masks"]
    made = sources.mask_folders(**folders, pairing="order", values=[0, 1, 2, 3])
    assert made.samples.parts == ("unlabelled",) * 3 + ("train",) * 3
    assert np.isnan(made.samples.targets[:3]).all()
    alone = sources.mask_folders(test=folders["test"], classes=["no", "yes"])
    assert alone.samples.masks == () and alone.classes == ("no", "yes")


def test_what_is_wrong(folders: dict[str, str], tmp_path: Path) -> None:
    with pytest.raises(DataError, match="has no mask"):
        sources.mask_folders(**folders)
    with pytest.raises(DataError, match="classes: are needed where there are no masks"):
        sources.mask_folders(test=folders["test"])
    with pytest.raises(DataError, match="train_masks: a folder is needed"):
        sources.mask_folders(train=folders["train"])
    with pytest.raises(DataError, match="train: a folder is needed"):
        sources.mask_folders()
    (tmp_path / "ay" / "notes.txt").write_text("x")
    with pytest.raises(DataError, match="train_masks: holds files that are no images: notes.txt"):
        sources.mask_folders(**folders, pairing="order", strict=True)
    (tmp_path / "ay" / "m3.png").unlink()
    with pytest.raises(DataError, match="there are 3 images in .* and 2 masks"):
        sources.mask_folders(**folders, pairing="order")


def test_the_folder_of_the_images_is_none_of_masks(tmp_path: Path) -> None:
    (tmp_path / "x").mkdir()
    for number in range(2):
        Image.fromarray(np.full((6, 8), number, np.uint8)).save(tmp_path / f"x/{number}.png")
    own = str(tmp_path / "x")
    with pytest.raises(
        DataError, match=r"x: is the folder of the images and of the masks; name the folder of the masks"
    ):
        sources.mask_folders(train=own, train_masks=own, classes=["a", "b"], pairing="order")
