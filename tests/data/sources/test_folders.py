"""Two folders of images as one task: classes by folder or by tag, and what is wrong with them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mlpipe.data import sources
from mlpipe.errors import DataError
from tests.conftest import make_pictures


@pytest.fixture
def both(tmp_path: Path) -> Path:
    make_pictures(tmp_path / "one", {"dark": 4, "light": 3})
    make_pictures(tmp_path / "two", {"dark": 2, "light": 2}, seed=1)
    return tmp_path


def test_the_folder_of_an_image_is_its_class(both: Path) -> None:
    task = sources.folders(train=str(both / "one"), test=str(both / "two"))
    assert task.classes == ("dark", "light") and task.part_sizes() == {"train": 7, "test": 4}
    row = task.samples.ids.index("test/light/001.png")
    assert task.samples.targets[row] == 1 and task.channels == 3
    read = sources.reader(task, 3)
    assert np.array_equal(read(row), np.asarray(Image.open(both / "two" / "light" / "001.png")))


def test_with_a_tag_it_is_the_folder_right_below_the_tag(tmp_path: Path) -> None:
    for label, left in (("cat", 0), ("dog", 100)):
        make_pictures(tmp_path / "all" / "tagged" / label, {"deep": 2}, seed=left)
    task = sources.folders(train=str(tmp_path / "all"), train_tag="tagged")
    assert task.classes == ("cat", "dog")
    with pytest.raises(DataError, match=r"task\.train_tag: .* lies in no folder below one of this name, got 'other'"):
        sources.folders(train=str(tmp_path / "all"), train_tag="other")


def test_folders_above_the_data_are_no_tags(tmp_path: Path) -> None:
    """So that the same data is the same task wherever it lies: below a folder named `test`, all of it was tested on."""
    root = tmp_path / "test" / "data"
    for seed, part in enumerate(("train", "test")):
        make_pictures(root / part, {"dark": 3, "light": 2}, seed=seed)
    task = sources.folders(train=str(root), test=str(root), train_tag="train", test_tag="test")
    assert task.classes == ("dark", "light") and task.part_sizes() == {"train": 5, "test": 5}
    # The folder of the data may be the one of that name.
    own = sources.folders(train=str(root / "train"), train_tag="train")
    assert own.classes == ("dark", "light")


def test_tags_tell_apart_what_has_no_labels(tmp_path: Path) -> None:
    """Images of the other part, and others beside them, were predicted too; an image may lie right below the tag."""
    for part in ("learned", "judged"):
        make_pictures(tmp_path / "all" / part, {"a": 1, "b": 1}, seed=len(part))
    make_pictures(tmp_path / "more", {"c": 1}, seed=30)
    next((tmp_path / "more").rglob("*.jpg")).rename(tmp_path / "all" / "judged" / "own.jpg")
    root = str(tmp_path / "all")
    task = sources.folders(test=root, test_tag="judged", labelled=False)
    assert {Path(name).parent.as_posix() for name in task.samples.ids} == {
        "test/judged/a",
        "test/judged/b",
        "test/judged",
    }
    assert set(task.samples.parts) == {"unlabelled"}
    # A tag of no folder says nothing of images without labels.
    assert len(sources.folders(test=root, test_tag="other", labelled=False).samples.ids) == 5


def test_tags_tell_the_parts_of_one_folder_apart(tmp_path: Path) -> None:
    for number, part in enumerate(("learned", "judged")):
        for label, left in (("cat", 0), ("dog", 100)):
            make_pictures(tmp_path / "all" / part / label, {"deep": 2 + number}, seed=left + 10 * number)
    root = str(tmp_path / "all")
    task = sources.folders(train=root, test=root, train_tag="learned", test_tag="judged")
    assert task.classes == ("cat", "dog") and task.part_sizes() == {"train": 4, "test": 6}
    assert sum("left out of the" in note for note in task.notes) == 2


def test_classes_of_one_part_only_are_named_with_their_like(both: Path) -> None:
    (both / "two" / "light").rename(both / "two" / "ligth")
    with pytest.raises(DataError) as raised:
        sources.folders(train=str(both / "one"), test=str(both / "two"))
    text = str(raised.value)
    assert "task.test: ligth: is a class that the training part does not have; did you mean 'light'?" in text
    assert "task.test: has no image of class 'light'; did you mean 'ligth'?" in text


def test_other_files_are_passed_over_or_refused(both: Path) -> None:
    (both / "one" / "dark" / "Thumbs.db").write_bytes(b"x")
    assert len(sources.folders(train=str(both / "one"), strict=True).samples) == 7
    (both / "one" / "dark" / "notes.txt").write_bytes(b"x")
    assert len(sources.folders(train=str(both / "one")).samples) == 7
    with pytest.raises(DataError, match=r"task\.train: holds files that are no images: dark/notes\.txt"):
        sources.folders(train=str(both / "one"), strict=True)


def test_without_labels_every_image_is_unlabelled(both: Path) -> None:
    task = sources.folders(test=str(both / "two"), labelled=False, classes=["a", "b", "c"])
    assert task.part_sizes() == {"unlabelled": 4} and set(task.samples.targets.tolist()) == {-1}
    with pytest.raises(DataError, match=r"task\.train: a folder is needed"):
        sources.folders()
