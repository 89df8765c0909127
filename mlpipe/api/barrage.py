"""The Python interface of Barrage, see `mlpipe.dialects.barrage.python`."""

from mlpipe.dialects.barrage.python import (
    BarrageModel,
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

__all__ = [
    "BarrageModel", "BatchDataRecords", "DataRecord", "IdentityTransformer", "KeySelector", "Record", "RecordAugmentor",
    "RecordLoader", "RecordMode", "RecordScore", "RecordTransformer", "batchify_network_output",
]  # fmt: skip
