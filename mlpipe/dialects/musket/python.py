"""Musket's Python interface: parse an experiment, train it on a data set of your own, predict with its folds.

from mlpipe.api import classification

cfg = classification.parse("config.yaml")
cfg.fit(dataset)
predictions = cfg.predict_all_to_array(dataset_test, [0, 1, 2], 0, ttflips=True)
"""

from __future__ import annotations

from pathlib import Path

from mlpipe.data.items import DataSet, PredictionItem, custom, custom_models, get_custom_objects
from mlpipe.dialects.musket.experiment import Batch, Experiment, Map
from mlpipe.dialects.musket.finder import Finder

__all__ = [
    "Batch", "DataSet", "Experiment", "Finder", "Map", "PredictionItem", "custom", "custom_models", "get_custom_objects",
    "parse",
]  # fmt: skip


def parse(path: str | Path) -> Experiment:
    """Return the experiment of a configuration file; it is checked on first use.

    Args:
        path: The file.

    Raises:
        ConfigError: When it cannot be read.
    """
    return Experiment(path)
