"""The sentence of a final score."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from mlpipe.reports import headline


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("auroc", "The ensemble reaches an area under the ROC curve of 0.912 on 120 test images."),
        ("rmse", "The ensemble reaches a root mean squared error of 0.912 on 120 test images."),
        ("accuracy", "The ensemble is right on 91.2 % of 120 test images."),
    ],
)
def test_a_score_in_words(name: str, sentence: str) -> None:
    shown: Any = SimpleNamespace(name="the ensemble", where="test")
    assert headline._sentence(shown, name, 0.9123, None, None, 120) == sentence
