"""Tables of images: what a cell says becomes a target; what it does not say is named by file, line and column."""

from __future__ import annotations

import math
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from mlpipe.data import sources
from mlpipe.data.sources.listings import table_files
from mlpipe.data.sources.targets import table_targets
from mlpipe.data.splits import methods
from mlpipe.data.task import Task
from mlpipe.errors import DataError


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    folder = tmp_path / "pictures"
    folder.mkdir()
    for index in range(8):
        Image.fromarray(np.full((6, 5), index * 30, np.uint8)).save(folder / f"{index}.png")
    return folder


def table(folder: Path, *lines: str, name: str = "t.csv") -> str:
    path = folder / name
    path.write_text("\n".join(lines) + "\n", "utf-8")
    return str(path)


def problems(call: Callable[[], Task]) -> list[str]:
    with pytest.raises(DataError) as refused:
        call()
    return list(refused.value.problems)


def test_one_column_is_a_class_and_numbers_are_in_order(pictures: Path) -> None:
    made = sources.csv(file=table(pictures, "path,label", "0.png,10", "1.png,9", "2.png,10", "3.png,9"))
    assert (made.kind, made.classes, made.channels) == ("classification", ("9", "10"), 1)
    assert made.samples.targets.tolist() == [1, 0, 1, 0]
    assert sources.reader(made, 3)(3).tolist() == np.full((6, 5, 3), 90).tolist()


@pytest.mark.parametrize("column", ["patient", "patient_id", "PatientID", "Subject", "video", "site"])
def test_a_column_that_looks_like_groups_is_named_once(pictures: Path, column: str) -> None:
    file = table(
        pictures, f"path,label,{column},age", *(f"{index}.png,{'ab'[index % 2]},p{index // 2},7" for index in range(8))
    )
    said = [note for note in sources.csv(file=file).notes if "looks like groups" in note]
    assert said == [
        f"column {column} (4 values in 8 rows) looks like groups, and images of one group may lie in several parts and folds; "
        f"task.group={column} keeps them together, task.group=null says that there are none"
    ]
    for group in (column, None):
        assert not [note for note in sources.csv(file=file, group=group).notes if "looks like" in note]


def test_what_only_sounds_like_groups_is_not_named(pictures: Path) -> None:
    # Every row a value of its own, the same in all rows, the target, and a measured number.
    for header, cell in (("patient", "p{0}"), ("site", "A"), ("patients_age", "{1}"), ("distance", "{1}")):
        lines = [
            f"path,label,{header}",
            *(f"{index}.png,{'ab'[index % 2]},{cell.format(index, index // 2)}" for index in range(8)),
        ]
        assert not [note for note in sources.csv(file=table(pictures, *lines)).notes if "looks like" in note], header
    lines = ["path,site", *(f"{index}.png,{'ab'[index % 2]}" for index in range(8))]
    assert not [note for note in sources.csv(file=table(pictures, *lines), target="site").notes if "looks like" in note]


def test_optional_columns_are_used_when_they_are_there(pictures: Path) -> None:
    lines = [
        "path;target;split;group;weight",
        "0.png;a;train;p1;2",
        "1.png;b;;p1;",
        "2.png;a;test;p2;1",
        "3.png;;;p3;1",
    ]
    made = sources.csv(file=table(pictures, *lines))
    assert made.samples.parts == ("train", "train", "test", "unlabelled")
    assert made.samples.targets.tolist() == [0, 1, 0, -1]
    assert made.samples.groups == ("p1", "p1", "p2", "p3")
    assert made.samples.weights is not None and made.samples.weights.tolist() == [2, 1, 1, 1]
    assert "split, group, weight" in made.notes[0]


def test_folds_that_came_with_the_table(pictures: Path) -> None:
    lines = ["path,target,fold", *(f"{index}.png,{'ab'[index % 2]},{index // 2}" for index in range(8))]
    split = methods.given(sources.csv(file=table(pictures, *lines)).samples)
    assert split.fold.tolist() == [0, 0, 1, 1, 2, 2, 3, 3] and split.validated == (0, 1, 2, 3)
    lines[3] = "2.png,a,"
    with pytest.raises(DataError, match=r"1 training image has no fold \(2.png\)"):
        methods.given(sources.csv(file=table(pictures, *lines)).samples)


