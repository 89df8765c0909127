"""Advice for many faults: a near name is looked for where somebody reads it."""

from __future__ import annotations

import pytest

from mlpipe.data.sources import error_lists
from mlpipe.data.sources.error_lists import ManyFaults, advice, raise_some


def test_a_near_name_is_looked_for_as_often_as_faults_are_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    looked: list[str] = []
    monkeypatch.setattr(error_lists, "did_you_mean", lambda word, options, *, otherwise: looked.append(word) or "near")
    faults: list[str] = []
    for number in range(50):
        faults.append(advice(faults, f"word{number}", ["a", "b"], otherwise="the classes are a, b"))
    assert looked == [f"word{number}" for number in range(10)]
    assert faults == ["near"] * 10 + ["the classes are a, b"] * 40
    with pytest.raises(ManyFaults) as refused:
        raise_some(faults)
    assert list(refused.value.problems) == ["near"] * 10 + ["and 40 more like these"]
