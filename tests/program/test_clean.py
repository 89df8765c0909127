"""What goes, what stays and why: tasks, links, running processes, unfinished runs, and who is asked."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from filelock import FileLock

from mlpipe import files
from mlpipe.cli import main
from mlpipe.data.cache import packs
from mlpipe.runs import journal, records
from mlpipe.runs.project import Project
from tests.build import DIGITS, contents, make_record, make_run

NOBODY = 2**22 + 1
EVERYTHING = "mode.subroutines=[temp,download,cache,parameters]"
FORCE, ALL = "mode.force=true", "mode.all=true"


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """A data folder with two tasks, each with a pack."""
    for name in ("digits", "pets"):
        source = {"type": "folder", "root": f"/{name}"}
        files.write_json(tmp_path / "data" / name / "task.json", {"source": source})
        files.write_json(tmp_path / "data" / name / "cache" / "default-1" / packs.INDEX_FILE, {})
        files.write_bytes(tmp_path / "data" / name / "cache" / "default-1" / packs.FIXED_FILE, b"0" * 1000)
    return tmp_path / "data"


@pytest.fixture
def other() -> Iterator[dict[str, object]]:
    """A process that lives, as the program notes it."""
    with subprocess.Popen([sys.executable, "-c", "import time; time.sleep(100)"]) as process:
        yield {**journal.identity(), "pid": process.pid, "started": journal._start_time(process.pid)}
        process.kill()


@pytest.fixture
def project(tmp_path: Path) -> Project:
    return Project(tmp_path / "results" / "default")


def abandoned(folder: Path, *, pid: int = NOBODY, hours: float = 2) -> Path:
    path = folder / f".x.json.tmp-{pid}-0123abcd"
    files.write_bytes(path, b"half")
    os.utime(path, (time.time() - hours * 3600,) * 2)
    return path


def clean(*arguments: str) -> int:
    return main(["clean", *arguments])


def test_only_named_tasks_count(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = contents(data)
    assert clean("mode.subroutines=[cache]", FORCE) == 2
    assert "no task is named" in capsys.readouterr().err
    assert clean("mode.subroutines=[cache]", "task_list=[pet]", FORCE) == 2
    assert "task_list: unknown task, got 'pet'; did you mean 'pets'?" in capsys.readouterr().err
    assert contents(data) == before
    assert clean("mode.subroutines=[cache]", "task=digits", FORCE) == 0
    assert not (data / "digits" / "cache" / "default-1").exists()
    assert clean("mode.subroutines=[cache]", "task_list=[pets]", FORCE) == 0
    assert sorted(contents(data)) == ["digits/task.json", "pets/task.json"]
    capsys.readouterr()
    assert clean("mode.subroutines=[cache]", ALL) == 0
    assert "nothing to delete: there are no caches" in capsys.readouterr().out


@pytest.mark.parametrize(("answer", "goes"), [("y\n", True), ("n\n", False), ("\n", False), ("", False)])
def test_a_terminal_is_asked(
    data: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], answer: str, goes: bool
) -> None:
    terminal = io.StringIO(answer)
    monkeypatch.setattr(terminal, "isatty", lambda: True)
    monkeypatch.setattr(sys, "stdin", terminal)
    assert clean("mode.subroutines=[cache]", "task=digits") == 0
    shown = capsys.readouterr()
    assert "delete these 1 (1.0 kB)? [y/N]" in shown.err
    assert (data / "digits" / "cache" / "default-1").exists() is not goes
    assert ("nothing was deleted" in shown.out) is not goes


def test_without_a_terminal_it_refuses_and_dry_run_lists(
    data: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "stdin", io.StringIO("y\n"))
    before = contents(data)
    assert clean("mode.subroutines=[cache]", ALL) == 2
    (sentence,) = capsys.readouterr().err.splitlines()
    assert sentence.startswith("mode.force: there is no terminal to ask on before 2.0 kB go; add mode.force=true")
    assert clean("mode.subroutines=[cache]", ALL, "--dry-run") == 0
    assert f"delete {data / 'digits' / 'cache' / 'default-1'} (1.0 kB)" in capsys.readouterr().out
    assert contents(data) == before


def test_links_are_never_followed(data: Path, project: Project, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    abandoned(outside)
    files.write_bytes(outside / "pack" / packs.INDEX_FILE, b"{}")
    files.write_bytes(outside / "models" / "net" / records.WEIGHTS_FILE, b"w")
    before = contents(outside)
    (data / "digits" / "link").symlink_to(outside)
    (data / "digits" / "cache" / "linked").symlink_to(outside / "pack")
    (data / "archives").symlink_to(outside)
    (data / "digits" / ".x.tmp-1-0123abcd").symlink_to(outside)
    record = make_record(project, "net")
    path = project.model_dir("digits", record.id) / records.WEIGHTS_FILE
    path.unlink()
    path.symlink_to(outside / "models" / "net" / records.WEIGHTS_FILE)
    assert clean(EVERYTHING, ALL, FORCE) == 0
    assert contents(outside) == before
    assert (data / "digits" / "link").is_symlink() and path.is_symlink()
    assert not (data / "digits" / "cache" / "default-1").exists()


def test_temporary_files_of_the_living_and_of_today_stay(data: Path, other: dict[str, object]) -> None:
    gone, young = abandoned(data / "digits"), abandoned(data / "pets", hours=0)
    living = abandoned(data / "pets", pid=int(str(other["pid"])))
    assert clean(ALL, FORCE, "mode.subroutines=[temp]") == 0
    assert not gone.exists() and not young.exists() and living.exists()


def test_a_young_temporary_file_needs_force(data: Path) -> None:
    young = abandoned(data / "pets", hours=0)
    assert clean(ALL) == 0
    assert young.exists()


def test_a_cache_in_use_stays_whatever_is_forced(
    data: Path, other: dict[str, object], capsys: pytest.CaptureFixture[str]
) -> None:
    used, filled = (data / name / "cache" / "default-1" for name in ("digits", "pets"))
    files.write_json(used / ".used-by-here-1.json", other)
    with FileLock(filled / ".lock"):
        assert clean("mode.subroutines=[cache]", ALL, FORCE, "--json") == 0
    facts = json.loads(capsys.readouterr().out)
    assert facts["deleted"] == []
    assert facts["kept"] == {
        str(used): f"process {other['pid']} on {other['host']} uses it",
        str(filled): "a process fills it",
    }
    (used / ".used-by-here-1.json").write_text(json.dumps({**other, "started": "another"}))
    assert clean("mode.subroutines=[cache]", ALL, FORCE) == 0
    assert not used.exists() and not filled.exists()


def test_what_an_unfinished_run_needs_stays_without_force(
    data: Path, project: Project, other: dict[str, object], capsys: pytest.CaptureFixture[str]
) -> None:
    done, begun = make_run(project, DIGITS, finished=True), make_run(project, DIGITS)
    for run in (done, begun):
        files.write_bytes(run.checkpoints_dir / "fold" / "state.json", b"{}")
    free, held = make_record(project, "free", run=done.name), make_record(project, "held", run=begun.name)
    assert clean(EVERYTHING, ALL, "--dry-run") == 0
    shown = capsys.readouterr().out
    kept = [line for line in shown.splitlines() if line.startswith("kept: ")]
    reason = f"run {begun.name} of default is not finished and can be continued"
    assert len(kept) == 3 and all(line.endswith(reason) for line in kept)
    assert str(data / "digits" / "cache") in kept[1]
    going = [line for line in shown.splitlines() if line.startswith("delete ")]
    weights = project.model_dir("digits", free.id) / records.WEIGHTS_FILE
    assert [line.split()[1] for line in going] == [
        str(done.checkpoints_dir), str(data / "pets" / "cache" / "default-1"), str(weights),
    ]  # fmt: skip
    files.write_json(begun.folder / journal.LOCK_FILE, other)
    assert clean(EVERYTHING, ALL, FORCE) == 0
    assert begun.checkpoints_dir.exists() and not done.checkpoints_dir.exists()
    assert (data / "digits" / "cache" / "default-1").exists()
    assert (project.model_dir("digits", held.id) / records.WEIGHTS_FILE).exists() and not weights.exists()
    left = records.load(weights.parent)
    assert left.weights is None and left.notes == ["its weights were deleted by mml clean"]
    (begun.folder / journal.LOCK_FILE).unlink()
    assert clean(EVERYTHING, ALL, FORCE) == 0
    assert not begun.checkpoints_dir.exists() and not (data / "digits" / "cache" / "default-1").exists()


def test_weights_that_an_unfinished_run_starts_from_stay(project: Project, data: Path) -> None:
    record = make_record(project, "net")
    make_run(Project(project.root.parent / "other"), ["task=pets", *DIGITS[1:], "reuse.parameters=default#1"])
    assert clean("mode.subroutines=[parameters]", "task=digits", "mode.force=false") == 0
    assert (project.model_dir("digits", record.id) / records.WEIGHTS_FILE).is_file()


def test_unpacked_archives_stay_where_a_task_reads_them(data: Path) -> None:
    read, orphan = data / "archives" / "pets-1", data / "archives" / "old-2"
    for folder in (read, orphan):
        files.write_bytes(folder / "a.png", b"x")
    files.write_json(data / "pets" / "task.json", {"source": {"type": "folder", "root": str(read / "images")}})
    assert clean("mode.subroutines=[download]", "task=digits") == 0
    assert clean("mode.subroutines=[download]", "task=pets", "--dry-run") == 0
    assert read.is_dir() and orphan.is_dir()
    assert clean("mode.subroutines=[download]", "task_list=[pets]", FORCE) == 0
    assert not read.exists() and orphan.is_dir()
    assert clean(ALL, FORCE) == 0
    assert not orphan.exists()


@pytest.mark.parametrize(
    ("mode", "words"), [("predict", DIGITS), ("test", DIGITS), ("post", ["task=digits", "mode.search=soup"])]
)
def test_weights_that_an_unfinished_run_predicts_with_stay(
    mode: str, words: list[str], project: Project, data: Path
) -> None:
    """Such a run has made no record itself."""
    record = make_record(project, "net")
    run = make_run(project, words, mode=mode)
    weights = project.model_dir("digits", record.id) / records.WEIGHTS_FILE
    assert clean("mode.subroutines=[parameters]", "task=digits") == 0
    assert weights.is_file()
    run.note("train fold 0", "done")
    assert clean("mode.subroutines=[parameters]", "task=digits", FORCE) == 0
    assert not weights.exists()


def test_a_damaged_plan_does_not_stop_a_cleaning(project: Project, data: Path) -> None:
    """Its run may still need what it needed."""
    (make_run(project, DIGITS).folder / journal.PLAN_FILE).write_text("{")
    gone = abandoned(data / "digits")
    assert clean("mode.subroutines=[temp,cache]", ALL, FORCE, "task=pets") == 0
    assert not gone.exists()


@pytest.mark.parametrize(
    "more", [{"masks": {"root": "ARCHIVE/masks"}}, {"file": "ARCHIVE/table.csv"}, {"roots": ["ARCHIVE/images"]}]
)
def test_an_archive_of_masks_or_of_a_table_stays_too(more: dict[str, object], data: Path) -> None:
    archive = data / "archives" / "masks-1"
    files.write_bytes(archive / "a.png", b"x")
    source = json.loads(json.dumps({"type": "masks", "root": "/elsewhere", **more}).replace("ARCHIVE", str(archive)))
    files.write_json(data / "pets" / "task.json", {"source": source})
    assert clean("mode.subroutines=[download]", ALL) == 0
    assert archive.is_dir()
