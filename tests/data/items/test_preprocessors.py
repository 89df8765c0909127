"""Chains over items: against plain loops, and caches that notice what changed."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mlpipe.data import items
from mlpipe.data.items import PredictionItem
from mlpipe.data.items.derived_sets import CompositeDataSet, SubDataSet
from mlpipe.data.items.preprocessors import Chain
from mlpipe.errors import DataError


class Numbers:
    """Items whose x is their number."""

    classes = ("even", "odd")

    def __init__(self, count: int, start: int = 0) -> None:
        self.count, self.start, self.reads = count, start, 0

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, item: int) -> PredictionItem:
        self.reads += 1
        number = item + self.start
        return PredictionItem(f"n{number}", np.full((2, 2, 1), number, np.uint8), np.array([number % 2]))

    def isPositive(self, item: int) -> bool:  # noqa: N802
        return item % 2 == 1


def plus(x: Any, by: int = 1) -> Any:
    return x + by


def renamed(item: PredictionItem) -> PredictionItem:
    return PredictionItem(f"new {item.id}", item.x, 1 - item.y)


class Times:
    def __init__(self, by: int) -> None:
        self.by = by

    def __call__(self, x: Any) -> Any:
        return x * self.by


def doubled_in_place(x: Any) -> Any:
    for part in x if isinstance(x, list) else [x]:
        part *= 2
    return x


def changed_in_place(item: PredictionItem) -> PredictionItem:
    item.x += 1
    item.y[0] = 9
    return item


@items.dataset_transformer
def first(data_set: Any, count: int) -> Any:
    return SubDataSet(data_set, range(count))


def broken(x: Any) -> Any:
    raise RuntimeError("not this one")


FUNCTIONS = {one.__name__: one for one in (plus, renamed, doubled_in_place, changed_in_place, Times, first, broken)}


def chain(folder: Path | None = None, code: str = "a", functions: dict[str, Callable[..., Any]] | None = None) -> Chain:
    return Chain(functions or FUNCTIONS, code, folder)


def test_functions_classes_and_transformers() -> None:
    steps = [
        {"call": "plus", "arguments": {"by": 3}},
        {"call": "Times", "arguments": [2]},
        {"call": "renamed"},
        {"call": "first", "arguments": {"count": 4}},
        {"call": "cache"},
    ]
    source = Numbers(6)
    made = chain().applied(steps, source)
    assert len(made) == 4 and made.classes == ("even", "odd") and made.isPositive(3) is True
    item = made[3]
    assert (item.id, item.x.max(), item.y.tolist()) == ("new n3", 12, [0])
    assert item.original().id == "n3" and item.rootItem().x.max() == 3
    assert source.reads == 1 and made[3] is item and source.reads == 1


def test_branches_are_lists_or_joined_along_the_last_axis() -> None:
    branches = [[{"call": "plus"}], [{"call": "pass"}]]
    split = chain().applied([{"call": "split-preprocessor", "arguments": branches}], Numbers(3))
    assert [one.max() for one in split[2].x] == [3, 2] and split[2].id == "n2"
    joined = chain().applied([{"call": "split-concat-preprocessor", "arguments": branches}], Numbers(3))
    assert joined[2].x.shape == (2, 2, 2) and joined[2].x[0, 0].tolist() == [3, 2]
    each = [
        {"call": "split-preprocessor", "arguments": branches},
        {"call": "transform-preprocessor", "arguments": branches},
    ]
    assert [one.max() for one in chain().applied(each, Numbers(3))[2].x] == [4, 2]


@pytest.mark.parametrize("name", ["doubled_in_place", "changed_in_place"])
def test_what_a_function_changes_in_place_is_no_others(name: str) -> None:
    steps: list[dict[str, Any]] = [{"call": "cache"}, {"call": name}]
    made = chain().applied(steps, Numbers(4))
    for _ in range(2):
        item = made[3]
        assert item.x.max() == (6 if name == "doubled_in_place" else 4)
        # What it was made of is as it was, and the chain of these ends.
        assert (item.original().x.max(), item.rootItem().y.tolist()) == (3, [1])
    branches = [[{"call": name}], [{"call": "pass"}]]
    split = [steps[0], {"call": "split-preprocessor", "arguments": branches}]
    assert chain().applied(split, Numbers(4))[3].x[1].max() == 3
    twice = chain().applied([*split, {"call": "cache"}, {"call": "doubled_in_place"}], Numbers(4))
    assert [[one.max() for one in twice[3].x] for _ in range(2)] == [[2 * made[3].x.max(), 6]] * 2


def test_a_named_step_is_an_input_of_a_later_one() -> None:
    steps: list[dict[str, Any]] = [
        {"call": "cache", "arguments": {"name": "plain"}},
        {"call": "plus"},
        {"call": "cache", "arguments": {"inputs": ["plain"]}},
        {"call": "plus", "arguments": {"by": 5}},
    ]
    assert chain().applied(steps, Numbers(3))[1].x.max() == 6


def test_a_step_of_the_users_own_may_have_a_name_and_inputs() -> None:
    steps: list[dict[str, Any]] = [
        {"call": "plus", "arguments": {"name": "a", "by": 10}},
        {"call": "Times", "arguments": {"name": "b", "by": 2}},
        {"call": "plus", "arguments": {"inputs": ["a"]}},
    ]
    assert chain().applied(steps[:2], Numbers(3))[1].x.max() == 22
    assert chain().applied(steps, Numbers(3))[1].x.max() == 12
    assert chain().applied([*steps, {"call": "cache", "arguments": {"inputs": "b"}}], Numbers(3))[1].x.max() == 22
    several = [*steps, {"call": "cache", "arguments": {"inputs": ["a", "b"]}}]
    assert [one.max() for one in chain().applied(several, Numbers(3))[1].x] == [11, 22]


def test_a_name_that_a_function_has_a_parameter_for_is_its_own() -> None:
    def called_so(x: Any, name: str) -> Any:
        return x + len(name)

    made = chain(functions={"called_so": called_so}).applied(
        [{"call": "called_so", "arguments": {"name": "four"}}], Numbers(2)
    )
    assert made[0].x.max() == 4


def test_what_is_on_disk_is_used_until_something_changes(tmp_path: Path) -> None:
    calls: list[int] = []

    def counted(x: Any, by: int = 1) -> Any:
        calls.append(by)
        return x + by

    def run(count: int = 3, start: int = 0, code: str = "a", by: int = 1) -> list[Any]:
        calls.clear()
        steps = [{"call": "counted", "arguments": {"by": by}}, {"call": "disk-cache"}]
        made = chain(tmp_path, code, {"counted": counted}).applied(steps, Numbers(count, start))
        return [(made[row].id, made[row].x.tolist(), made[row].y.tolist()) for row in range(len(made))]

    before = run()
    assert len(calls) == 3
    assert run() == before and not calls
    for changed in ({"start": 1}, {"code": "b"}, {"by": 2}, {"count": 2}):
        run(**changed)  # type: ignore[arg-type]
        assert calls, changed
    assert run() == before and not calls
    manifests = [json.loads(file.read_text()) for file in tmp_path.glob("*/manifest.json")]
    assert len(manifests) == 5 and {one["code"] for one in manifests} == {"a", "b"}


@pytest.mark.parametrize(
    ("step", "sentence"),
    [
        ({"call": "broken"}, r"broken fails \(RuntimeError: not this one\)"),
        ({"call": "plus", "arguments": {"of": 3}}, "plus fails"),
        ({"call": "plsu"}, "did you mean 'plus'"),
        ({"call": "cache", "arguments": {"inputs": ["nothing"]}}, "no step before it has this name, got 'nothing'"),
    ],
)
def test_what_cannot_be_applied(step: dict[str, Any], sentence: str) -> None:
    with pytest.raises(DataError, match=sentence):
        _ = chain().applied([step], Numbers(2))[0]


def test_a_failing_step_is_one_sentence_where_an_item_is_read() -> None:
    with pytest.raises(DataError, match="^task.preprocessing: broken fails") as caught:
        items.item_of(chain().applied([{"call": "broken"}], Numbers(2)), 0)
    assert "_Mapped" not in str(caught.value)


def test_sets_after_another() -> None:
    both = CompositeDataSet([Numbers(2), SubDataSet(Numbers(5, 10), [3, 0])])
    assert [item.id for item in both] == ["n0", "n1", "n13", "n10"]
    assert [both.isPositive(row) for row in range(4)] == [False, True, True, False]
    with pytest.raises(AttributeError):
        _ = both.sample_weight


def test_parts_of_a_split_are_kept_apart_on_disk(tmp_path: Path) -> None:
    split = {"call": "split-preprocessor", "arguments": [[{"call": "plus"}], [{"call": "pass"}]]}
    each = {"call": "transform-preprocessor", "arguments": [[{"call": "disk-cache"}], [{"call": "disk-cache"}]]}
    for _ in range(2):
        assert [one.max() for one in chain(tmp_path).applied([split, each], Numbers(3))[2].x] == [3, 2]
