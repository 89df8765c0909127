"""Barrage's Python interface: train a configuration on rows, score rows with what was trained.

from mlpipe.api.barrage import BarrageModel

BarrageModel("artifacts").train(cfg, records_train, records_validation)
scores = BarrageModel("artifacts").predict(records_score)
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mlpipe import current_folder
from mlpipe.config.recipe_file import as_text
from mlpipe.data import records
from mlpipe.data.records import (
    BatchDataRecords,
    DataRecord,
    IdentityTransformer,
    KeySelector,
    Record,
    RecordAugmentor,
    RecordLoader,
    RecordMode,
    RecordScore,
    RecordTransformer,
    batchify_network_output,
)
from mlpipe.data.sources.listings import record_files
from mlpipe.dialects import front, sentences
from mlpipe.dialects.barrage import files as artifact_folder
from mlpipe.running import launch

if TYPE_CHECKING:
    from torch import nn

    from mlpipe.learn.build.row_network import RecordNetwork

__all__ = [
    "BarrageModel", "BatchDataRecords", "DataRecord", "IdentityTransformer", "KeySelector", "Record", "RecordAugmentor",
    "RecordLoader", "RecordMode", "RecordScore", "RecordTransformer", "batchify_network_output",
]  # fmt: skip


class BarrageModel:
    """A folder of artifacts, which `train` writes and scoring reads.

    Attributes:
        overrides: Native overrides that take precedence over the configuration, such as `sys.threads=1`.

    Args:
        artifact_dir: The folder; `train` creates it, its parent folder must exist.
    """

    def __init__(self, artifact_dir: str | Path) -> None:
        self.overrides: list[str] = []
        self._folder = current_folder.expanded(artifact_dir).absolute()
        self._loaded: tuple[artifact_folder.Artifacts, RecordNetwork] | None = None

    def train(self, cfg: Mapping[str, Any], records_train: Any, records_validation: Any) -> nn.Module:
        """Train in a project below `results` that has the name of the folder.

        Args:
            cfg: Barrage's configuration, left unchanged.
            records_train: A list of dictionaries, or a pandas data frame.
            records_validation: The same.

        Returns:
            The network with the weights of the last epoch, not of the best one.

        Raises:
            ConfigError: With a sentence for every problem of the configuration, or when the folder already exists.
            DataError: When code of the user fails, or rows do not fit.
            TypeError: When rows are of another type.
        """
        from mlpipe.dialects.barrage import scoring

        self._loaded = None
        parts = {"train": record_files.hold(records_train), "validation": record_files.hold(records_validation)}
        with tempfile.TemporaryDirectory(prefix="mlpipe-barrage-") as folder:
            path = Path(folder) / "config.json"
            path.write_text(json.dumps(cfg, default=_as_plain), "utf-8")
            overrides = [
                f"recipe={as_text(str(path))}",
                *(f"task.{key}={as_text(name)}" for key, name in parts.items()),
                f"task.name={as_text(self._folder.name)}",
                f"proj={as_text(self._folder.name)}",
                f"sys.artifact_dir={as_text(str(self._folder))}",
                *(text for text in self.overrides if not text.startswith("trust=")),
            ]
            # A configuration in Python may name code of the current folder, as a file in that folder may.
            own_modules = [
                module_name
                for module_name in current_folder.named_code(dict(cfg))
                if current_folder.module_place(module_name) is not None
            ]
            if trust := [*self._trust(), *own_modules]:
                overrides.append(f"trust={json.dumps(list(dict.fromkeys(trust)))}")
            with sentences.of_file(overrides):
                launch.execute(front.prepared("train", overrides))
        return scoring.network(artifact_folder.load(self._folder), self._trust(), epoch=-1).module

    def load(self) -> BarrageModel:
        """Read the folder with the weights of the best epoch, and return self.

        Raises:
            ProjectError: When it is not a complete folder of artifacts.
            DataError: When its code is not the user's own.
        """
        from mlpipe.dialects.barrage import scoring

        artifacts = artifact_folder.load(self._folder)
        self._loaded = artifacts, scoring.network(artifacts, self._trust())
        return self

    def predict(self, records_score: Any) -> list[RecordScore]:
        """Return a score for each row, in order, from the best epoch's weights.

        Args:
            records_score: A list of dictionaries, or a pandas data frame.

        Raises:
            ProjectError: As for `load`, which is called if necessary.
            DataError: When a row cannot be read or has other inputs.
            TypeError: When rows are of another type.
        """
        from mlpipe.dialects.barrage import scoring

        rows = records.as_records(records_score)
        if self._loaded is None:
            self.load()
        assert self._loaded is not None
        return scoring.scores(*self._loaded, rows, self._trust())

    def _trust(self) -> list[str]:
        """Return the modules outside the current folder in the overrides."""
        texts = [text.partition("=")[2] for text in self.overrides if text.startswith("trust=")]
        return [name.strip(" '\"") for text in texts for name in text.strip("[]").split(",") if name.strip()]


def _as_plain(value: Any) -> Any:
    """Convert numpy numbers and arrays to plain data."""
    if hasattr(value, "tolist"):
        return value.tolist()
    raise TypeError(f"{type(value).__name__} is no plain data")
