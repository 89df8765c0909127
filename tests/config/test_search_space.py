"""Search spaces: what Hydra's sweep grammar means, against Hydra's and Python's own counting."""

from __future__ import annotations

import pytest

from mlpipe.config import search_space
from mlpipe.config.search_space import Parameter
from mlpipe.errors import ConfigError


def space_of(*texts: str) -> dict[str, Parameter]:
    _, space, found = search_space.split(texts)
    assert found == []
    return space


def test_what_is_fixed_and_what_is_searched() -> None:
    texts = ["loss=ce,focal", "optimizer.lr=0.1", "cbs=[early],[swa]", "a.b=choice(1,2.5,true,x)", "proj=PROJ#3"]
    fixed, space, found = search_space.split(texts)
    assert (fixed, found) == (["optimizer.lr=0.1", "proj=PROJ#3"], [])
    assert space["loss"].choices == ("ce", "focal")
    assert space["callbacks"].choices == ("[early]", "[swa]")
    assert space["a.b"].choices == (1, 2.5, True, "x")


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ("range(1,9)", tuple(range(1, 9))),
        ("range(1,10,3)", tuple(range(1, 10, 3))),
        ("range(4)", tuple(range(4))),
        ("choice(16,32)", (16, 32)),
        ("int(interval(2,5))", (2, 3, 4, 5)),
    ],
)
def test_values_are_those_of_python(text: str, values: tuple[int, ...]) -> None:
    found = space_of(f"x={text}")["x"].values()
    assert found == values and all(type(value) is int for value in found)


def test_ranges_of_numbers_leave_the_end_out() -> None:
    assert space_of("x=range(0,1,0.1)")["x"].values() == pytest.approx([index / 10 for index in range(10)])


def test_intervals() -> None:
    assert space_of("x=tag(log,interval(1e-5,1e-2))")["x"] == Parameter(low=1e-5, high=1e-2, log=True)
    assert space_of("x=interval(1,9)")["x"] == Parameter(low=1, high=9)
    assert space_of("x=tag(log,int(interval(1,9)))")["x"].whole


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("x=interval(2,1)", "the least number must come first"),
        ("x=tag(log,interval(0,1))", "a logarithm needs numbers above 0"),
        ("x=tag(lag,interval(1,2))", "only the tag log is known"),
        ("x=glob(*)", "is no space to search"),
    ],
)
def test_what_is_no_space(text: str, sentence: str) -> None:
    _, _, (found,) = search_space.split([text])
    assert found.startswith(f"x: {sentence}")


def test_files_and_mappings_mean_the_same_as_overrides() -> None:
    same = space_of("x=tag(log,interval(1e-5,1e-2))", "y=1,2")
    params = {"x": "tag(log, interval(1e-5, 1e-2))", "y": [1, 2]}
    assert search_space.read(params) == (same, [])
    assert space_of("search_space.params={x:tag(log,interval(1e-5,1e-2)),y:[1,2]}") == same
    assert space_of("search_space.params={x:'tag(log,interval(1e-5,1e-2))',y:'1,2'}") == same
    assert "is no space to search, got 3" in search_space.read({"x": 3})[1][0]
    assert "must be a mapping" in search_space.read([1])[1][0]


def test_values_go_back_to_overrides_that_hydra_reads_alike() -> None:
    values: dict[str, search_space.Value] = {"a": 1e-05, "b": True, "c": None, "d": "[early,swa]", "e": 3}
    assert search_space.overrides(values) == ["a=1e-05", "b=true", "c=null", "d=[early,swa]", "e=3"]


def test_corners_hold_every_choice_and_both_ends() -> None:
    space = space_of("a=1,2,3", "b=interval(0,1)")
    corners = search_space.corners(space)
    assert len(corners) == 3
    assert {corner["a"] for corner in corners} == {1, 2, 3} and {corner["b"] for corner in corners} == {0.0, 1.0}
    assert len(search_space.points(space_of("a=1,2,3", "b=range(2)"))) == 6
    with pytest.raises(ConfigError, match="b: an interval has no grid"):
        search_space.points(space)


def test_what_cannot_be_searched() -> None:
    assert "there is nothing to search" in search_space.fixed_key_problems({})[0]
    (found,) = search_space.fixed_key_problems(space_of("hpo.trials=1,2", "optimizer.lr=1,2"))
    assert found.startswith("hpo.trials: cannot be searched")
