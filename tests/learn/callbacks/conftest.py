"""As much of a trainer as callbacks look at."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any


class FakeTrainer(SimpleNamespace):
    """As much of Lightning's trainer as a callback looks at."""

    def __init__(self, **given: Any) -> None:
        usual = {"current_epoch": 0, "max_epochs": 10, "should_stop": False, "callback_metrics": {}, "saved": []}
        usual["world_size"] = 1
        super().__init__(**{**usual, **given})

    def save_checkpoint(self, folder: Path) -> None:
        self.saved.append(self.current_epoch)
