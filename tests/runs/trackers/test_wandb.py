"""Where runs of Weights & Biases go."""

from __future__ import annotations

from pathlib import Path

import pytest

from mlpipe import files
from mlpipe.errors import ConfigError
from mlpipe.runs.trackers import wandb
from mlpipe.runs.trackers.tracker import FINISHED, Place


def test_without_a_key_nothing_asks_the_network(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("WANDB_API_KEY", "WANDB_MODE", "NETRC"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    assert wandb.mode_of("auto") == "offline" and wandb.mode_of("online") == "online"
    (tmp_path / ".netrc").write_text("machine api.wandb.ai login user password key\n")
    (tmp_path / ".netrc").chmod(0o600)
    assert wandb.mode_of("auto") == "online" and wandb.mode_of("offline") == "offline"
    (tmp_path / ".netrc").unlink()
    monkeypatch.setenv("WANDB_API_KEY", "key")
    assert wandb.mode_of("auto") == "online"
    monkeypatch.setenv("WANDB_MODE", "disabled")
    assert wandb.mode_of("auto") == "offline"


@pytest.mark.program
def test_no_link_leads_out_of_the_project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("wandb", reason="the extra wandb is not installed")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("WANDB_MODE", "offline")
    run = wandb.WandbRun(Place("proj", tmp_path, "2026/one", tmp_path / "logs", "net-f0"))
    run.points({"val/loss": 1.0}, 0)
    assert files.links_out(tmp_path / "logs") == []
    run.close(FINISHED)
    assert files.links_out(tmp_path / "logs") == [] and list((tmp_path / "logs").rglob("*.wandb"))


@pytest.mark.parametrize("folder", ["wandb", ".wandb"])
def test_a_folder_does_not_say_which_server_gets_the_key(folder: str, tmp_path: Path) -> None:
    wandb.require_own_server(tmp_path)
    (tmp_path / folder).mkdir()
    (tmp_path / folder / "settings").write_text("[default]\n# mine\nproject = p\nentity: me\n")
    wandb.require_own_server(tmp_path)
    (tmp_path / folder / "settings").write_text("[default]\nproject = p\nBASE_URL = http://127.0.0.1:9\n")
    with pytest.raises(ConfigError, match="settings that are not taken from the folder of a command: base_url"):
        wandb.require_own_server(tmp_path)
