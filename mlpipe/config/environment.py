"""The environment of a run: the folders of results and data, and the available cores; needs no library."""

from __future__ import annotations

import math
import os
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

# The environment variable of each folder, and its default.
_FOLDERS = {"out_dir": ("MML_RESULTS_PATH", "results"), "data_dir": ("MML_DATA_PATH", "mlpipe_data")}


def base_folder(key: str, folder: str | None, environment: Mapping[str, str] = os.environ) -> str:
    """Return the folder of results (`out_dir`) or of tasks and caches (`data_dir`), unexpanded.

    Args:
        key: The key of the folder.
        folder: The folder given on the command line; None or empty: none.
        environment: The environment variables.
    """
    variable, otherwise = _FOLDERS[key]
    return folder or environment.get(variable) or otherwise


def cores(root: Path = Path("/")) -> int:
    """Return the number of cores that this process may use, limited by its affinity and a container's quota.

    A fraction of a core counts as one. All cores if the system does not tell.

    Args:
        root: The root of the file system, with `proc` and `sys` for control groups (Linux).
    """
    affinity = getattr(os, "sched_getaffinity", None)
    core_count = len(affinity(0)) if affinity else os.cpu_count() or 1
    return min([core_count, *(max(1, math.ceil(quota)) for quota in _quotas(root))])


def _quotas(root: Path) -> Iterator[float]:
    """Return the quota in cores of each control group of this process, and of those above it."""
    top = root / "sys/fs/cgroup"
    for group in _lines(root / "proc/self/cgroup"):
        _, controllers, place = group.split(":", 2)
        mounts = [top / controllers, top / "cpu"] if "cpu" in controllers.split(",") else [] if controllers else [top]
        for mount in mounts:
            # Inside a container, the path may be the one outside, so that only the root group exists.
            folder = mount / place.strip("/")
            for ancestor in (folder, *folder.parents):
                if ancestor.is_relative_to(mount):
                    yield from _quota(ancestor)


def _quota(group: Path) -> Iterator[float]:
    """Return the quota of one control group, of version 2 (`cpu.max`: quota and period) or 1 (a file for each)."""
    lines = [line.split() for line in _lines(group / "cpu.max")]
    lines.append([*_lines(group / "cpu.cfs_quota_us"), *_lines(group / "cpu.cfs_period_us")])
    for numbers in lines:
        # `max` and -1 mean no limit.
        if len(numbers) == 2 and all(number.isdigit() for number in numbers) and int(numbers[1]):
            yield int(numbers[0]) / int(numbers[1])


def _lines(file: Path) -> list[str]:
    try:
        return file.read_text("utf-8").splitlines()
    except (OSError, ValueError):
        return []


def process_started() -> float:
    """Return when this process started, on the clock of `time.monotonic`, so that earlier imports count.

    If the system does not tell, it is estimated from the process's CPU time.
    """
    now, worked = time.monotonic(), time.process_time()
    try:
        fields = Path("/proc/self/stat").read_text("utf-8").rpartition(")")[2].split()
        # Field 22 of proc(5), counted from 1: clock ticks between the boot and the process's start.
        age = time.clock_gettime(time.CLOCK_BOOTTIME) - int(fields[19]) / os.sysconf("SC_CLK_TCK")
    except (AttributeError, OSError, ValueError, IndexError):
        age = worked
    return now - max(age, worked)
