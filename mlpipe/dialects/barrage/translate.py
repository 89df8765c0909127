"""A Barrage configuration, section by section, as a native one with a report."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from mlpipe.dialects.barrage import schema
from mlpipe.dialects.barrage.sections.model import translate_dataset, translate_model
from mlpipe.dialects.barrage.sections.services import translate_services
from mlpipe.dialects.barrage.sections.solver import translate_solver
from mlpipe.dialects.barrage.state import State, keys_of
from mlpipe.dialects.translation import Translation


def translate(source: Mapping[str, Any]) -> Translation:
    """The native configuration of a Barrage one; its data come from `task.train` and `task.validation`.

    Args:
        source: What its file holds.

    Raises:
        ConfigError: With a sentence for every problem that Barrage sees; where it sees none, for everything that has no
            counterpart.
    """
    merged = schema.prepared(source)
    state = State(merged, keys_of(source))
    translate_dataset(state)
    translate_model(state)
    translate_solver(state)
    translate_services(state)
    state.require_none_wrong()
    state.options |= {"split": "given", "preprocessing": "none", "augmentations": "none"}
    # Barrage trains whatever classes the rows of a part lack.
    state.set("split.rare", "allow")
    state.set("mode.nested", False)
    state.set("trainer.precision", "32-true")
    state.set("sys.artifact_config", json.dumps(merged, sort_keys=True))
    return Translation(
        "barrage", state.whole(), tuple(state.lines), {"task.train": "train.csv", "task.validation": "val.csv"}
    )
