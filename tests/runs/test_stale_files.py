"""What a dead process of this machine left unfinished goes; what a living one or another machine writes stays."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from mlpipe import files
from mlpipe.runs import stale_files


@pytest.fixture
def nobody() -> int:
    """The number of a process that has ended."""
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return process.pid


def unfinished(folder: Path, pid: int, machine: str, name: str = "x.json") -> Path:
    path = folder / f".{name}.tmp-{pid}-{machine}0123abcd"
    files.write_bytes(path, b"half")
    return path


def test_only_what_a_dead_process_of_this_machine_left_goes(tmp_path: Path, nobody: int) -> None:
    ours, project = files.machine(), tmp_path / "p"
    left = [unfinished(project / "a" / "b", nobody, ours), unfinished(project, nobody, ours, "y")]
    folder = project / files.temporary_name(Path("pack")).replace(str(os.getpid()), str(nobody))
    files.write_bytes(folder / "inside", b"half")
    stays = [
        unfinished(project, os.getpid(), ours),
        unfinished(project, nobody, "ffffffff"),
        unfinished(project, nobody, ""),
        project / "a" / "whole.json",
        project / f".hidden-tmp-{nobody}",
        tmp_path / "outside" / "kept",
    ]
    for path in stays[3:]:
        files.write_bytes(path, b"whole")
    linked = project / f".z.tmp-{nobody}-{ours}0123abcd"
    linked.symlink_to(tmp_path / "outside")
    assert sorted(stale_files.sweep(project)) == sorted([*left, folder])
    assert all(path.exists() for path in stays) and linked.is_symlink()
    assert not folder.exists() and not any(path.exists() for path in left)
    assert stale_files.sweep(tmp_path / "nowhere") == []


def test_what_durable_leaves_when_it_is_killed_is_found(tmp_path: Path) -> None:
    code = (
        "import os, sys; from pathlib import Path; from mlpipe import files\n"
        f"with files.durable(Path({str(tmp_path)!r}) / 'a.json') as path:\n"
        "    path.write_text('half'); os.kill(os.getpid(), 9)"
    )
    subprocess.run([sys.executable, "-c", code], check=False, env=os.environ)
    (left,) = tmp_path.iterdir()
    assert stale_files.is_temporary(left.name) and stale_files.sweep(tmp_path) == [left]
    with files.durable(tmp_path / "b.json") as path:
        path.write_text("whole")
        assert stale_files.sweep(tmp_path) == [] and stale_files.process_of(path.name) == os.getpid()


def test_two_processes_may_delete_the_same(tmp_path: Path, nobody: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Runs that start together sweep the same folder, and the slower one failed."""
    folder = tmp_path / f".pack.tmp-{nobody}-{files.machine()}0123abcd"
    files.write_bytes(folder / "inside", b"half")
    is_folder = Path.is_dir

    def deleted_by_the_other(path: Path) -> bool:
        answer = is_folder(path)
        if path == folder:
            for inner in folder.iterdir() if answer else ():
                inner.unlink()
            if answer:
                folder.rmdir()
        return answer

    monkeypatch.setattr(Path, "is_dir", deleted_by_the_other)
    assert stale_files.sweep(tmp_path) == [folder]
