"""What is refused before new images are predicted."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest

from mlpipe import kinds
from mlpipe.errors import ConfigError
from mlpipe.running.new_data import NewData, PredictionRequest
from tests.data.samples import small_task

OF_CLASSES = "classification"


@pytest.mark.parametrize("kind", [name for name in kinds.names() if name != OF_CLASSES])
def test_a_prevalence_of_anything_but_classes_is_refused_before_a_network_runs(kind: str) -> None:
    request = PredictionRequest("photos", None, [0.5, 0.5])
    nothing: Any = SimpleNamespace(project=None)
    plan = NewData(nothing, nothing, replace(small_task(), kind=kind), request, None)
    noun = kinds.of(kind).words.TARGETS
    with pytest.raises(
        ConfigError, match=rf"^mode\.deploy_prior: is for classes of images, not for {noun}; leave it out"
    ):
        plan.plan()