def test_columns_of_zeros_and_ones_are_labels(pictures: Path) -> None:
    made = sources.csv(
        file=table(pictures, "path,cat,dog", "0.png,1,0", "1.png,,1", "2.png,0,0"), target=["cat", "dog"]
    )
    assert (made.kind, made.classes) == ("multilabel", ("cat", "dog"))
    assert np.array_equal(made.samples.targets, [[1, 0], [math.nan, 1], [0, 0]], equal_nan=True)
    assert made.class_counts().tolist() == [1, 1]


def test_labels_in_one_column(pictures: Path) -> None:
    made = sources.csv(
        file=table(pictures, "image_id,labels", "0,cat dog", "1,dog", "2,"), separator=" ", suffix=".png"
    )
    assert (made.kind, made.classes) == ("multilabel", ("cat", "dog"))
    assert made.samples.targets.tolist() == [[1, 1], [0, 1], [0, 0]]


def test_numbers_to_predict(pictures: Path) -> None:
    file = table(pictures, "path,age", "0.png,1.5", "1.png,", "2.png,-3e2")
    made = sources.csv(file=file, target="age", kind="regression")
    assert made.kind == "regression" and made.samples.parts == ("train", "unlabelled", "train")
    assert made.samples.targets[[0, 2], 0].tolist() == [1.5, -300]
    assert problems(lambda: sources.csv(file=file, target="age")) == [
        "task.kind: column age holds 2 different numbers; add task.kind=regression, or task.kind=classification if "
        "each is a class of its own"
    ]


def test_a_name_with_a_point_is_no_part_of_a_mapping(tmp_path: Path) -> None:
    columns = {"of": pa.array([{"class": 7}, {"class": 8}]), "of.class": ["a", "b"], "path": ["0.png", "1.png"]}
    pq.write_table(pa.table(columns), tmp_path / "t.parquet")
    table = table_files.read(tmp_path / "t.parquet")
    assert (table.names, table.rows) == (["of.class", "path"], [["a", "0.png"], ["b", "1.png"]])


def test_parquet_and_paths_from_elsewhere(pictures: Path, tmp_path: Path) -> None:
    columns = {"file": ["0.png", "1.png"], "target": ["a", "b"], "weight": [1.0, None]}
    pq.write_table(pa.table(columns), tmp_path / "t.parquet")
    made = sources.csv(file=str(tmp_path / "t.parquet"), root=str(pictures))
    assert made.samples.ids == ("0.png", "1.png") and made.samples.weights is None
    assert (
        "row 2, column file"
        in problems(lambda: sources.csv(file=str(_missing_second(tmp_path)), root=str(pictures)))[0]
    )


def _missing_second(folder: Path) -> Path:
    pq.write_table(pa.table({"file": ["0.png", "x.png"], "target": ["a", "b"]}), folder / "m.parquet")
    return folder / "m.parquet"


def test_images_in_an_archive(pictures: Path, tmp_path: Path) -> None:
    archive = shutil.make_archive(str(tmp_path / "images"), "zip", tmp_path, "pictures")
    file = table(tmp_path, "path,target", "pictures/0.png,a", "pictures/1.png,b")
    made = sources.csv(file=file, root=archive, data_dir=str(tmp_path / "data"))
    assert made.samples.ids == ("pictures/0.png", "pictures/1.png")


