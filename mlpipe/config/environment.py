"""What a run finds around it: the folders of results and data, and the cores that it may use; no library is needed."""

from __future__ import annotations

import os
from collections.abc import Mapping

# The variable that names a folder, and the folder where neither it nor the command line does.
_FOLDERS = {"out_dir": ("MML_RESULTS_PATH", "results"), "data_dir": ("MML_DATA_PATH", "mlpipe_data")}


def base_folder(key: str, named: str | None, environment: Mapping[str, str] = os.environ) -> str:
    """The folder of results (`out_dir`) or of tasks and caches (`data_dir`), as it is written.

    Args:
        key: Which one.
        named: The folder that the command line names; None or empty: none.
        environment: The environment's variables.
    """
    variable, otherwise = _FOLDERS[key]
    return named or environment.get(variable) or otherwise


def cores() -> int:
    """The cores that this process may run on; all where the system does not tell."""
    affinity = getattr(os, "sched_getaffinity", None)
    return len(affinity(0)) if affinity else os.cpu_count() or 1
