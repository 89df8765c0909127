"""What a study's report says, against Optuna's own numbers."""

from __future__ import annotations

from pathlib import Path

import optuna
import pandas as pd
import pytest

from mlpipe import limits
from mlpipe.reports import studies
from mlpipe.reports.sections.studies import _sentence
from mlpipe.runs.project import Project


def study_of(count: int) -> optuna.Study:
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    study = optuna.create_study(study_name="s", sampler=optuna.samplers.RandomSampler(seed=0))
    study.optimize(lambda trial: _value(trial), n_trials=count)
    return study


def _value(trial: optuna.Trial) -> float:
    return trial.suggest_float("x", 1e-4, 1, log=True) + 0.001 * trial.suggest_int("n", 1, 3)


def test_facts_text_and_files(tmp_path: Path) -> None:
    study = study_of(12)
    failing = study.ask()
    failing.set_user_attr("error", "the loss is nan")
    study.tell(failing, state=optuna.trial.TrialState.FAIL)
    told = studies.facts(study, "here")
    assert told["states"] == {"complete": 12, "fail": 1}
    assert told["best"][0]["values"] == study.best_trial.values
    assert max(told["importance"], key=lambda key: told["importance"][key]) == "x"
    assert sum(told["importance"].values()) == pytest.approx(1, abs=1e-3)
    shown = studies.as_text(told)
    assert f"best: trial {study.best_trial.number}" in shown
    assert "trial 12 failed: the loss is nan" in shown
    assert "and 2 more" in shown
    table, *pictures = studies.write(told, Project(tmp_path))
    frame = pd.read_csv(table)
    assert frame["state"].value_counts().to_dict() == {"complete": 12, "fail": 1}
    assert frame["value 0"].min() == pytest.approx(study.best_value)
    assert len(pictures) == 2 and all(path.read_bytes()[:4] == b"\x89PNG" for path in pictures)


def test_few_trials_have_no_importance(tmp_path: Path) -> None:
    assert studies.importance(study_of(2)) == {}
    empty = optuna.create_study(study_name="s")
    told = studies.facts(empty, "here")
    assert "no trials" in studies.as_text(told)
    assert [path.suffix for path in studies.write(told, Project(tmp_path))] == [".csv"]


def test_of_many_trials_some_are_drawn_and_weighed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(studies, "_MOST", 5)
    assert studies.drawn(range(9)) == [0, 2, 4, 6, 8] and studies.drawn(range(5)) == [0, 1, 2, 3, 4]
    study = study_of(40)
    seen: list[int] = []
    evaluate = optuna.importance.FanovaImportanceEvaluator.evaluate
    monkeypatch.setattr(
        optuna.importance.FanovaImportanceEvaluator,
        "evaluate",
        lambda self, study, **more: (seen.append(len(study.trials)), evaluate(self, study, **more))[1],
    )
    assert sum(studies.importance(study).values()) == pytest.approx(1, abs=1e-3) and seen == [5]


def test_trials_that_are_too_many_for_a_front_have_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    study = optuna.create_study(study_name="s", directions=["maximize"] * 2)
    for number in range(4):
        study.add_trial(optuna.trial.create_trial(values=[number, number]))
    assert _sentence(studies.facts(study, "here")) == "Study s: 4 complete; best: trial 3."
    monkeypatch.setattr(limits, "STUDY_FRONT", 3)
    told = studies.facts(study, "here")
    assert _sentence(told) == "Study s: 4 complete; best: none, its 4 trials are too many to compare each with each."
    assert studies.as_text(told).endswith(": none, its 4 trials are too many to compare each with each")


@pytest.mark.parametrize(
    ("values", "best"),
    [
        ([0.25, 0.5, 0.5], "trials 1, 2, which have the same value 0 0.5000"),
        ([0.5, 0.5, 0.5], "none, all 3 trials have value 0 0.5000"),
        ([0.5], "trial 0"),
        ([], "none, no trial has ended"),
    ],
)
def test_trials_of_the_same_value_are_all_the_best_or_none_is(values: list[float], best: str) -> None:
    study = optuna.create_study(study_name="s", direction="maximize")
    for value in values:
        study.add_trial(optuna.trial.create_trial(value=value))
    told = studies.facts(study, "here")
    assert studies.best_in_words(told) == best
    assert not values or f"\nbest: {best}" in studies.as_text(told)
    assert studies.are_all_alike(told) == (values == [0.5, 0.5, 0.5])
