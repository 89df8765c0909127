"""Where runs of Weights & Biases go."""

from __future__ import annotations

from pathlib import Path

import pytest

from mlpipe.runs.trackers import wandb


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
