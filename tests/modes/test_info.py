"""`mml info` of a project that may only be read."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from mlpipe import files
from mlpipe.cli import main
from mlpipe.runs.project import Project
from tests.build import DIGITS, make_record


def refusing(number: int) -> object:
    @contextmanager
    def durable(path: Path) -> Iterator[Path]:
        if "results" in path.parts:
            raise OSError(number, "Read-only file system", str(path))
        with original(path) as temporary:
            yield temporary

    original = files.durable
    return durable


@pytest.fixture
def project(tmp_path: Path) -> Project:
    made = Project(tmp_path / "results" / "default")
    make_record(made, "one")
    return made


def test_a_project_that_may_only_be_read_is_shown(
    project: Project, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(files, "durable", refusing(errno.EROFS))
    assert main(["info", "mode.subroutines=[models]", *DIGITS]) == 0
    shown = capsys.readouterr().out
    assert "not written, for the folder is only for reading" in shown and "leaderboard.csv" in shown and "net" in shown
    assert not project.reports_dir().exists()


def test_another_error_of_a_disk_is_not_passed_over(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "durable", refusing(errno.EIO))
    assert main(["info", "mode.subroutines=[models]", *DIGITS]) == 1
