"""Cores, memory, disks, processes and encodings: what the system says, and what it means."""

from __future__ import annotations

import os
import resource
from pathlib import Path

import pytest

from mlpipe.modes.doctor import machine
from mlpipe.modes.doctor.findings import Finding


def write(root: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return root


def levels(found: list[Finding]) -> list[str]:
    return [one.level for one in found]


def test_limits_of_control_groups_version_2(tmp_path: Path) -> None:
    files = {
        "proc/self/cgroup": "0::/user.slice/job\n",
        "sys/fs/cgroup/user.slice/job/cpu.max": "max 100000\n",
        "sys/fs/cgroup/user.slice/job/memory.max": "max\n",
        "sys/fs/cgroup/user.slice/cpu.max": "250000 100000\n",
        "sys/fs/cgroup/memory.max": "8000000000\n",
    }
    root = write(tmp_path, files)
    assert machine.core_quota(root) == 2.5 and machine.memory_limit(root) == 8_000_000_000


def test_limits_of_control_groups_version_1(tmp_path: Path) -> None:
    files = {
        "proc/self/cgroup": "4:memory:/docker/a\n1:cpu,cpuacct:/docker/a\n",
        # A container sees its own group at the top.
        "sys/fs/cgroup/cpu/cpu.cfs_quota_us": "150000\n",
        "sys/fs/cgroup/cpu/cpu.cfs_period_us": "100000\n",
        "sys/fs/cgroup/memory/docker/a/memory.limit_in_bytes": "2000000000\n",
        "sys/fs/cgroup/memory/memory.limit_in_bytes": "9223372036854771712\n",
    }
    root = write(tmp_path, files)
    assert machine.core_quota(root) == 1.5 and machine.memory_limit(root) == 2_000_000_000


def test_no_limits(tmp_path: Path) -> None:
    unlimited = {"sys/fs/cgroup/cpu/cpu.cfs_quota_us": "-1", "sys/fs/cgroup/cpu/cpu.cfs_period_us": "100000"}
    for root in (tmp_path / "empty", write(tmp_path / "v1", unlimited)):
        assert machine.core_quota(root) is None and machine.memory_limit(root) is None


def test_a_group_that_leads_out_of_the_folder_is_not_followed(tmp_path: Path) -> None:
    root = write(tmp_path, {"proc/self/cgroup": "0::/../../outside\n", "outside/cpu.max": "100000 100000\n"})
    assert machine.core_quota(root) is None


def test_cores() -> None:
    assert levels(machine.core_findings(64, 64, None)) == ["ok", "ok"]
    assert levels(machine.core_findings(64, 4, 4.0)) == ["ok", "ok", "ok"]
    assert machine.core_findings(64, 64, 2.5)[-1].advice == (
        "cores: the container gives the time of 2.5 cores, and 64 are seen; threads would wait for each other; "
        "write sys.threads=2"
    )
    assert "sys.threads=1" in machine.core_findings(8, 8, 0.5)[-1].advice


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="this system has no affinity")
def test_cores_follow_the_affinity() -> None:
    before = os.sched_getaffinity(0)
    try:
        os.sched_setaffinity(0, {min(before)})
        assert machine.usable_cores() == 1
    finally:
        os.sched_setaffinity(0, before)


def test_threads() -> None:
    found = machine.threads(
        {"OMP_NUM_THREADS": "8", "MKL_NUM_THREADS": "2", "OMP_WAIT_POLICY": "PASSIVE", "HOME": "/"}, 4
    )
    assert [(one.name, one.value, one.level) for one in found] == [
        ("OMP_NUM_THREADS", "8", "note"), ("MKL_NUM_THREADS", "2", "ok"), ("OMP_WAIT_POLICY", "PASSIVE", "ok"),
    ]  # fmt: skip
    assert found[0].advice == "OMP_NUM_THREADS: asks for more threads than the 4 cores, got 8; unset OMP_NUM_THREADS"
    assert "is no number of threads, got 'many'" in machine.threads({"OMP_NUM_THREADS": "many"}, 4)[0].advice
    assert machine.threads({}, 4) == []


