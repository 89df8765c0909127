"""Functions that make another data set: whether they are given it, or what they return is."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from mlpipe.data.items import DataSet
from mlpipe.data.sources.listings.set_changes import transformed_set


def with_default(ds: Any, parameter: str = "x") -> Any:
    return [*ds, parameter]


def all_defaults(ds: Any = None, parameter: str = "x") -> Any:
    return [*ds, parameter]


def annotated(whole: DataSet | None = None, parameter: str = "x") -> Any:
    return [*whole, parameter]  # type: ignore[misc]


annotated.__annotations__["whole"] = DataSet


def factory(parameter: str = "x") -> Callable[[Any], Any]:
    return lambda ds: [*ds, parameter]


def factory_with_more(parameter: str = "x", times: int = 1) -> Callable[[Any], Any]:
    return lambda ds: [*ds, *[parameter] * times]


@pytest.mark.parametrize("function", [with_default, all_defaults, annotated, factory, factory_with_more])
@pytest.mark.parametrize(("given", "expected"), [({"parameter": "test"}, "test"), ({}, "x")])
def test_defaults_do_not_change_who_is_given_the_set(function: Any, given: dict[str, Any], expected: str) -> None:
    entry = {"call": "f", "arguments": given}
    assert transformed_set("augmenter", entry, [1, 2], {"f": function}) == [1, 2, expected]
