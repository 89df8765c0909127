"""What a run notes of the folder that the user works in."""

from __future__ import annotations

import io
import os
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from mlpipe.errors import Interrupted
from mlpipe.reports.progress import Display
from mlpipe.running import scheduler
from mlpipe.running.scheduler import Scheduler
from mlpipe.running.steps import RunContext, Step
from mlpipe.runs.journal import Run
from mlpipe.runs.project import Project

COMMIT = "0123456789abcdef0123456789abcdef01234567"


def _repository(folder: Path, head: bytes) -> Path:
    (folder / ".git" / "refs").mkdir(parents=True)
    (folder / ".git" / "HEAD").write_bytes(head)
    (folder / ".git" / "refs" / "main").write_text(f"{COMMIT}\n")
    return folder


@pytest.mark.parametrize("head", [f"{COMMIT}\n".encode(), b"ref: refs/main\n"])
def test_the_commit_is_read(tmp_path: Path, head: bytes) -> None:
    inside = _repository(tmp_path, head) / "a" / "b"
    inside.mkdir(parents=True)
    assert scheduler._git_commit(inside) == COMMIT


def test_the_commit_of_a_worktree_is_its_own(tmp_path: Path) -> None:
    _repository(tmp_path, b"ref: refs/main\n")
    inside, other = tmp_path / "a", "f" * 40
    git = tmp_path / ".git" / "worktrees" / "a"
    for folder in (inside, git):
        folder.mkdir(parents=True)
    (inside / ".git").write_text("gitdir: ../.git/worktrees/a\n")
    (git / "HEAD").write_text("ref: refs/a\n")
    assert scheduler._git_commit(inside) is None
    (git / "commondir").write_text("../..\n")
    (tmp_path / ".git" / "packed-refs").write_text(f"# pack-refs with: peeled\n{COMMIT} refs/main\n{other} refs/a\n")
    assert scheduler._git_commit(inside) == other
    (tmp_path / ".git" / "refs" / "a").write_text("e" * 40)
    assert scheduler._git_commit(inside) == "e" * 40
    for odd in ("nothing", "gitdir: " + "x" * 4000, "gitdir: a\0b", ""):
        (inside / ".git").write_text(odd)
        assert scheduler._git_commit(inside) is None


@pytest.mark.parametrize(
    "head",
    [
        b"ref: ../secret.txt\n",
        b"ref: /etc/passwd\n",
        b"ref: /dev/zero\n",
        b"ref: a\0b\n",
        b"ref: " + b"x" * 4000,
        b"a text of the user's\n",
        b"\xff\xfe\0",
        b"0" * 100_000,
        b"",
    ],
)
def test_what_leads_elsewhere_is_no_commit(tmp_path: Path, head: bytes) -> None:
    (tmp_path / "secret.txt").write_text("the user's own")
    assert scheduler._git_commit(_repository(tmp_path, head)) is None


def test_a_reference_that_is_a_pipe_is_no_commit(tmp_path: Path) -> None:
    os.mkfifo(_repository(tmp_path, b"ref: refs/pipe\n") / ".git" / "refs" / "pipe")
    assert scheduler._git_commit(tmp_path) is None


class _TwoSteps(Scheduler):
    """A first step that the user stops, and a second one, in the project or not."""

    in_project = False

    def plan(self) -> list[Step]:
        def ask(run: Run | None) -> None:
            self.context.stop.asked = True

        return [Step("one", ask, in_project=False), Step("two", ask, in_project=self.in_project)]


@pytest.mark.parametrize("in_project", [False, True])
def test_what_was_done_before_a_stop_is_not_denied(in_project: bool, tmp_path: Path) -> None:
    """The steps of `mml clean` and `mml upgrade` change the project, though no run has a folder yet."""
    config: Any = SimpleNamespace(data_dir=tmp_path / "data", mode="clean")
    stopped = _TwoSteps(config, RunContext(Project(tmp_path / "p"), Display(io.StringIO())))
    stopped.in_project = in_project
    with pytest.raises(Interrupted) as error:
        stopped.run()
    denies = "stopped before anything was written to the project; run the same command again"
    assert str(error.value) == (denies if in_project else "stopped; what is done stays; run the same command again")
