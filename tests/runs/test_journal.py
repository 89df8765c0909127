"""Runs: what is done, who runs it, how it is found again."""

from __future__ import annotations

import os
import platform
import re
import signal
import subprocess
import sys
import time
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from mlpipe import files
from mlpipe.errors import ProjectError
from mlpipe.runs import journal
from mlpipe.runs.journal import Run
from mlpipe.runs.project import Project
from tests.runs.test_records import made as record
from tests.safety.corpus import stored


@pytest.fixture
def run(tmp_path: Path) -> Run:
    made = journal.create(Project(tmp_path / "p"))
    made.write_plan(["one", "two"], "abc", {})
    return made


def test_done_steps(run: Run) -> None:
    run.note("one", "start")
    assert run.done() == set()
    run.note("one", "done", seconds=1.0)
    assert (run.done(), run.is_finished()) == ({"one"}, False)
    run.note("two", "done")
    assert run.is_finished()


def test_a_torn_last_line_is_left_out(run: Run) -> None:
    run.note("one", "done")
    with (run.folder / journal.JOURNAL_FILE).open("a") as handle:
        handle.write('{"step": "two", "event": "do')
    assert run.done() == {"one"}


def test_runs_are_found_by_name_end_and_latest(tmp_path: Path, run: Run) -> None:
    project = Project(tmp_path / "p")
    later = Run("9999-01-01/00-00-00-abcd", project.run_dir("9999-01-01/00-00-00-abcd"))
    later.write_plan([], "", {})
    assert journal.find(project, "latest").name == later.name
    assert journal.find(project, run.name).folder == run.folder
    assert journal.find(project, "abcd").name == later.name
    with pytest.raises(ProjectError, match=r"there is no such run, got '9999-01-01/00-00-00-abce'; did you mean"):
        journal.find(project, "9999-01-01/00-00-00-abce")


def test_a_run_is_free_after_it_ended(run: Run) -> None:
    with run.running():
        assert (run.folder / journal.LOCK_FILE).exists()
    run.refuse_if_running()
    assert not (run.folder / journal.LOCK_FILE).exists()


def identity(pid: int, **changed: object) -> dict[str, object]:
    own = journal.identity()
    return {**own, "pid": pid, "started": journal._start_time(pid), **changed}


def test_a_live_process_keeps_its_run(run: Run) -> None:
    other = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    try:
        lock = identity(other.pid)
        files.write_json(run.folder / journal.LOCK_FILE, lock)
        with pytest.raises(ProjectError, match=rf"another process is running it \(pid {other.pid} on "):
            run.refuse_if_running()
        files.write_json(run.folder / journal.LOCK_FILE, {**lock, "started": "1"})
        run.refuse_if_running()
        files.write_json(run.folder / journal.LOCK_FILE, {**lock, "boot": "another start of the machine"})
        run.refuse_if_running()
    finally:
        other.communicate(b"\n")
    files.write_json(run.folder / journal.LOCK_FILE, lock)
    run.refuse_if_running()


def test_a_process_of_another_machine_is_taken_as_alive(run: Run) -> None:
    files.write_json(run.folder / journal.LOCK_FILE, identity(os.getpid(), host=f"not-{platform.node()}"))
    with pytest.raises(ProjectError, match="another process is running it"):
        run.refuse_if_running()


def test_what_is_noted_after_a_torn_line_is_kept(run: Run) -> None:
    run.note("one", "done")
    with (run.folder / journal.JOURNAL_FILE).open("a") as handle:
        handle.write('{"step": "two", "event": "do')
    run.note("two", "done", seconds=2)
    assert run.done() == {"one", "two"}
    assert [line["event"] for line in run.events()] == ["done", "done"]
    run.note("one", "failed", error="a\nb")
    assert run.events()[-1]["error"] == "a\nb"


HOLDS = """
import sys, time
from pathlib import Path
from mlpipe.runs.journal import Run
with Run("2020-01-01/r", Path(sys.argv[1])).running():
    print("holding", flush=True)
    time.sleep(60)
"""


