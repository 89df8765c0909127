"""Translation of a Barrage configuration, section by section, to a native one with a report."""

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
    """Return the native configuration of a Barrage one; its data come from `task.train` and `task.validation`.

    Args:
        source: The content of its file.

    Raises:
        ConfigError: With a sentence for every problem that Barrage finds; if there are none, for every key without a native
            equivalent.
    """
    merged = schema.prepared(source)
    state = State(merged, keys_of(source))
    translate_dataset(state)
    translate_model(state)
    translate_solver(state)
    translate_services(state)
    state.require_none_wrong()
    state.options |= {"split": "given", "preprocessing": "none", "augmentations": "none"}
    # Barrage allows parts without some classes.
    state.set("split.rare", "allow")
    state.set("mode.nested", False)
    state.set("trainer.precision", "32-true")
    state.set("sys.artifact_config", json.dumps(merged, sort_keys=True))
    return Translation(
        "barrage", state.whole(), tuple(state.lines), {"task.train": "train.csv", "task.validation": "val.csv"}
    )
