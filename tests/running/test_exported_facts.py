"""What a file says of its table: columns, decisions and lists of classes, as the tables of the project have them."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from mlpipe import kinds
from mlpipe.data.preprocessing import Preprocessing
from mlpipe.post import threshold
from mlpipe.running import exported_facts

NAMES = ("a", "b", "c")
RNG = np.random.default_rng(0)
ROWS = RNG.dirichlet([1, 1, 1], 200)


def said(kind: str, decide: dict[str, Any]) -> dict[str, Any]:
    return exported_facts._decisions(decide, NAMES, kinds.of(kind))


def test_costs_decide_for_the_cheapest_class() -> None:
    costs = [[0.0, 1.0, 4.0], [5.0, 0.0, 1.0], [1.0, 1.0, 0.0]]
    found = said("classification", {"costs": {"table": costs}})
    assert found["costs"] == costs and found["lists"] == {}
    chosen = (ROWS @ np.array(found["choices"]["decision"])).argmax(1)
    np.testing.assert_array_equal(chosen, (ROWS @ np.array(costs)).argmin(1))


def test_thresholds_decide_as_those_of_the_project_do() -> None:
    stored = {"cuts": {"a": 0.2, "b": None, "c": 0.6}, "prevalence": [0.3, 0.3, 0.4]}
    found = said("classification", {"thresholds": stored})
    assert found["cuts"] == [0.2, 0.5, 0.6] and found["costs"] is None
    chosen = (ROWS @ np.array(found["choices"]["decision"])).argmax(1)
    wanted = threshold.decide_by_cuts(np.log(ROWS), [0.2, None, 0.6], np.array([0.3, 0.3, 0.4]))
    np.testing.assert_array_equal(chosen, wanted)
    # Thresholds that reach a sensitivity are used as they are.
    found = said("classification", {"thresholds": {"cuts": stored["cuts"], "positive": "a"}})
    chosen = (ROWS @ np.array(found["choices"]["decision"])).argmax(1)
    np.testing.assert_array_equal(chosen, threshold.decide_by_cuts(np.log(ROWS), [0.2, None, 0.6], None))
    # Thresholds without a prevalence, and a kind without classes, decide nothing.
    assert said("classification", {"thresholds": {"cuts": {"a": 0.2}}})["choices"] == {}
    assert said("multilabel", {"thresholds": stored})["choices"] == {}


def test_sets_hold_what_is_not_below_one_less_their_cut_off() -> None:
    sets = {"score": "lac", "cuts": [0.7, None, 0.4]}
    assert said("classification", {"sets": sets})["lists"] == {"set": [pytest.approx(0.3), 0.0, pytest.approx(0.6)]}
    assert said("classification", {"sets": {**sets, "score": "aps"}})["lists"] == {}


def test_a_label_holds_beyond_its_threshold_and_not_on_it() -> None:
    (least,) = said("multilabel", {"thresholds": {"cuts": {"a": 0.25}}})["lists"].values()
    for place, cut in enumerate((0.25, 0.5, 0.5)):
        assert not cut >= least[place] and np.nextafter(cut, 1) >= least[place]


@pytest.mark.parametrize(
    ("kind", "columns"),
    [
        ("classification", ["p(a)", "p(b)", "p(c)"]),
        ("multilabel", ["p(a)", "p(b)", "p(c)"]),
        ("segmentation", ["share(a)", "share(b)", "share(c)"]),
        ("regression", ["a", "b", "b low", "b high", "c"]),
        ("detection", []),
        ("images", []),
    ],
)
def test_numbers_of_the_table(kind: str, columns: list[str]) -> None:
    found = said(kind, {"halfwidths": {"b": 1.5, "c": None}, "interval_alpha": 0.1})["numbers"]
    assert [name for name, _, _ in found] == columns
    assert all(NAMES[place] in name for name, place, _ in found)
    assert [shift for name, _, shift in found if name.startswith("b")] in ([], [0.0, -1.5, 1.5])


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({}, ""),
        ({"interpolation": "linear"}, "it resizes with Pillow, which has no preprocessing.interpolation=linear"),
        ({"interpolation": "linear", "any_size": True}, ""),
        ({"interpolation": "linear", "size": None}, ""),
        ({"interpolation": "nearest"}, ""),
        ({"channels": 4}, "it reads images of 1 or 3 channels, and the task's have 4"),
        ({"dtype": "uint16"}, "it reads images of 8 bit, and the task's are uint16"),
        ({"source": {"decoding": {"range": [0, 1]}}}, "it does not know values that become pixels by a range"),
        ({"source": {"decoding": {"background": "black"}}}, ""),
        ({"has_arrays": True}, "it reads images, and the samples are arrays"),
    ],
)
def test_a_program_lies_beside_a_file_where_it_makes_the_same_of_images(changes: dict[str, Any], reason: str) -> None:
    given = {"interpolation": "bilinear", "channels": 3, "size": 8, "dtype": "uint8", "source": {}} | changes
    before = Preprocessing("x", given["channels"], given["size"], "squash", interpolation=given["interpolation"])
    predictor: Any = SimpleNamespace(
        has_arrays=given.get("has_arrays", False),
        pivot=SimpleNamespace(dtype=given["dtype"], bases=(), source=given["source"]),
        stored=SimpleNamespace(records=[SimpleNamespace(id="one")]),
        preprocessing=lambda name: before,
    )
    told = exported_facts.without_program(predictor, given.get("any_size", False))
    assert told.startswith(reason) and bool(told) == bool(reason)