def test_a_killed_process_holds_no_run_even_before_its_parent_noticed(run: Run) -> None:
    top = str(Path(__file__).parents[2])
    command = [sys.executable, "-c", HOLDS, str(run.folder)]
    environment = {**os.environ, "PYTHONPATH": top}
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as other:
        assert other.stdout is not None and other.stdout.readline() == "holding\n"
        with pytest.raises(
            ProjectError, match=rf"continue={run.name}: another process is running it \(pid {other.pid}"
        ):
            run.refuse_if_running()
        with pytest.raises(ProjectError, match="wait for it or stop it first"), run.running():
            pass
        other.send_signal(signal.SIGKILL)
        deadline = time.monotonic() + 10
        while journal._start_time(other.pid) is not None and time.monotonic() < deadline:
            time.sleep(0.01)
        run.refuse_if_running()
    assert (run.folder / journal.LOCK_FILE).exists()
    with run.running():
        assert files.read_json(run.folder / journal.LOCK_FILE)["pid"] == os.getpid()


def test_a_lock_is_let_go_after_an_error_and_a_torn_one_is_none(run: Run) -> None:
    with pytest.raises(ValueError, match="stop"), run.running():
        raise ValueError("stop")
    assert not (run.folder / journal.LOCK_FILE).exists()
    (run.folder / journal.LOCK_FILE).write_text("{")
    run.refuse_if_running()


def test_sentences_list_the_runs(tmp_path: Path) -> None:
    project = Project(tmp_path / "p")
    with pytest.raises(ProjectError, match="project p has no runs, got 'latest'; start one"):
        journal.find(project, "latest")
    names = [f"2020-01-0{day}/10-00-00-{day}{day}ff" for day in (1, 2, 3)]
    for name in names:
        Run(name, project.run_dir(name)).write_plan([], "", {})
    project.run_dir("2020-01-09/without-plan").mkdir(parents=True)
    assert [run.name for run in journal.all_runs(project)] == names
    with pytest.raises(ProjectError) as caught:
        journal.find(project, "zzzz")
    assert f"runs: {', '.join(names[::-1])}" in str(caught.value)
    with pytest.raises(ProjectError, match="continue: 3 runs fit, got 'ff'"):
        journal.find(project, "ff")


def test_new_runs_have_new_names(tmp_path: Path) -> None:
    assert len({journal.create(Project(tmp_path / "p")).name for _ in range(20)}) == 20


def test_runs_of_one_second_are_in_their_order(tmp_path: Path) -> None:
    names = []
    for _ in range(6):
        time.sleep(0.002)
        names.append(journal.create(Project(tmp_path / "p")).name)
    assert names == sorted(names)


def test_a_plan_of_another_format_or_damaged_is_refused(run: Run) -> None:
    files.write_json(run.folder / journal.PLAN_FILE, {**run.plan(), "format": 99})
    with pytest.raises(ProjectError, match=r"plan\.json: has another format, got 99"):
        run.plan()
    (run.folder / journal.PLAN_FILE).write_text("{")
    with pytest.raises(ProjectError, match="cannot be read as a plan"):
        run.is_finished()


def test_a_plan_says_what_a_run_is_made_with(run: Run) -> None:
    run.write_plan(["one", "two"], "abc", {"torch": "2"}, "mml train")
    assert run.plan() == {
        "format": 1, "recipe": "abc", "steps": ["one", "two"], "versions": {"torch": "2"}, "command": "mml train",
    }  # fmt: skip
    assert run.checkpoints_dir == run.folder / "checkpoints" and run.log_file == run.folder / "log.txt"
    for steps in (None, "one", ["one", 2]):
        files.write_json(run.folder / journal.PLAN_FILE, {**run.plan(), "steps": steps})
        with pytest.raises(ProjectError, match=r"plan\.json: has no list of steps; start a new run"):
            run.plan()
        run.write_plan(["one", "two"], "abc", {})
    run.note("one", "start", fold=3)
    (line,) = run.events()
    assert {key: line[key] for key in ("step", "event", "fold")} == {"step": "one", "event": "start", "fold": 3}
    assert datetime.fromisoformat(line["at"]).utcoffset() == timedelta(0) and len(line["at"]) == 29


