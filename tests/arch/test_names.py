"""The names that `arch=` accepts are timm's own, without timm being imported."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest

from mlpipe.arch import names
from mlpipe.errors import ConfigError

TOP = Path(__file__).parents[2]


def test_the_names_are_timms() -> None:
    import timm

    assert list(names.timm_names()) == sorted(timm.list_models())


def test_neither_timm_nor_torch_is_imported() -> None:
    script = (
        "import sys; from mlpipe.arch.names import timm_names; assert 'resnet18' in timm_names();"
        "print([name for name in ('timm', 'timm.models', 'torch') if name in sys.modules])"
    )
    environment = {**os.environ, "PYTHONPATH": str(TOP)}
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True, env=environment, cwd=TOP
    )
    assert done.stdout == "[]\n"


def test_without_timm_the_sentence_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    names.timm_names.cache_clear()
    with pytest.raises(ConfigError, match="arch: timm is not installed"):
        names.timm_names()
    monkeypatch.undo()
    assert names.timm_names()
