"""Chains of a Musket file: whether they make several images of one."""

from __future__ import annotations

from typing import Any

import pytest

from mlpipe.dialects.musket.sections.chains import gives_several

SPLIT = {"call": "split-preprocessor", "arguments": [[], []]}
JOINED = {"call": "split-concat-preprocessor", "arguments": [[], []]}
OWN = {"call": "own"}


@pytest.mark.parametrize(
    ("chain", "several"),
    [
        ([OWN], False),
        ([SPLIT], True),
        ([SPLIT, {"call": "cache"}], True),
        ([SPLIT, {"call": "transform-preprocessor", "arguments": [[]]}], True),
        ([SPLIT, OWN], None),
        ([SPLIT, OWN, {"call": "cache"}, OWN], None),
        ([SPLIT, OWN, JOINED], False),
        ([SPLIT, OWN, SPLIT], True),
        ([{"call": "seq-preprocessor", "arguments": [SPLIT, OWN]}], None),
        ([{"call": "cache", "arguments": {"name": "a"}}, {"call": "cache", "arguments": {"inputs": ["a", "a"]}}], True),
        ([{"call": "own", "arguments": {"inputs": ["a", "b"]}}], None),
    ],
)
def test_what_only_a_function_can_say_is_left_open(chain: list[dict[str, Any]], several: bool | None) -> None:
    assert gives_several(chain) is several
