"""The artifact folder that Barrage promises, filled from a record; without pickles."""

from __future__ import annotations

import csv
import io
import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mlpipe import files
from mlpipe.dialects.barrage import artifact_folder
from mlpipe.runs import records


def write(
    folder: Path,
    *,
    model_dir: Path,
    curves: Path,
    foreign: str | None,
    layout: Mapping[str, Any],
    network_params: Mapping[str, Any],
) -> None:
    """Fill a folder; the weights of single epochs and the transformer's files are in it already.

    Args:
        folder: The folder.
        model_dir: Where the record's files are.
        curves: Where TensorBoard's files are; it need not be there.
        foreign: Barrage's configuration as JSON text; None: there is none.
        layout: The inputs and the output as plain data.
        network_params: What the network is told besides its own parameters.
    """
    if foreign is not None:
        files.write_text(
            folder / artifact_folder.FOREIGN_FILE, json.dumps(json.loads(foreign), indent=2, sort_keys=True) + "\n"
        )
    files.write_text(folder / artifact_folder.NATIVE_FILE, (model_dir / records.CONFIG_FILE).read_text("utf-8"))
    for name, content in ((artifact_folder.PARAMS_FILE, network_params), (artifact_folder.LAYOUT_FILE, layout)):
        files.write_text(folder / name, json.dumps(dict(content), indent=2, sort_keys=True) + "\n")
    history = (model_dir / records.METRICS_FILE).read_text("utf-8")
    files.write_text(folder / artifact_folder.REPORT_FILE, training_report(history))
    if curves.is_dir():
        shutil.copytree(curves, folder / artifact_folder.CURVES_DIR, dirs_exist_ok=True)
    # Last: a folder that has them is complete.
    files.write_bytes(folder / artifact_folder.BEST_FILE, (model_dir / records.WEIGHTS_FILE).read_bytes())


def training_report(history: str) -> str:
    """Keras's CSV log of a record's metrics: the epoch from 0, then what Keras logs in the order of its names.

    Args:
        history: The record's `metrics.csv`.
    """
    rows = [{_keras_name(name): value for name, value in row.items()} for row in csv.DictReader(io.StringIO(history))]
    names = sorted(set(rows[0]) - {"epoch"}) if rows else []
    return files.csv_text(rows, ["epoch", *names])


def _keras_name(name: str) -> str:
    return name.replace("train/", "").replace("val/", "val_")
