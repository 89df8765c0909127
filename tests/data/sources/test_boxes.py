"""Images with boxes, from four kinds of files whose boxes were counted by hand: images are 20 wide and 10 high."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from mlpipe import limits
from mlpipe.data import sources, task
from mlpipe.data.sources.targets import boxes
from mlpipe.data.splits.methods import kfold
from mlpipe.data.tags import World, derive, parse
from mlpipe.data.task import Task
from mlpipe.errors import DataError
from tests.build import shapes


def paint(*paths: Path) -> None:
    """An image at each path, each of another colour."""
    for number, path in enumerate(paths):
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (20, 10), (number, 0, 0)).save(path)


def write(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, "utf-8")
    return path


def rows(made: Task) -> dict[str, list[list[float]] | None]:
    """The boxes of each sample as they are stored."""
    found = boxes.of_task(made)
    return {name: found.of_row(row).tolist() if found.known[row] else None for row, name in enumerate(made.samples.ids)}


def coco(root: Path, name: str = "boxes.json", folder: str = "", **changes: Any) -> Path:
    """A COCO file of three images, with boxes in two of them."""
    paint(*(root / folder / f"{number}.png" for number in range(3)))
    content: dict[str, Any] = {
        "images": [{"id": 10 + number, "file_name": f"{number}.png", "width": 20, "height": 10} for number in range(3)],
        "annotations": [
            {"id": 1, "image_id": 10, "category_id": 7, "bbox": [2, 3, 4, 5]},
            {"id": 2, "image_id": 10, "category_id": 3, "bbox": [0, 0, 20, 10], "iscrowd": 0},
            {"id": 3, "image_id": 12, "category_id": 3, "bbox": [0.5, 1.25, 2, 2], "iscrowd": 0},
            {"id": 4, "image_id": 12, "category_id": 3, "bbox": [5, 5, 2, 2], "iscrowd": 1},
        ],
        "categories": [{"id": 7, "name": "cat"}, {"id": 3, "name": "dog"}, {"id": 9, "name": "fox"}],
    }
    return write(root / name, json.dumps({**content, **changes}))


COCO = {"0.png": [[2, 3, 6, 8, 1], [0, 0, 20, 10, 0]], "1.png": [], "2.png": [[0.5, 1.25, 2.5, 3.25, 0]]}


def test_a_coco_file(tmp_path: Path) -> None:
    made = sources.boxes(file=str(coco(tmp_path)))
    assert rows(made) == COCO
    # Categories are in the order of their numbers.
    assert made.classes == ("dog", "cat", "fox")
    assert made.samples.targets.tolist() == [[1, 1, 0], [0, 0, 0], [1, 0, 0]]
    assert made.samples.labelled.all()
    assert made.notes == (
        "3 boxes in 3 images (dog 2, cat 1, fox 0), 1 image has none",
        "no box is of fox",
        "boxes.json: 1 region of many objects (iscrowd) left out",
    )


def test_coco_files_of_parts_beside_their_folders_of_images(tmp_path: Path) -> None:
    files = {key: coco(tmp_path, f"labels/instances_{key}2017.json", f"{key}2017") for key in ("train", "val", "test")}
    made = sources.boxes(
        root=str(tmp_path),
        file=str(files["train"]),
        val_file=str(files["val"]),
        test_file=str(files["test"]),
        allow_overlap=True,
    )
    assert made.part_sizes() == {"train": 3, "val": 3, "test": 3}
    assert rows(made)["val2017/0.png"] == COCO["0.png"]


def test_test_images_in_a_folder_of_their_own(tmp_path: Path) -> None:
    """Names of images are those of two folders that have no more in common than the one around them."""
    train, test = coco(tmp_path / "a", folder="inner"), coco(tmp_path / "b", "other.json", annotations=[])
    options = {"file": str(train), "root": str(tmp_path / "a"), "allow_overlap": True}
    made = sources.boxes(**options, test_file=str(test), test_root=str(tmp_path / "b"))  # type: ignore[arg-type]
    assert made.part_sizes() == {"train": 3, "test": 3}
    assert rows(made)["a/inner/0.png"] == COCO["0.png"] and rows(made)["b/0.png"] == []
    # What a file lists is not searched for: folders of the program may lie beside the images.
    assert sources.open(made).searched is None
    with pytest.raises(DataError, match=r"task\.test_root: goes with a COCO JSON file"):
        sources.boxes(**options, test_root=str(tmp_path / "b"))  # type: ignore[arg-type]
    with pytest.raises(DataError, match=r"task\.test_root: there is no such folder"):
        sources.boxes(**options, test_file=str(test), test_root="nowhere")  # type: ignore[arg-type]


def test_a_coco_file_in_each_folder_of_a_part(tmp_path: Path) -> None:
    for part in ("train", "valid"):
        coco(tmp_path / part, "_annotations.coco.json")
    made = sources.boxes(root=str(tmp_path), allow_overlap=True)
    assert made.part_sizes() == {"train": 3, "val": 3}
    assert rows(made)["valid/2.png"] == COCO["2.png"]


def test_what_is_wrong_with_a_coco_file_is_told_with_its_place(tmp_path: Path) -> None:
    wrong = [
        {"id": 1, "image_id": 99, "category_id": 7, "bbox": [1, 1, 1, 1]},
        {"id": 2, "image_id": 10, "category_id": 8, "bbox": [1, 1, 1, 1]},
        {"id": 3, "image_id": 10, "category_id": 7, "bbox": [1, 1, None, 1]},
        {"image_id": 10, "category_id": 7},
        "box",
    ]
    with pytest.raises(DataError) as caught:
        sources.boxes(file=str(coco(tmp_path, annotations=wrong)))
    assert [sentence.partition(": ")[0] for sentence in caught.value.problems] == [
        f"boxes.json annotation {place}" for place in (1, 2, 3, 3, 4)
    ]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"images": [{"id": 10, "file_name": "../0.png"}]}, "boxes.json image 10: lies outside of the folder"),
        ({"images": [{"id": 10, "file_name": "lost.png"}], "annotations": []}, "there is no such image"),
        ({"images": [{"id": 10, "file_name": "x" * 300}], "annotations": []}, "there is no such image"),
        ({"images": [{"id": 10, "file_name": "0.png"}], "annotations": []}, "task: has no box at all"),
        ({"images": 3}, "is no COCO file"),
        ({"annotations": 3}, "is no COCO file"),
        ({"categories": {"7": "cat"}}, "is no COCO file"),
        ({"categories": [{"id": 7}]}, "boxes.json category 0: has no id or no name"),
        ({"categories": [{"id": 7, "name": " "}]}, "boxes.json category 0: has no id or no name"),
        (
            {"categories": [{"id": 7, "name": "cat"}, {"id": 7, "name": "dog"}]},
            "boxes.json category 7: comes twice, as cat and as dog",
        ),
        ({"images": [{"id": 10**400, "file_name": "0.png"}]}, "boxes.json image 0: has no id or no file_name"),
        (
            {"images": [{"id": 10, "file_name": "0.png", "width": "20", "height": 10}]},
            "^boxes.json image 10: has a width or height that is no number, got '20'; correct it$",
        ),
        (
            {"annotations": [{"image_id": 10, "category_id": 7, "bbox": [0, 0, 10**400, 1]}]},
            "boxes.json annotation 0: has no bbox of x, y, width, height",
        ),
        (
            {"annotations": [{"image_id": 10, "category_id": 7, "bbox": [0.25, 0.5, 0.5, 0.25]}]},
            "every box lies in the first pixel of its image, as if corners were shares",
        ),
        (
            {"images": [{"id": 10, "file_name": "0.png", "width": 10, "height": 20}], "annotations": []},
            "is of 20 x 10 pixels, boxes.json says 10 x 20, as if it had not been turned upright",
        ),
        (
            {"images": [{"id": 10, "file_name": "0.png"}, {"id": 11, "file_name": "0.png"}], "annotations": []},
            "boxes.json: lists an image twice",
        ),
    ],
)
def test_coco_files_that_are_refused(tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(DataError, match=message):
        sources.boxes(file=str(coco(tmp_path, **changes)))


def test_ids_may_be_texts_and_the_file_may_begin_with_a_byte_order_mark(tmp_path: Path) -> None:
    file = coco(tmp_path)
    content = json.loads(file.read_text("utf-8"))
    for one in content["images"]:
        one["id"] = f"image {one['id']}"
    for one in content["annotations"]:
        one["image_id"] = f"image {one['image_id']}"
        one["category_id"] = {7: "b", 3: 3}[one["category_id"]]
    content["categories"] = [{"id": "b", "name": "cat"}, {"id": 9, "name": "fox"}, {"id": 3, "name": "dog"}]
    content["categories"].append({"id": "c", "name": "cat"})
    file.write_text(json.dumps(content), "utf-8-sig")
    made = sources.boxes(file=str(file))
    # Numbers come before texts.
    assert made.classes == ("dog", "fox", "cat")
    assert rows(made)["0.png"] == [[2, 3, 6, 8, 2], [0, 0, 20, 10, 0]]
    assert "boxes.json: categories of one name are one class: cat" in made.notes


def boxed(root: Path, *corners: tuple[float, float, float, float]) -> Path:
    """A table of boxes of class `a` in one image."""
    paint(root / "0.png")
    lines = [f"0.png,{','.join(map(str, four))},a" for four in corners]
    return write(root / "boxes.csv", "\n".join(["path,x0,y0,x1,y1,class", *lines]))


def test_boxes_are_clipped_and_what_is_none_is_left_out(tmp_path: Path) -> None:
    made = sources.boxes(file=str(boxed(tmp_path, (-3, 2, 5, 12), (4, 4, 4, 8), (1, 1, 2, 2), (1, 1, 2, 2))))
    assert rows(made) == {"0.png": [[0, 2, 5, 10, 0], [1, 1, 2, 2, 0]]}
    assert made.notes[1:4] == (
        "1 box clipped to its image",
        "1 box without width or height left out",
        "1 box that is there twice taken once",
    )


@pytest.mark.parametrize(
    ("corners", "message"),
    [
        ((5, 2, 3, 4), "boxes.csv line 3, column x0: ends before it begins"),
        ((21, 2, 30, 4), "boxes.csv line 3, column x0: lies outside of its image of 20 x 10 pixels"),
        ((2, -9, 3, -4), "lies outside of its image"),
    ],
)
def test_boxes_that_cannot_be_are_refused(
    tmp_path: Path, corners: tuple[float, float, float, float], message: str
) -> None:
    with pytest.raises(DataError, match=message):
        sources.boxes(file=str(boxed(tmp_path, (1, 1, 2, 2), corners)))


def test_an_image_of_too_many_boxes_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "BOXES", 2)
    file = boxed(tmp_path, (1, 1, 2, 2), (1, 1, 3, 3))
    assert len(rows(sources.boxes(file=str(file)))["0.png"] or ()) == 2
    with pytest.raises(DataError, match=r"0\.png: has more than 2 boxes, got 3; cut it into smaller images"):
        sources.boxes(file=str(boxed(tmp_path, (1, 1, 2, 2), (1, 1, 3, 3), (1, 1, 4, 4))))


def test_a_table_with_rows_for_boxes(tmp_path: Path) -> None:
    paint(*(tmp_path / "pictures" / f"{number}.png" for number in range(4)))
    text = """image;xmin;ymin;xmax;ymax;label;split;group;weight
