"""The folder of artifacts of a training of records: checked before the training, filled after it."""

from __future__ import annotations

import logging
from pathlib import Path

from mlpipe.config.schema import RunConfig
from mlpipe.data import sources
from mlpipe.data.sources.listings import record_files
from mlpipe.data.task import Task
from mlpipe.dialects.barrage import artifact_folder
from mlpipe.dialects.barrage import files as layout
from mlpipe.errors import problem
from mlpipe.running.scheduler import World
from mlpipe.runs.journal import Run
from mlpipe.runs.records import ModelRecord

log = logging.getLogger("mlpipe")

_KEY = "sys.artifact_dir"


def folder_of(config: RunConfig) -> Path | None:
    """The folder that a configuration asks for."""
    return Path(config.sys.artifact_dir).expanduser().absolute() if config.sys.artifact_dir else None


def problems(config: RunConfig, task: Task, chosen: list[int], *, stored: bool) -> list[str]:
    """A sentence for everything that is in the way of a folder of artifacts.

    Args:
        config: The configuration.
        task: The task.
        chosen: The folds that are trained.
        stored: Whether weights are stored.
    """
    folder = folder_of(config)
    if folder is None:
        return []
    found = []
    if sources.open(task).layout is None:
        found.append(problem(_KEY, "is for records (task=records)", got=str(folder), fix="leave it out"))
    if len(chosen) != 1 or not stored:
        fix = "use split=given and mode.store_parameters=true"
        found.append(problem(_KEY, "holds the weights of one fold", got=str(folder), fix=fix))
    if config.resume is None and folder.exists():
        found.append(problem(_KEY, "is there already", got=str(folder), fix="choose another folder, or remove it"))
    elif not folder.parent.is_dir():
        found.append(problem(_KEY, "its parent folder is not there", got=str(folder), fix="make it first"))
    return found


def write(config: RunConfig, world: World, task: Task, record: ModelRecord, run: Run) -> None:
    """Fill the folder.

    Args:
        config: The configuration.
        world: The project.
        task: The task, of records.
        record: The trained fold.
        run: The run that trained it.
    """
    folder = folder_of(config)
    assert folder is not None
    dataset = folder / artifact_folder.DATASET_DIR
    dataset.mkdir(parents=True, exist_ok=True)
    record_files.save_transformer(task.source, dataset)
    layout.write(
        folder,
        model_dir=world.project.model_dir(record.pivot, record.id),
        curves=run.folder / "logs" / record.id,
        foreign=config.sys.artifact_config,
        layout=task.source["layout"],
        network_params=task.source["network_params"],
    )
    world.facts.update(artifacts=str(folder))
    log.info(f"artifacts: {folder}")
