"""Folders of images and target images: pairs, auto-encoders, pixels that are read again, and what is refused how."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mlpipe.data import sources, task
from mlpipe.data.decoding.images import UnreadableImageError
from mlpipe.data.sources.targets import target_files
from mlpipe.errors import DataError


def picture(path: Path, value: int, shape: tuple[int, ...] = (6, 8)) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.zeros(shape, np.uint8)
    pixels[:, :4] = value
    Image.fromarray(pixels).save(path)


@pytest.fixture
def folders(tmp_path: Path) -> dict[str, str]:
    for part in ("a", "b"):
        for number in range(1, 4):
            picture(tmp_path / part / "x" / "deep" / f"{number}.png", 20 * number + (part == "b"))
            picture(tmp_path / part / "y" / "deep" / f"{number}_clean.png", 50 * number, (6, 8, 3))
    where = {"train": "a/x", "train_targets": "a/y", "test": "b/x", "test_targets": "b/y"}
    return {key: str(tmp_path / folder) for key, folder in where.items()}


def test_targets_have_channels_of_their_own(folders: dict[str, str], tmp_path: Path) -> None:
    made = sources.image_folders(**folders, target_suffix="_clean")
    assert (made.kind, made.classes, made.channels) == ("images", ("red", "green", "blue"), 1)
    assert made.samples.parts == ("test",) * 3 + ("train",) * 3 and made.samples.labelled.all()
    task.save(made, tmp_path / "task.json")
    stored = task.load(tmp_path / "task.json")
    targets = target_files.task_of(stored)
    read, other = sources.reader(stored, 1), sources.reader(targets, 3)
    assert read(4)[0, 0, 0] == 40 and other(4)[0].tolist() == [[100] * 3] * 4 + [[0] * 3] * 4
    grey = sources.image_folders(**folders, target_suffix="_clean", target_channels=1)
    assert grey.classes == ("grey",) and grey.name != made.name
    picture(tmp_path / "a/y/deep/2_clean.png", 3, (6, 8, 3))
    with pytest.raises(DataError, match="has changed since"):
        other(4)


def test_targets_of_the_images_own_folder(tmp_path: Path) -> None:
    for number in range(3):
        picture(tmp_path / f"own/{number}.png", 40 * number, (6, 8, 3))
    own = str(tmp_path / "own")
    made = sources.image_folders(train=own, train_targets=own, channels=1, target_channels=3, pairing="order")
    assert len(made.samples) == 3 and made.channels == 1 and len(made.classes) == 3
    task.save(made, tmp_path / "task.json")
    stored = task.load(tmp_path / "task.json")
    read, other = sources.reader(stored, 1), sources.reader(target_files.task_of(stored), 3)
    assert read(2)[0, 0].tolist() == [80] and other(2)[0, 0].tolist() == [80] * 3


def test_without_targets_each_image_is_its_own(folders: dict[str, str]) -> None:
    made = sources.image_folders(train=folders["train"], test=folders["test"])
    assert target_files.are_own(made) and made.samples.labelled.all() and not made.samples.masks
    bare = sources.image_folders(test=folders["test"], labelled=False, target_channels=3)
    assert bare.samples.parts == ("unlabelled",) * 3 and not bare.samples.labelled.any() and len(bare.classes) == 3


def test_test_images_without_targets_are_predicted_only(folders: dict[str, str]) -> None:
    given = {**folders, "test_targets": None}
    made = sources.image_folders(**given, target_suffix="_clean")  # type: ignore[arg-type]
    assert made.samples.parts == ("unlabelled",) * 3 + ("train",) * 3
    with pytest.raises(UnreadableImageError, match="has no target"):
        sources.reader(target_files.task_of(made), 3)(0)


def test_what_does_not_fit_is_named(folders: dict[str, str], tmp_path: Path) -> None:
    with pytest.raises(DataError) as refused:
        sources.image_folders(**folders)
    said = "; ".join(refused.value.problems)
    assert "1.png: has no target" in said and "task.target_suffix=_target" in said
    with pytest.raises(DataError, match=r"task\.train_targets: a folder is needed"):
        sources.image_folders(**{**folders, "train_targets": None})  # type: ignore[arg-type]
    with pytest.raises(DataError, match=r"task\.train: a folder is needed"):
        sources.image_folders()
    picture(tmp_path / "a/y/deep/2_clean.png", 3, (8, 8, 3))
    with pytest.raises(DataError, match=r"2_clean\.png: is 8 x 8 pixels, its image 2\.png 8 x 6"):
        sources.image_folders(**folders, target_suffix="_clean")


def test_pictures_are_written_as_they_are_read(tmp_path: Path) -> None:
    from mlpipe.data.decoding import images

    drawn = np.random.default_rng(0)
    for channels, dtype, bits in ((1, np.uint8, 8), (3, np.uint8, 8), (3, np.uint16, 16), (4, np.uint8, 8)):
        pixels = drawn.integers(0, np.iinfo(dtype).max, (5, 4, channels)).astype(dtype)
        assert np.array_equal(images.decode(target_files.encoded(pixels), channels, bits), pixels)  # type: ignore[arg-type]