@pytest.mark.parametrize(
    ("lines", "sentences"),
    [
        (["path,label", "0.png,a", "9.png,b", "1.png,a"], ["t.csv line 3, column path: there is no such file"]),
        (["path,label", "0.png,a", "1.png,b", "0.png,a"], ["t.csv line 4, column path: repeats t.csv line 2"]),
        (["name,label", "0.png,a"], ["has no column of paths"]),
        (
            ["path,name", "0.png,a"],
            ["has no column of targets; name the column with task.target=COLUMN; there are path"],
        ),
        (["path,label", "0.png,a", "1.png,a"], ["t.csv, column label: has the classes a; a classification task needs"]),
        (
            ["path,label,split", "0.png,cat,", "1.png,dog,", "2.png,catt,test", "3.png,dog,tset"],
            ["t.csv line 5, column split: unknown part, got 'tset'; use train, val, test or unlabelled"],
        ),
        (
            ["path,label,split", "0.png,cat,", "1.png,dog,", "2.png,catt,test", "3.png,,test"],
            [
                "t.csv line 4, column label: no training row has this class, got 'catt'; did you mean 'cat'?",
                "t.csv line 5, column label: is empty in a test row; fill it, or make the row unlabelled",
            ],
        ),
        (["path,label,weight", "0.png,a,x", "1.png,b,-1"], ["line 2, column weight: must be a number >= 0, got 'x'"]),
        (["path,label,fold", "0.png,a,0.5", "1.png,b,0"], ["line 2, column fold: must be a whole number >= 0"]),
        (["path,label", "0.png,a,b"], ["t.csv line 2: has 3 cells, the header has 2; quote cells"]),
        (["path,path", "0.png,a"], ["has several columns of one name: path"]),
        (["path,label"], ["has no rows"]),
        (
            ["path,label,split,group", "0.png,a,train,p1", "1.png,b,train,p2", "2.png,a,test,p1"],
            ["task: 1 group is in the training part and in another one (p1)"],
        ),
    ],
)
def test_what_is_wrong_is_named_by_line_and_column(pictures: Path, lines: list[str], sentences: list[str]) -> None:
    found = problems(lambda: sources.csv(file=table(pictures, *lines)))
    for sentence in sentences:
        assert any(sentence in text for text in found), found
    assert len(found) >= len(sentences)


def test_columns_that_are_named_must_be_there(pictures: Path) -> None:
    file = table(pictures, "path,label,patient", "0.png,a,1", "1.png,b,2")
    assert sources.csv(file=file, group="patient").samples.groups == ("1", "2")
    (sentence,) = problems(lambda: sources.csv(file=file, group="patiet"))
    assert sentence.startswith("task.group: t.csv has no such column, got 'patiet'; did you mean 'patient'")
    (sentence,) = problems(lambda: sources.csv(file=file, target="lable"))
    assert "did you mean 'label'" in sentence


def test_many_wrong_rows_are_counted(pictures: Path) -> None:
    found = problems(
        lambda: sources.csv(file=table(pictures, "path,label", *(f"no{i}.png,{i % 2}" for i in range(25))))
    )
    assert len(found) == 11 and found[-1] == "and 15 more like these"


def test_text_that_is_not_utf8(pictures: Path) -> None:
    path = pictures / "t.csv"
    path.write_bytes("path,label\n0.png,Müller\n".encode("latin-1"))
    assert "is not UTF-8 text" in problems(lambda: sources.csv(file=str(path)))[0]


def test_a_changed_image_makes_another_task(pictures: Path, tmp_path: Path) -> None:
    file, data_dir = table(pictures, "path,label", "0.png,a", "1.png,b"), str(tmp_path / "data")
    before = sources.csv(file=file, data_dir=data_dir)
    assert sources.csv(file=file, data_dir=data_dir).name == before.name
    Image.fromarray(np.zeros((6, 5), np.uint8)).save(pictures / "1.png")
    assert sources.csv(file=file, data_dir=data_dir).name != before.name


def test_every_kind_of_fault_is_told_at_once(pictures: Path) -> None:
    lines = [
        "path,label,split,fold,weight,group",
        "0.png,a,train,0,1,g",
        "1.png,a,trian,0,1,g",
        "none.png,a,train,0,1,g",
        "2.png,b,train,x,1,g",
        "3.png,b,train,0,heavy,g",
        "4.png,b,train,0,1",
        "2.png,b,train,0,1,g",
        "5.png,c,test,0,1,g",
        "6.png,,test,0,1,g",
    ]
    found = problems(lambda: sources.csv(file=table(pictures, *lines)))
    places = {
        "line 7: has 5 cells", "line 8, column path: repeats", "line 4, column path: there is no such file",
        "line 3, column split: unknown part", "line 5, column fold", "line 6, column weight",
        "line 9, column label: no training row has this class", "line 10, column label: is empty",
    }  # fmt: skip
    assert len(found) == len(places)
    for place in places:
        assert any(place in text for text in found), place


