"""`mml downgrade`: convert a project and the tasks back to an earlier version's formats, with a backup."""

from __future__ import annotations

from mlpipe.dialects.mml_core.commands.upgrade import UpgradeScheduler


class DowngradeScheduler(UpgradeScheduler):
    """Converts files back one by one, each atomically and after a backup copy.

    It takes the keys of `mml upgrade`, including those of a project to import, which it refuses with a message;
    `conf/mode/downgrade.yaml` selects `downgrade` in the subroutines.
    """
