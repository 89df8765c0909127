"""Scores of rows by a folder of artifacts: its network's outputs after its transformer's postprocessing."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from mlpipe.arch import weights as weight_files
from mlpipe.data.records import Record, RecordScore, RecordSet, batchify_network_output
from mlpipe.data.records.layout import Layout
from mlpipe.data.sources.listings import record_files
from mlpipe.dialects.barrage.files import Artifacts
from mlpipe.errors import ProjectError, problem
from mlpipe.learn.build import row_network
from mlpipe.learn.build.row_network import RecordNetwork

_BATCH = 256


def network(artifacts: Artifacts, trust: Sequence[str] = (), epoch: int | None = None) -> RecordNetwork:
    """Return the network of a folder with its best weights, ready to predict.

    Args:
        artifacts: The folder.
        trust: Modules outside the current folder that the user named.
        epoch: The epoch of the weights, counted from 1; -1: the last; None: the best.

    Raises:
        DataError: When its code is not the user's own.
        ProjectError: When the weights do not fit the network.
    """
    layout, path = Layout.from_plain(artifacts.layout), artifacts.weights(epoch)
    module = row_network.built(artifacts.network, artifacts.network_params, trust)
    names = [output.name for output in layout.outputs]
    gives = [artifacts.gives] if isinstance(artifacts.gives, str) else artifacts.gives
    model = RecordNetwork(module, layout.inputs, names, "target", gives)  # type: ignore[arg-type]
    match = weight_files.load(model, weight_files.read(path))
    if [name for name in model.state_dict() if name not in match.loaded]:
        fix = "use the code that it was trained with"
        raise ProjectError(problem(str(path), f"does not fit the network ({match.sentence()})", fix=fix))
    return model.eval()


def scores(
    artifacts: Artifacts,
    network: RecordNetwork,
    source_rows: Sequence[Record],
    trust: Sequence[str] = (),
    batch_size: int = _BATCH,
) -> list[RecordScore]:
    """Return a score for each row, in order: arrays by output, in the shape of the network's outputs.

    Args:
        artifacts: The folder.
        network: Its network.
        source_rows: The rows.
        trust: Modules outside the current folder that the user named.
        batch_size: Rows per batch.

    Raises:
        DataError: When a row cannot be read or has other inputs.
    """
    source = {"loader": artifacts.loader, "transformer": artifacts.transformer}
    layout = Layout.from_plain(artifacts.layout)
    records = record_files.record_set_to_score(source, source_rows, artifacts.dataset, trust)
    device = next((parameter.device for parameter in network.parameters()), torch.device("cpu"))
    collected: list[RecordScore] = []
    for start in range(0, len(records), batch_size):
        rows = range(start, min(start + batch_size, len(records)))
        vectors = np.stack([_vector(records, layout, row) for row in rows])
        with torch.no_grad():
            raw = network.raw(torch.from_numpy(vectors).to(device))
        arrays = [output.cpu().numpy() for output in raw.values()]
        for row, prediction in zip(rows, batchify_network_output(arrays, list(raw)), strict=True):
            score = record_files.called(f"record {row}: postprocess", records.transformer.postprocess, prediction)
            collected.append(score)
    return collected


def as_plain(score: RecordScore) -> dict[str, Any]:
    """Return a score as JSON data."""
    return {name: np.asarray(value).tolist() for name, value in score.items()}


def _vector(records: RecordSet, layout: Layout, row: int) -> np.ndarray[Any, Any]:
    where = f"record {row}"
    return layout.vector(record_files.called(where, records.plain, row), where)
