"""The page on the doctor: its commands run, and its tables are those of the program."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest

from mlpipe.cli import main
from mlpipe.modes import doctor
from mlpipe.modes.doctor import stored_environment

PAGE = (Path(__file__).parents[2] / "docs" / "doctor.md").read_text("utf-8")
COMMANDS = re.findall(r"^mml .*$", PAGE, re.MULTILINE)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder to work in, with a run that older versions made."""
    run = tmp_path / "results/demo/runs/2026-01-02/10-00-00-aaaa"
    run.mkdir(parents=True)
    versions = {"mlpipe": "0.0.9", "python": "3.11.0", "git": None}
    (run / "plan.json").write_text(json.dumps({"format": 1, "recipe": "", "steps": [], "versions": versions}))
    monkeypatch.chdir(tmp_path)
    for name in ("MML_RESULTS_PATH", "MML_DATA_PATH"):
        monkeypatch.delenv(name, raising=False)
    # Where nothing listens.
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    yield tmp_path


def test_the_page_has_commands() -> None:
    assert len(COMMANDS) == 5 and all(shlex.split(command)[1] == "doctor" for command in COMMANDS)


@pytest.mark.program
@pytest.mark.parametrize("command", COMMANDS)
def test_a_command_of_the_page(command: str, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(shlex.split(command)[1:]) == 0
    shown = capsys.readouterr().out
    if "--json" in command:
        facts = json.loads(shown)
        assert facts["ok"] and {"packages", "devices", "memory", "disks", "weights"} <= set(facts["facts"])
    else:
        assert shown.endswith("nothing here will stop a training\n")
    assert ("was not asked" in shown) is ("--offline" in command)
    if "demo" in command:
        assert re.search(r"mlpipe +0\.0\.9 then, .* now: another version may train otherwise", shown)
    assert [entry.name for entry in folder.iterdir()] == ["results"]


def test_topics_are_those_of_the_program(folder: Path) -> None:
    told = {one.strip() for row in re.findall(r"^\| ([a-z, ]+) \| ", PAGE, re.MULTILINE) for one in row.split(",")}
    checks = {topic for topic, _ in doctor.checks(doctor.parse_question([], {}), {})}
    assert checks - {"python", "shared memory", "open files", "hub"} <= told


def test_differences_are_those_of_the_program() -> None:
    (table,) = re.findall(r"\| differs \|.*?\n\n", PAGE, re.DOTALL)
    named = {one.strip() for row in re.findall(r"^\| ([\w, ]+) \| ", table, re.MULTILINE) for one in row.split(",")}
    assert named - {"differs"} == set(stored_environment._MEANINGS)
