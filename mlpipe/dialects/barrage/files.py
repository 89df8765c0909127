"""Barrage's folder of artifacts: network, weights and transformer without pickles, everything that scoring needs.

It can be read without the project that wrote it.
"""

from __future__ import annotations

import csv
import io
import json
import logging
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NotRequired, TypedDict

from mlpipe import current_folder, files, stored
from mlpipe.config.schema import RunConfig
from mlpipe.data import sources
from mlpipe.data.records import layout
from mlpipe.data.sources.listings import record_files
from mlpipe.data.task import Task
from mlpipe.errors import ProjectError, problem
from mlpipe.running.steps import RunContext
from mlpipe.runs import records
from mlpipe.runs.journal import Run
from mlpipe.runs.records import ModelRecord

log = logging.getLogger("mlpipe")

FOREIGN_FILE, NATIVE_FILE = "config.json", "config.yaml"
PARAMS_FILE, LAYOUT_FILE, REPORT_FILE = "network_params.json", "records.json", "training_report.csv"
DATASET_DIR, CURVES_DIR, EPOCHS_DIR = "dataset", "TensorBoard", "resume_checkpoints"
BEST_FILE = "best_checkpoint/model_best.safetensors"
_KEY = "sys.artifact_dir"


class _Block(TypedDict):
    """An import block."""

    params: NotRequired[dict[str, Any] | None]


class _Task(TypedDict):
    """The configuration of the rows."""

    loader: _Block
    transformer: _Block


class _Network(TypedDict):
    """The configuration of the network."""

    network: _Block
    gives: str | list[str]


@dataclass(frozen=True)
class Artifacts:
    """Content of a folder of artifacts.

    Attributes:
        folder: The folder.
        loader: The import block of the loader.
        transformer: The import block of the transformer.
        network: The import block of the network.
        gives: Outputs of the network: logits, softmax or sigmoid, for each of several outputs.
        layout: The inputs and the output as plain data.
        network_params: Further parameters of the network.
    """

    folder: Path
    loader: Mapping[str, Any]
    transformer: Mapping[str, Any]
    network: Mapping[str, Any]
    gives: str | list[str]
    layout: Mapping[str, Any]
    network_params: Mapping[str, Any]

    @property
    def dataset(self) -> Path:
        """The folder of the transformer's files."""
        return self.folder / DATASET_DIR

    def weights(self, epoch: int | None = None) -> Path:
        """Return the weights file of the best epoch, or of an epoch counted from 1; -1: the last."""
        if epoch is None:
            return self.folder / BEST_FILE
        paths = sorted((self.folder / EPOCHS_DIR).glob("model_epoch_*.safetensors"))
        return paths[-1] if epoch == -1 and paths else self.folder / EPOCHS_DIR / f"model_epoch_{epoch:04d}.safetensors"


def load(folder: Path) -> Artifacts:
    """Return the content of a folder of artifacts without running its code.

    Raises:
        ProjectError: When something is missing or damaged.
    """
    fix = "name a folder that mml train sys.artifact_dir=DIR filled to its end"
    missing = [name for name in (NATIVE_FILE, PARAMS_FILE, LAYOUT_FILE, BEST_FILE) if not (folder / name).is_file()]
    if missing:
        raise ProjectError(problem(str(folder), f"is no complete folder of artifacts, it lacks {missing[0]}", fix=fix))
    try:
        tree = files.read_yaml(folder / NATIVE_FILE)
        task, arch = stored.checked(_Task, tree["task"]), stored.checked(_Network, tree["arch"])
        sizes = stored.checked(layout.Plain, files.read_json(folder / LAYOUT_FILE))
        params = stored.of(dict[str, Any], files.read_json(folder / PARAMS_FILE))
        artifacts = Artifacts(
            folder, task["loader"], task["transformer"], arch["network"], arch["gives"], sizes, params
        )
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ProjectError(problem(str(folder), f"cannot be read as artifacts ({error})", fix=fix)) from error
    return artifacts


