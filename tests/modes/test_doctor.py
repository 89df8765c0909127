"""The command `mml doctor`: its words, its text, its JSON and its exit code."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from mlpipe.errors import ConfigError, ProjectError
from mlpipe.modes import doctor
from mlpipe.modes.doctor.findings import Finding

FOUND = [
    Finding("memory", "free", 21_500_000_000),
    Finding("weights", "there", ["resnet18.a1_in1k", "vit"]),
    Finding("weights", "none there", []),
    Finding("packages", "h5py", None, "problem", "h5py: is not installed"),
    Finding("memory", "shared", 64_000_000, "note", "shared memory: little"),
    Finding("devices", "GPU", "one"),
    Finding("devices", "GPU", "two"),
]


def test_words() -> None:
    environment = {"MML_RESULTS_PATH": "/r", "MML_DATA_PATH": "/d"}
    question = doctor.parse_question([], environment)
    assert (question.out_dir, question.data_dir, question.run) == (Path("/r"), Path("/d"), "")
    question = doctor.parse_question(["proj=scans", "out_dir=/o", "--offline", "--json"], environment)
    assert (question.out_dir, question.project, question.run) == (Path("/o"), "scans", "latest")
    assert question.offline and question.json
    assert (
        doctor.parse_question(["86d1"], {}).run == "86d1"
        and doctor.parse_question([], {}).out_dir == Path("results").absolute()
    )


def test_wrong_words_are_all_told() -> None:
    with pytest.raises(ConfigError) as error:
        doctor.parse_question(["--ofline", "prj=x", "proj=", "a", "b"], {})
    assert error.value.problems == (
        "--ofline: is nothing that mml doctor takes; did you mean '--offline'?",
        "prj=x: is nothing that mml doctor takes; did you mean 'proj'?",
        "proj=: is nothing that mml doctor takes; did you mean 'proj'?",
        "doctor: compares one run, got 'a b'; name one",
    )


def test_text() -> None:
    assert doctor.text(FOUND).splitlines() == [
        "memory",
        "  free        21.5 GB",
        "  shared      64 MB",
        "",
        "weights",
        "  there       resnet18.a1_in1k, vit",
        "  none there  none",
        "",
        "packages",
        "  h5py        not there",
        "",
        "devices",
        "  GPU         one",
        "  GPU         two",
        "",
        "worth a look:",
        "  shared memory: little",
        "",
        "this will stop a training:",
        "  h5py: is not installed",
    ]
    assert doctor.text(FOUND[:1]).endswith("\n\nnothing here will stop a training")


def test_facts() -> None:
    facts = doctor.facts(FOUND)
    assert not facts["ok"] and facts["problems"] == ["h5py: is not installed"]
    assert facts["notes"] == ["shared memory: little"] and facts["facts"]["devices"]["GPU"] == ["one", "two"]
    assert doctor.facts(FOUND[:2])["ok"]


@pytest.mark.parametrize(("index", "code"), [(0, 0), (4, 0), (3, 1)])
def test_exit_codes(index: int, code: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(doctor, "checks", lambda *_: [("one", lambda: [FOUND[index]])])
    assert doctor.main(["--json"]) == code
    assert json.loads(capsys.readouterr().out)["ok"] is (code == 0)


def test_a_run_that_is_not_there_is_told_before_anything_is_checked(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(doctor, "checks", lambda *_: pytest.fail("checked"))
    with pytest.raises(ProjectError, match="there is no project nope"):
        doctor.main(["proj=nope", f"out_dir={tmp_path}"])


def test_names_that_a_terminal_would_obey_are_escaped() -> None:
    assert "\x1b" not in doctor.text([Finding("disks", "out_dir", "/tmp/\x1b[31mred")])


def test_missing_libraries_keep_nothing_from_being_told(tmp_path: Path) -> None:
    """`packaging` comes with other libraries only, and PyYAML is what files are read with."""
    code = """
import sys
sys.modules |= {"packaging.requirements": None, "yaml": None}
from mlpipe.modes import doctor
doctor._devices = lambda environment: []
sys.exit(doctor.main(["--offline", "--json"]))
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False)
    told = json.loads(done.stdout)
    assert done.returncode == 1
    assert told["problems"] == ["packaging.requirements: is not installed; install mlpipe with its dependencies"]
    assert [one.partition(":")[0] for one in told["notes"] if "could not be found out" in one] == ["disks", "weights"]
    assert {"memory", "processor", "weights", "encodings"} <= set(told["facts"])