0.png;1;2;3;4;b;train;p;2
1.png;;;;;;train;q;1
0.png;5;5.5;20;10;a;train;p;2
2.png;0;0;1;1;a;test;;1
3.png;;;;;;unlabelled;;1
"""
    made = sources.boxes(root=str(tmp_path / "pictures"), file=str(write(tmp_path / "boxes.csv", text)))
    assert rows(made) == {
        "0.png": [[1, 2, 3, 4, 1], [5, 5.5, 20, 10, 0]],
        "1.png": [],
        "2.png": [[0, 0, 1, 1, 0]],
        "3.png": None,
    }
    assert made.samples.groups == ("p", "q", "", "")
    assert made.samples.parts == ("train", "train", "test", "unlabelled")
    assert made.samples.weights is not None
    assert made.samples.weights.tolist() == [2, 1, 1, 1]
    assert made.samples.labelled.tolist() == [True, True, True, False]


def test_what_is_wrong_with_a_table_is_told_with_its_line(tmp_path: Path) -> None:
    paint(tmp_path / "0.png")
    text = """path,x0,y0,x1,y1,class,group
0.png,1,2,3,4,a,p
0.png,1,2,x,4,a,p
0.png,1,2,3,4,,p
0.png,1,2,3,4,a,q
"""
    with pytest.raises(DataError) as caught:
        sources.boxes(file=str(write(tmp_path / "boxes.csv", text)))
    assert [sentence.partition(", got")[0] for sentence in caught.value.problems] == [
        "boxes.csv line 3, column x1: is no number",
        "boxes.csv line 4, column class: is empty, and the row has a box",
        "boxes.csv line 5, column group: differs from boxes.csv line 2, column group, which is of the same image",
    ]


def yolo(root: Path, text: str = "1 .5 .5 .2 .4\n") -> Path:
    """A training image with labels, one without objects, and a validation image."""
    paint(root / "images/train/0.png", root / "images/train/1.png", root / "images/val/2.png")
    write(root / "labels/train/0.txt", text)
    write(root / "labels/train/1.txt", "\n")
    write(root / "labels/val/2.txt", "0 0.1 0.1 0.2 0.2\n")
    write(root / "data.yaml", "names: {0: dog, 1: cat}\ntrain: elsewhere")
    return root


def test_yolo_text(tmp_path: Path) -> None:
    # The second one is an outline.
    made = sources.boxes(root=str(yolo(tmp_path, "1 .5 .5 .2 .4\n0 .1 .2 .3 .2 .2 .6\n")))
    assert made.classes == ("dog", "cat")
    assert made.part_sizes() == {"train": 2, "val": 1}
    assert rows(made) == {
        "images/train/0.png": [[8, 3, 12, 7, 1], [2, 2, 6, 6, 0]],
        "images/train/1.png": [],
        "images/val/2.png": [[0, 0, 4, 2, 0]],
    }


def test_yolo_text_without_names_has_numbers(tmp_path: Path) -> None:
    (yolo(tmp_path) / "data.yaml").unlink()
    write(tmp_path / "labels/train/1.txt", "10 .5 .5 .1 .1\n0 .1 .1 .1 .1")
    assert sources.boxes(root=str(tmp_path)).classes == ("0", "1", "10")


def test_names_of_classes_must_have_all_numbers(tmp_path: Path) -> None:
    write(yolo(tmp_path) / "data.yaml", "names: {0: dog, 2: cat}")
    with pytest.raises(DataError, match="data.yaml: has names without a number"):
        sources.boxes(root=str(tmp_path))


def test_names_that_yaml_takes_for_something_else_are_refused(tmp_path: Path) -> None:
    write(yolo(tmp_path) / "data.yaml", "names: [yes, cat]")
    with pytest.raises(DataError, match="data.yaml: has a name that is no text, got True; put it into quotes"):
        sources.boxes(root=str(tmp_path))


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("1 .5 .5 .2", "labels/train/0.txt line 2: is no box"),
        ("1 .5 .5 .2 .2 .9", "labels/train/0.txt line 2: is no box"),
        ("1 .5 .5 .2 nan", "labels/train/0.txt line 2: is no box"),
        ("2 .5 .5 .2 .2", "labels/train/0.txt line 2: does not begin with a class number from 0 to 1"),
        ("0.5 .5 .5 .2 .2", "labels/train/0.txt line 2: does not begin with a class number"),
        ("1 50 50 20 20", "labels/train/0.txt line 2: lies outside .* numbers are shares of width and height"),
        ("1 .5 .5 -.2 .2", "labels/train/0.txt line 2: ends before it begins"),
    ],
)
def test_lines_that_are_no_boxes_are_refused(tmp_path: Path, line: str, message: str) -> None:
    with pytest.raises(DataError, match=message):
        sources.boxes(root=str(yolo(tmp_path, f"\n{line}\n")))


def test_images_without_labels_are_asked_about(tmp_path: Path) -> None:
    (yolo(tmp_path) / "labels/train/1.txt").unlink()
    paint(tmp_path / "images/unlabelled/3.png")
    with pytest.raises(DataError, match=r"1 image has no file of labels \(images/train/1.png\)"):
        sources.boxes(root=str(tmp_path))
    nothing = sources.boxes(root=str(tmp_path), without_file="nothing", allow_overlap=True)
    assert rows(nothing)["images/train/1.png"] == []
    assert rows(nothing)["images/unlabelled/3.png"] is None
    unlabelled = sources.boxes(root=str(tmp_path), without_file="unlabelled", allow_overlap=True)
    assert unlabelled.part_sizes() == {"train": 1, "val": 1, "unlabelled": 2}


VOC = """<annotation>
  <size><width>20</width><height>10</height><depth>3</depth></size>
  <object><name>dog</name><part><name>nose</name><bndbox><xmin>9</xmin></bndbox></part>
    <bndbox><xmin>1</xmin><ymin>2</ymin><xmax>5</xmax><ymax>10</ymax></bndbox></object>
  <object>
    <name>cat</name>
    <bndbox><ymax>3</ymax><xmax>4</xmax><ymin>3</ymin><xmin>4</xmin></bndbox>
  </object>
