"""Files of a project are imported whatever they import beside what is used, and know their data folder."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mlpipe.data import user_code
from mlpipe.errors import DataError

STAND_INS = ("musket_core",)
# As upstream's projects write them: more of the package, and of others, than anybody calls.
DATA = """
import os
import absent_of_a_test as tf
import absent_of_a_test.keras.backend as K
from absent_of_a_test import layers
from musket_core import datasets, context, image_datasets, utils, visualization
from musket_core.download_callbacks import after_download
from musket_core.generic import parse
import helper_of_a_test
try:
    import another_absent_of_a_test
except ImportError:
    another_absent_of_a_test = None

p = context.get_current_project_data_path()
SIZE = tf.constant(3)


class Block(layers.Layer):
    def call(self, x):
        return x


@tf.function
def traced(x):
    return x


@after_download
def unpack():
    return os.path.exists(p)


@datasets.dataset_provider(origin="train.csv", kind="BinaryClassificationDataSet")
def getTrain():
    return image_datasets.BinaryClassificationDataSet(["images"], "train.csv", "id", "kind")


def where():
    return context.get_current_project_path(), p, helper_of_a_test.P


def parsed():
    return parse("name")


def backend():
    return K.epsilon()
"""
HELPER = """
from musket_core import context
P = context.get_current_project_data_path()
def used():
    return 3
"""


@pytest.fixture
def modules(tmp_path: Path) -> Iterator[Path]:
    folder = tmp_path / "modules"
    folder.mkdir()
    (folder / "data_of_a_test.py").write_text(DATA)
    (folder / "helper_of_a_test.py").write_text(HELPER)
    yield folder
    for name in ("data_of_a_test", "helper_of_a_test"):
        sys.modules.pop(name, None)
    sys.path.remove(str(folder))


def test_what_is_not_here_is_named_when_it_is_called(modules: Path) -> None:
    known = user_code.functions(modules, (), STAND_INS)
    for name, said in (
        ("traced", "absent_of_a_test.function: needs the module absent_of_a_test, which is not installed"),
        ("backend", "absent_of_a_test.keras.backend.epsilon: needs the module absent_of_a_test"),
        ("Block", "absent_of_a_test.layers.Layer: needs the module absent_of_a_test"),
        ("parsed", "musket_core.generic.parse: is not available in this version of mlpipe"),
    ):
        with pytest.raises(DataError, match=f"^{said}"):
            known[name]() if name != "traced" else known[name](3)
    assert known["used"]() == 3 and known["unpack"]() is False
    assert sys.modules["data_of_a_test"].another_absent_of_a_test is None
    assert "absent_of_a_test" not in sys.modules


def test_decorators_that_are_not_there_give_functions_back(modules: Path) -> None:
    marks = ("@datasets.dataset_visualizer\n", "@datasets.dataset_visualizer('name', kind=3)\n")
    text = "".join(f"{mark}def plain{number}(x):\n    return x + 1\n" for number, mark in enumerate(marks))
    (modules / "data_of_a_test.py").write_text(f"from musket_core import datasets\n{text}")
    known = user_code.functions(modules, (), STAND_INS)
    assert [known[f"plain{number}"](2) for number in range(2)] == [3, 3]


@pytest.mark.parametrize(("library", "own", "reason"), [
    ("import absent_of_a_test\n", "import library_for_tests as L\n", "No module named 'absent_of_a_test'"),
    ("import numpy\nnumpy.no_such_thing\n", "import library_for_tests as L\n", "AttributeError"),
    ("", "from library_for_tests import gone as L\n", "cannot import name 'gone'"),
    ("class x: pass\n", "from library_for_tests import gone, x\nL = gone if x.__module__ else 0\n", "cannot import name 'gone'"),
])  # fmt: skip
def test_a_library_that_does_not_load_is_named_when_it_is_called(
    modules: Path, tmp_path: Path, library: str, own: str, reason: str
) -> None:
    (tmp_path / "library_for_tests.py").write_text(library)
    (modules / "data_of_a_test.py").write_text(
        f"{own}def used_by_a_test():\n    return L()\ndef other():\n    return 4\n"
    )
    sys.path.append(str(tmp_path))
    try:
        known = user_code.functions(modules, (), STAND_INS)
        assert known["other"]() == 4
        with pytest.raises(DataError, match=f"cannot be imported from library_for_tests as it is .*{reason}"):
            known["used_by_a_test"]()
    finally:
        sys.path.remove(str(tmp_path))
        sys.modules.pop("library_for_tests", None)
    assert "library_for_tests.gone" not in sys.modules


@pytest.mark.parametrize("own", ["import numpy\nnumpy.no_such_thing\n", "from helper_of_a_test import gone\n"])
def test_a_projects_own_mistake_is_told_at_once(modules: Path, own: str) -> None:
    (modules / "data_of_a_test.py").write_text(own)
    with pytest.raises(DataError, match=r"data_of_a_test.py: cannot be imported"):
        user_code.functions(modules, (), STAND_INS)


def test_paths_in_a_function_are_below_the_data_of_its_project(
    modules: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    monkeypatch.chdir(elsewhere)
    (tmp_path / "data" / "images").mkdir(parents=True)
    for name, grey in (("a", 10), ("b", 200)):
        Image.fromarray(np.full((4, 4, 3), grey, np.uint8)).save(tmp_path / "data" / "images" / f"{name}.png")
    (tmp_path / "data" / "train.csv").write_text("id,kind\na,cat\nb,dog\n")
    known = user_code.functions(modules, (), STAND_INS)
    assert known["where"]() == (str(tmp_path), str(tmp_path / "data"), str(tmp_path / "data"))
    made = known["getTrain"]()
    assert [(int(made[row].x[0, 0, 0]), float(made[row].y[0])) for row in range(2)] == [(10, 0.0), (200, 1.0)]
