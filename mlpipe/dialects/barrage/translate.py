"""A Barrage configuration, section by section, as a native one with a report."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from mlpipe.dialects.barrage import schema
from mlpipe.dialects.barrage.sections.model import translate_dataset, translate_model
from mlpipe.dialects.barrage.sections.services import translate_services
from mlpipe.dialects.barrage.sections.solver import translate_solver
from mlpipe.dialects.barrage.state import Work, keys_of
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
    work = Work(merged, keys_of(source))
    translate_dataset(work)
    translate_model(work)
    translate_solver(work)
    translate_services(work)
    work.require_none_wrong()
    work.options |= {"split": "given", "preprocessing": "none", "augmentations": "none"}
    work.set("mode.nested", False)
    work.set("trainer.precision", "32-true")
    work.set("sys.artifact_config", json.dumps(merged, sort_keys=True))
    return Translation(
        "barrage", work.whole(), tuple(work.lines), {"task.train": "train.csv", "task.validation": "val.csv"}
    )
