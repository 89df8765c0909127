"""Where runs of Weights & Biases go."""

from __future__ import annotations

from pathlib import Path

import pytest

from mlpipe import files
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
