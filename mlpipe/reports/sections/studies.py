"""Searches of a task: their trials, the importance of parameters, and the score over each parameter."""

from __future__ import annotations

from itertools import accumulate
from typing import Any

from mlpipe.errors import MlpipeError, first_line
from mlpipe.post.figures import number, setting
from mlpipe.reports import studies as told
from mlpipe.reports.facts import TaskFacts
from mlpipe.reports.markup import Content, paragraph, table
from mlpipe.reports.plots import studies as plots
from mlpipe.reports.plots import style
from mlpipe.reports.sections.parts import Section
from mlpipe.runs import studies as stored

_SHOWN, _SLICES, _STUDIES = 10, 4, 3


def studies(facts: TaskFacts) -> Section:
    """The studies whose trials trained this task's models.

    Args:
        facts: The task.
    """
    runs = {record.run for folds in facts.recipes.values() for record in folds}
    parts, drawn = list[Content | None](), list[style.Plot]()
    for name in stored.names(facts.project):
        try:
            with stored.loaded(facts.project, name) as study:
                trials = study.get_trials(deepcopy=False)
                is_shown = len(drawn) < _STUDIES * (_SLICES + 2) and any(
                    str(trial.user_attrs.get(stored.RUN)) in runs for trial in trials
                )
                # The importance takes long, so it is computed only for a study that is shown.
                study_facts = told.facts(study, stored.masked(name)) if is_shown else None
        except MlpipeError as error:
            parts.append(paragraph(f"The study {name} cannot be read: {first_line(error)}."))
            continue
        if study_facts is not None:
            parts += [paragraph(_sentence(study_facts)), _table(study_facts)]
            drawn += _plots(facts, study_facts)
    return Section("Searches", parts, drawn, is_wide=True)


def _sentence(study_facts: dict[str, Any]) -> str:
    counts = ", ".join(f"{count} {state}" for state, count in sorted(study_facts["states"].items()))
    return f"Study {study_facts['study']}: {counts}; best: {told.best_in_words(study_facts)}."


def _ended_trials(study_facts: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the finished trials, the best by the first metric first."""
    trials = [row for row in study_facts["trials"] if row["state"] == "complete"]
    return sorted(trials, key=lambda row: row["values"][0], reverse=study_facts["directions"][0] != "minimize")


def _table(study_facts: dict[str, Any]) -> Content | None:
    trials = _ended_trials(study_facts)
    keys = list(dict.fromkeys(key for row in trials for key in row["params"]))
    rows = [
        [
            str(row["trial"]),
            *(number(value) for value in row["values"]),
            *(setting(row["params"].get(key, "")) for key in keys),
        ]
        for row in trials[:_SHOWN]
    ]
    title = "Trials" if len(trials) <= _SHOWN else f"The best {_SHOWN} trials"
    return table(f"{title} of {study_facts['study']}", ["trial", *study_facts["metrics"], *keys], rows)


def _plots(facts: TaskFacts, study_facts: dict[str, Any]) -> list[style.Plot]:
    rows = sorted(_ended_trials(study_facts), key=lambda row: row["trial"])
    # Plots of trials that are all alike would show nothing.
    if len(rows) < 2 or told.are_all_alike(study_facts):
        return []
    name, metric, is_less = (
        f"{facts.name}_study_{study_facts['study']}",
        study_facts["metrics"][0],
        study_facts["directions"][0] == "minimize",
    )
    values = [row["values"][0] for row in rows]
    better = min if is_less else max
    so_far = list(accumulate(values, better))
    history = list(zip([row["trial"] for row in rows], values, so_far, strict=True))
    drawn_trials, drawn_values, drawn_best = zip(*told.drawn(history), strict=True)
    figures = [
        style.Plot(
            f"{name}_history",
            plots.history(drawn_trials, drawn_values, drawn_best, metric),
            f"{metric} of the trials of {study_facts['study']}; the line is the best so far.",
            f"{len(rows)} trials; the best {metric} is {number(so_far[-1])}.",
            ["trial", metric, "best_so_far"],
            [list(row) for row in history],
        )
    ]
    importance = study_facts["importance"]
    if importance:
        most = next(iter(importance))
        figures.append(
            style.Plot(
                f"{name}_importance",
                plots.importance(importance),
                f"How much of the variance of {metric} each parameter explains (fANOVA, Hutter et al. 2014).",
                f"Most important is {most} with {number(importance[most])}.",
                ["parameter", "importance"],
                [list(pair) for pair in importance.items()],
            )
        )
    varied = [
        key for key in (importance or rows[0]["params"]) if len({str(row["params"].get(key)) for row in rows}) > 1
    ]
    for key in varied[:_SLICES]:
        pairs = [(row["params"][key], row["values"][0]) for row in rows if key in row["params"]]
        figures.append(
            style.Plot(
                f"{name}_slice_{key}",
                plots.slice_plot(told.drawn(pairs), key, metric),
                f"{metric} over {key}; a dot is a trial.",
                f"{metric} of {len(pairs)} trials over {key}.",
                [key, metric],
                [list(pair) for pair in pairs],
            )
        )
    return figures
