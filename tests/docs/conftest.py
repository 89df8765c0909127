"""Pages of the documentation, run as tests on a part of the images that they name."""

from __future__ import annotations

import importlib

import pytest


@pytest.fixture
def few_digits(monkeypatch: pytest.MonkeyPatch) -> None:
    """`task=digits` has a third of its images: commands of a page do the same with them, in half the time."""
    # The package has a function of the module's name.
    module = importlib.import_module("mlpipe.data.sources.digits")
    pixels, targets = module._digits()
    monkeypatch.setattr(module, "_digits", lambda: (pixels[:600], targets[:600]))
