"""The cached images that a mode works with: decoded once with progress on the screen, then opened."""

from __future__ import annotations

from mlpipe.config.assemble import cores
from mlpipe.config.schema import RunConfig
from mlpipe.data.cache.packs import Pack
from mlpipe.data.task import Task
from mlpipe.running import tasks
from mlpipe.running.steps import RunContext


def packed(context: RunContext, config: RunConfig, of: Task, *, max_unreadable: int | None = None) -> Pack:
    """A task's cached images, decoded first when they are missing.

    Args:
        context: Shows progress; asked to stop, it goes on from there the next time.
        config: Gives the preprocessing and the data folder.
        of: The task.
        max_unreadable: How many unreadable images are accepted; None: as `tasks.unreadable_allowed` says.

    Raises:
        DataError: When more images are unreadable.
        Interrupted: When asked to stop.
    """
    display, stop = context.display, context.stop
    display.start(f"preprocessing {of.name}", len(of.samples))

    def progress(done: int, total: int) -> None:
        stop.check()
        display.update(done)

    try:
        return tasks.pack_of(config, of, cores(), progress, max_unreadable=max_unreadable, told=context.told)
    finally:
        display.close()
