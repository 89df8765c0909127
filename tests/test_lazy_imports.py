"""A library is imported when something of it is used, and is then what an import gives."""

from __future__ import annotations

import subprocess
import sys
import wave

import pytest

from mlpipe.lazy_imports import LazyModule

CODE = """
import sys
from mlpipe.lazy_imports import LazyModule
late = LazyModule("wave")
assert "wave" not in sys.modules
late.Error
assert "wave" in sys.modules
"""


def test_it_is_imported_when_it_is_used() -> None:
    subprocess.run([sys.executable, "-c", CODE], check=True)


def test_it_has_what_the_module_has() -> None:
    late = LazyModule("wave")
    assert late.Error is wave.Error and late.open is wave.open
    with pytest.raises(AttributeError, match="nothing"):
        _ = late.nothing


def test_what_is_not_installed_is_said_when_it_is_used() -> None:
    late = LazyModule("no_such_library.of_tests")
    with pytest.raises(ModuleNotFoundError, match="no_such_library"):
        _ = late.anything
