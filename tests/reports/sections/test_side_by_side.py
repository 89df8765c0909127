"""Recipes beside each other: their mean curves and what they differ in; nothing of a recipe alone."""

from __future__ import annotations

import dataclasses

import pytest

from mlpipe.reports.facts import TaskFacts
from mlpipe.reports.sections import side_by_side


def test_curves_and_differences(two_classes: TaskFacts) -> None:
    section = side_by_side.side_by_side(two_classes)
    (plot,) = section.plots
    assert {row[0] for row in plot.rows} == {"recipe0 net", "recipe1 net"}
    assert [row[2] for row in plot.rows[:3]] == pytest.approx([0.3, 0.4, 0.5])
    text = str(section.body())
    assert "<code>optimizer.lr</code>" in text and ">0.1<" in text and ">0.2<" in text


def test_a_recipe_alone_has_no_such_section(two_classes: TaskFacts) -> None:
    alone = {"recipe0": two_classes.recipes["recipe0"]}
    assert side_by_side.side_by_side(dataclasses.replace(two_classes, recipes=alone)).is_empty
