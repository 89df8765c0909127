"""Decisions that are stored with a task while another command changes its file."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from mlpipe import files
from mlpipe.config.components import Component
from mlpipe.data import task
from mlpipe.running import stored_decisions, tasks
from tests.data.samples import saved_task


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    return saved_task(tmp_path)


def config(path: Path) -> Any:
    split = Component("split", "mlpipe.data.splits.methods.kfold", {"folds": 2, "seed": 0})
    section = SimpleNamespace(params={"max_unreadable": 3})
    given = frozenset({"task.max_unreadable"})
    return SimpleNamespace(given=given, mode="train", task=section, split=split, data_dir=path.parents[1])


@pytest.mark.parametrize(
    "change",
    [
        lambda path: stored_decisions.store(config(path), path),
        lambda path: tasks.split_of(config(path), task.load(path)),
    ],
)
def test_decisions_and_splits_of_commands_at_once_are_all_kept(change: Any, saved: Path) -> None:
    with ThreadPoolExecutor(1) as pool:
        with task.changing(saved):
            stored, begun = files.read_json(saved), pool.submit(change, saved)
            with pytest.raises(TimeoutError):
                begun.result(timeout=0.5)
            files.write_json(saved, {**stored, "splits": {"other": [1, 2]}, "notes": ["moved"]})
        begun.result(timeout=10)
    content = files.read_json(saved)
    assert content["notes"] == ["moved"] and content["splits"]["other"] == [1, 2]
    assert ("decided" in content) != (len(content["splits"]) == 2)
