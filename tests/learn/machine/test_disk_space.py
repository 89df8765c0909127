"""What a training will write is known beforehand, and a disk that has no room for it ends it before it begins."""

from __future__ import annotations

import shutil
from collections import namedtuple
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from pytest import LogCaptureFixture, MonkeyPatch

from mlpipe.errors import DiskFull, Interrupted
from mlpipe.learn import fit
from mlpipe.learn.build import fold
from mlpipe.learn.job import FoldJob, Watch
from mlpipe.learn.machine import disk_space
from mlpipe.runs import records
from tests.learn.conftest import job, joint_job

Usage = namedtuple("Usage", ["total", "used", "free"])
SHORT = ["split.test_fraction=0.9", "sampling.batch_size=64"]


def with_free(monkeypatch: MonkeyPatch, free: int) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda path: Usage(10**12, 0, free))


def writing(one: FoldJob, **changed: Any) -> FoldJob:
    return replace(one, files=replace(one.files, **changed))


def network_of(one: FoldJob) -> torch.nn.Module:
    return fold.first_network(one)[0]


@pytest.mark.program
@pytest.mark.parametrize(
    ("optimizer", "share"), [("adamw", 2), ("sgd", 1), ("lion", 1), ("keras_adam", 2), ("adagrad", 1), ("rmsprop", 1)]
)
def test_a_state_is_as_large_as_said(tmp_path: Path, saves_every_epoch: None, optimizer: str, share: int) -> None:
    one = job(tmp_path, f"optimizer={optimizer}", *SHORT)
    said = disk_space.of(one, network_of(one))
    # Stopped when the first state is there.
    with pytest.raises(Interrupted):
        fit.fit(one, Watch(should_stop=lambda: (one.files.checkpoint / "state.json").is_file()))
    (stored,) = one.files.checkpoint.glob("*.safetensors")
    assert said.state <= stored.stat().st_size < 1.05 * said.state + 20_000
    assert said.state == pytest.approx((2 + share) * said.weights, rel=0.02)
    assert said.likely == said.weights + 3 * said.state
    record = fit.fit(one, Watch())
    weights = one.files.project.model_dir(one.task.name, record.id) / records.WEIGHTS_FILE
    assert said.weights <= weights.stat().st_size < said.weights + 20_000


def test_what_is_kept_is_counted(tmp_path: Path) -> None:
    one = job(tmp_path, *SHORT)
    network = network_of(one)
    plain = disk_space.of(one, network)
    assert disk_space.of(writing(one, folds_left=5), network).sure == plain.sure + 4 * plain.weights
    assert disk_space.of(writing(one, store_best=False), network).state == plain.state - plain.weights
    assert disk_space.of(writing(one, store_parameters=False), network).weights == 0
    single = job(tmp_path, *SHORT, "trainer.max_epochs=1")
    assert disk_space.of(single, network).state == 0
    staged = job(tmp_path, *SHORT, "stages.list=[{epochs: 2, keep: true}, {epochs: 2}]")
    assert disk_space.of(staged, network).weights == 2 * plain.weights
    assert (
        disk_space.of(
            job(tmp_path, *SHORT, "optimizer=linear", "arch.freeze=true", "augmentations=none"), network
        ).state
        == 0
    )
    frozen = job(tmp_path, *SHORT, "arch.freeze=true")
    assert plain.weights < disk_space.of(frozen, network_of(frozen)).state < plain.state
    joint = joint_job(tmp_path)
    assert disk_space.of(joint, network_of(joint)).weights > plain.weights


@pytest.mark.program
def test_a_full_disk_is_noticed_before_anything_is_learned(tmp_path: Path, monkeypatch: MonkeyPatch) -> None:
    one = writing(job(tmp_path, *SHORT), folds_left=3)
    said = disk_space.of(one, network_of(one))
    with_free(monkeypatch, said.sure - 1)
    batches: list[object] = []
    with pytest.raises(
        DiskFull, match=r"3 folds need \d+\.\d MB at least .*, \d+\.\d MB are free; free space"
    ) as caught:
        fit.fit(one, Watch(report=batches.append))
    assert caught.value.exit_code == 75
    assert not batches and not one.files.checkpoint.exists()


def test_little_room_is_mentioned(tmp_path: Path, monkeypatch: MonkeyPatch, caplog: LogCaptureFixture) -> None:
    one = job(tmp_path, *SHORT)
    network = network_of(one)
    said = disk_space.of(one, network)
    with_free(monkeypatch, said.likely - 1)
    disk_space.check(one, network)
    (told,) = (text for text in caplog.messages if "may take" in text)
    assert told.endswith("are free")
    caplog.clear()
    with_free(monkeypatch, said.likely)
    disk_space.check(one, network)
    assert not any("may take" in text for text in caplog.messages)


def test_states_that_are_there_are_not_counted_again(tmp_path: Path, monkeypatch: MonkeyPatch) -> None:
    one = job(tmp_path, *SHORT)
    network = network_of(one)
    said = disk_space.of(one, network)
    one.files.checkpoint.mkdir(parents=True)
    (one.files.checkpoint / "x").write_bytes(b"0" * said.state)
    with_free(monkeypatch, said.sure - said.state)
    disk_space.check(one, network)
    with_free(monkeypatch, said.sure - said.state - 1)
    with pytest.raises(DiskFull):
        disk_space.check(one, network)
