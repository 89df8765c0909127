"""Items of user code as a task: order, targets, parts, trust, and mistakes."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from sklearn.model_selection import StratifiedKFold, StratifiedShuffleSplit

from mlpipe.data import sources, task
from mlpipe.data.items import sets
from mlpipe.data.sources.listings import python_sets
from mlpipe.data.splits import methods, shuffled
from mlpipe.data.task import Task
from mlpipe.errors import DataError
from tests import musket_project

STAND_INS = ["musket_core"]


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    musket_project.make(tmp_path)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def items(project: Path, call: str = "getTrain", *arguments: Any, kind: Any = "classification", **more: Any) -> Task:
    train = [{"call": call, "arguments": list(arguments)}]
    return sources.items(train=train, kind=kind, modules=str(project / "modules"), stand_ins=STAND_INS, **more)


def test_items_keep_their_order_and_pixels(project: Path) -> None:
    found = items(project, "getTrain", 12)
    assert [name.partition(":")[2] for name in found.samples.ids] == [f"item{row}" for row in range(12)]
    assert found.samples.targets.tolist() == [0, 1] * 6
    assert found.samples.positives is not None and found.samples.positives.tolist() == [False, True] * 6
    pixels = sources.reader(found, 3)(3)
    assert pixels.shape == (24, 24, 3) and pixels[10, 10, 1] >= 120


SEVERAL = """
import numpy as np
from musket_core.datasets import PredictionItem


class Pairs:
    def __init__(self, other):
        self.other = other

    def __len__(self):
        return 2

    def __getitem__(self, item):
        first = np.full((6, 8, 3), 10 + item, np.uint8)
        second = np.full((6, 8) if item or not self.other else self.other, 20, np.uint8)
        return PredictionItem(item, [first, second], np.array([1.0]))


def getPairs(*other):
    return Pairs(other)
