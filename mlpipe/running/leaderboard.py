"""Results at the end of a run: the leaderboard of its task and its one result, on the screen, as CSV and as facts."""

from __future__ import annotations

import logging
from pathlib import Path

from mlpipe.reports import facts, tables
from mlpipe.reports.headline import headline
from mlpipe.running.steps import World

log = logging.getLogger("mlpipe")


def show(world: World, task: str, *more: str) -> None:
    """Write the leaderboard of a task, or of several heads of one, and print it."""
    board = [row for name in (task, *more) for row in tables.leaderboard(world.project, name)]
    path = tables.write_csv(board, world.project)
    world.facts.update(task=task, leaderboard=board, leaderboard_file=str(path))
    log.info("\n" + tables.as_text(board))
    for note in tables.notes(board, world.project):
        log.warning(note)
    log.info(f"results: {world.project.root}")


def final(world: World, task: str, data_dir: Path) -> None:
    """Say what predicts in the end and how well, as the report does; before there are predictions, the newest score.

    Args:
        world: The project; told the same.
        task: The task.
        data_dir: The folder of all tasks.
    """
    of_task = facts.of_task(world.project, data_dir, task)
    found = None if of_task is None else headline(of_task)
    if found is None or not found.short:
        short = "" if of_task is None else tables.headline(of_task.board)
        world.facts["headline"] = short
        if short:
            log.info(short)
        return
    world.facts.update(headline=found.short, final=found.as_plain())
    for sentence in (found.sentence, *found.left_out, found.short):
        log.info(sentence)
