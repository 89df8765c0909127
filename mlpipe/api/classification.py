"""The Python interface of Musket, see `mlpipe.dialects.musket.python`."""

from mlpipe.dialects.musket.python import (
    Batch,
    DataSet,
    Experiment,
    Finder,
    Map,
    PredictionItem,
    custom,
    custom_models,
    get_custom_objects,
    parse,
)

__all__ = [
    "Batch", "DataSet", "Experiment", "Finder", "Map", "PredictionItem", "custom", "custom_models", "get_custom_objects",
    "parse",
]  # fmt: skip