def test_memory(tmp_path: Path) -> None:
    root = write(tmp_path, {"proc/meminfo": "MemTotal: 16000000 kB\nMemFree: 100 kB\nMemAvailable: 12000000 kB\n"})
    found = machine.memory(root)
    assert [one.value for one in found] == [16_000_000 * 1024, 12_000_000 * 1024] and levels(found) == ["ok", "ok"]


@pytest.mark.parametrize(
    ("available", "limit", "level"),
    [(12e9, None, "ok"), (1e9, None, "note"), (3e8, None, "problem"), (12e9, 4e8, "problem"), (12e9, 1e9, "note")],
)
def test_free_memory(available: float, limit: float | None, level: str) -> None:
    last = machine.memory_findings(int(16e9), int(available), int(limit) if limit else None)[-1]
    assert last.level == level and last.value == available
    assert ("sampling.batch_size" in last.advice) == (level != "ok")


def test_shared_memory(tmp_path: Path) -> None:
    assert machine.shared_memory_findings(int(8e9))[0].level == "ok"
    (found,) = machine.shared_memory_findings(64_000_000)
    assert found.level == "note" and "--shm-size=2g" in found.advice
    assert machine.shared_memory(tmp_path / "none") == []


def test_start_methods() -> None:
    assert machine.start_method_findings(["fork", "spawn", "forkserver"], "")[0].level == "ok"
    assert "no fork server" in machine.start_method_findings(["spawn"], "")[0].advice
    (found,) = machine.start_method_findings(["forkserver"], "Function not implemented")
    assert found.level == "note" and "share no lock (Function not implemented)" in found.advice
    assert machine.start_methods()[0].value


def test_open_files() -> None:
    assert machine.descriptor_findings(1024, 4096)[0].level == "ok"
    assert machine.descriptor_findings(resource.RLIM_INFINITY, resource.RLIM_INFINITY)[0].value == "unlimited"
    assert machine.descriptor_findings(256, resource.RLIM_INFINITY)[0].advice.endswith("; ulimit -n 4096")
    assert machine.descriptor_findings(256, 512)[0].advice.endswith("; ulimit -n 512")
    assert "ask whoever" in machine.descriptor_findings(256, 256)[0].advice
    assert machine.descriptors()[0].value in (resource.getrlimit(resource.RLIMIT_NOFILE)[0], "unlimited")


def test_encodings() -> None:
    assert levels(machine.encoding_findings("utf-8", "UTF-8", "C.UTF-8")) == ["ok", "ok", "ok"]
    found = machine.encoding_findings("ascii", "ANSI_X3.4-1968", "C")
    assert levels(found) == ["ok", "note", "note"]
    assert found[1].advice.startswith(
        "file names: letters outside ascii cannot be read, got 'ascii'; export LANG=C.UTF-8"
    )


def test_disks(tmp_path: Path) -> None:
    found = machine.disks(tmp_path / "not/yet", tmp_path)
    assert [one.name for one in found] == ["out_dir", "data_dir", "temporary files"]
    assert str(tmp_path / "not/yet") in found[0].value and list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("free", "is_writable", "level", "advice"),
    [
        (9e9, True, "ok", ""),
        (3e9, True, "note", "out_dir: 3.0 GB are free, got '/r'; free space (mml clean), or write out_dir=DIR"),
        (1e8, True, "problem", "out_dir: 100 MB are free, got '/r'; free space (mml clean), or write out_dir=DIR"),
        (9e9, False, "problem", "out_dir: cannot be written, got '/r'; change its rights, or write out_dir=DIR"),
    ],
)
def test_a_disk(free: float, is_writable: bool, level: str, advice: str) -> None:
    (found,) = machine.disk_findings("out_dir", Path("/r"), int(free), is_writable=is_writable)
    assert (found.level, found.advice) == (level, advice)


def test_python() -> None:
    assert [one.name for one in machine.python_and_system()] == ["python", "program", "system"]