def test_a_path_that_is_not_there_is_told_with_the_folder_it_is_taken_from(pictures: Path) -> None:
    lines = ["path,label", "0.png,a", "sub/9.png,b", ",a", " ,b", "1.png,b"]
    found = problems(lambda: sources.csv(file=table(pictures, *lines)))
    assert found[:2] == [
        f"t.csv line {line}, column path: is empty; write the image's path, or remove the line" for line in (4, 5)
    ]
    assert found[2].endswith(f"(paths are taken from {pictures})") and len(found) == 3


def test_cells_of_label_columns_that_are_no_numbers_are_named(pictures: Path) -> None:
    lines = ["path,x,y", "0.png,1,0", "1.png,nan,yes", "2.png,,1", "3.png,0 ,True"]
    found = problems(lambda: sources.csv(file=table(pictures, *lines), target=["x", "y"]))
    what = "must be 0, 1 or empty (unknown), got"
    assert found == [
        f"t.csv line 3, column x: {what} 'nan'; add task.missing=true where it means unknown",
        f"t.csv line 3, column y: {what} 'yes'; correct it",
        f"t.csv line 5, column y: {what} 'True'; correct it",
    ]
    lines[1] = "0.png,2,0"
    found = problems(lambda: sources.csv(file=table(pictures, *lines), target=["x", "y"]))
    assert found == ["task.kind: columns of numbers other than 0 and 1 need it; add task.kind=regression"]


def test_many_faults_of_several_kinds_are_capped(pictures: Path) -> None:
    lines = ["path,label,split", "0.png,a,train", "1.png,b,train"]
    lines += [f"lost{index}.png,a,train" for index in range(30)] + [f"gone{index}.png,a,odd" for index in range(20)]
    found = problems(lambda: sources.csv(file=table(pictures, *lines)))
    assert sum("no such file" in text for text in found) == 5 and "and 45 more like these" in found
    assert sum("unknown part" in text for text in found) == 5 and "and 15 more like these" in found


def test_columns_that_are_not_there_are_told_at_once(pictures: Path) -> None:
    file = table(pictures, "path,label", "0.png,a", "1.png,b")
    found = problems(lambda: sources.csv(file=file, path="p", group="patient", weight="w", target="y"))
    assert [text.split(":")[0] for text in found] == ["task.path", "task.group", "task.weight", "task.target"]


NFC, NFD = "caf\u00e9", "cafe\u0301"


@pytest.mark.parametrize("ending", [".csv", ".parquet"])
def test_cells_are_the_same_whatever_blanks_and_letters_are_made_of(pictures: Path, ending: str) -> None:
    columns = {
        "path": ["0.png", " 1.png", "2.png ", "\u00a03.png"],
        "label": [NFC, NFD + " ", "dog", "\u2003dog\u00a0"],
        "group": ["p0", "p0 ", "\u00a0p1", "p1"],
        "split": ["train ", "train", "\u00a0train", "train"],
    }
    if ending == ".csv":
        rows = [",".join(row) for row in zip(*columns.values(), strict=True)]
        file = table(pictures, ",".join(columns), *rows)
    else:
        file = str(pictures / "t.parquet")
        pq.write_table(pa.table(columns), file)
    made = sources.csv(file=file)
    assert made.classes == (NFC, "dog") and made.samples.targets.tolist() == [0, 0, 1, 1]
    assert made.samples.groups == ("p0", "p0", "p1", "p1") and set(made.samples.parts) == {"train"}
    assert made.samples.ids == ("0.png", "1.png", "2.png", "3.png")
    for column, shown in (("label", repr("dog")), ("label", ascii(NFD + " ")), ("group", repr("p0 "))):
        assert sum(f"column {column} that are taken as the same" in note for note in made.notes) == 1
        assert any(f"column {column}" in note and shown in note for note in made.notes)


