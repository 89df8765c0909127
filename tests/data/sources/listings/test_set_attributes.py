"""What data sets say beside their items, and attributes of the same names that mean something else."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest

from mlpipe.data import sources
from mlpipe.data.items.derived_sets import CompositeDataSet, SubDataSet
from mlpipe.data.sources.listings import set_attributes, set_changes
from mlpipe.data.sources.listings.set_attributes import Words
from mlpipe.errors import DataError
from tests import musket_project

NOTHING = Words((), {}, frozenset())


def function(*given: Any) -> None: ...


@pytest.mark.parametrize(
    "value", [None, 4, 2.5, True, "cats", b"cats", function, {"a"}, object(), np.array(3), int, {}]
)
@pytest.mark.parametrize("name", ["classes", "folds", "holdoutArr"])
def test_what_cannot_be_meant_is_as_if_it_were_not_there(name: str, value: Any) -> None:
    assert set_attributes.of(SimpleNamespace(**{name: value})) == NOTHING


@pytest.mark.parametrize("value", [["a", "b"], ("a", "b"), np.array(["a", "b"]), pd.Index(["a", "b"])])
def test_classes_are_a_list_of_names(value: Any) -> None:
    assert set_attributes.of(SimpleNamespace(classes=value)) == Words(("a", "b"), {}, frozenset())
    assert set_attributes.of(SimpleNamespace(classes=range(2))).classes == ("0", "1")


@pytest.mark.parametrize(("value", "folds"), [
    ([([0, 1], [2, 3]), ([2, 3], [0, 1])], {2: 0, 3: 0, 0: 1, 1: 1}),
    (np.array([[[0, 1], [2, 3]], [[2, 3], [0, 1]]]), {}),
    ([(np.array([0]), np.array([1]))], {1: 0}),
    ([(np.array([0.0]), np.array([1.0]))], {}),
    ([0, 1, 0, 1], {}),
    ([([0], [1]), 3], {}),
    ([([0],)], {}),
    ([([0], "12")], {}),
])  # fmt: skip
def test_folds_are_pairs_of_lists_of_item_numbers(value: Any, folds: dict[int, int]) -> None:
    assert dict(set_attributes.of(SimpleNamespace(folds=value)).folds) == folds


@pytest.mark.parametrize(("value", "held"), [
    ([1, 2], {1, 2}), (np.array([1, 2]), {1, 2}), ({1, 2}, {1, 2}), (["a"], set()), ([True, False], set()), ([0.5], set()),
])  # fmt: skip
def test_a_holdout_is_a_list_of_item_numbers(value: Any, held: set[int]) -> None:
    assert set_attributes.of(SimpleNamespace(holdoutArr=value)).holdout == held


def test_what_is_asked_of_an_item_is_a_method() -> None:
    assert set_attributes.asked(SimpleNamespace(sample_weight=lambda item: item / 2), "sample_weight", 3, float) == 1.5
    for value in (None, 4, [1.0, 2.0], "x"):
        assert set_attributes.asked(SimpleNamespace(sample_weight=value), "sample_weight", 3, float) is None
        made = SubDataSet(SimpleNamespace(sample_weight=value), [0])
        assert set_attributes.asked(made, "sample_weight", 0, float) is None
        assert set_attributes.of(CompositeDataSet([_Sized(value), _Sized(value)])) == NOTHING
    for method in (lambda: 1.0, lambda item: None, lambda item: "x"):
        with pytest.raises(DataError, match=r"item 3 of SimpleNamespace: sample_weight fails \((Type|Value)Error"):
            set_attributes.asked(SimpleNamespace(sample_weight=method), "sample_weight", 3, float)


class _Sized:
    def __init__(self, classes: Any) -> None:
        self.classes = classes if not isinstance(classes, list) else 4

    def __len__(self) -> int:
        return 2


def test_a_property_that_fails_is_told() -> None:
    class Broken:
        @property
        def classes(self) -> list[str]:
            raise RuntimeError("not yet")

    with pytest.raises(DataError, match=r"Broken: classes fails \(RuntimeError: not yet\)"):
        set_attributes.of(Broken())


CLASHES = """

class Clash(Shapes):
    classes, folds, labels, holdoutArr, sample_weight, isPositive, get_stratify_class = 4, 3, 2, 1, 0.5, True, None
    name, targets, weights, groups = 1, 2, 3, 4


def getClash(count):
    return Clash(count, 0)


def brighter(x):
    return x
"""


@pytest.mark.parametrize("chain", [[], [{"call": "brighter"}, {"call": "cache"}]])
@pytest.mark.parametrize("holdout", [None, {"fraction": 0.25}])
def test_numbers_under_the_names_of_the_contract_are_ignored(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, chain: list[Any], holdout: Any
) -> None:
    musket_project.make(tmp_path)
    module = tmp_path / "modules" / "shapes_of_a_test.py"
    module.write_text(module.read_text() + CLASHES)
    monkeypatch.chdir(tmp_path)
    train = [{"call": "getClash", "arguments": [8]}]
    found = sources.items(
        train=train, kind="classification", modules=str(module.parent), stand_ins=["musket_core"], preprocessing=chain,
        holdout=holdout, outputs=2,
    )  # fmt: skip
    assert found.classes == ("0", "1") and len(found.samples) == 8
    assert found.samples.positives is None and found.samples.weights is None


def doubled(ds: Any, parameter: str = "x", *, more: int = 1) -> list[Any]:
    return [*ds, *ds, parameter, more]


class Doubling:
    def __init__(self, parameter: str, more: int = 1) -> None:
        self.parameter, self.more = parameter, more

    def __call__(self, ds: Any) -> list[Any]:
        return doubled(ds, self.parameter, more=self.more)


class Doubled(list[Any]):
    def __init__(self, ds: Any, parameter: str = "x", more: int = 1) -> None:
        super().__init__(doubled(ds, parameter, more=more))


def doubling(parameter: str = "x", more: int = 1) -> Any:
    return lambda ds: doubled(ds, parameter, more=more)


@pytest.mark.parametrize("one", [doubled, Doubling, Doubled, doubling])
@pytest.mark.parametrize("given", [{"parameter": "x"}, {"parameter": "x", "more": 1}])
def test_an_augmenter_takes_the_set_or_gives_what_does(one: Any, given: dict[str, Any]) -> None:
    entry = {"call": "f", "arguments": given}
    assert list(set_changes.transformed_set("augmenter", entry, [1, 2], {"f": one})) == [1, 2, 1, 2, "x", 1]


def test_an_augmenter_that_fails_is_named_by_its_key() -> None:
    with pytest.raises(DataError, match=r"^task\.augmenter: f fails \(TypeError: .*'other'"):
        set_changes.transformed_set("augmenter", {"call": "f", "arguments": {"other": 1}}, [1], {"f": doubled})
