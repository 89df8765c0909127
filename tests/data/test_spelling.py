"""Blanks and the forms of letters mean nothing: in names of classes, groups, paths and masks."""

from __future__ import annotations

import unicodedata
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from mlpipe.data import sources, spelling
from mlpipe.data.creator import TaskCreator
from mlpipe.data.items import sets
from mlpipe.errors import DataError

NFC, NFD = "caf\u00e9", "cafe\u0301"


@pytest.mark.parametrize(
    ("text", "same"),
    [
        (" a ", "a"), ("\u00a0a\u2003", "a"), ("\ufeffa", "a"), ("a\u200b ", "a"), ("a\u00a0b", "a b"), ("", ""),
        (" \u00a0 ", ""), (NFD, NFC), ("\u1112\u1161\u11ab", "\ud55c"), ("a  b", "a  b"), ("\u212b", "\u00c5"),
    ],
)  # fmt: skip
def test_a_text_as_it_is_compared(text: str, same: str) -> None:
    assert spelling.plain(text) == same == spelling.plain(same)
    assert same == unicodedata.normalize("NFC", same)


def test_texts_that_fall_together_are_said_as_they_are_stored() -> None:
    (sentence,) = spelling.same_text_problems(["p0", "p0 ", "p1", NFC, NFD, "p0", ""], "groups")
    assert sentence.startswith("groups that are taken as the same: 'p0' and 'p0 ', 'caf\\xe9' and 'cafe\\u0301'; ")
    assert spelling.same_text_problems(["a", "b", " ", ""], "groups") == []


def picture(path: Path, shade: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.full((6, 5), shade, np.uint8)).save(path)


def both_forms(base: Path) -> Path:
    """Training images in folders of one form, test images in folders of the other, and a class of both forms."""
    shade = 0
    for part, form in (("train", "NFC"), ("test", "NFD")):
        for name in (NFC, "dog", "\u00fcber"):
            for index in range(2):
                shade += 1
                picture(base / part / unicodedata.normalize(form, name) / f"{index}.png", shade)
    picture(base / "train" / NFD / "9.png", 99)
    return base


def test_folders_of_one_name_are_one_class(tmp_path: Path) -> None:
    made = sources.folder(root=str(both_forms(tmp_path)))
    assert made.classes == (NFC, "dog", "\u00fcber") and made.class_counts().tolist() == [5, 4, 4]
    said = [note for note in made.notes if "taken as the same" in note]
    assert len(said) == 1 and ascii(NFC) in said[0] and ascii(NFD) in said[0]
    read = sources.reader(made, 1)
    assert sorted(int(read(row)[0, 0, 0]) for row in range(13)) == [*range(1, 13), 99]


@pytest.mark.parametrize("form", ["NFC", "NFD"])
def test_classes_may_be_named_in_any_form(tmp_path: Path, form: Any) -> None:
    base = both_forms(tmp_path)
    names = [unicodedata.normalize(form, name) for name in ("dog", "\u00fcber ", NFC)]
    made = sources.folders(train=str(base / "train"), test=str(base / "test"), classes=names)
    assert made.classes == ("dog", "\u00fcber", NFC) and made.class_counts().tolist() == [4, 4, 5]
    creator = TaskCreator("made", base, names)
    creator.add(f"train/{NFC}/0.png", NFD, group="p0 ")
    creator.add(unicodedata.normalize("NFC", f"test/{NFD}/1.png"), NFC, group="p0")
    creator.add("train/dog/0.png", " dog", group="p1")
    made = creator.task()
    assert sorted(made.samples.targets.tolist()) == [0, 2, 2] and set(made.samples.groups) == {"p0", "p1"}


def test_masks_are_found_by_names_of_another_form(tmp_path: Path) -> None:
    for name in (NFC, "dog"):
        picture(tmp_path / "images" / f"{name}.png", len(name))
        Image.fromarray(np.eye(6, 5, dtype=np.uint8)).save(_made(tmp_path / "masks") / f"{_other(name)}.png")
    made = sources.masks(root=str(tmp_path))
    assert len(made.samples.masks) == 2
    (tmp_path / "t.csv").write_text(
        f"image,mask\nimages/{NFD}.png,masks/{NFC}.png\nimages/dog.png,masks/dog.png \n", "utf-8"
    )
    assert sources.masks(file=str(tmp_path / "t.csv")).samples.ids == (f"images/{NFC}.png", "images/dog.png")


def _made(folder: Path) -> Path:
    folder.mkdir(exist_ok=True)
    return folder


def _other(name: str) -> str:
    return unicodedata.normalize("NFD", name)


def test_sets_of_python_compare_alike(tmp_path: Path) -> None:
    for name in (NFC, "b", "c"):
        picture(tmp_path / "images" / f"{name}.png", len(name))
    (tmp_path / "t.csv").write_text(f"im,cl\n{NFD},{NFC}\nb,{NFD} \nc ,dog\n", "utf-8")
    made = sets.CategoryClassificationDataSet(str(tmp_path / "images"), str(tmp_path / "t.csv"), "im", "cl")
    assert made.classes == [NFC, "dog"] and [made.get_target(row).argmax() for row in range(3)] == [0, 0, 1]


def test_groups_matter_for_images_to_learn_from(tmp_path: Path) -> None:
    for part, name in (("train", "p1_0"), ("train", "p1_1"), ("train", "p2_0"), ("train", "p2_1"), ("test", "p3_0")):
        picture(tmp_path / part / "ab"[int(name[-1])] / f"{name}.png", ord(name[1]) + 9 * int(name[-1]))
    for name in ("u0", "p2_u"):
        picture(tmp_path / "unlabelled" / f"{name}.png", len(name))
    made = sources.folder(root=str(tmp_path), group=r"p(\d)_")
    assert made.samples.group_of()["unlabelled/u0.png"] == "unlabelled/u0.png"
    assert made.samples.group_of()["train/a/p1_0.png"] == "1" == made.samples.group_of()["train/b/p1_1.png"]
    assert not any("task.group" in note for note in made.notes)
    picture(tmp_path / "test" / "a" / "odd.png", 7)
    assert any("task.group matches no part of 1 test images" in note for note in sources.folder(
        root=str(tmp_path), group=r"p(\d)_"
    ).notes)  # fmt: skip
    picture(tmp_path / "train" / "a" / "odd.png", 8)
    with pytest.raises(DataError, match=r"does not match 1 paths \(train/a/odd\.png\)"):
        sources.folder(root=str(tmp_path), group=r"p(\d)_")


def test_a_folder_whose_name_looks_missing_is_said(tmp_path: Path) -> None:
    for index, name in enumerate(("nan", "dog")):
        picture(tmp_path / name / "0.png", index)
    made = sources.folder(root=str(tmp_path))
    assert made.classes == ("dog", "nan") and any("'nan' is a class like any other" in note for note in made.notes)
