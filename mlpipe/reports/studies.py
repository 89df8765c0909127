"""Studies for people: trials, the best one, the importance of parameters, and plots of the search; as text, CSV and PNG."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from itertools import accumulate
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mlpipe import files
from mlpipe.config import objectives
from mlpipe.errors import listing
from mlpipe.post.figures import number, setting
from mlpipe.reports import tables
from mlpipe.runs import studies
from mlpipe.runs.project import Project

if TYPE_CHECKING:
    from optuna.study import Study
    from optuna.trial import FrozenTrial

_SHOWN = 10
_FEWEST = 4
# With more trials a sample is used for superlinear computations, and for plots with a line per trial.
_MOST = 1000


def facts(study: Study, address: str) -> dict[str, Any]:
    """Return the facts of a study, as plain data.

    Args:
        study: The study.
        address: Its storage address for display.
    """
    trials = [_trial(trial) for trial in study.get_trials(deepcopy=False)]
    finished_trials = studies.finished(study)
    best = studies.best_trials(study)
    mixed = mixed_losses(study)
    # Of trials that have ended some are best, unless they are too many to tell.
    uncompared = f"its {len(finished_trials):,} trials are too many to compare each with each"
    return {
        "study": study.study_name,
        "storage": address,
        "metrics": studies.metrics_of(study),
        "directions": [direction.name.lower() for direction in study.directions],
        "trials": trials,
        "states": {state: sum(row["state"] == state for row in trials) for state in {row["state"] for row in trials}},
        "best": [] if mixed else [_trial(trial) for trial in best],
        "importance": {} if mixed else importance(study),
        "note": mixed or (uncompared if finished_trials and not best else ""),
    }


def mixed_losses(study: Study) -> str:
    """Return why the values of a study's trials cannot be compared; empty if they can."""
    trials = studies.finished(study)
    names = [name for name in studies.metrics_of(study) if objectives.is_by_the_loss(name)]
    varied = objectives.of_loss(_varied(trials))
    return (
        f"its trials have different losses ({listing(varied)}), of which {names[0]} are values"
        if names and varied
        else ""
    )


def importance(study: Study) -> dict[str, float]:
    """Return how much of the first metric's variance each parameter explains (fANOVA, Hutter et al. 2014); {} for few trials.

    If there are more than a thousand trials, a thousand of them count, in equal steps from the first to the last.
    """
    import optuna

    trials = drawn([trial for trial in studies.finished(study) if all(math.isfinite(value) for value in trial.values)])
    varied = _varied(trials)
    if len(trials) < _FEWEST or not varied or len({trial.values[0] for trial in trials}) < 2:
        return {}
    counted = optuna.create_study(directions=study.directions)
    counted.add_trials(trials)
    evaluator = optuna.importance.FanovaImportanceEvaluator(seed=0)
    shares = optuna.importance.get_param_importances(counted, evaluator=evaluator, target=lambda trial: trial.values[0])
    return {key: round(float(value), 4) for key, value in shares.items()}


def _varied(trials: Sequence[FrozenTrial]) -> list[str]:
    """Return the parameters that are not the same in all trials."""
    keys = dict.fromkeys(key for trial in trials for key in trial.params)
    return [key for key in keys if len({str(trial.params.get(key)) for trial in trials}) > 1]


def drawn(trials: Sequence[Any]) -> list[Any]:
    """Return the trials to draw: all, or if there are more than a thousand, a thousand in equal steps."""
    if len(trials) <= _MOST:
        return list(trials)
    return [trials[round(place * (len(trials) - 1) / (_MOST - 1))] for place in range(_MOST)]


def as_text(study_facts: Mapping[str, Any]) -> str:
    """Format a study for a terminal: its counts, the best trials, failures, and the importance of parameters."""
    less = study_facts["directions"][0] == "minimize"
    trials = [row for row in study_facts["trials"] if row["state"] == "complete"]
    trials.sort(key=lambda row: row["values"][0], reverse=not less)
    counts = ", ".join(f"{count} {state}" for state, count in sorted(study_facts["states"].items())) or "no trials"
    lines = [f"study {study_facts['study']}: {counts}; {study_facts['storage']}"]
    if trials:
        keys = list(trials[0]["params"])
        header = ["trial", *study_facts["metrics"], *keys]
        rows = [
            [
                str(row["trial"]),
                *(number(value) or str(value) for value in row["values"]),
                *(setting(row["params"].get(key)) for key in keys),
            ]
            for row in trials[:_SHOWN]
        ]
        lines.append(tables.grid(header, rows))
        lines += [f"and {len(trials) - _SHOWN} more"] if len(trials) > _SHOWN else []
        word = "best" if len(study_facts["directions"]) == 1 else "best (none beats another in everything)"
        lines.append(f"{word}: {best_in_words(study_facts)}")
    if study_facts["importance"]:
        lines.append(
            "importance: " + ", ".join(f"{key} {value:.2f}" for key, value in study_facts["importance"].items())
        )
    lines += [f"trial {row['trial']} failed: {row['error']}" for row in study_facts["trials"] if row["state"] == "fail"]
    return "\n".join(lines)


def best_in_words(study_facts: Mapping[str, Any]) -> str:
    """Name the best trials of a study; trials of the same value are all named, or none if no trial is worse.

    Args:
        study_facts: What `facts` returned.
    """
    best = study_facts["best"]
    if not best:
        return f"none, {study_facts['note'] or 'no trial has ended'}"
    if len(study_facts["directions"]) > 1 or len(best) == 1:
        return ", ".join(f"trial {row['trial']}" for row in best)
    score = f"{study_facts['metrics'][0]} {number(best[0]['values'][0]) or best[0]['values'][0]}"
    if are_all_alike(study_facts):
        return f"none, all {len(best)} trials have {score}"
    return f"trials {listing([row['trial'] for row in best])}, which have the same {score}"


