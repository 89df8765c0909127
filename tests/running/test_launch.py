"""What the command that continues a run needs, and what it may change."""

from __future__ import annotations

from pathlib import Path

import pytest

from mlpipe.errors import ConfigError
from mlpipe.running import launch
from mlpipe.running.launch import Command
from mlpipe.runs.project import Project
from tests.build import DIGITS, make_run


def _continued(project: Project, *words: str) -> launch.Prepared:
    place = [f"out_dir={project.root.parent}", f"proj={project.name}"]
    return launch.prepare(Command("train", ["continue=latest", *place, *words]))


def test_the_loader_processes_of_a_continued_run_are_the_commands(tmp_path: Path) -> None:
    """The key was accepted, and the stored number used."""
    project = Project(tmp_path / "p")
    make_run(project, [*DIGITS, "sys.num_workers=1"])
    assert _continued(project).run_config.sys.num_workers == 1
    config = _continued(project, "sys.num_workers=3").run_config
    assert config.sys.num_workers == config.tree["sys"]["num_workers"] == 3
    assert config.resume and config.given is None
    with pytest.raises(ConfigError, match=r"sys\.num_workers: must be"):
        _continued(project, "sys.num_workers=many")


def test_recipes_of_a_preset_get_the_loader_processes_too(tmp_path: Path) -> None:
    project = Project(tmp_path / "p")
    make_run(project, ["task=digits", "preset=fast", "arch=test_resnet", "arch.pretrained=false"])
    config = _continued(project, "sys.num_workers=3").run_config
    assert {tree["sys"]["num_workers"] for tree in config.tree["preset"]["trees"].values()} == {3}


def test_only_what_a_continued_run_would_lack_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The command that a stop told was refused, since it named no output of its own outside."""
    monkeypatch.chdir(tmp_path)
    plain = launch.prepare(Command("train", DIGITS)).run_config
    assert launch.permissions_to_continue(plain) == []
    outside = tmp_path.parent / "elsewhere"
    words = [*DIGITS, "logging=tensorboard", f"logging.log_dir={outside}"]
    elsewhere = launch.prepare(Command("train", words)).run_config
    (trusted,) = launch.permissions_to_continue(elsewhere)
    project = Project(tmp_path / "p")
    make_run(project, words)
    with pytest.raises(ConfigError, match="trust_paths"):
        _continued(project)
    assert _continued(project, trusted).resumed is not None