"""


def test_several_images_of_an_item_are_one_with_all_channels(project: Path) -> None:
    (project / "modules" / "pairs_of_a_test.py").write_text(SEVERAL)
    found = items(project, "getPairs", kind="multilabel")
    pixels = sources.reader(found, 4)(1)
    assert found.source["inputs"] == [3, 1] and pixels.shape == (6, 8, 4)
    assert pixels[0, 0].tolist() == [11, 11, 11, 20]
    # What images turned out to be makes no other sets: those that were opened for the task are read.
    asked = {key: value for key, value in found.source.items() if key != "inputs"}
    assert python_sets.opened_parts(found.source)[0] is python_sets.opened_parts(asked)[0]
    with pytest.raises(
        DataError, match=r"item 0 of Pairs: its x has images that differ \(6 x 8 of uint8, 5 x 8 of uint8\)"
    ):
        items(project, "getPairs", 5, 8, kind="multilabel")
    with pytest.raises(DataError, match=r"images of several kinds \(4 channels \(3 \+ 1\) of uint8, 5 channels"):
        items(project, "getPairs", 6, 8, 2, kind="multilabel")


def test_a_stored_task_reads_its_items_again(project: Path) -> None:
    made = items(project, "getTrain", 4)
    (project / made.name).mkdir()
    task.save(made, project / made.name / "task.json")
    stored = task.load(project / made.name / "task.json")
    assert (sources.reader(stored, 3)(1) == sources.reader(made, 3)(1)).all()
    assert stored.samples.positives is not None and stored.samples.positives.tolist() == [False, True, False, True]


def test_parts_are_joined(project: Path) -> None:
    test = [{"call": "getTrain", "arguments": [3, 1]}]
    found = items(project, "getTrain", 4, test=test, allow_overlap=True)
    assert found.part_sizes() == {"train": 4, "test": 3}


def test_heads_are_joined_to_labels(project: Path) -> None:
    found = items(project, "getLabels", 4, kind="multilabel", outputs=4)
    assert found.samples.targets[1].tolist() == [0, 1, 0, 1]


@pytest.mark.parametrize(
    ("call", "arguments", "kind", "sentence"),
    [
        ("getTrane", [], "classification", "did you mean 'getTrain'?"),
        ("broken", [], "classification", "no data today"),
        ("getTrain", [1, 2, 3], "classification", "TypeError"),
        ("getTrain", [0], "classification", "give no items"),
        ("getLabels", [4], "classification", "not one-hot"),
    ],
)
def test_mistakes_are_one_sentence(project: Path, call: str, arguments: list[Any], kind: Any, sentence: str) -> None:
    with pytest.raises(DataError, match=sentence.replace("?", r"\?")) as caught:
        items(project, call, *arguments, kind=kind)
    assert len(caught.value.problems) == 1


def test_a_module_that_is_missing_is_named_where_it_is_used(project: Path) -> None:
    text = "import a_package_that_is_not_there as absent\n\n\ndef getAbsent():\n    return absent.read()\n"
    (project / "modules" / "needs_something.py").write_text(text)
    assert len(items(project, "getTrain", 4).samples) == 4
    with pytest.raises(DataError, match="needs the module a_package_that_is_not_there, which is not installed"):
        items(project, "getAbsent")


def test_code_from_elsewhere_needs_trust(project: Path, tmp_path_factory: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path_factory.mktemp("elsewhere"))
    with pytest.raises(DataError, match="code from outside the current folder"):
        items(project)
    assert items(project, "getTrain", 4, trust=[str(project / "modules")])


def test_modules_from_elsewhere_need_trust(project: Path) -> None:
    with pytest.raises(DataError, match=r"task.imports.*trust=\[subprocess\]"):
        items(project, "call", ["true"], imports=["subprocess"])


def test_a_stored_task_cannot_choose_the_code_that_runs(project: Path, tmp_path_factory: Any) -> None:
    made = items(project, "getTrain", 4)
    elsewhere = tmp_path_factory.mktemp("hostile")
    for source in ({**made.source, "modules": str(elsewhere)}, {**made.source, "imports": ["os"]}):
        with pytest.raises(DataError, match="trust="):
            sources.reader(dataclasses.replace(made, source=source), 3)


def test_built_in_sets(project: Path) -> None:
    folder = project / "data" / "images"
    folder.mkdir(parents=True)
    for name in "abc":
        Image.fromarray(np.full((4, 4, 3), ord(name), np.uint8)).save(folder / f"{name}.png")
    (project / "data" / "t.csv").write_text("im,cl,many\na,yes,x y\nb.png,no,y\nc,yes,\n")

    def made(call: str, kind: Any, column: str) -> Task:
        train = [{"call": call, "arguments": ["images", "t.csv", "im", column]}]
        return sources.items(train=train, kind=kind, root=str(project / "data"))

    binary = made("BinaryClassificationDataSet", "multilabel", "cl")
    assert (binary.classes, binary.samples.targets.ravel().tolist()) == (("yes",), [1, 0, 1])
    category = made("CategoryClassificationDataSet", "classification", "cl")
    assert (category.classes, category.samples.targets.tolist()) == (("no", "yes"), [1, 0, 1])
    labels = made("MultiClassClassificationDataSet", "multilabel", "many")
    assert (labels.classes, labels.samples.targets.tolist()) == (("x", "y"), [[1, 1], [0, 1], [0, 0]])
    with pytest.raises(DataError, match="did you mean 'cl'"):
        made("BinaryClassificationDataSet", "multilabel", "cll")

    both = sets.MultiOutputClassClassificationDataSet(
        str(folder), str(project / "data" / "t.csv"), "im", ["cl", "many"]
    )
    assert both.classes == ["cl no", "cl yes", "many x y", "many y"]
    # The last row's second column is empty.
    assert [[part.tolist() for part in both[row].y] for row in (0, 2)] == [[[0, 1], [1, 0]], [[0, 1], [0, 0]]]
    directory = sets.DirectoryDataSet(folder)
    assert [directory[row].id for row in range(len(directory))] == ["a.png", "b.png", "c.png"]
    assert directory[1].y is None and int(directory[1].x.max()) == ord("b")
    with pytest.raises(DataError, match="there is no such folder"):
        sets.DirectoryDataSet(folder / "none")


STRATA = """
from musket_core.datasets import PredictionItem


class WithSites:
    def __init__(self, inner):
        self.inner = inner

    def __len__(self):
        return len(self.inner)

    def __getitem__(self, item):
        return self.inner[item]

    def get_stratify_class(self, item):
        return "site%d" % (item % 3)


def sited(count):
    import shapes_of_a_test
    return WithSites(shapes_of_a_test.getTrain(count))


def thirds(ds, of=3):
    return [item % of for item in range(len(ds))]


def short(ds):
    return [0]


