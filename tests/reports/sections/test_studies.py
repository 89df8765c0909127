"""Searches of a task: their best trials, what mattered, and slices; a study that cannot be read is told of."""

from __future__ import annotations

import optuna
import pytest

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
