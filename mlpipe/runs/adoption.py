"""Adopt records of another project, so that predictions, tests and ensembles can use them here."""

from __future__ import annotations

import dataclasses
import shutil
from pathlib import Path

from mlpipe import files
from mlpipe.runs import maps, records
from mlpipe.runs.project import Project
from mlpipe.runs.records import ModelRecord
from mlpipe.runs.references import Located


def adopt(one: Located, into: Project, *, weights: bool, predictions: bool) -> ModelRecord:
    """Copy a record's files, the record last, with a number of its own; a record that is there already stays.

    Args:
        one: The record and its project.
        into: The project that it goes to.
        weights: Copy its weights; without them the new record keeps none.
        predictions: Copy its predictions.

    Returns:
        The record as it is in the new project.
    """
    source, folder = one.record, into.model_dir(one.record.pivot, one.record.id)
    if (folder / records.RECORD_FILE).is_file():
        return records.load(folder)
    of_stages = [records.stage_weights(one.folder, stage).name for stage in records.kept_stages(one.folder)]
    names = [records.CONFIG_FILE, records.METRICS_FILE, *([records.WEIGHTS_FILE, *of_stages] if weights else [])]
    for name in names:
        _copy(one.folder / name, folder / name)
    if predictions:
        place = (source.pivot, source.id)
        _copy(one.project.predictions_file(*place), into.predictions_file(*place))
        of_pixels = one.project.predictions_file(*place).with_suffix(maps.SUFFIX)
        if of_pixels.is_file():
            _copy(of_pixels, into.predictions_file(*place).with_suffix(maps.SUFFIX))
    note = f"taken from project {one.project.name}, where it is number {source.number}"
    kept = source.weights if weights else None
    checksums = {name: value for name, value in source.checksums.items() if weights or name not in of_stages}
    changed = dataclasses.replace(source, number=0, weights=kept, notes=[*source.notes, note], checksums=checksums)
    return records.save(into, changed)


def _copy(source: Path, target: Path) -> None:
    with files.durable(target) as temporary:
        shutil.copyfile(source, temporary)
