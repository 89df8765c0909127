"""Properties of the machine that affect a training: cores, memory, disks, processes; imports nothing heavy."""

from __future__ import annotations

import locale
import multiprocessing
import os
import platform
import resource
import shutil
import sys
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path

from mlpipe import limits
from mlpipe.config.environment import cores as usable_cores
from mlpipe.errors import problem
from mlpipe.modes.doctor.findings import Finding, size

# In bytes. Importing torch and its dependencies takes about 0.4 GB of memory before the first image.
_LEAST_MEMORY, _LITTLE_MEMORY = 500_000_000, 2_000_000_000
_LEAST_DISK, _LITTLE_DISK = 200_000_000, 5_000_000_000
# Loader processes pass batches through shared memory; containers get 64 MB by default.
_LITTLE_SHARED = 256_000_000
_FEW_DESCRIPTORS = 1024
_THREAD_VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")
_OTHER_VARIABLES = (
    "OMP_WAIT_POLICY",
    "OMP_PROC_BIND",
    "OMP_PLACES",
    "GOMP_CPU_AFFINITY",
    "KMP_AFFINITY",
    "MKL_THREADING_LAYER",
)


def python_and_system() -> list[Finding]:
    """Return findings on the interpreter and the operating system."""
    return [
        Finding("python", "python", platform.python_version()),
        Finding("python", "program", sys.executable),
        Finding("python", "system", f"{platform.system()} {platform.release()} {platform.machine()}"),
    ]


def cores(root: Path = Path("/")) -> list[Finding]:
    """Return findings on the cores that this process may use.

    Args:
        root: The folder that contains `proc` and `sys`.
    """
    return core_findings(os.cpu_count() or 1, usable_cores(), core_quota(root))


def core_findings(present: int, usable: int, quota: float | None) -> list[Finding]:
    """Interpret counts of cores.

    Args:
        present: Cores of the machine.
        usable: The cores that this process may run on.
        quota: The container's quota in cores; None: no limit.
    """
    findings = [Finding("processor", "cores", present), Finding("processor", "cores for this process", usable)]
    if quota is None:
        return findings
    if quota >= usable:
        return [*findings, Finding("processor", "cores' time by the container", quota)]
    threads = max(1, int(quota))
    wrong = f"the container gives the time of {quota:g} cores, and {usable} are seen; threads would wait for each other"
    fix = f"write sys.threads={threads}"
    return [
        *findings,
        Finding("processor", "cores' time by the container", quota, "note", problem("cores", wrong, fix=fix)),
    ]


def core_quota(root: Path) -> float | None:
    """Return the quota of control groups (version 2 or 1) in cores; None: no limit."""
    limits = []
    for text in _group_files(root, "", "cpu.max"):
        quota, _, period = text.partition(" ")
        if quota != "max" and period:
            limits.append(int(quota) / int(period))
    periods = list(_group_files(root, "cpu", "cpu.cfs_period_us"))
    for text, period in zip(_group_files(root, "cpu", "cpu.cfs_quota_us"), periods, strict=False):
        if int(text) > 0:
            limits.append(int(text) / int(period))
    return min(limits, default=None)


def memory_limit(root: Path) -> int | None:
    """Return the memory limit of control groups (version 2 or 1) in bytes; None: no limit."""
    texts = [*_group_files(root, "", "memory.max"), *_group_files(root, "memory", "memory.limit_in_bytes")]
    # Version 1 writes an impossibly large number for "no limit".
    return min((int(text) for text in texts if text != "max" and int(text) < 1 << 60), default=None)


def _group_files(root: Path, controller: str, name: str) -> Iterator[str]:
    """Yield the contents of a file of this process's control group and of those above it."""
    table = root / "proc/self/cgroup"
    top = root / "sys/fs/cgroup" / controller
    own = "/"
    for line in table.read_text("utf-8").splitlines() if table.is_file() else ():
        _, names, place = line.split(":", 2)
        if controller in names.split(","):
            own = place
    # A container sees its own group at the top, whatever the table says.
    folder = top / own.strip("/")
    for group in [folder, *folder.parents]:
        if group.is_relative_to(top) and ".." not in group.parts and (group / name).is_file():
            yield (group / name).read_text("utf-8").strip()