def test_folders_without_a_plan_are_runs_for_who_cleans(tmp_path: Path, run: Run) -> None:
    project = Project(tmp_path / "p")
    project.run_dir("9999-01-01/half").mkdir(parents=True)
    assert [one.name for one in journal.all_run_folders(project)] == [run.name, "9999-01-01/half"]
    assert [one.name for one in journal.all_runs(project)] == [run.name]
    assert journal.all_run_folders(Project(tmp_path / "none")) == []
    assert run.name == f"{run.folder.parent.name}/{run.folder.name}"
    assert re.fullmatch(r"\d{4}-\d\d-\d\d/\d\d-\d\d-\d\d-[0-9a-f]{4}", run.name)


def test_a_job_that_slurm_queued_again_has_ended(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SLURM_JOB_ID", raising=False)
    assert "slurm" not in journal.identity()
    monkeypatch.setenv("SLURM_JOB_ID", "7")
    first = {**journal.identity(), "host": "another"}
    assert first["slurm"] == ["7", 0] and journal.is_live(first)
    monkeypatch.setenv("SLURM_RESTART_COUNT", "1")
    assert journal.identity()["slurm"] == ["7", 1]
    assert not journal.is_live(first) and journal.is_live({**first, "slurm": ["8", 0]})
    assert journal.is_live({**first, "slurm": ["7", 1]})
    files.write_json(run.folder / journal.LOCK_FILE, first)
    run.refuse_if_running()


def test_a_process_is_known_by_number_start_and_boot() -> None:
    own = journal.identity()
    assert journal.is_live(own) and journal.is_alive(os.getpid()) and not journal.is_alive(999_999_999)
    for change in ({"boot": "other"}, {"started": "1"}, {"pid": 999_999_999}):
        assert not journal.is_live({**own, **change})
    assert own["host"] == platform.node() and own["pid"] == os.getpid()
    assert own["boot"] == Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    assert own["started"] == Path("/proc/self/stat").read_text().rpartition(")")[2].split()[19]


def test_without_proc_a_signal_tells(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Path, "exists", lambda self: False)
    answers = {1: None, 2: ProcessLookupError(), 3: PermissionError()}

    def kill(pid: int, signal_: int) -> None:
        assert signal_ == 0
        if answers[pid] is not None:
            raise answers[pid]

    monkeypatch.setattr(os, "kill", kill)
    assert [journal._start_time(pid) for pid in (1, 2, 3)] == ["alive", None, "other user"]
    assert journal._boot() == ""


def test_names_are_searched_by_their_end_and_key(tmp_path: Path, run: Run) -> None:
    project = Project(tmp_path / "p")
    with pytest.raises(ProjectError, match=r"mode\.run: there is no such run, got 'zzzzz'; runs: "):
        journal.find(project, "zzzzz", "mode.run")
    with pytest.raises(ProjectError, match=r"mode\.run: project none has no runs, got 'x'; start one"):
        journal.find(Project(tmp_path / "none"), "x", "mode.run")
    for day in range(1, 8):
        Run(f"2020-01-0{day}/a", project.run_dir(f"2020-01-0{day}/a")).write_plan([], "", {})
    with pytest.raises(ProjectError) as caught:
        journal.find(project, "zzzzz")
    assert "2020-01-04" in str(caught.value) and "2020-01-02" not in str(caught.value)


@pytest.mark.parametrize("name", stored.JOURNALS)
def test_a_line_that_is_none_of_a_journal_did_not_happen(name: str, tmp_path: Path) -> None:
    run = journal.create(Project(tmp_path))
    good = '{"step": "fold_1", "event": "done", "seconds": 1}\n'
    line = stored.JOURNALS[name]
    content = line.encode() if isinstance(line, str) else line
    (run.folder / journal.JOURNAL_FILE).write_bytes(content + b"\n" + good.encode())
    assert run.done() == {"fold_1"}


def test_a_journal_that_is_a_pipe_is_named(tmp_path: Path) -> None:
    run = journal.create(Project(tmp_path))
    os.mkfifo(run.folder / journal.JOURNAL_FILE)
    with pytest.raises(ProjectError, match=r"journal.jsonl: cannot be read as a journal \(it is no ordinary file\)"):
        run.events()


@pytest.mark.parametrize("name", stored.LOCKS)
def test_a_lock_that_is_none_names_nobody(name: str, tmp_path: Path) -> None:
    (tmp_path / "running.json").write_text(stored.LOCKS[name].replace("HOST", platform.node()))
    assert journal.live_owner(tmp_path / "running.json") is None


@pytest.mark.parametrize("name", stored.PLANS)
def test_a_plan_of_another_form_is_one_sentence(name: str, tmp_path: Path) -> None:
    run = journal.create(Project(tmp_path))
    (run.folder / journal.PLAN_FILE).write_text(stored.PLANS[name])
    with pytest.raises(ProjectError, match=r"plan\.json: "):
        run.plan()


def test_recipes_have_the_names_of_their_preset(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    moments = (f"2024-01-01T10:00:{second:02}.000+00:00" for second in range(60))
    monkeypatch.setattr(journal, "now", lambda: next(moments))
    project = Project(tmp_path / "p")
    first = Run("2024-01-01/10-00-00-0001", project.run_dir("2024-01-01/10-00-00-0001"))
    first.folder.mkdir(parents=True)
    made = []
    for name, recipe in (("probe", "aaaa"), ("tuned", "bbbb")):
        first.note(f"{name}: train fold 0", "start")
        made.append(record("x", run=first.name, recipe=recipe, created=journal.now()))
        first.note(f"{name}: train fold 0", "done", seconds=0.1)
    first.note("post", "start")
    made.append(record("y", run=first.name, recipe="cccc", created=journal.now()))
    first.note("post", "done")
    first.note("train fold 0", "start")
    made.append(record("z", run=first.name, recipe="dddd", created=journal.now()))
    first.note("train fold 0", "done")
    made.append(record("w", run="2024-01-01/gone", recipe="eeee", created=journal.now()))
    assert journal.names_of_recipes(project, made) == {"aaaa": "probe", "bbbb": "tuned"}


def test_a_recipe_is_called_as_its_preset_does() -> None:
    names = {"aaaa": "probe"}
    assert journal.called(names, "aaaa net") == "probe aaaa net"
    assert journal.called(names, "bbbb net") == "bbbb net" and journal.called(names, "net-aaaa-f0") == "net-aaaa-f0"


def test_the_latest_run_is_the_one_that_was_begun_last(tmp_path: Path) -> None:
    """Where summer time ends the clock is set back by an hour, and names with it."""
    project = Project(tmp_path / "clock")
    for name, number in (("2026-10-25/02-59-00-aaaa", 1), ("2026-10-25/02-01-00-bbbb", 2)):
        Run(name, project.run_dir(name)).write_plan(["one"], "", {}, "mml train", number)
    assert journal.find(project, "latest").name == "2026-10-25/02-01-00-bbbb"
    # A plan that cannot be read has no number.
    files.write_text(project.run_dir("2026-10-25/02-01-00-bbbb") / journal.PLAN_FILE, "{")
    assert journal.find(project, "latest").name == "2026-10-25/02-59-00-aaaa"


def test_a_journal_of_more_lines_than_any_run_has_is_refused(tmp_path: Path) -> None:
    run = journal.Run("2026-01-01/x", tmp_path)
    (tmp_path / journal.JOURNAL_FILE).write_bytes(b"{}\n" * 100_001)
    with pytest.raises(ProjectError, match="it has more than 100,000 lines"):
        run.events()
