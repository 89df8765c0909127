"""The ensemble: its members and weights, how it was found, and its gain."""

from __future__ import annotations

from mlpipe import kinds
from mlpipe.errors import counted
from mlpipe.post import kind as post_kind
from mlpipe.post.figures import interval, number
from mlpipe.reports.facts import TaskFacts
from mlpipe.reports.markup import bullets, paragraph, table
from mlpipe.reports.sections.parts import Section
from mlpipe.runs.ensembles import EnsembleRecord

_STAGES = {
    "none": "nothing is calibrated",
    "before": "its members are calibrated",
    "after": "the mixture is calibrated",
    "both": "members and mixture are calibrated",
}
_STAGES_OF_ONE = {
    "none": "it is not calibrated",
    "before": "its folds are calibrated",
    "after": "it is calibrated",
    "both": "its folds and their mean are calibrated",
}


def ensembles(facts: TaskFacts) -> Section:
    """The newest ensemble: members, weights, all scores; older ones are in the leaderboard.

    Args:
        facts: The task.
    """
    if not facts.ensembles:
        return Section("Ensemble")
    newest = facts.ensembles[-1]
    alone = newest.losses.get("members", {})
    subject = facts.shown
    held_out, test = (len(part) if part else None for part in (subject and subject.held_out, subject and subject.test))
    rows = [
        [
            facts.called(member["name"]),
            f"{member['weight']:.3f}",
            number(alone.get(member["name"]), held_out),
            ", ".join([*member["records"], *([member["refit"]] if "refit" in member else [])]),
        ]
        for member in sorted(newest.members, key=lambda candidate: -candidate["weight"])
    ]
    chosen = {"oof": "out-of-fold images", "none": "nothing"}.get(newest.select_on, "a part of the test images")
    kind = kinds.of(newest.kind)
    count = test if "test" in newest.scores else held_out
    # Numbers are never calibrated.
    can_be = kind.is_dense or post_kind.of(newest.kind).PROBABILITIES is not None
    # A calibration that gained nothing is none.
    stage = newest.stage if newest.is_calibrated else "none"
    if is_mixture := len(newest.members) > 1:
        how = (
            f" of {max(len(alone), 1)}, chosen by {chosen} ({newest.way})"
            if newest.is_chosen
            else "; nothing was chosen"
        )
        mixes = f"; it mixes {newest.mixing if kind.has_probabilities else kind.words.VALUES}"
        begun = f"{newest.id} has {counted(len(newest.members), 'member')}{how}{mixes}"
    else:
        how = f", chosen from {max(len(alone), 1)} by {chosen}" if newest.is_chosen else ""
        begun = f"{newest.id} is {_single_member(newest, facts)}{how}"
    words = (_STAGES if is_mixture else _STAGES_OF_ONE).get(stage, stage)
    text = f"{begun}; {words}." if can_be else f"{begun}."
    scores = [
        [
            name,
            number(score["value"], count),
            interval(score["low"], score["high"], count) or "-",
            number_of(newest.scores, name, held_out),
            f"{score['method']}; {score['note']}" if score.get("note") else score["method"],
        ]
        for name, score in newest.scores.get("test", newest.scores.get("chosen on", {})).items()
    ]
    chose = "rows that chose it (optimistic)" if newest.is_chosen else "out-of-fold rows"
    where = "test" if "test" in newest.scores else chose
    return Section(
        "Ensemble" if is_mixture else "Model that predicts",
        [
            paragraph(text),
            table(f"Members of {newest.id}", ["member", "weight", "its own loss", "records"], rows, numbers=range(1, 3))
            if is_mixture
            else None,
            table(
                f"Scores of {newest.id}: {where}",
                [
                    "metric",
                    "value",
                    "95 % interval",
                    f"on the {chose}",
                    "method of the interval",
                ],
                scores,
                numbers=range(1, 4),
            ),
            bullets(newest.notes),
        ],
        is_wide=True,
    )


def _single_member(ensemble: EnsembleRecord, facts: TaskFacts) -> str:
    """Describe the only member of an ensemble."""
    member = ensemble.members[0]
    name = facts.called(member["name"])
    if ensemble.select_on == "test":
        return f"the model {name}"
    return f"the refit {member['refit']} of {name}" if "refit" in member else f"the mean of the folds of {name}"


def number_of(scores: dict[str, dict[str, dict[str, float]]], name: str, rows: int | None) -> str:
    """Return the score on the rows that chose, if there is another score; else an empty text.

    Args:
        scores: By split.
        name: The metric.
        rows: The number of rows that chose.
    """
    return number(scores.get("chosen on", {}).get(name, {}).get("value"), rows) if "test" in scores else ""
