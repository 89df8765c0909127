"""Hidden folders and files are left out of every source, counted, and said once."""

from __future__ import annotations

import os
import shutil
import subprocess
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from mlpipe.data import sources, visible_files
from mlpipe.data.items import sets
from mlpipe.data.task import Task
from mlpipe.errors import DataError

HIDDEN = [".ipynb_checkpoints/0-checkpoint.png", "._0.png", "__MACOSX/0.png", "@eaDir/0.png", ".thumbs/deep/0.png"]


def picture(path: Path, shade: int, size: tuple[int, int] = (6, 5)) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.full(size, shade, np.uint8)).save(path)


def hide(folder: Path) -> int:
    """Put hidden pictures, and files that systems leave, into a folder; how many pictures."""
    for index, name in enumerate(HIDDEN):
        picture(folder / name, 200 + index)
    for name in (".DS_Store", "Thumbs.db", "desktop.ini"):
        (folder / name).write_bytes(b"x")
    return len(HIDDEN)


def classes(base: Path) -> Path:
    for index, name in enumerate(("a", "b")):
        for number in range(3):
            picture(base / name / f"{number}.png", 10 * number + index)
    return base


def of_folder(base: Path) -> Task:
    return sources.folder(root=str(base))


def of_parts(base: Path) -> Task:
    for part in ("train", "test"):
        for name in ("a", "b"):
            picture(base / part / name / "0.png", 3 * len(part) + ord(name[0]))
            hide(base / part / name)
    picture(base / "unlabelled" / "9.png", 3)
    hide(base / "unlabelled")
    shutil.rmtree(base / "a"), shutil.rmtree(base / "b")
    return sources.folder(root=str(base))


def of_folders(base: Path) -> Task:
    return sources.folders(train=str(base), strict=True)


def of_archive(base: Path) -> Task:
    path = base.with_suffix(".zip")
    with zipfile.ZipFile(path, "w") as archive:
        for file in sorted(base.rglob("*")):
            archive.write(file, f"data/{file.relative_to(base)}")
        archive.writestr("__MACOSX/data/a/._0.png", b"x")
    return sources.folder(root=str(path), data_dir=str(base.parent / "data"))


def of_new_images(base: Path) -> Task:
    like = sources.folder(root=str(classes(base.parent / "like")))
    return sources.new_images(root=str(base), like=like)


def of_masks(base: Path) -> Task:
    for part in ("images", "masks"):
        for number in range(3):
            picture(base / part / f"{number}.png", number % 2 if part == "masks" else number)
            hide(base / part)
    picture(base / "masks" / "1.png", 1)
    return sources.masks(root=str(base), classes=["x", "y"], values=[0, 1])


def of_image_folders(base: Path) -> Task:
    for part in ("in", "out"):
        for number in range(3):
            picture(base / part / f"{number}.png", 9 * number + len(part))
        hide(base / part)
    return sources.image_folders(train=str(base / "in"), train_targets=str(base / "out"), strict=True)


@pytest.mark.parametrize(
    "make", [of_folder, of_parts, of_folders, of_archive, of_new_images, of_masks, of_image_folders]
)
def test_hidden_images_are_left_out_counted_and_said_once(tmp_path: Path, make: Any) -> None:
    base = classes(tmp_path / "base")
    for name in ("a", "b"):
        hide(base / name)
    hide(base)
    made = make(base)
    assert not any(part.startswith((".", "_", "@")) for name in made.samples.ids for part in Path(name).parts)
    said = [note for note in made.notes if "left out" in note]
    roots = {"masks": 2 * 5, "image_folders": 2 * 5, "parts": 5 * 5 + 5, "archive": 3 * 5}
    count = roots.get(make.__name__.removeprefix("of_"), 3 * 5)
    assert len(said) == 1 and said[0].startswith(f"{count} hidden files are left out: ")
    assert ".ipynb_checkpoints/" in said[0] and "@eaDir/" in said[0]