class ArtifactFolder:
    """The folder in `sys.artifact_dir`: checked before a training of rows, filled after it.

    Args:
        config: The configuration.
    """

    step = "artifacts"

    def __init__(self, config: RunConfig) -> None:
        assert config.sys.artifact_dir is not None
        self._folder = current_folder.expanded(config.sys.artifact_dir).absolute()
        self._foreign, self._goes_on = config.sys.artifact_config, config.resume is not None
        self._reduces = config.recipe.lr_scheduler.name == "plateau"

    def problems(self, task: Task, folds: Sequence[int], *, stored: bool) -> list[str]:
        """Return a sentence for everything that prevents writing it.

        Args:
            task: The task.
            folds: The folds that are trained.
            stored: Whether weights are stored.
        """
        folder, problems = self._folder, list[str]()
        if sources.open(task).layout is None:
            problems.append(problem(_KEY, "is for records (task=records)", got=str(folder), fix="leave it out"))
        if len(folds) != 1 or not stored:
            fix = "use split=given and mode.store_parameters=true"
            problems.append(problem(_KEY, "holds the weights of one fold", got=str(folder), fix=fix))
        if not self._goes_on and folder.exists():
            problems.append(
                problem(_KEY, "is there already", got=str(folder), fix="choose another folder, or remove it")
            )
        elif not folder.parent.is_dir():
            problems.append(problem(_KEY, "its parent folder is not there", got=str(folder), fix="make it first"))
        return problems

    def write(self, context: RunContext, task: Task, record: ModelRecord, run: Run) -> None:
        """Fill the folder, which already holds the weights of single epochs.

        Args:
            context: The project.
            task: The task, of rows.
            record: The trained fold.
            run: The run that trained it.
        """
        folder, model_dir = self._folder, context.project.model_dir(record.pivot, record.id)
        (folder / DATASET_DIR).mkdir(parents=True, exist_ok=True)
        record_files.save_transformer(task.source, folder / DATASET_DIR)
        if self._foreign is not None:
            _write_json(folder / FOREIGN_FILE, json.loads(self._foreign))
        files.write_text(folder / NATIVE_FILE, (model_dir / records.CONFIG_FILE).read_text("utf-8"))
        _write_json(folder / PARAMS_FILE, dict(task.source["network_params"]))
        _write_json(folder / LAYOUT_FILE, dict(task.source["layout"]))
        history = (model_dir / records.METRICS_FILE).read_text("utf-8")
        files.write_text(folder / REPORT_FILE, training_report(history, rates=self._reduces))
        # TensorBoard's files exist if they were requested.
        if (curves := run.folder / "logs" / record.id).is_dir():
            shutil.copytree(curves, folder / CURVES_DIR, dirs_exist_ok=True)
        # Last, because a folder with the best weights counts as complete.
        files.write_bytes(folder / BEST_FILE, (model_dir / records.WEIGHTS_FILE).read_bytes())
        context.facts.update(artifacts=str(folder))
        log.info(f"artifacts: {folder}")


def training_report(history: str, *, rates: bool) -> str:
    """Return Keras's CSV log of a record's metrics: the epoch from 0, then Keras's columns sorted by name.

    Args:
        history: The record's `metrics.csv`.
        rates: Whether the learning rates are logged, as only Keras's ReduceLROnPlateau does.
    """
    rows = [{_keras_name(name): value for name, value in row.items()} for row in csv.DictReader(io.StringIO(history))]
    names = sorted(set(rows[0]) - {"epoch", *([] if rates else ["lr"])}) if rows else []
    rows = [{name: row[name] for name in ("epoch", *names)} for row in rows]
    return files.csv_text(rows, ["epoch", *names])


def _keras_name(name: str) -> str:
    return name.replace("train/", "").replace("val/", "val_")


def _write_json(path: Path, content: Any) -> None:
    files.write_text(path, json.dumps(content, indent=2, sort_keys=True) + "\n")
