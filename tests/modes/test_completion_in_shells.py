"""Completion in the shells themselves: what stands on the line behind a Tab."""

from __future__ import annotations

import os
import pty
import re
import resource
import select
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

pytestmark = [pytest.mark.services, pytest.mark.timeout(300)]

MML = Path(sys.executable).with_name("mml")
_START = {
    "bash": (["bash", "--norc", "--noprofile", "-i"], 'eval "$(mml completion bash)"'),
    "zsh": (["zsh", "-f", "-i"], 'eval "$(mml completion zsh)"'),
}
# Seconds in which a shell must answer, on a busy machine too.
_PATIENCE = 60.0


def needs(shell: str) -> None:
    if shutil.which(shell) is None:
        pytest.skip(f"no {shell} (apt-get install {shell})")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with a task, a project and images, and names in it that must not get onto a line."""
    for name in ("results/clinic/runs/2026-01-02/10-00-00-aaaa", "results/two words/runs", "results/$(touch ran)/runs"):
        (tmp_path / name).mkdir(parents=True)
    (tmp_path / "results/clinic/runs/2026-01-02/10-00-00-aaaa/plan.json").write_text("{}")
    (tmp_path / "mlpipe_data/cells-1").mkdir(parents=True)
    (tmp_path / "mlpipe_data/cells-1/task.json").write_text("{}")
    (tmp_path / "new_images").mkdir()
    return tmp_path


def environment(folder: Path) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("MML_")}
    own = {"PATH": f"{MML.parent}:{os.environ['PATH']}", "TERM": "dumb", "PS1": "", "HOME": str(folder)}
    return {**kept, **own, "ZDOTDIR": str(folder), "XDG_CONFIG_HOME": str(folder), "COLUMNS": "200"}


class Terminal:
    """A shell at a terminal of its own."""

    def __init__(self, shell: str, folder: Path) -> None:
        command, start = _START[shell]
        self._own, theirs = pty.openpty()
        streams = {"stdin": theirs, "stdout": theirs, "stderr": theirs}
        where = {"cwd": folder, "env": environment(folder), "start_new_session": True}
        self._process = subprocess.Popen(command, **streams, **where)  # type: ignore[call-overload]
        os.close(theirs)
        self._shown = ""
        self.type(f"{start}; echo READY'!'\r")
        self._wait(r"READY(!)\r?\n")

    def type(self, text: str) -> None:
        os.write(self._own, text.encode())

    def completed(self, line: str) -> str:
        """What a line has become after a Tab, as the shell itself reads it: it is given to `echo`."""
        self._shown = ""
        self.type(f"{line}\t")
        # The answer of the program; keys that are typed meanwhile wait.
        self.type("\x01echo BECAME \r")
        return self._wait(r"BECAME ([^\r\n]*)\r?\n")

    def _wait(self, pattern: str) -> str:
        end = time.monotonic() + _PATIENCE
        while time.monotonic() < end:
            # What was typed is echoed in front of what it prints.
            if found := re.search(rf"(?m)^{pattern}", self._shown):
                return found[1]
            if select.select([self._own], [], [], 0.2)[0]:
                try:
                    self._shown += os.read(self._own, 4096).decode("utf-8", "replace")
                except OSError:
                    break
        raise AssertionError(f"the shell did not answer: {self._shown!r}")

    def close(self) -> None:
        os.close(self._own)
        self._process.terminate()
        self._process.wait(10)


LINES = [
    ("mml trai", "mml train"),
    ("mml train loss=foc", "mml train loss=focal"),
    ("mml train trainer.max_e", "mml train trainer.max_epochs="),
    ("mml train optimizer.l", "mml train optimizer.l"),
    ("mml train optimizer=sgd optimizer.mome", "mml train optimizer=sgd optimizer.momentum="),
    ("mml train task=cel", "mml train task=cells-1"),
    ("mml predict proj=", "mml predict proj=clinic"),
    ("mml train proj=clinic continue=2026", "mml train proj=clinic continue=2026-01-02/10-00-00-aaaa"),
    ("mml predict new", "mml predict new_images/"),
    ("mml train mode.cv=t", "mml train mode.cv=true"),
    ("A=1 mml train loss=foc", "A=1 mml train loss=focal"),
]


@pytest.mark.parametrize("shell", _START)
def test_at_a_terminal(shell: str, folder: Path) -> None:
    needs(shell)
    terminal = Terminal(shell, folder)
    try:
        for line, expected in LINES:
            assert terminal.completed(line).rstrip() == expected
        brackets = r"mml train callbacks=\[early,s" if shell == "zsh" else "mml train callbacks=[early,s"
        assert terminal.completed(brackets).rstrip() == "mml train callbacks=[early,swa"
        assert not (folder / "ran").exists()
    finally:
        terminal.close()


@pytest.mark.parametrize(
    ("line", "piece", "replies"),
    [
        ("mml train arch=resnet3", "resnet3", ["resnet32ts ", "resnet33ts ", "resnet34 ", "resnet34d "]),
        ("A=1 mml train loss=foc", "foc", ["focal "]),
        ("mml train 'mode.cv=t", "mode.cv=t", ["mode.cv=true"]),
        ("mml train task=zzz", "zzz", []),
    ],
)
def test_replies_in_bash(line: str, piece: str, replies: list[str], folder: Path) -> None:
    needs("bash")
    script = (
        'eval "$(mml completion bash)"; COMP_LINE=$1; COMP_POINT=${#1}; _mml_complete mml "$2" train; '
        'printf "%s\\n" "${COMPREPLY[@]}"'
    )
    command = ["bash", "--norc", "-c", script, "bash", line, piece]
    done = subprocess.run(command, cwd=folder, env=environment(folder), capture_output=True, text=True, check=True)
    assert [one for one in done.stdout.split("\n") if one] == replies


def test_in_fish(folder: Path) -> None:
    needs("fish")

    def shown(line: str) -> list[str]:
        script = "mml completion fish | source; complete -C $argv[1]"
        command = ["fish", "--no-config", "-c", script, line]
        done = subprocess.run(command, cwd=folder, env=environment(folder), capture_output=True, text=True, check=True)
        return [one.partition("\t")[0] for one in done.stdout.splitlines()]

    assert shown("mml trai") == ["train"] and shown("mml train arch=resnet3") == [
        "arch=resnet32ts", "arch=resnet33ts", "arch=resnet34", "arch=resnet34d",
    ]  # fmt: skip
    assert shown("mml train trainer.max_e") == ["trainer.max_epochs="] and shown("mml train task=cel") == [
        "task=cells-1"
    ]
    assert shown("mml train 'mode.cv=t") == ["mode.cv=true"] and shown("mml predict proj=") == ["proj=clinic"]
    assert shown("mml train callbacks=[early,s") == ["callbacks=[early,swa"]
    assert not (folder / "ran").exists()


def test_a_tab_is_quick(folder: Path) -> None:
    """Processor time beside that of the shortest command, as wall time depends on what else the machine does."""

    def seconds(*arguments: str, text: str = "") -> float:
        took = []
        for _ in range(5):
            before = resource.getrusage(resource.RUSAGE_CHILDREN)
            subprocess.run([str(MML), *arguments], input=text, cwd=folder, capture_output=True, text=True, check=True)
            after = resource.getrusage(resource.RUSAGE_CHILDREN)
            took.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
        return min(took)

    least = seconds("--version")
    for line in ("mml ", "mml train ", "mml train arch=res", "mml train trainer.max_e", "mml train task="):
        assert seconds("completion", "--candidates", "bash", text=f"{line}\0\0") < 3 * least + 0.02, line