def test_classes_that_are_named_match_in_every_form(pictures: Path) -> None:
    file = table(pictures, "path,label", f"0.png,{NFD}", "1.png,dog")
    made = sources.csv(file=file, classes=["dog ", NFC])
    assert made.classes == ("dog", NFC) and made.samples.targets.tolist() == [1, 0]
    same = table(pictures, "path,label", "0.png,a", "1.png,b")
    assert not any("taken as the same" in note for note in sources.csv(file=same).notes)


@pytest.mark.parametrize(("on_disk", "written"), [(NFC, NFD), (NFD, NFC), (NFC, NFC), (NFD, NFD)])
def test_files_are_found_as_the_disk_spells_them(tmp_path: Path, on_disk: str, written: str) -> None:
    (tmp_path / on_disk).mkdir()
    for index, name in enumerate((on_disk, "b")):
        Image.fromarray(np.full((6, 5), index * 30, np.uint8)).save(tmp_path / on_disk / f"{name}.png")
    file = table(tmp_path, "path,label", f"{written}/{written},x", f"{written}/b,y")
    made = sources.csv(file=file, suffix=".png")
    assert set(made.samples.ids) == {f"{on_disk}/{on_disk}.png", f"{on_disk}/b.png"}
    read = sources.reader(made, 1)
    assert {int(read(row)[0, 0, 0]) for row in range(2)} == {0, 30}


def labelled(folder: Path, *labels: str) -> str:
    return table(folder, "path,label", *[f"{index}.png,{label}" for index, label in enumerate(labels)])


def test_labels_that_look_missing_are_asked_about(pictures: Path) -> None:
    file = labelled(pictures, "a", "b", "nan", "NaN", "None", "null", "N/A", "")
    (sentence,) = problems(lambda: sources.csv(file=file))
    for label in ("'nan'", "'NaN'", "'None'", "'null'", "'N/A'", "task.missing=true", "task.missing=false"):
        assert label in sentence
    absent = sources.csv(file=file, missing=True)
    assert absent.classes == ("a", "b") and absent.part_sizes() == {"train": 2, "unlabelled": 6}
    assert any("6 rows" in note and "no label" in note for note in absent.notes)
    assert sources.csv(file=file, missing=False).classes == ("N/A", "NaN", "None", "a", "b", "nan", "null")
    some = sources.csv(file=file, missing=["nan", "NaN", "null", "N/A"])
    assert some.classes == ("None", "a", "b") and some.part_sizes() == {"train": 3, "unlabelled": 5}
    # What a command line makes of [nan,null].
    assert sources.csv(file=file, missing=[float("nan"), None, "N/A"]).classes == ("None", "a", "b")
    named = sources.csv(file=file, classes=["a", "b", "nan", "NaN", "None", "null", "N/A"])
    assert len(named.classes) == 7 and named.part_sizes() == {"train": 7, "unlabelled": 1}


def test_a_word_for_nothing_is_a_class_where_it_is_alone_and_is_said(pictures: Path) -> None:
    made = sources.csv(file=labelled(pictures, "none", "mild", "severe", "none"))
    assert made.classes == ("mild", "none", "severe")
    assert any("'none' (2 rows)" in note and "task.missing=true" in note for note in made.notes)
    (sentence,) = problems(lambda: sources.csv(file=labelled(pictures, "nan", "mild", "severe")))
    assert "'nan' (1 row)" in sentence


def test_missing_cells_of_numbers_labels_groups_and_weights(pictures: Path) -> None:
    lines = ["path,age,group,weight", "0.png,3.5,g,2", "1.png,NA,nan,NA", "2.png,4,g,"]
    file = table(pictures, *lines)
    found = problems(lambda: sources.csv(file=file, target="age", kind="regression", group=None, weight=None))
    assert "task.missing=true" in found[0]
    made = sources.csv(file=file, target="age", kind="regression", missing=True)
    assert made.samples.groups == ("g", "", "g") and made.samples.weights is not None
    assert made.samples.weights.tolist() == [2.0, 1.0, 1.0] and math.isnan(made.samples.targets[1, 0])
    several = labelled(pictures, "a|b", "b", "nan", "")
    (sentence,) = problems(lambda: sources.csv(file=several, separator="|"))
    assert "'nan' (1 row)" in sentence
    made = sources.csv(file=several, separator="|", missing=True)
    assert made.classes == ("a", "b") and made.samples.parts == ("train", "train", "unlabelled", "train")