def are_all_alike(study_facts: Mapping[str, Any]) -> bool:
    """Return whether a study of one metric has several finished trials, all with the same value.

    Args:
        study_facts: What `facts` returned.
    """
    values = [row["values"] for row in study_facts["trials"] if row["state"] == "complete"]
    return len(study_facts["directions"]) == 1 and len(values) > 1 and all(value == values[0] for value in values)


def write(told: Mapping[str, Any], project: Project) -> list[Path]:
    """Write the trials as CSV, and plots of the history and of all trials in parallel if one is finished."""
    name = files.safe_name(str(told["study"]))
    base = project.plots_dir() / f"study_{name}"
    table = base.with_name(f"{base.name}.csv")
    files.write_text(table, _as_csv(told))
    trials = [row for row in told["trials"] if row["state"] == "complete"]
    if not trials:
        return [table]
    return [table, _history(told, trials, base.with_name(f"{base.name}_history.png")), _parallel(told, trials, base)]


def _trial(trial: FrozenTrial) -> dict[str, Any]:
    attributes = trial.user_attrs
    finished = trial.state.name == "COMPLETE"
    return {
        "trial": trial.number,
        "state": trial.state.name.lower(),
        "values": list(trial.values) if finished else [],
        "params": dict(trial.params),
        "epochs_reported": len(trial.intermediate_values),
        **{key: attributes.get(key) for key in (studies.RUN, studies.ERROR, studies.SECONDS)},
    }


def _as_csv(study_facts: Mapping[str, Any]) -> str:
    keys = list(dict.fromkeys(key for row in study_facts["trials"] for key in row["params"]))
    lines: list[list[Any]] = [["trial", "state", *study_facts["metrics"], *keys, "run", "seconds", "error"]]
    for row in study_facts["trials"]:
        values = row["values"] or [""] * len(study_facts["metrics"])
        params = [row["params"].get(key, "") for key in keys]
        lines.append([row["trial"], row["state"], *values, *params, row["run"], row["seconds"], row["error"]])
    return files.csv_table(lines)


def _history(study_facts: Mapping[str, Any], trials: Sequence[Mapping[str, Any]], path: Path) -> Path:
    """Plot the value of every trial, and the best one so far."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 3 * len(study_facts["metrics"])), layout="constrained")
    for index, (name, direction) in enumerate(zip(study_facts["metrics"], study_facts["directions"], strict=True)):
        axes = figure.add_subplot(len(study_facts["metrics"]), 1, index + 1)
        numbers = [row["trial"] for row in trials]
        values = [row["values"][index] for row in trials]
        better = min if direction == "minimize" else max
        so_far = list(accumulate(values, better))
        axes.plot(numbers, values, "o", label="trial")
        axes.step(numbers, so_far, where="post", label="best so far")
        axes.set(xlabel="trial", ylabel=name, title=f"study {study_facts['study']}" if index == 0 else "")
        axes.legend()
    return _save(figure, path)


def _parallel(study_facts: Mapping[str, Any], trials: Sequence[Mapping[str, Any]], base: Path) -> Path:
    """Plot one line per trial (a thousand at most) over all parameters and the first metric, coloured by it."""
    from matplotlib import colormaps
    from matplotlib.figure import Figure

    trials = drawn(trials)
    keys = [*dict.fromkeys(key for row in trials for key in row["params"]), study_facts["metrics"][0]]
    columns = [[row["params"].get(key) for row in trials] for key in keys[:-1]] + [[row["values"][0] for row in trials]]
    scaled = [_axis_scale(column) for column in columns]
    figure = Figure(figsize=(2 + 1.6 * len(keys), 4.5), layout="constrained")
    axes = figure.add_subplot()
    for row in range(len(trials)):
        heights = [places[row] for places, _ in scaled]
        axes.plot(range(len(keys)), heights, color=colormaps["viridis"](heights[-1]), alpha=0.7)
    for place, (_, labels) in enumerate(scaled):
        axes.axvline(place, color="0.7", linewidth=0.8, zorder=0)
        for height, label in labels:
            axes.annotate(label, (place, height), fontsize=7, ha="left", va="center")
    axes.set_xticks(range(len(keys)), keys, rotation=20, ha="right")
    axes.set_yticks([])
    axes.set_title(f"study {study_facts['study']}")
    return _save(figure, base.with_name(f"{base.name}_parallel.png"))


def _axis_scale(column: Sequence[Any]) -> tuple[list[float], list[tuple[float, str]]]:
    """Return values between 0 and 1, and labels for the axis; numbers over decades on a logarithmic scale."""
    numbers = [value for value in column if isinstance(value, int | float) and not isinstance(value, bool)]
    if len(numbers) < len(column):
        names = sorted({str(value) for value in column})
        places = {name: index / max(len(names) - 1, 1) for index, name in enumerate(names)}
        return [places[str(value)] for value in column], [(place, name) for name, place in places.items()]
    low, high = min(numbers), max(numbers)
    if low == high:
        return [0.5] * len(column), [(0.5, setting(low))]
    over_decades = low > 0 and high / low > 50
    scale = math.log if over_decades else float
    span = scale(high) - scale(low)
    return [(scale(value) - scale(low)) / span for value in numbers], [(0.0, setting(low)), (1.0, setting(high))]


def _save(figure: Any, path: Path) -> Path:
    import matplotlib

    path.parent.mkdir(parents=True, exist_ok=True)
    with matplotlib.rc_context({"text.usetex": False}), files.durable(path) as temporary:
        figure.savefig(temporary, dpi=120, format="png")
    return path
