"""A run is replayed to the same weights and predictions; what was changed is told, and nothing is written."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from mlpipe import files
from mlpipe.cli import main
from mlpipe.runs import records
from mlpipe.runs.project import Project
from tests.build import SMALL, make_record, make_run

TRAIN = [
    "task=digits", *SMALL, "split.folds=2", "mode.nested=false", "split.test_fraction=0.8", "arch.drop_rate=0.2",
    "mode.subroutines=[train,predict,test]",
]  # fmt: skip


def contents(root: Path) -> dict[str, str]:
    return {str(path.relative_to(root)): files.digest_file(path) for path in sorted(root.rglob("*")) if path.is_file()}


def verified(capsys: pytest.CaptureFixture[str], *words: str, code: int) -> dict[tuple[str, str], str]:
    capsys.readouterr()
    assert main(["verify", "--json", *words]) == code
    facts: dict[str, Any] = json.loads(capsys.readouterr().out)
    assert facts["exit_code"] == code
    return {(one["of"][-2:], one["what"]): one["verdict"] for one in facts["findings"]}


def test_a_run_agrees_until_something_is_changed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", *TRAIN]) == 0
    project = Project(tmp_path / "results" / "default")
    before = contents(project.root)
    found = verified(capsys, code=0)
    assert set(found.values()) == {"ok"} and len(found) == 16
    assert contents(project.root) == before and [path.name for path in (tmp_path / "results").iterdir()] == ["default"]
    # Other weights with a record that fits them: only a replay can tell.
    import dataclasses

    import torch
    from safetensors.torch import load_file, save_file

    record = records.load_all(project)[0]
    path = project.model_dir("digits", record.id) / "weights.safetensors"
    tensors = load_file(path)
    name = next(name for name, tensor in tensors.items() if tensor.is_floating_point())
    save_file({**tensors, name: torch.nextafter(tensors[name], torch.tensor(9.0))}, path)
    records.save(project, dataclasses.replace(record, weights=files.digest_file(path)))
    assert set(verified(capsys, "mode.replay=false", code=0).values()) == {"ok"}
    found = verified(capsys, code=1)
    assert [key for key, verdict in found.items() if verdict != "ok"] == [(record.id[-2:], "replayed weights")]


def test_what_was_mended_is_mended_in_the_replay(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Memory does not run out when it is replayed, so that it must be told."""
    from tests.learn.test_recovery import little_memory

    with monkeypatch.context() as patched:
        little_memory(patched, 10, epoch=0)
        assert main(["train", *TRAIN[:-1], "mode.subroutines=[train]", "mode.cv=false"]) == 0
    (record,) = records.load_all(Project(tmp_path / "results" / "default"))
    assert [event["micro_batch"] for event in record.events] == [16, 8]
    assert "memory ran out in epoch 1" in capsys.readouterr().out
    found = verified(capsys, code=0)
    assert found["f0", "replayed weights"] == "ok"


def test_files_only(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    project = Project(tmp_path / "results" / "default")
    run = make_run(project, TRAIN, finished=True)
    record = make_record(project, "net", run=run.name)
    found = verified(capsys, "mode.replay=false", f"mode.run={run.name}", code=0)
    assert found["et", "weights.safetensors"] == "ok" and found["et", "metrics.csv"] == "not compared"
    files.write_bytes(project.model_dir("digits", record.id) / "weights.safetensors", b"others")
    assert main(["verify", "mode.replay=false"]) == 1
    shown = capsys.readouterr().out
    assert "weights.safetensors  damaged" in shown and "1 of 4 do not agree" in shown


def test_what_cannot_be_verified_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["verify"]) == 2
    assert "mode.run: project default has no runs, got 'latest'" in capsys.readouterr().err
    make_run(Project(tmp_path / "results" / "default"), TRAIN)
    assert main(["verify", "mode.run=nothing"]) == 2
    assert "mode.run: there is no such run, got 'nothing'; runs: " in capsys.readouterr().err
    assert main(["verify"]) == 0
    assert "left no record and no ensemble: there is nothing to verify" in capsys.readouterr().out
