"""Tokens and addresses of `mml serve`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from mlpipe.errors import ProjectError
from mlpipe.modes import serve
from mlpipe.reports.progress import Display
from mlpipe.running import launch, loaded_model
from mlpipe.running.steps import RunContext
from mlpipe.runs.project import Project

GOOD = "0123456789abcdef"


def test_a_token_of_the_environment_or_of_a_file(tmp_path: Path) -> None:
    (tmp_path / "token").write_text(f"{GOOD}-file\n")
    problems = list[str]()
    assert serve._token(None, None, problems) is None
    assert serve._token(None, f" {GOOD}\n", problems) == GOOD
    assert serve._token(str(tmp_path / "token"), GOOD, problems) == f"{GOOD}-file"
    assert problems == []


@pytest.mark.parametrize("text", ["short", "", "a" * 15, "two words of a token", "ünïcödé-tökén-öf-lëttërs"])
def test_a_token_that_is_none_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "token").write_text(text)
    problems = list[str]()
    serve._token(str(tmp_path / "token"), None, problems)
    assert problems == [
        "mode.token: must be at least 16 letters and digits without blanks; openssl rand -hex 32 makes one"
    ]


def test_a_file_that_is_not_there_or_is_no_text(tmp_path: Path) -> None:
    (tmp_path / "bytes").write_bytes(b"\xff" * 20)
    (tmp_path / "zeros").write_bytes(b"a\0" * 20)
    problems = list[str]()
    for name in ("byte", "bytes", "zeros"):
        assert serve._token(str(tmp_path / name), GOOD, problems) is None
    assert "did you mean 'bytes'?" in problems[0] and "mode.token: cannot be read" in problems[1]
    assert "it has a zero byte" in problems[2]


def test_addresses() -> None:
    problems = list[str]()
    assert serve._address("localhost", 0, problems) in ("127.0.0.1", "::1")
    assert serve._address("0.0.0.0", 0, problems) == "0.0.0.0" and serve._address("::1", 0, problems) == "::1"
    assert problems == []
    assert serve._address("no such host", 0, problems) is None and "mode.host: is no address" in problems[0]
    assert [serve._is_loopback(one) for one in ("127.0.0.1", "127.9.9.9", "::1", "0.0.0.0", "::", "10.0.0.1", "fe80::1%lo")] == [
        True, True, True, False, False, False, False,
    ]  # fmt: skip


def test_a_file_may_name_the_modules_that_the_command_trusts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "own.zip").write_bytes(b"")
    words = [f"mode.file={tmp_path / 'own.zip'}", "trust=[my_networks]", f"out_dir={tmp_path / 'results'}"]
    config = launch.prepare(launch.Command("serve", words)).run_config
    asked = dict[str, Any]()
    monkeypatch.setattr(loaded_model, "of_file", lambda path, trust, key: asked.update(path=path, trust=trust, key=key))
    config.scheduler.build(config, RunContext(Project(config.project_dir), Display()))._load_model()
    assert asked == {"path": tmp_path / "own.zip", "trust": ["my_networks"], "key": "mode.file"}


@pytest.mark.parametrize("mode", ["serve", "export"])
def test_without_a_project_nothing_is_made(tmp_path: Path, mode: str) -> None:
    words = [f"out_dir={tmp_path / 'results'}", f"data_dir={tmp_path / 'data'}", *["mode.port=0"] * (mode == "serve")]
    config = launch.prepare(launch.Command(mode, words)).run_config
    scheduler = config.scheduler.build(config, RunContext(Project(config.project_dir), Display()))
    with pytest.raises(ProjectError, match="proj: there is no such project, got 'default'; projects in .*: none"):
        scheduler.plan()
    assert not list(tmp_path.iterdir())
