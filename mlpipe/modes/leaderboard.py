"""How a run that made records ends: the leaderboard of its task, on the screen, as CSV and as facts."""

from __future__ import annotations

import logging

from mlpipe.modes.base import World
from mlpipe.reports import tables

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
