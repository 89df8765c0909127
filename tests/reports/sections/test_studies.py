"""Searches of a task: their best trials, what mattered, and slices; a study that cannot be read is told of."""

from __future__ import annotations

import json
from collections.abc import Sequence

import optuna
import pytest

from mlpipe.reports import studies as told
from mlpipe.reports.facts import TaskFacts
from mlpipe.reports.sections import studies
from mlpipe.runs import studies as stored


def test_the_search_of_a_task(two_classes: TaskFacts) -> None:
    run = two_classes.recipes["recipe0"][0].run
    with stored.opened(two_classes.project, "s", None) as storage:
        study = optuna.create_study(study_name="s", storage=storage, direction="maximize")
        study.set_user_attr(stored.METRICS, ["accuracy"])
        for lr, act, value in ((0.1, "relu", 0.5), (0.01, "gelu", 0.9), (0.001, "relu", 0.6), (1.0, "gelu", 0.2)):
            space = {
                "optimizer.lr": optuna.distributions.FloatDistribution(1e-4, 1.0, log=True),
                "act": optuna.distributions.CategoricalDistribution(["relu", "gelu"]),
            }
            trial = optuna.trial.create_trial(
                params={"optimizer.lr": lr, "act": act}, distributions=space, value=value, user_attrs={stored.RUN: run}
            )
            study.add_trial(trial)
    section = studies.studies(two_classes)
    by_name = {plot.name.removeprefix("t_study_s_"): plot for plot in section.plots}
    assert {"history", "importance", "slice_act", "slice_optimizer.lr"} <= set(by_name)
    assert [row[2] for row in by_name["history"].rows] == pytest.approx([0.5, 0.9, 0.9, 0.9])
    assert sum(row[1] for row in by_name["importance"].rows) == pytest.approx(1, abs=1e-3)
    assert sorted(row[0] for row in by_name["slice_optimizer.lr"].rows) == [0.001, 0.01, 0.1, 1.0]
    text = str(section.body())
    assert "4 complete; best: trial 1." in text and "0.9000" in text
    stored.journal_file(two_classes.project, "s").unlink()
    assert studies.studies(two_classes).is_empty


def add_study(facts: TaskFacts, name: str, values: Sequence[float], run: str) -> None:
    with stored.opened(facts.project, name, None) as storage:
        study = optuna.create_study(study_name=name, storage=storage, direction="maximize")
        study.set_user_attr(stored.METRICS, ["accuracy"])
        for value in values:
            study.add_trial(optuna.trial.create_trial(value=value, user_attrs={stored.RUN: run}))


def test_trials_that_are_all_alike_have_a_table_and_no_plot(two_classes: TaskFacts) -> None:
    add_study(two_classes, "alike", [0.5] * 5, two_classes.recipes["recipe0"][0].run)
    section = studies.studies(two_classes)
    assert "Study alike: 5 complete; best: none, all 5 trials have accuracy 0.5000." in str(section.body())
    assert not section.plots
    stored.journal_file(two_classes.project, "alike").unlink()


def test_a_study_that_cannot_be_read_is_told_of_and_hides_no_other(two_classes: TaskFacts) -> None:
    run = two_classes.recipes["recipe0"][0].run
    add_study(two_classes, "good", [0.5, 0.75], run)
    torn = stored.journal_file(two_classes.project, "bad<b>")
    torn.write_text("[1, 2]\n")
    # A trial that has ended and has no value, as no search writes it.
    empty = stored.journal_file(two_classes.project, "empty")
    lines = stored.journal_file(two_classes.project, "good").read_text().replace("good", "empty").splitlines()
    entries = [json.loads(line) for line in lines]
    (ended,) = [entry for entry in entries if 0.5 in (entry.get("value"), *(entry.get("values") or ()))]
    ended |= {"value": None, "values": []}
    empty.write_text("".join(f"{json.dumps(entry)}\n" for entry in entries))
    section = studies.studies(two_classes)
    text = str(section.body())
    assert "The study bad&lt;b&gt; cannot be read: " in text and "<b>" not in text
    assert "The study empty cannot be read: " in text and "trial 0 has ended, and its values are []" in text
    assert "Study good: 2 complete; best: trial 1." in text
    assert {plot.name for plot in section.plots} == {"t_study_good_history"}
    for name in ("good", "bad<b>", "empty"):
        stored.journal_file(two_classes.project, name).unlink()


def test_only_so_many_studies_are_drawn_and_those_of_other_runs_are_not(
    two_classes: TaskFacts, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = two_classes.recipes["recipe0"][0].run
    for name in ("a", "b", "c"):
        add_study(two_classes, name, [0.5, 0.75], run)
    add_study(two_classes, "other", [0.5, 0.75], "2001-01-01/00-00-00-0000")
    assert [plot.name for plot in studies.studies(two_classes).plots] == [f"t_study_{name}_history" for name in "abc"]
    monkeypatch.setattr(studies, "_STUDIES", 1)
    monkeypatch.setattr(studies, "_SLICES", -1)
    assert [plot.name for plot in studies.studies(two_classes).plots] == ["t_study_a_history"]
    for name in ("a", "b", "c", "other"):
        stored.journal_file(two_classes.project, name).unlink()


def test_the_best_so_far_of_many_trials_takes_no_square_of_them(
    two_classes: TaskFacts, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(told, "_MOST", 5)
    add_study(two_classes, "many", [0.1, 0.3, 0.2, 0.5, 0.4, 0.6, 0.2], two_classes.recipes["recipe0"][0].run)
    (plot,) = studies.studies(two_classes).plots
    # The table has all of them, the drawing five in equal steps.
    assert [row[2] for row in plot.rows] == [0.1, 0.3, 0.3, 0.5, 0.5, 0.6, 0.6]
    assert len(plot.figure.axes[0].collections[0].get_offsets()) == 5
    stored.journal_file(two_classes.project, "many").unlink()
