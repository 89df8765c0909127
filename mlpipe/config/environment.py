"""What a run finds around it: the folders of results and data, and the cores that it may use; no library is needed."""

from __future__ import annotations

import math
import os
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

# The variable that names a folder, and the folder where neither it nor the command line does.
_FOLDERS = {"out_dir": ("MML_RESULTS_PATH", "results"), "data_dir": ("MML_DATA_PATH", "mlpipe_data")}


def base_folder(key: str, folder: str | None, environment: Mapping[str, str] = os.environ) -> str:
    """The folder of results (`out_dir`) or of tasks and caches (`data_dir`), as it is written.

    Args:
        key: Which one.
        folder: The folder that the command line names; None or empty: none.
        environment: The environment's variables.
    """
    variable, otherwise = _FOLDERS[key]
    return folder or environment.get(variable) or otherwise


def cores(root: Path = Path("/")) -> int:
    """The cores that this process may use: those it may run on, and no more than a container's quota of their time pays for.

    Part of a core counts as one. All cores where the system does not tell.

    Args:
        root: The root of the file system, whose `proc` and `sys` tell of control groups (Linux).
    """
    affinity = getattr(os, "sched_getaffinity", None)
    core_count = len(affinity(0)) if affinity else os.cpu_count() or 1
    return min([core_count, *(max(1, math.ceil(quota)) for quota in _quotas(root))])


def _quotas(root: Path) -> Iterator[float]:
    """The cores' worth of time that each control group of this process, or one above it, may use."""
    top = root / "sys/fs/cgroup"
    for group in _lines(root / "proc/self/cgroup"):
        _, controllers, place = group.split(":", 2)
        mounts = [top / controllers, top / "cpu"] if "cpu" in controllers.split(",") else [] if controllers else [top]
        for mount in mounts:
            # Inside of a container the place may be the one outside, so that only the top is there.
            folder = mount / place.strip("/")
            for ancestor in (folder, *folder.parents):
                if ancestor.is_relative_to(mount):
                    yield from _quota(ancestor)


def _quota(group: Path) -> Iterator[float]:
    """The quota of one control group, in the second form (`cpu.max`: quota and period) or the first (a file for each)."""
    lines = [line.split() for line in _lines(group / "cpu.max")]
    lines.append([*_lines(group / "cpu.cfs_quota_us"), *_lines(group / "cpu.cfs_period_us")])
    for numbers in lines:
        # `max` and -1 mean none.
        if len(numbers) == 2 and all(number.isdigit() for number in numbers) and int(numbers[1]):
            yield int(numbers[0]) / int(numbers[1])


def _lines(file: Path) -> list[str]:
    try:
        return file.read_text("utf-8").splitlines()
    except (OSError, ValueError):
        return []


def process_started() -> float:
    """When this process began, on the clock of `time.monotonic`; imports that came before this call count.

    Where the system does not tell, as long ago as the process has worked.
    """
    now, worked = time.monotonic(), time.process_time()
    try:
        fields = Path("/proc/self/stat").read_text("utf-8").rpartition(")")[2].split()
        # Field 22 of proc(5), counted from 1: ticks between the machine's start and the process's.
        age = time.clock_gettime(time.CLOCK_BOOTTIME) - int(fields[19]) / os.sysconf("SC_CLK_TCK")
    except (AttributeError, OSError, ValueError, IndexError):
        age = worked
    return now - max(age, worked)
