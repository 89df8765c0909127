"""Recoveries from NaN losses and out-of-memory errors during training, and their consequences."""

from __future__ import annotations

from collections.abc import Mapping

from mlpipe.errors import counted
from mlpipe.reports.facts import TaskFacts
from mlpipe.reports.markup import paragraph, table
from mlpipe.reports.sections.parts import Section


def recoveries(facts: TaskFacts) -> Section:
    """A row for every event of every fold and refit; empty if there was none.

    Args:
        facts: The task.
    """
    rows = [
        [
            recipe,
            "refit" if record.refit else str(record.fold),
            event["kind"],
            _epoch(event),
            event["text"].partition(": ")[2],
        ]
        for recipe, folds in facts.recipes.items()
        for record in (*folds, *([facts.refits[recipe]] if recipe in facts.refits else []))
        for event in record.events
    ]
    title = "What went wrong and was mended"
    if not rows:
        return Section(title)
    text = paragraph(
        f"{counted(len(rows), 'trouble')} came up in training and did not end it. The models are those of a training that was "
        "changed from the named epoch on."
    )
    header = ["recipe", "fold", "trouble", "epoch", "what was done"]
    return Section(title, [text, table(f"Events of {facts.name}", header, rows, numbers=range(1, 4, 2))], is_wide=True)


def _epoch(event: Mapping[str, object]) -> str:
    return str(int(str(event["epoch"])) + 1) if "epoch" in event else ""