def test_rows_whose_label_is_said_to_be_missing_are_unlabelled_whatever_their_part(pictures: Path) -> None:
    lines = ["path,label,split", "0.png,a,train", "1.png,b,train", "2.png,nan,train", "3.png,,test", "4.png,a,test"]
    file = table(pictures, *lines)
    assert any("is empty in a test row" in text for text in problems(lambda: sources.csv(file=file, missing=False)))
    made = sources.csv(file=file, missing=True)
    assert made.samples.parts == ("train", "train", "unlabelled", "unlabelled", "test")


def test_orders_are_numbers_or_times(pictures: Path) -> None:
    lines = ["path,label,day", "0.png,a,2024-03-01", "1.png,b,2024-03-01T12:00:00", "2.png,a,2024-03-01 12:00:00+02:00"]
    made = sources.csv(file=table(pictures, *lines, "3.png,b,"), order="day")
    assert made.samples.orders is not None
    # 2024-03-01 00:00 UTC is 1,709,251,200 seconds after 1970.
    np.testing.assert_array_equal(made.samples.orders, [1709251200, 1709294400, 1709287200, math.nan])
    numbers = sources.csv(file=table(pictures, "path,label,visit", "0.png,a,10", "1.png,b,9.5"), order="visit")
    assert numbers.samples.orders is not None and numbers.samples.orders.tolist() == [10.0, 9.5]
    assert sources.csv(file=table(pictures, "path,label,order", "0.png,a,1", "1.png,b,2")).samples.orders is None


def test_a_time_that_is_none_is_named(pictures: Path) -> None:
    path = table(pictures, "path,label,day", "0.png,a,2024-03-01", "1.png,b,yesterday")
    assert problems(lambda: sources.csv(file=path, order="day")) == [
        "t.csv line 3, column day: is no date or time, got 'yesterday'; "
        "write 2024-03-31, 2024-03-31 14:05:00, or numbers in all rows"
    ]


def test_labels_and_numbers_of_several_columns_come_in_the_order_that_is_named(pictures: Path) -> None:
    file = table(pictures, "path,a,b", "0.png,0,1", "1.png,1,", "2.png,1,0", "3.png,0,0")
    made = sources.csv(file=file, target=["a", "b"], classes=["b", "a"])
    assert made.classes == ("b", "a") and made.samples.targets[:, 1].tolist() == [0, 1, 1, 0]
    numbers = sources.csv(file=file, target=["a", "b"], classes=["b", "a"], kind="regression")
    assert numbers.classes == ("b", "a") and numbers.samples.targets[[0, 2], 0].tolist() == [1, 0]
    with pytest.raises(DataError, match="labels and numbers are named after their columns"):
        sources.csv(file=file, target=["a", "b"], classes=["cat", "dog"])
    with pytest.raises(DataError, match="task.separator: is for labels, task.kind is classification"):
        sources.csv(file=file, target="a", kind="classification", separator="|")


def test_numbers_are_those_of_pandas(pictures: Path) -> None:
    """Python reads 1_0 as ten: a table says a text there, which is no number to predict, and names no fold."""
    cells = ["1_0", "1e1", " 10", "+10", "10.", "1,0", "ten", ".5"]
    for cell in cells:
        said = pd.to_numeric(pd.Series([cell.strip()]), errors="coerce")[0]
        known = table_targets.number(cell.strip())
        assert (np.nan if known is None else known) == pytest.approx(said, nan_ok=True), cell
    file = table(pictures, "path,score", "0.png,1_0", "1.png,2")
    said = problems(lambda: sources.csv(file=file, target="score", kind="regression"))
    assert said == ["t.csv line 2, column score: must be a number or empty (unknown), got '1_0'; correct it"]