@pytest.mark.parametrize("make", [of_folder, of_archive, of_new_images, of_masks])
def test_images_of_formats_that_are_not_read_are_counted(tmp_path: Path, make: Any) -> None:
    base = classes(tmp_path / "base")
    folder = base / ("images" if make is of_masks else "a")
    folder.mkdir(exist_ok=True)
    for name in ("IMG_1.HEIC", "IMG_2.heic", "scan.dcm", "._IMG_1.HEIC", "IMG_1.MOV", "notes.txt"):
        (folder / name).write_bytes(b"x")
    notes = [note for note in make(base).notes if "not read" in note]
    assert notes == [
        "3 images are left out, because the format is not read: .heic (2), .dcm (1); convert to PNG or JPEG"
    ]


def test_a_class_of_images_that_are_not_read_has_none(tmp_path: Path) -> None:
    base = classes(tmp_path / "base")
    (base / "c").mkdir()
    (base / "c" / "IMG_1.HEIC").write_bytes(b"x")
    with pytest.raises(DataError, match=r"base/c: has no images; .* the format is not read: .heic \(1\); convert"):
        of_folder(base)


def test_without_hidden_images_nothing_is_said(tmp_path: Path) -> None:
    assert not any("hidden" in note for note in of_folder(classes(tmp_path / "base")).notes)


def test_folders_above_may_be_hidden(tmp_path: Path) -> None:
    made = of_folder(classes(tmp_path / ".cache" / "__old"))
    assert len(made.samples) == 6 and not made.notes


def test_arrays_and_sets_of_python_leave_hidden_files_out(tmp_path: Path) -> None:
    values, hidden = np.zeros((4, 5), np.float32), tmp_path / "arrays" / "a" / ".old"
    hidden.mkdir(parents=True)
    for index, name in enumerate(("a", "b")):
        (tmp_path / "arrays" / name).mkdir(exist_ok=True)
        np.save(tmp_path / "arrays" / name / "0.npy", values + index)
    np.save(hidden / "1.npy", values + 7)
    np.save(tmp_path / "arrays" / "b" / "._0.npy", values + 8)
    made = sources.samples(train=str(tmp_path / "arrays"), labels="folders")
    assert len(made.samples) == 2 and made.classes == ("a", "b")
    assert [note for note in made.notes if "left out" in note] == ["2 hidden files are left out: ._0.npy, .old/"]
    base = classes(tmp_path / "base")
    hide(base / "a")
    one = sets.FolderClassificationDataSet(str(base))
    assert len(one) == 6 and one.classes == ["a", "b"] and "5 hidden files" in one.notes[0]
    assert len(sets.DirectoryDataSet(base / "a")) == 3


def test_items_say_what_their_sets_left_out(tmp_path: Path) -> None:
    base = classes(tmp_path / "base")
    hide(base / "a")
    made = sources.items(
        kind="classification", train=[{"call": "FolderClassificationDataSet", "arguments": [str(base)]}]
    )
    assert len(made.samples) == 6 and sum("5 hidden files are left out" in note for note in made.notes) == 1


def test_a_class_of_hidden_images_only_has_none(tmp_path: Path) -> None:
    base = classes(tmp_path / "base")
    hide(base / "c")
    with pytest.raises(DataError, match="base/c: has no images"):
        of_folder(base)


@pytest.mark.parametrize(
    ("name", "is_folder", "hidden"),
    [
        (".x.png", False, True), ("._x.png", False, True), ("x.png", False, False), ("_x.png", False, False),
        ("__x.png", False, False), ("thumbs.db", False, True), ("__MACOSX", True, True), ("@eaDir", True, True),
        ("#recycle", True, True), ("_a", True, False), ("a.b", True, False), ("System Volume Information", True, True),
    ],
)  # fmt: skip
def test_what_is_hidden(name: str, is_folder: bool, hidden: bool) -> None:
    assert visible_files.is_hidden(name, is_folder=is_folder) == hidden


def test_folders_may_be_nested_deeper_than_calls(tmp_path: Path) -> None:
    here = Path.cwd()
    os.chdir(tmp_path)
    try:
        for number in range(1200):
            Path("d").mkdir()
            os.chdir("d")
            if number == 1100:
                Path("x.png").touch()
        # Paths of the whole tree are longer than a system takes beyond some 2,000 of them.
        assert [path.name for path in visible_files.files_below(tmp_path)] == ["x.png"]
    finally:
        os.chdir(tmp_path)
        subprocess.run(["rm", "-rf", "d"], check=True)
        os.chdir(here)
