"""The section for clinicians: what it says of a class is counted by hand here, and moves with the prevalence."""

from __future__ import annotations

import dataclasses
import re

import numpy as np
import pytest

from mlpipe import kinds
from mlpipe.reports.facts import TaskFacts
from mlpipe.reports.sections.parts import Section
from tests.reports import projects


def sections(facts: TaskFacts) -> dict[str, Section]:
    made = [make(facts) for make in kinds.part(facts.kind, "report").SECTIONS]
    return {section.title: section for section in made if not section.is_empty}


def cells(section: Section) -> list[str]:
    text = "\n".join(str(part) for part in (*section.content, *section.below))
    return re.findall(r"<t[dh][^>]*>([^<]*)</t[dh]>", text)


def test_shares_are_those_of_the_rows(two_classes: TaskFacts) -> None:
    section = sections(two_classes)["Diagnosis of ill"]
    shown = two_classes.shown
    assert shown is not None and shown.rows is not None
    said, true = shown.rows.calibrated.argmax(axis=1) == 1, shown.rows.targets == 1
    expected = [(said & true).sum() / true.sum(), (~said & ~true).sum() / (~true).sum()]
    expected += [(said & true).sum() / said.sum(), (~said & ~true).sum() / (~said).sum()]
    found = [cell.split(" ")[0] for cell in cells(section) if re.fullmatch(r"[\d.]+ \([\d.]+ to [\d.]+\)", cell)]
    assert found == [f"{value:.2f}" for value in expected]
    text = str(section.content[0])
    assert f"{(said & true).sum()} of them are found and {(~said & true).sum()} missed" in text
    assert "Intervals take the images of a group together." in text
    names = [plot.name for plot in section.plots]
    assert names == ["t_predictive_values", "t_decision_curve"]
    share, chances = true.mean(), 1 / (1 + np.exp(shown.rows.calibrated @ np.array([1.0, -1.0])))
    for cut, benefit, *_, everybody in section.plots[1].rows[::20]:
        acts = chances >= cut
        odds = cut / (1 - cut)
        assert benefit == pytest.approx(((acts & true).sum() - (acts & ~true).sum() * odds) / len(true))
        assert everybody == pytest.approx(share - (1 - share) * odds)


def test_the_class_that_is_asked_for(two_classes: TaskFacts) -> None:
    assert two_classes.positive == "ill"
    assert "Diagnosis of healthy" in sections(dataclasses.replace(two_classes, positive="healthy"))
    assert not [title for title in sections(dataclasses.replace(two_classes, positive="")) if "Diagnosis" in title]


def test_other_prevalences_carry_their_intervals(two_classes: TaskFacts) -> None:
    among = {"values": [0.8, 0.2], "low": [0.6, 0.1], "high": [0.9, 0.4]}
    decide = {"at_deploy_prior": {"prior": [9, 1], "accuracy": 0.5, "nll": 0.5}, "prevalence": {"unlabelled": among}}
    stored = projects.ensemble(two_classes.project, classes=["healthy", "ill"], decide=decide)
    assert two_classes.shown is not None and two_classes.shown.test is not None
    test = two_classes.shown.test
    some_wrong = np.where(np.arange(len(test))[:, None] % 4 == 0, -test.calibrated, test.calibrated)
    rows = dataclasses.replace(test, calibrated=some_wrong)
    shown = dataclasses.replace(two_classes.shown, ensemble=stored, test=rows)
    found = cells(sections(dataclasses.replace(two_classes, shown=shown))["Diagnosis of ill"])
    assert "where 10 % are positive" in found and "among the unlabelled images, 20.0 % (10.0 % to 40.0 %)" in found
    row = found[found.index("positive predictive value") + 1 :][:3]
    here, known, unsure = ([float(one) for one in re.findall(r"[\d.]+", cell)] for cell in row)
    # A rarer illness makes its sign worth less, and an unsure prevalence makes that less sure.
    assert known[0] < unsure[0] < here[0] and unsure[2] - unsure[1] > known[2] - known[1]


def test_labels_and_their_thresholds() -> None:
    from mlpipe.reports.facts import Rows, Shown

    outputs, targets = np.array([[0.4], [-0.4], [2.0], [1.0]]), np.array([[1.0], [0.0], [np.nan], [0.0]])
    rows = Rows(list("abcd"), targets, outputs, outputs)
    asked = kinds.part("multilabel", "report")._label(Shown("x", None, "", None, rows), rows, 0)
    assert asked.ids == ["a", "b", "d"] and asked.true.tolist() == [True, False, False]
    assert asked.said.tolist() == [True, False, True]


def test_risk_of_the_surest(two_classes: TaskFacts) -> None:
    section = sections(two_classes)["Certainty"]
    assert two_classes.shown is not None and two_classes.shown.rows is not None
    rows = two_classes.shown.rows
    wrong = (rows.calibrated.argmax(axis=1) != rows.targets).mean()
    coverage, risk = section.plots[0].rows[-1]
    assert coverage == 1 and risk == pytest.approx(wrong)