def threads(environment: Mapping[str, str], usable: int) -> list[Finding]:
    """Return findings on environment variables for threads.

    Args:
        environment: The environment variables.
        usable: The cores that this process may use.
    """
    findings = []
    for name in _THREAD_VARIABLES:
        text = environment.get(name)
        if text is None:
            continue
        number = int(text) if text.isdigit() else 0
        wrong = ""
        if not number:
            wrong = problem(name, "is no number of threads", got=text, fix=f"unset {name}")
        elif number > usable:
            wrong = problem(name, f"asks for more threads than the {usable} cores", got=number, fix=f"unset {name}")
        findings.append(Finding("threads", name, text, "note" if wrong else "ok", wrong))
    findings += [Finding("threads", name, environment[name]) for name in _OTHER_VARIABLES if name in environment]
    return findings


def memory(root: Path = Path("/")) -> list[Finding]:
    """Return findings on total and free memory, in bytes; empty if the system does not report them."""
    file = root / "proc/meminfo"
    if not file.is_file():
        total = limits.machine_memory()
        return [Finding("memory", "of the machine", total)] if total else []
    lines = (line.split() for line in file.read_text("utf-8").splitlines())
    numbers = {words[0].rstrip(":"): int(words[1]) * 1024 for words in lines if len(words) > 1}
    return memory_findings(numbers["MemTotal"], numbers.get("MemAvailable", numbers["MemFree"]), memory_limit(root))


def memory_findings(total: int, available: int, limit: int | None) -> list[Finding]:
    """Interpret amounts of memory, in bytes.

    Args:
        total: The machine's memory.
        available: The memory that processes can still allocate.
        limit: The container's limit; None: no limit.
    """
    findings = [Finding("memory", "of the machine", total)]
    if limit is not None and limit < total:
        findings.append(Finding("memory", "by the container", limit))
    usable = available if limit is None else min(available, limit)
    wrong = f"{size(usable)} can be used"
    fix = "end other programs, or use less at a time: sampling.batch_size, sys.num_workers, sys.fold_workers"
    if usable < _LEAST_MEMORY:
        wrong = f"{wrong}, libraries alone need {size(_LEAST_MEMORY)}"
        return [*findings, Finding("memory", "free", available, "problem", problem("memory", wrong, fix=fix))]
    if usable < _LITTLE_MEMORY:
        return [*findings, Finding("memory", "free", available, "note", problem("memory", wrong, fix=fix))]
    return [*findings, Finding("memory", "free", available)]


def shared_memory(folder: Path = Path("/dev/shm")) -> list[Finding]:
    """Return findings on the shared memory that passes batches between processes; empty if there is no such folder."""
    return shared_memory_findings(shutil.disk_usage(folder).free) if folder.is_dir() else []


def shared_memory_findings(free: int) -> list[Finding]:
    """Interpret the amount of shared memory.

    Args:
        free: Bytes.
    """
    wrong = ""
    if free < _LITTLE_SHARED:
        fix = "docker run --shm-size=2g, or write sys.num_workers=0"
        wrong = problem("shared memory", f"{size(free)} are free, loader processes may die for want of it", fix=fix)
    return [Finding("memory", "shared, free", free, "note" if wrong else "ok", wrong)]


def start_methods() -> list[Finding]:
    """Return findings on how processes can be started, and whether they can have locks."""
    return start_method_findings(multiprocessing.get_all_start_methods(), _lock_error())


def start_method_findings(methods: list[str], error: str) -> list[Finding]:
    """Interpret the start methods of processes.

    Args:
        methods: The start methods of this Python.
        error: Why no lock between processes could be created; empty: one could.
    """
    wrong = ""
    if "forkserver" not in methods:
        wrong = problem("processes", "this system has no fork server", fix="write sys.fold_workers=1 sys.num_workers=0")
    elif error:
        fix = "mount /dev/shm, or write sys.fold_workers=1 sys.num_workers=0"
        wrong = problem("processes", f"they can share no lock ({error})", fix=fix)
    return [Finding("processes", "start methods", ", ".join(methods), "note" if wrong else "ok", wrong)]


