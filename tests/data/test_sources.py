"""Folders as tasks: layouts, classes, copies, and what is refused."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mlpipe.data import sources, task
from mlpipe.data.decoding.images import UnreadableImageError
from mlpipe.data.sources.listings import class_folders
from mlpipe.errors import DataError
from tests.conftest import make_pictures


def test_embedded_sets() -> None:
    fashion, digits = sources.fashion_mini(), sources.digits()
    assert (fashion.part_sizes(), len(fashion.classes)) == ({"train": 1000, "test": 300}, 10)
    assert (digits.part_sizes(), digits.class_counts().sum()) == ({"train": 1797}, 1797)
    assert sources.reader(fashion, 1)(0).shape == (28, 28, 1)
    assert sources.reader(digits, 3)(5).shape == (8, 8, 3)


def test_a_flat_folder(picture_folder: Path) -> None:
    made = sources.folder(root=str(picture_folder))
    assert made.classes == ("dark", "light", "middle")
    assert made.part_sizes() == {"train": 36}
    assert made.channels == 3
    assert made.name.startswith("pictures-")
    row = made.samples.ids.index("light/001.png")
    with Image.open(picture_folder / "light" / "001.png") as image:
        assert (sources.reader(made, 3)(row) == np.asarray(image)).all()


def test_parts_and_their_other_names(tmp_path: Path) -> None:
    root = tmp_path / "parted"
    make_pictures(root / "training", {"a": 4, "b": 4}, seed=1)
    make_pictures(root / "valid", {"a": 2, "b": 2}, seed=2)
    make_pictures(root / "test", {"a": 3}, seed=3)
    make_pictures(root / "unlabeled", {"anything": 5}, seed=4)
    made = sources.folder(root=str(root))
    assert made.part_sizes() == {"train": 8, "val": 4, "test": 3, "unlabelled": 5}
    assert made.classes == ("a", "b")
    assert set(made.samples.targets[made.samples.in_part("unlabelled")].tolist()) == {-1}


def test_grey_when_every_image_is(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / "grey" / name).mkdir(parents=True)
        Image.fromarray(np.full((5, 5), 7, np.uint8)).save(tmp_path / "grey" / name / "x.png")
    assert sources.folder(root=str(tmp_path / "grey"), allow_overlap=True).channels == 1


def test_changed_files_are_another_task(picture_folder: Path) -> None:
    before = sources.folder(root=str(picture_folder))
    row = before.samples.ids.index("dark/001.png")
    Image.new("RGB", (9, 9)).save(picture_folder / "dark" / "001.png")
    assert sources.folder(root=str(picture_folder)).name != before.name
    with pytest.raises(DataError, match="has changed since the task"):
        sources.reader(before, 3)(row)


def test_a_moved_folder_is_the_same_task(picture_folder: Path, tmp_path: Path) -> None:
    before = sources.folder(root=str(picture_folder))
    shutil.copytree(picture_folder, tmp_path / "elsewhere" / "pictures")
    assert sources.folder(root=str(tmp_path / "elsewhere" / "pictures")).name == before.name


def _empty_class(root: Path) -> None:
    (root / "nothing").mkdir()


def _one_class(root: Path) -> None:
    shutil.rmtree(root / "light")
    shutil.rmtree(root / "middle")


def _no_folders(root: Path) -> None:
    for name in ("dark", "light", "middle"):
        shutil.rmtree(root / name)


def _gone(root: Path) -> None:
    shutil.rmtree(root)


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (_empty_class, "nothing: has no images; add images or remove the folder"),
        (_one_class, "has 1 class folder with images"),
        (_no_folders, "has no class folders"),
        (_gone, "there is no such folder"),
    ],
)
def test_folders_that_are_refused(change: Callable[[Path], None], sentence: str, picture_folder: Path) -> None:
    change(picture_folder)
    with pytest.raises(DataError, match=sentence):
        sources.folder(root=str(picture_folder))


def test_a_class_that_training_does_not_have(tmp_path: Path) -> None:
    make_pictures(tmp_path / "parted" / "train", {"cat": 3, "dog": 3})
    make_pictures(tmp_path / "parted" / "test", {"cats": 2}, seed=1)
    with pytest.raises(
        DataError, match=r"test/cats: is a class that the training part does not have; did you mean 'cat'\?"
    ):
        sources.folder(root=str(tmp_path / "parted"))


def test_an_image_in_two_parts(tmp_path: Path) -> None:
    make_pictures(tmp_path / "parted" / "train", {"a": 3, "b": 3})
    (tmp_path / "parted" / "test" / "a").mkdir(parents=True)
    shutil.copy(tmp_path / "parted" / "train" / "a" / "000.jpg", tmp_path / "parted" / "test" / "a" / "other.jpg")
    with pytest.raises(DataError, match=r"1 validation or test image is in the training part too \(train/a/000.jpg"):
        sources.folder(root=str(tmp_path / "parted"))
    assert sources.folder(root=str(tmp_path / "parted"), allow_overlap=True).part_sizes() == {"train": 6, "test": 1}


def test_a_task_survives_its_file_and_notices_changes(picture_folder: Path, tmp_path: Path) -> None:
    made = sources.folder(root=str(picture_folder))
    task.save(made, tmp_path / "task.json")
    again = task.load(tmp_path / "task.json")
    assert again.source_hash == made.source_hash
    text = (tmp_path / "task.json").read_text().replace('"dark"', '"DARK"')
    (tmp_path / "task.json").write_text(text)
    with pytest.raises(DataError, match="was changed by hand"):
        task.load(tmp_path / "task.json")


def test_the_embedded_sets_are_balanced_and_read_as_they_are() -> None:
    fashion, digits = sources.fashion_mini(), sources.digits()
    assert fashion.class_counts(fashion.samples.in_part("train").nonzero()[0]).tolist() == [100] * 10
    assert (fashion.channels, digits.channels) == (1, 1)
    row = fashion.samples.ids.index("test/00007")
    stored = np.load(Path(sources.__file__).parents[1] / "embedded" / "fashion_mini.npz")
    assert (sources.reader(fashion, 1)(row)[:, :, 0] == stored["x_test"][7]).all()
    assert fashion.samples.targets[row] == stored["y_test"][7]
    read = sources.reader(digits, 1)
    assert max(int(read(row).max()) for row in range(20)) == 255


@pytest.mark.parametrize("alias", sorted(class_folders.PART_FOLDERS))
def test_every_name_of_a_part(tmp_path: Path, alias: str) -> None:
    part = class_folders.PART_FOLDERS[alias]
    if part != "train":
        make_pictures(tmp_path / "parted" / "train", {"a": 2, "b": 2}, seed=1)
    make_pictures(tmp_path / "parted" / alias.upper(), {"a": 3, "b": 2}, seed=2)
    sizes = sources.folder(root=str(tmp_path / "parted")).part_sizes()
    assert sizes == ({"train": 5} if part == "train" else {"train": 4, part: 5})


def test_unlabelled_images_beside_class_folders(tmp_path: Path) -> None:
    root = tmp_path / "flat"
    make_pictures(root, {"P1": 2, "P2": 3, "Unlabelled": 4}, seed=1)
    made = sources.folder(root=str(root), group=r"P(\d)/")
    assert made.classes == ("P1", "P2") and made.part_sizes() == {"train": 5, "unlabelled": 4}
    assert sorted(made.samples.groups) == ["", "", "", "", "1", "1", "2", "2", "2"]
    told = "the images of 'Unlabelled' have no label, and are predicted only; rename the folder if it is a class"
    assert told in made.notes
    shutil.rmtree(root / "P2")
    assert sources.folder(root=str(root)).classes == ("P1", "Unlabelled")


@pytest.mark.parametrize(
    ("beside", "fault"),
    [
        (("train", "val", "scraps/all"), "in train, val, but scraps beside them, which is no part"),
        (("val", "test"), "in test, val, but no folder named train"),
        (("dev", "test"), None),
        (("train", "val"), None),
        (("train", "bus", "car"), None),
    ],
)
def test_parts_do_not_become_classes(beside: tuple[str, ...], fault: str | None, tmp_path: Path) -> None:
    """A folder of leftovers made the classes scraps, train and val of it, without a word."""
    for seed, place in enumerate(beside):
        make_pictures(tmp_path / place, {"dark": 2, "light": 2}, seed=seed)
    if fault is not None:
        with pytest.raises(DataError, match=fault):
            sources.folder(root=str(tmp_path))
        return
    expected = ("dark", "light") if beside == ("train", "val") else tuple(sorted(beside))
    assert sources.folder(root=str(tmp_path)).classes == expected


def test_the_training_part_fixes_the_classes(tmp_path: Path) -> None:
    make_pictures(tmp_path / "parted" / "train", {"b": 2, "a": 2, "c": 2}, seed=1)
    make_pictures(tmp_path / "parted" / "test", {"c": 1}, seed=2)
    made = sources.folder(root=str(tmp_path / "parted"))
    assert made.classes == ("a", "b", "c")
    assert made.samples.targets[made.samples.in_part("test")].tolist() == [2]


def test_one_colour_image_makes_a_colour_task_unless_told(tmp_path: Path) -> None:
    for index, name in enumerate(("a", "b")):
        (tmp_path / "mixed" / name).mkdir(parents=True)
        Image.fromarray(np.full((5, 5), index, np.uint8)).save(tmp_path / "mixed" / name / "x.png")
    assert sources.folder(root=str(tmp_path / "mixed")).channels == 1
    Image.new("RGB", (5, 5), (9, 8, 7)).save(tmp_path / "mixed" / "a" / "y.png")
    colour, grey = (sources.folder(root=str(tmp_path / "mixed"), channels=given) for given in (None, 1))
    assert (colour.channels, grey.channels) == (3, 1)
    assert colour.name != grey.name


def test_a_missing_folder_names_the_one_that_was_meant(picture_folder: Path) -> None:
    with pytest.raises(DataError, match=r"got '.*pictres'; did you mean 'pictures'\?"):
        sources.folder(root=str(picture_folder.parent / "pictres"))


def test_every_wrong_folder_is_named_at_once(picture_folder: Path) -> None:
    (picture_folder / "none").mkdir()
    (picture_folder / "nothing").mkdir()
    with pytest.raises(DataError) as caught:
        sources.folder(root=str(picture_folder))
    assert len(caught.value.problems) == 2


def test_hidden_and_other_files_are_no_images(picture_folder: Path) -> None:
    before = sources.folder(root=str(picture_folder))
    (picture_folder / "dark" / "notes.txt").write_text("text")
    (picture_folder / "dark" / ".hidden.png").write_bytes(b"x")
    (picture_folder / ".git").mkdir()
    assert sources.folder(root=str(picture_folder)).name == before.name


def test_copies_are_noted(picture_folder: Path) -> None:
    assert sources.folder(root=str(picture_folder)).notes == ()
    shutil.copy(picture_folder / "dark" / "001.png", picture_folder / "dark" / "copy.png")
    shutil.copy(picture_folder / "dark" / "003.png", picture_folder / "light" / "copy.png")
    copies, torn = sources.folder(root=str(picture_folder)).notes
    assert copies.startswith("2 images are byte for byte copies") and torn.startswith("1 image occurs under more than")


def test_unreadable_files_are_left_to_decoding(picture_folder: Path) -> None:
    (picture_folder / "dark" / "bad.png").write_bytes(b"no image")
    made = sources.folder(root=str(picture_folder))
    row = made.samples.ids.index("dark/bad.png")
    with pytest.raises(UnreadableImageError, match="not an image in a known format"):
        sources.reader(made, 3)(row)


def test_a_created_task_is_found_by_name(picture_folder: Path, tmp_path: Path) -> None:
    made = sources.folder(root=str(picture_folder), name="mine")
    task.save(made, tmp_path / "data" / made.name / "task.json")
    assert sources.created(name=made.name, data_dir=str(tmp_path / "data")).source_hash == made.source_hash
    with pytest.raises(DataError, match=f"there is no such task, got '{made.name}x'; did you mean '{made.name}'"):
        sources.created(name=f"{made.name}x", data_dir=str(tmp_path / "data"))
    with pytest.raises(DataError, match="known tasks: none"):
        sources.created(name="zzz", data_dir=str(tmp_path / "empty"))