</annotation>"""


@pytest.mark.parametrize("link", ["labels", "labels/train", "labels/train/0.txt"])
def test_of_what_links_lead_to_no_letter_is_shown(tmp_path: Path, link: str) -> None:
    """A folder on the way may be the link as well as the file."""
    root = yolo(tmp_path / "set", "hunter2 is the word\n")
    secret = tmp_path / "secret"
    (root / link).rename(secret)
    (root / link).symlink_to(secret)
    with pytest.raises(DataError, match=r"labels/train/0\.txt line 1: is no box; write") as caught:
        sources.boxes(root=str(root))
    assert "hunter2" not in str(caught.value)


def test_names_in_a_folder_that_is_a_link_are_not_taken(tmp_path: Path) -> None:
    root = yolo(tmp_path / "set")
    (root / "data.yaml").unlink()
    write(root / "labels/classes.txt", "hunter2\ncat\n")
    (root / "labels").rename(tmp_path / "secret")
    (root / "labels").symlink_to(tmp_path / "secret")
    with pytest.raises(DataError, match=r"labels/classes\.txt: is a link that leads out of the folder; replace it"):
        sources.boxes(root=str(root))


def test_the_first_element_of_xml_that_a_link_leads_to_is_not_shown(tmp_path: Path) -> None:
    root = voc(tmp_path / "set", "<hunter2/>")
    (root / "Annotations").rename(tmp_path / "secret")
    (root / "Annotations").symlink_to(tmp_path / "secret")
    with pytest.raises(DataError, match="its first element is another, that of Pascal VOC is 'annotation'"):
        sources.boxes(root=str(root))


def voc(root: Path, text: str = VOC) -> Path:
    paint(root / "JPEGImages/0.png", root / "JPEGImages/1.png")
    write(root / "Annotations/0.xml", text)
    write(root / "Annotations/1.xml", "<annotation></annotation>")
    return root


def test_pascal_voc_xml(tmp_path: Path) -> None:
    # Pixels are counted from 1, and the last one is inside: one pixel in the fourth column and third row.
    made = sources.boxes(root=str(voc(tmp_path)))
    assert made.classes == ("cat", "dog")
    assert rows(made) == {"JPEGImages/0.png": [[0, 1, 5, 10, 1], [3, 2, 4, 3, 0]], "JPEGImages/1.png": []}


def test_lists_of_pascal_voc_say_the_parts(tmp_path: Path) -> None:
    voc(tmp_path)
    paint(tmp_path / "JPEGImages/2.png")
    write(tmp_path / "ImageSets/Main/train.txt", "0\n")
    write(tmp_path / "ImageSets/Main/val.txt", "1\n")
    write(tmp_path / "ImageSets/Main/trainval.txt", "0 1 9\n")
    made = sources.boxes(root=str(tmp_path), allow_overlap=True)
    assert made.samples.parts == ("train", "val")
    assert "1 image is in no list of ImageSets/Main and left out" in made.notes
    assert "1 name in ImageSets/Main without an image" in made.notes
    write(tmp_path / "ImageSets/Main/test.txt", "2\n1\n")
    with pytest.raises(DataError, match=r"ImageSets/Main/val.txt: lists what another list has too: 1; keep"):
        sources.boxes(root=str(tmp_path))


BOMB = '<!DOCTYPE a [<!ENTITY b "bbb"><!ENTITY c "&b;&b;">]><annotation>&c;</annotation>'


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (BOMB, "Annotations/0.xml: cannot be read as XML .it declares a document type in line 1"),
        ("<annotation><object>", "Annotations/0.xml: cannot be read as XML"),
        ("<annotation>" * 70, "nested too deeply"),
        ("<root><object/></root>", "its first element is 'root', that of Pascal VOC is 'annotation'"),
        (VOC.replace("<xmax>4", "<xmax>"), "Annotations/0.xml line 6: has no class, or sides that are no numbers"),
        (VOC.replace("<name>cat</name>", ""), "Annotations/0.xml line 5: has no class"),
        (VOC.replace("<width>20", "<width>21"), "is of 20 x 10 pixels, 0.xml says 21 x 10"),
    ],
)
def test_xml_that_is_refused(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(DataError, match=message):
        sources.boxes(root=str(voc(tmp_path, text)))


def test_classes_of_the_users(tmp_path: Path) -> None:
    assert rows(sources.boxes(root=str(voc(tmp_path)), classes=["dog", "cat"]))["JPEGImages/0.png"] == [
        [0, 1, 5, 10, 0],
        [3, 2, 4, 3, 1],
    ]
    with pytest.raises(DataError, match="Annotations/0.xml line 6: is of an unknown class, got 'cat'"):
        sources.boxes(root=str(tmp_path), classes=["dog", "car"])


def test_nothing_to_read(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="a folder of images or a file is needed"):
        sources.boxes()
    with pytest.raises(DataError, match="there is no such file"):
        sources.boxes(file=str(tmp_path / "boxes.json"))
    paint(tmp_path / "images/0.png")
    with pytest.raises(DataError, match="holds no image with a file of labels"):
        sources.boxes(root=str(tmp_path))


def test_a_stored_task_has_its_boxes_and_changed_boxes_make_another(tmp_path: Path) -> None:
    made = sources.boxes(file=str(coco(tmp_path)))
    task.save(made, tmp_path / "task.json")
    stored = sources.load(tmp_path / "task.json")
    assert rows(stored) == COCO
    read = sources.open(stored).targets(3)
    assert np.array_equal(read(2), [[0.5, 1.25, 2.5, 3.25, 0], [np.nan] * 5], equal_nan=True)
    assert sources.open(stored).inputs(3)(2).shape == (10, 20, 3)
    moved = [{"id": 1, "image_id": 10, "category_id": 7, "bbox": [2, 3, 4, 4]}]
    assert sources.boxes(file=str(coco(tmp_path, annotations=moved))).name != made.name
    assert sources.boxes(file=str(coco(tmp_path))).name == made.name


def test_folds_have_alike_shares_of_boxes_and_keep_groups(tmp_path: Path) -> None:
    made = sources.boxes(file=str(shapes(tmp_path, 60, side=64)), group=r"/(\d\d\d)\d")
    split = kfold(made.samples, folds=3, stratify=True)
    counts = np.array([made.samples.targets[split.fold == fold].sum(axis=0) for fold in range(3)])
    share = counts / counts.sum(axis=0)
    assert abs(share - 1 / 3).max() < 0.12
    for group in set(made.samples.groups):
        members = [fold for fold, own in zip(split.fold, made.samples.groups, strict=True) if own == group]
        assert len(set(members)) == 1


def test_a_variant_has_the_boxes_of_its_images(tmp_path: Path) -> None:
    made = sources.boxes(file=str(shapes(tmp_path, 20, side=64)))
    world = World(lambda of: kfold(of.samples, folds=2), lambda name: made)
    half = derive(made, parse("subset?0.5"), world)
    assert len(half.samples) == 10
    whole = rows(made)
    assert rows(half) == {name: whole[name] for name in half.samples.ids}
    with pytest.raises(DataError, match="the classes of boxes cannot be changed by a tag"):
        derive(made, parse("remove?disc"), world)


@pytest.mark.parametrize("number", ["1000000", "1e30", "1e308"])
def test_a_class_without_a_name_has_a_number_of_six_digits_at_most(tmp_path: Path, number: str) -> None:
    root = yolo(tmp_path, f"\n{number} .5 .5 .2 .2\n")
    (root / "data.yaml").unlink()
    with pytest.raises(DataError, match="does not begin with a class number from 0 to 999999, got"):
        sources.boxes(root=str(root))