def _lock_error() -> str:
    try:
        multiprocessing.get_context("spawn").Lock()
    except (OSError, ImportError) as error:
        return str(error)
    return ""


def descriptors() -> list[Finding]:
    """Return findings on how many files and pipes a process may open."""
    return descriptor_findings(*resource.getrlimit(resource.RLIMIT_NOFILE))


def descriptor_findings(soft: int, hard: int) -> list[Finding]:
    """Interpret the limits of open files.

    Args:
        soft: The soft limit; -1: none.
        hard: The hard limit; -1: none.
    """
    unlimited = resource.RLIM_INFINITY
    if soft == unlimited or soft >= _FEW_DESCRIPTORS:
        return [Finding("processes", "open files", "unlimited" if soft == unlimited else soft)]
    higher_limit = 4 * _FEW_DESCRIPTORS if hard == unlimited else min(4 * _FEW_DESCRIPTORS, hard)
    fix = f"ulimit -n {higher_limit}" if higher_limit > soft else "ask whoever runs this machine for more"
    wrong = problem("open files", f"a process may have {soft}, which many loader processes use up", fix=fix)
    return [Finding("processes", "open files", soft, "note", wrong)]


def encodings() -> list[Finding]:
    """Return findings on the encodings of file names and standard output."""
    printed = getattr(sys.stdout, "encoding", None) or "none"
    return encoding_findings(sys.getfilesystemencoding(), printed, locale.setlocale(locale.LC_CTYPE))


def encoding_findings(names: str, printed: str, language: str) -> list[Finding]:
    """Interpret encodings.

    Args:
        names: The encoding of file names.
        printed: The encoding of standard output.
        language: The locale.
    """
    fix = "export LANG=C.UTF-8, and unset LC_ALL and PYTHONUTF8"
    findings = [Finding("encodings", "locale", language)]
    for name, encoding, verb in (("file names", names, "read"), ("output", printed, "printed")):
        is_all = encoding.lower().replace("-", "") in ("utf8", "none")
        wrong = f"letters outside {encoding} cannot be {verb}"
        advice = "" if is_all else problem(name, wrong, got=encoding, fix=fix)
        findings.append(Finding("encodings", name, encoding, "note" if advice else "ok", advice))
    return findings


def disks(out_dir: Path, data_dir: Path) -> list[Finding]:
    """Check space and write permission for results, data and temporary files; nothing is left behind.

    Args:
        out_dir: The folder of results; it need not exist yet.
        data_dir: The folder of tasks and caches.
    """
    # It needs a library, which may be the one that is missing.
    from mlpipe import files

    places = {"out_dir": out_dir, "data_dir": data_dir, "temporary files": Path(tempfile.gettempdir())}
    findings = []
    for name, folder in places.items():
        usage = shutil.disk_usage(files.nearest_existing(folder))
        findings += disk_findings(name, folder, usage.free, is_writable=files.is_writable(folder))
    return findings


def disk_findings(name: str, folder: Path, free: int, *, is_writable: bool) -> list[Finding]:
    """Interpret the state of a folder.

    Args:
        name: The key that names the folder, or its purpose.
        folder: The folder.
        free: Bytes.
        is_writable: Whether a file can be created in it.
    """
    other = f"or write {name}=DIR" if name.endswith("_dir") else "or set TMPDIR to another folder"
    value = f"{folder} ({size(free)} free)"
    if not is_writable:
        wrong = problem(name, "cannot be written", got=str(folder), fix=f"change its rights, {other}")
        return [Finding("disks", name, value, "problem", wrong)]
    wrong = problem(name, f"{size(free)} are free", got=str(folder), fix=f"free space (mml clean), {other}")
    if free < _LEAST_DISK:
        return [Finding("disks", name, value, "problem", wrong)]
    return [Finding("disks", name, value, "note", wrong) if free < _LITTLE_DISK else Finding("disks", name, value)]