def numbered(folder: Path, mark: str) -> list[str]:
    """Rows of 30 images with the numbers 0.5 to 29.5."""
    rows = []
    for index in range(30):
        Image.fromarray(np.full((4, 4), index * 8, np.uint8)).save(folder / f"{index}.png")
        rows.append(f"{index}.png;{index}{mark}5")
    return rows


@pytest.mark.parametrize(("mark", "count", "fix"), [(",", 30, "; add"), (".", 29, ", and '1..5'; correct it")])
def test_numbers_with_commas_or_a_slip_are_not_a_class_each(mark: str, count: int, fix: str, tmp_path: Path) -> None:
    rows = numbered(tmp_path, mark)
    if mark == ".":
        rows[1] = "1.png;1..5"
    said = problems(lambda: sources.csv(file=table(tmp_path, "path;age", *rows), target="age"))
    assert len(said) == 1 and said[0].startswith(f"task.kind: column age holds {count} different numbers{fix}")
    named = [row if index % 2 else row.replace(";", ";No. ") for index, row in enumerate(rows)]
    assert len(sources.csv(file=table(tmp_path, "path;age", *named), target="age").classes) == 30


def test_a_table_of_a_spreadsheet_with_decimal_commas_and_windows_paths(tmp_path: Path) -> None:
    """Semicolons, a byte order mark, backslashes, an empty row and a further column, in UTF-8 and in UTF-16."""
    (tmp_path / "Bilder").mkdir()
    rows = numbered(tmp_path / "Bilder", ",")
    lines = ["path;age;note", *(f"Bilder\\{row};" for row in rows), ";;"]
    for encoding in ("utf-8-sig", "utf-16"):
        file = tmp_path / "t.csv"
        file.write_bytes("\r\n".join(lines).encode(encoding))
        task = sources.csv(file=str(file), target="age", kind="regression")
        by_name = dict(zip(task.samples.ids, task.samples.targets[:, 0].tolist(), strict=True))
        assert by_name == {f"Bilder/{index}.png": index + 0.5 for index in range(30)}


@pytest.mark.parametrize(
    ("cells", "numerals"),
    [
        (["1,5", "2", "-,25", "1,5e-3"], ["1.5", "2", "-.25", "1.5e-3"]),
        (["1,500", "0,125"], ["1.500", "0.125"]),
        # These could be thousands, or are something else.
        (["1,500", "20,000"], None),
        (["1,5", "2.5"], None),
        (["1,5", "a,b"], None),
    ],
)
@pytest.mark.parametrize("delimiter", [";", "\t", ","])
def test_decimal_commas(cells: list[str], numerals: list[str] | None, delimiter: str) -> None:
    sheet = table_files.Table(Path("t.csv"), ["n"], [[cell] for cell in cells], [], "line", delimiter=delimiter)
    assert sheet.numerals("n") == (cells if numerals is None or delimiter == "," else numerals)


@pytest.mark.parametrize("other", ["1,5", "0,125"])
def test_points_beside_decimal_commas_may_separate_thousands(other: str) -> None:
    sheet = table_files.Table(Path("t.csv"), ["n", "m"], [["1.500", other], ["20", "7"]], [2, 3], "line", delimiter=";")
    with pytest.raises(DataError, match="t.csv line 2, column n: may be thousands or a fraction: column m has decimal"):
        sheet.numerals("n")
    sheet.rows[0][1] = "1,500"
    assert sheet.numerals("n") == ["1.500", "20"]


def test_missing_numbers_may_be_named_with_a_point_where_the_table_has_commas(tmp_path: Path) -> None:
    rows = numbered(tmp_path, ",")
    (tmp_path / "t.csv").write_text("\n".join(["path;age", *rows[:-1], "29.png;-99,5"]))
    task = sources.csv(file=str(tmp_path / "t.csv"), target="age", kind="regression", missing=["-99.5"])
    values = dict(zip(task.samples.ids, task.samples.targets[:, 0].tolist(), strict=True))
    assert values["0.png"] == 0.5 and (missing := values.pop("29.png")) != missing and len(values) == 29
