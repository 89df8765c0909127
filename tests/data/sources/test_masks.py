"""Folders and tables of images with masks: who belongs to whom, which value is which class, and what is refused how."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mlpipe.data import sources, task
from mlpipe.data.cache import packs
from mlpipe.data.decoding import images
from mlpipe.data.preprocessing import standard
from mlpipe.data.sources.targets import mask_files
from mlpipe.data.splits import methods
from mlpipe.data.task import IGNORED, Task
from mlpipe.errors import DataError


def picture(path: Path, pixels: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)


@pytest.fixture
def pairs(tmp_path: Path) -> Path:
    """Eight pairs of 10 x 12 pixels: mask i has i columns of 255, the rest is 0."""
    rng = np.random.default_rng(0)
    for index in range(8):
        values = np.zeros((10, 12), np.uint8)
        values[:, :index] = 255
        picture(tmp_path / "d/images" / f"{index}.png", rng.integers(0, 255, (10, 12, 3), dtype=np.uint8))
        picture(tmp_path / "d/masks" / f"{index}.png", values)
    return tmp_path / "d"


def problems(call: Callable[[], Task]) -> list[str]:
    with pytest.raises(DataError) as refused:
        call()
    return list(refused.value.problems)


def test_two_folders_are_paired_and_0_and_255_are_two_classes(pairs: Path) -> None:
    made = sources.masks(root=str(pairs))
    assert (made.kind, made.classes, made.channels) == ("segmentation", ("background", "foreground"), 3)
    assert made.samples.ids == tuple(f"{index}.png" for index in range(8))
    assert np.allclose(made.samples.targets[:, 1], np.arange(8) / 12, atol=1e-6)
    assert made.class_counts().tolist() == [8, 7]
    assert made.samples.labelled.all()


def test_a_task_survives_its_file(pairs: Path, tmp_path: Path) -> None:
    made = sources.masks(root=str(pairs))
    task.save(made, tmp_path / "t/task.json")
    stored = task.load(tmp_path / "t/task.json")
    assert stored.samples.masks == made.samples.masks
    assert stored.source["masks"] == made.source["masks"]


def test_another_mask_is_another_task(pairs: Path) -> None:
    before = sources.masks(root=str(pairs)).name
    turned = np.asarray(Image.open(pairs / "masks/3.png"))[:, ::-1]
    picture(pairs / "masks/3.png", turned)
    assert sources.masks(root=str(pairs)).name != before


def test_parts_are_folders_below_or_above(pairs: Path, tmp_path: Path) -> None:
    for part, index in (("train", 1), ("train", 2), ("val", 3), ("unlabelled", 4)):
        for kind in ("images", "masks"):
            if (part, kind) == ("unlabelled", "masks"):
                continue
            pixels = np.asarray(Image.open(pairs / kind / f"{index}.png"))
            picture(tmp_path / "below" / kind / part / f"{index}.png", pixels)
            picture(tmp_path / "above" / part / kind / f"{index}.png", pixels)
    for folder in ("below", "above"):
        made = sources.masks(root=str(tmp_path / folder))
        assert sorted(made.samples.parts) == ["train", "train", "unlabelled", "val"]
        assert made.samples.labelled.sum() == 3
        unlabelled = made.samples.parts.index("unlabelled")
        assert all(math.isnan(value) for value in made.samples.targets[unlabelled])
        read = mask_files.rows_of(made)
        assert read(made.samples.parts.index("val"))[0, :, 0].tolist() == [1] * 3 + [0] * 9


def test_a_table_of_pairs(pairs: Path) -> None:
    lines = [
        "image,mask,split,group",
        "images/1.png,masks/1.png,train,a",
        "images/2.png,masks/2.png,test,b",
        "images/3.png,,,b",
    ]
    (pairs / "t.csv").write_text("\n".join(lines), "utf-8")
    made = sources.masks(file=str(pairs / "t.csv"))
    assert made.samples.parts == ("train", "test", "unlabelled")
    assert made.samples.groups == ("a", "b", "b")


def test_a_palette_a_suffix_and_ignored_pixels(tmp_path: Path) -> None:
    for index in range(2):
        picture(tmp_path / f"x/{index}.jpg", np.zeros((4, 6), np.uint8))
        values = np.full((4, 6), 2, np.uint8)
        values[0], values[1, :3] = 7, 255
        picture(tmp_path / f"y/{index}_mask.png", values)
        image = Image.open(tmp_path / f"y/{index}_mask.png").convert("L")
        image.putpalette([value for colour in range(256) for value in (255 - colour, colour, 3)])
        image.save(tmp_path / f"y/{index}_mask.png")
        assert Image.open(tmp_path / f"y/{index}_mask.png").mode == "P"
    arguments = {"images": str(tmp_path / "x"), "masks": str(tmp_path / "y"), "mask_suffix": "_mask"}
    made = sources.masks(**arguments, classes=["ground", "cell"], values=[2, 7], ignore_index=255)  # type: ignore[arg-type]
    assert made.samples.targets[0].tolist() == pytest.approx([15 / 21, 6 / 21], abs=1e-6)
    read = mask_files.rows_of(made)
    assert read(0)[:2, 0, 0].tolist() == [1, IGNORED]
    assert "255 is ignored" in made.notes[0]


def test_what_is_wrong_is_named(pairs: Path) -> None:
    (pairs / "masks/0.png").unlink()
    picture(pairs / "masks/9.png", np.zeros((10, 12), np.uint8))
    found = problems(lambda: sources.masks(root=str(pairs)))
    assert len(found) == 2
    assert "images/0.png: has no mask" in found[0]
    assert "masks/9.png: is a mask without an image" in found[1]


def test_sizes_and_values_are_named_together(pairs: Path) -> None:
    picture(pairs / "masks/0.png", np.zeros((10, 11), np.uint8))
    picture(pairs / "masks/1.png", np.full((10, 12), 3, np.uint8))
    found = problems(lambda: sources.masks(root=str(pairs), classes=["a", "b"], values=[0, 255]))
    assert "masks/0.png: is 11 x 10 pixels, its image 0.png 12 x 10" in found[0]
    assert "masks/1.png: has values that are no class (3), the classes are 0, 255" in found[1]
    assert "task.ignore_index=3" in found[1]


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ({"masks": "labels"}, "task.masks: there is no such folder"),
        ({"classes": ["a", "b", "c"], "values": [0, 255]}, "task.values: has 2 values for 3 classes"),
        ({"values": [0, 255], "ignore_index": 255}, "task.ignore_index: is the value of a class"),
        ({"ignore_index": 255}, "task.classes: there is 1 class"),
        ({"group": "("}, "task.group: is no regular expression"),
    ],
)
def test_wrong_words_are_told(pairs: Path, arguments: dict[str, object], sentence: str) -> None:
    found = problems(lambda: sources.masks(root=str(pairs), **arguments))  # type: ignore[arg-type]
    assert any(sentence in one for one in found), found


def test_pictures_in_colour_and_damaged_files_are_no_masks(pairs: Path) -> None:
    picture(pairs / "masks/0.png", np.random.default_rng(0).integers(0, 9, (10, 12, 3), dtype=np.uint8))
    (pairs / "masks/1.png").write_bytes(b"no image")
    found = problems(lambda: sources.masks(root=str(pairs)))
    assert "is a picture in colour" in found[0]
    assert "masks/1.png: is no mask" in found[1]


def test_values_that_are_no_classes_are_not_guessed(pairs: Path) -> None:
    picture(pairs / "masks/0.png", np.arange(120, dtype=np.uint8).reshape(10, 12))
    assert "different values" in problems(lambda: sources.masks(root=str(pairs)))[0]


def test_masks_are_cached_as_images_are_and_never_mixed(pairs: Path, tmp_path: Path) -> None:
    made = sources.masks(root=str(pairs))
    for resize in ("squash", "short_side", "pad"):
        wanted = standard(3, id="s", size=24, resize=resize)  # type: ignore[arg-type]
        alike = mask_files.preprocessing_of(wanted)
        of_masks = mask_files.task_of(made)
        pack = packs.build(of_masks, alike, tmp_path / packs.pack_id(of_masks, alike), workers=1)
        values = pack.take(np.arange(8))
        assert values.shape == (8, 24, 24, 1)  # type: ignore[union-attr]
        assert set(np.unique(np.stack(list(values))).tolist()) == ({0, 1, IGNORED} if resize == "pad" else {0, 1})
    # 12 columns become 24, so that the cut is where it was; 10 rows are 20, with 2 of padding on both sides.
    assert np.stack(list(values))[5, 2, :, 0].tolist() == [1] * 10 + [0] * 14
    assert (np.stack(list(values))[:, :2] == IGNORED).all()


def test_a_changed_mask_is_noticed(pairs: Path) -> None:
    made = sources.masks(root=str(pairs))
    read = sources.reader(mask_files.task_of(made), 1)
    picture(pairs / "masks/2.png", np.zeros((10, 12), np.uint8))
    with pytest.raises(DataError, match="has changed since"):
        read(2)


def test_folds_spread_the_share_of_the_background(tmp_path: Path) -> None:
    for index in range(20):
        values = np.zeros((4, 10), np.uint8)
        values[:, : 1 if index % 2 else 9] = 255
        picture(tmp_path / "images" / f"{index:02}.png", np.full((4, 10), index, np.uint8))
        picture(tmp_path / "masks" / f"{index:02}.png", values)
    made = sources.masks(root=str(tmp_path))
    drawn = methods.kfold(made.samples, folds=5)
    for fold in range(5):
        large = made.samples.targets[drawn.fold == fold, 1] > 0.5
        assert large.sum() == 2
        assert len(large) == 4


def test_a_mask_is_written_as_it_is_read(tmp_path: Path) -> None:
    classes = np.array([[0, 1, 2, IGNORED]], np.uint8)
    for numbers, ignored in (((0, 128, 255), None), ((7, 3, 9), 1), ((0, 1000, 2), None)):
        values = mask_files.Values(("a", "b", "c"), numbers, ignored)
        mask_files.encoded(classes, values).save(tmp_path / "m.png")
        stored = images.stored_values((tmp_path / "m.png").read_bytes())
        assert stored[0, :3].tolist() == list(numbers)
        assert stored[0, 3] not in numbers
        assert values.classes(stored)[0].tolist() == [0, 1, 2, IGNORED]


def test_pairs_in_order_of_their_names(pairs: Path) -> None:
    for index in range(8):
        (pairs / f"masks/{index}.png").rename(pairs / f"masks/other{index}.png")
    made = sources.masks(root=str(pairs), pairing="order")
    assert made.samples.masks[3][0] == "other3.png"
    (pairs / "masks/other7.png").unlink()
    (found,) = problems(lambda: sources.masks(root=str(pairs), pairing="order"))
    assert "there are 8 images" in found and "7 masks" in found


def test_masks_among_or_below_the_images(pairs: Path, tmp_path: Path) -> None:
    for index in range(3):
        for target in ("a/{}_mask.png", "b/masks/{}.png"):
            picture(tmp_path / target.format(index), np.asarray(Image.open(pairs / f"masks/{index}.png")))
        for target in ("a/{}.png", "b/{}.png"):
            picture(tmp_path / target.format(index), np.asarray(Image.open(pairs / f"images/{index}.png")))
    among = sources.masks(root=str(tmp_path / "a"), images=".", masks=".", mask_suffix="_mask")
    below = sources.masks(root=str(tmp_path / "b"), images=".")
    assert among.samples.ids == below.samples.ids == ("0.png", "1.png", "2.png")
    assert np.array_equal(among.samples.targets, below.samples.targets)
