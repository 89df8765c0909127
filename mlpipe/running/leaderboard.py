"""Results at the end of a run: the leaderboard of its task and its one result, on the screen, as CSV and as facts."""

from __future__ import annotations

import logging
from collections.abc import Collection
from pathlib import Path

from mlpipe.reports import facts, tables
from mlpipe.reports.headline import headline
from mlpipe.running.steps import RunContext

log = logging.getLogger("mlpipe")


def show(context: RunContext, task: str, *more: str) -> None:
    """Write the leaderboard of a task, or of several heads of one, and print it."""
    board = [row for name in (task, *more) for row in tables.leaderboard(context.project, name)]
    path = tables.write_csv(board, context.project)
    context.facts.update(task=task, leaderboard=board, leaderboard_file=str(path))
    log.info("\n" + tables.as_text(board))
    for note in tables.notes(board, context.project):
        log.warning(note)
    log.info(f"results: {context.project.root}")


def final(context: RunContext, task: str, data_dir: Path, told: Collection[str] = ()) -> None:
    """Say what predicts in the end and how well, as the report does; before there are predictions, the newest score.

    Args:
        context: The project; told the same.
        task: The task.
        data_dir: The folder of all tasks.
        told: Sentences that a person has read already.
    """
    of_task = facts.of_task(context.project, data_dir, task)
    found = None if of_task is None else headline(of_task)
    if found is None or not found.short:
        short = "" if of_task is None else tables.headline(of_task.board)
        context.facts["headline"] = short
        if short:
            log.info(short)
        return
    context.facts.update(headline=found.short, final=found.as_plain())
    for sentence in (found.sentence, *found.left_out, found.short):
        if sentence not in told:
            log.info(sentence)
