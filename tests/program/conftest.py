"""What lies here goes through the whole program: from a command line, or from Python, to files on disk."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from mlpipe.cli import main
from tests.build import DIGITS


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Every test of this folder carries the marker `program`."""
    for item in items:
        if item.path.is_relative_to(Path(__file__).parent):
            item.add_marker(pytest.mark.program)


@pytest.fixture(scope="session")
def digits_once(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Results and data of one training with predictions, made once; tests copy it."""
    folder = tmp_path_factory.mktemp("digits")
    steps = ["mode.nested=false", "mode.cv=false", "mode.subroutines=[train,predict]"]
    assert main(["train", *DIGITS, *steps, f"out_dir={folder / 'results'}", f"data_dir={folder / 'data'}"]) == 0
    return folder


@pytest.fixture
def trained_digits(digits_once: Path, tmp_path: Path) -> Path:
    """A folder of the test's own with a project that has one record of the digits and its predictions."""
    return Path(shutil.copytree(digits_once, tmp_path, dirs_exist_ok=True))