def twice(ds):
    class Twice:
        def __len__(self):
            return 2 * len(ds)

        def __getitem__(self, item):
            found = ds[item % len(ds)]
            return PredictionItem(found.id, found.x // (1 + item // len(ds)), found.y)

    return Twice()
"""


@pytest.fixture
def with_strata(project: Path) -> Path:
    (project / "modules" / "strata_of_a_test.py").write_text(STRATA)
    return project


@pytest.mark.parametrize(
    ("call", "strata"),
    [
        ("getTrain", {"call": "thirds"}),
        # A set's own classes go before those of a function.
        ("sited", None),
        ("sited", {"call": "short"}),
    ],
)
def test_classes_of_ones_own_are_spread(with_strata: Path, call: str, strata: Any) -> None:
    if strata == {"call": "short"}:
        with pytest.raises(DataError, match=r"task.strata: short gives 1 classes for 24 items"):
            items(with_strata, call, 24, strata=strata)
        return
    found = items(with_strata, call, 24, strata=strata)
    assert [name.removeprefix("site") for name in found.samples.strata] == [str(row % 3) for row in range(24)]
    split = methods.shuffled(found.samples, folds=4, stratify=True, seed=7)
    wanted = StratifiedKFold(4, shuffle=True, random_state=7).split(np.zeros(24), np.arange(24) % 3)
    for number, (_, val) in enumerate(wanted):
        assert np.flatnonzero(split.fold == number).tolist() == val.tolist()
    even = methods.kfold(found.samples, folds=4, stratify=True, seed=7)
    counts = [np.bincount(np.arange(24)[even.fold == number] % 3).tolist() for number in range(4)]
    assert counts == [[2, 2, 2]] * 4
    with pytest.raises(DataError, match="strata of its own"):
        methods.mml(found.samples, folds=4)
    path = with_strata / "task.json"
    task.save(found, path)
    assert task.load(path).samples.strata == found.samples.strata


def test_a_function_changes_what_the_holdout_leaves(with_strata: Path) -> None:
    more = {"holdout": {"fraction": 0.25, "seed": 5}, "after_holdout": {"call": "twice"}}
    found = items(with_strata, "getTrain", 12, **more)
    assert found.part_sizes() == {"train": 18, "test": 3}
    stay, test = shuffled.test_rows(12, 0.25, 5)
    names = [name.partition(":")[2] for name in found.samples.ids]
    assert names == [f"item{row}" for row in [*stay, *stay, *test]]
    read = sources.reader(found, 3)
    assert (read(9) == read(0) // 2).all()
    plain = items(with_strata, "getTrain", 12, after_holdout={"call": "twice"})
    assert plain.part_sizes() == {"train": 24}
    (whole, held) = python_sets.opened(
        [{"call": "getTrain", "arguments": [12]}], modules=str(with_strata / "modules"), stand_ins=STAND_INS, **more
    )
    assert (len(whole), len(held)) == (18, 3)


def test_a_stratified_holdout_is_scikit_learns(with_strata: Path) -> None:
    found = items(with_strata, "getTrain", 20, holdout={"fraction": 0.2, "seed": 5, "stratify": True})
    splitter = StratifiedShuffleSplit(4, test_size=0.2, random_state=5)
    _, test = next(iter(splitter.split(np.zeros(20), np.arange(20) % 2)))
    names = [
        name.partition(":")[2]
        for name, part in zip(found.samples.ids, found.samples.parts, strict=True)
        if part == "test"
    ]
    assert names == [f"item{row}" for row in test]


@pytest.mark.parametrize(
    ("keys", "sentence"),
    [
        ({"holdout": {"fraction": 2.0}}, "task.holdout: needs a fraction above 0 and below 1"),
        ({"holdout": {"fraction": 0.2, "sed": 1}}, "task.holdout: needs a fraction"),
        ({"after_holdout": {"call": "thirds"}}, "task.after_holdout: thirds gives no data set"),
        (
            {"after_holdout": {"call": "twize"}},
            "task.after_holdout: no function of the project's modules has this name",
        ),
        ({"strata": {"call": "thirds", "arguments": {"off": 1}}}, "thirds"),
    ],
)
def test_what_cannot_be_taken_apart_is_one_sentence(with_strata: Path, keys: Any, sentence: str) -> None:
    if sentence.startswith("task.after_holdout: thirds"):
        # A list has a length and items by number.
        (with_strata / "modules" / "strata_of_a_test.py").write_text(
            STRATA.replace("return [item % of for", "return sum(item % of for").replace(
                "in range(len(ds))]", "in range(len(ds)))"
            )
        )
    with pytest.raises(DataError) as caught:
        items(with_strata, "getTrain", 8, **keys)
    assert sentence in str(caught.value)
