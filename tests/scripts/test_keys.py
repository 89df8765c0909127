"""The page of all keys is what the configuration files and docstrings say now."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest

from mlpipe.config import catalog, keys

SCRIPT = Path(__file__).parents[2] / "scripts" / "keys.py"


@pytest.fixture(scope="module")
def script() -> ModuleType:
    spec = importlib.util.spec_from_file_location("keys_page", SCRIPT)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_page_is_current(script: ModuleType) -> None:
    assert script.PAGE.read_text("utf-8") == script.text(), "run python scripts/keys.py"


def test_the_page_has_every_group_option_and_key(script: ModuleType) -> None:
    page = script.text()
    for group in catalog.groups():
        assert f"\n## {'mode: the first' if group == 'mode' else group}" in page
        assert all(f"\n| {name} |" in page or f"\n| **{name}** |" in page for name in catalog.options(group))
    assert all(f"| `{name}`" in page for name in keys.all_keys())
    assert "| `trainer.max_epochs` | a whole number >= 1 | `${recommend.epochs}` | Epochs: how often a training" in page
    assert "| `task.root` (folder) | text | *needed* | The folder, or a zip or tar archive of it. |" in page
