"""Folders and cores as a run finds them: what the command line, variables and a container's limits say."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from mlpipe.config import environment
from mlpipe.config.environment import base_folder, cores


@pytest.mark.parametrize(
    ("named", "variables", "folder"),
    [
        (None, {}, "results"),
        ("", {"MML_RESULTS_PATH": "there"}, "there"),
        ("here", {"MML_RESULTS_PATH": "there"}, "here"),
        (None, {"MML_DATA_PATH": "there"}, "results"),
    ],
)
def test_a_folder_is_named_by_the_command_line_before_its_variable(
    named: str | None, variables: dict[str, str], folder: str
) -> None:
    assert base_folder("out_dir", named, variables) == folder


def written(root: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    return root


OWN, TOP = "proc/self/cgroup", "sys/fs/cgroup"


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ({}, 8),
        ({OWN: "0::/\n", f"{TOP}/cpu.max": "max 100000\n"}, 8),
        ({OWN: "0::/\n", f"{TOP}/cpu.max": "200000 100000\n"}, 2),
        ({OWN: "0::/\n", f"{TOP}/cpu.max": "150000 100000\n"}, 2),
        ({OWN: "0::/\n", f"{TOP}/cpu.max": "10000 100000\n"}, 1),
        ({OWN: "0::/\n", f"{TOP}/cpu.max": "6400000 100000\n"}, 8),
        # The least of its own group and those above it.
        ({OWN: "0::/a/b\n", f"{TOP}/a/b/cpu.max": "500000 100000\n", f"{TOP}/a/cpu.max": "300000 100000\n"}, 3),
        # The place is the one outside of the container.
        ({OWN: "0::/docker/0a1b\n", f"{TOP}/cpu.max": "400000 100000\n"}, 4),
        # The first form: a mount for each controller, -1 for none.
        (
            {
                OWN: "4:cpu,cpuacct:/job\n3:cpuset:/\n1:name=systemd:/\n",
                f"{TOP}/cpu,cpuacct/job/cpu.cfs_quota_us": "300000\n",
                f"{TOP}/cpu,cpuacct/job/cpu.cfs_period_us": "100000\n",
                f"{TOP}/cpu,cpuacct/cpu.cfs_quota_us": "-1\n",
                f"{TOP}/cpu,cpuacct/cpu.cfs_period_us": "100000\n",
            },
            3,
        ),
        (
            {
                OWN: "1:cpu:/outside\n",
                f"{TOP}/cpu/cpu.cfs_quota_us": "50000\n",
                f"{TOP}/cpu/cpu.cfs_period_us": "100000\n",
            },
            1,
        ),
        # What no kernel writes is no limit.
        ({OWN: "0::/\n", f"{TOP}/cpu.max": "100000 0\n"}, 8),
        ({OWN: "0::/\n", f"{TOP}/cpu.max": ""}, 8),
    ],
)
def test_cores_are_no_more_than_the_quota_pays_for(
    files: dict[str, str], expected: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(environment.os, "sched_getaffinity", lambda process: set(range(8)), raising=False)
    assert cores(written(tmp_path, files)) == expected


@pytest.mark.skipif(not hasattr(os, "sched_getaffinity"), reason="this system does not tell which cores are free")
def test_cores_of_this_machine_are_those_that_loky_counts() -> None:
    context = pytest.importorskip("joblib.externals.loky.backend.context")
    assert cores() == context.cpu_count()


_ASK = "import time; time.sleep(0.4); from mlpipe.config.environment import process_started; print(process_started())"


@pytest.mark.skipif(sys.platform != "linux", reason="the clock of other systems is each process's own")
def test_a_process_began_when_it_was_started() -> None:
    before = time.monotonic()
    ended = subprocess.run([sys.executable, "-c", _ASK], capture_output=True, text=True, check=True)
    after = time.monotonic()
    started = float(ended.stdout)
    # A tick of the system's clock is a hundredth of a second.
    assert before - 0.05 <= started <= after - 0.4 + 0.05


def test_without_a_system_that_tells_a_process_is_as_old_as_its_work(monkeypatch: pytest.MonkeyPatch) -> None:
    def absent(*arguments: object) -> float:
        raise OSError

    monkeypatch.setattr(environment.time, "clock_gettime", absent)
    age = time.monotonic() - environment.process_started()
    assert age == pytest.approx(time.process_time(), abs=0.2)
