"""Names of tasks in a data folder: found, and made whole where only the part before the hash is written."""

from __future__ import annotations

from pathlib import Path

import pytest

from mlpipe.running import task_names

NAMES = ("pets-0a1b2c3d", "cells-00000001", "cells-00000002", "plain")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in NAMES:
        task_names.file_of(tmp_path / "tasks", name).parent.mkdir(parents=True)
        task_names.file_of(tmp_path / "tasks", name).write_text("{}")
    (tmp_path / "tasks" / "no_task").mkdir()
    return tmp_path / "tasks"


def test_folders_with_a_description_are_tasks(folder: Path, tmp_path: Path) -> None:
    assert task_names.created(folder) == tuple(sorted(NAMES))
    assert task_names.created(tmp_path / "nowhere") == ()


def test_a_variant_is_known_by_its_base(folder: Path) -> None:
    assert task_names.is_known(folder, "plain") and task_names.is_known(folder, "plain+subset?0.5")
    assert not task_names.is_known(folder, "no_task") and not task_names.is_known(folder, "other+subset?0.5")


@pytest.mark.parametrize(
    ("text", "whole"),
    [
        ("task=pets", "task=pets-0a1b2c3d"),
        ("task=pets+nested?0", "task=pets-0a1b2c3d+nested?0"),
        ("task=cells", "task=cells"),
        ("task=plain", "task=plain"),
        ("task=digits", "task=digits"),
        ("proj=pets", "proj=pets"),
    ],
)
def test_a_name_is_made_whole_where_one_task_fits(text: str, whole: str) -> None:
    texts, notes = task_names.with_whole_names([text], NAMES)
    assert texts == [whole]
    assert notes == (["task=pets: pets-0a1b2c3d, the only task whose name begins so"] if whole != text else [])
