"""`mml downgrade`: bring a project and the tasks back to an earlier version's formats, with a backup."""

from __future__ import annotations

from mlpipe.dialects.mml_core.commands.upgrade import UpgradeScheduler


class DowngradeScheduler(UpgradeScheduler):
    """Converts files back one by one, each at once and after a copy of it was made.

    It takes the keys of `mml upgrade`, those of a project to take over too, which it refuses with a sentence;
    `conf/mode/downgrade.yaml` chooses `downgrade` of the subroutines.
    """
