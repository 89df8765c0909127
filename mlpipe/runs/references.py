"""References to other projects and their records (`PROJ`, `PROJ#3`, `PROJ#ID`), by name, number or path; and adoption."""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from mlpipe import files
from mlpipe.errors import ProjectError, did_you_mean, listing, problem
from mlpipe.runs import maps, records
from mlpipe.runs.project import Project
from mlpipe.runs.records import ModelRecord


@dataclass(frozen=True)
class Located:
    """A record and its project.

    Attributes:
        project: The project.
        record: The record.
    """

    project: Project
    record: ModelRecord

    @property
    def folder(self) -> Path:
        """The record's folder."""
        return self.project.model_dir(self.record.pivot, self.record.id)

    @property
    def weights(self) -> Path:
        """The file of its weights, if it has any."""
        return self.folder / records.WEIGHTS_FILE

    @property
    def config(self) -> Path:
        """The file of the configuration that it was trained with."""
        return self.folder / records.CONFIG_FILE

    def name(self, out_dir: Path) -> str:
        """`PROJ#3`, or `PATH#3` if the project lies outside the results folder."""
        root = self.project.root
        return f"{self.project.name if root.parent == out_dir else root}#{self.record.number}"


def project(text: str, key: str, out_dir: Path) -> Project:
    """Return the project that a name or a path denotes.

    Args:
        text: The name of a folder in `out_dir`, or a path with a slash.
        key: The configuration key with the reference, for the message.
        out_dir: The folder of all projects.

    Raises:
        ProjectError: When there is no such project; the sentence lists the existing ones.
    """
    place = Project(Path(text) if "/" in text else out_dir / text)
    # A text too long for a name is no folder.
    if text and os.path.isdir(place.tasks_dir()):  # noqa: PTH112
        return place
    names = sorted(path.parent.name for path in out_dir.glob("*/tasks") if path.is_dir()) if out_dir.is_dir() else []
    fix = did_you_mean(text, names, otherwise=f"projects in {out_dir}: {listing(names) or 'none'}")
    raise ProjectError(problem(key, "there is no such project", got=text, fix=fix))


def record(text: str, key: str, out_dir: Path) -> Located:
    """Return the record that `PROJ#NUMBER` or `PROJ#ID` denotes.

    Raises:
        ProjectError: When there is no such project or record; the sentence lists the existing ones.
    """
    name, _, identifier = text.partition("#")
    home = project(name, key, out_dir)
    models = records.load_all(home)
    for model in models:
        if identifier in (str(model.number), model.id):
            return Located(home, model)
    known = listing([f"#{candidate.number} ({candidate.id})" for candidate in models], most=6) or "none"
    fix = did_you_mean(identifier, [candidate.id for candidate in models], otherwise=f"records of {home.name}: {known}")
    raise ProjectError(problem(key, "there is no such record", got=text, fix=fix))


def located(texts: str | Sequence[str], key: str, out_dir: Path) -> list[Located]:
    """Return all records that references denote, each once, in the order of references and then of creation.

    Raises:
        ProjectError: With a sentence for every invalid reference.
    """
    locations: dict[Path, Located] = {}
    wrong: list[str] = []
    for text in [texts] if isinstance(texts, str) else texts:
        try:
            if "#" in text:
                those = [record(text, key, out_dir)]
            else:
                home = project(text, key, out_dir)
                those = [Located(home, model) for model in records.load_all(home)]
        except ProjectError as error:
            wrong += error.problems
            continue
        locations |= {location.folder: location for location in those}
    if wrong:
        raise ProjectError(wrong)
    return list(locations.values())


def check_weights(location: Located, key: str, out_dir: Path) -> None:
    """Refuse a record whose weights are missing or changed.

    Raises:
        ProjectError: When they are.
    """
    name = location.name(out_dir)
    if location.record.weights is None or not location.weights.is_file():
        fix = "choose another, or train it again with mode.store_parameters=true"
        raise ProjectError(problem(key, "the record keeps no weights", got=name, fix=fix))
    if files.digest_file(location.weights) != location.record.weights:
        wrong = f"{location.weights} is not the file that the record was written with"
        raise ProjectError(problem(key, wrong, got=name, fix="choose another record"))


def adopt(location: Located, into: Project, *, weights: bool, predictions: bool) -> ModelRecord:
    """Copy a record's files, the record last, under a new number; an existing copy is kept.

    Args:
        location: The record and its project.
        into: The target project.
        weights: Whether to copy its weights; if not, the new record has none.
        predictions: Whether to copy its predictions.

    Returns:
        The record in the new project.
    """
    source, folder = location.record, into.model_dir(location.record.pivot, location.record.id)
    if (folder / records.RECORD_FILE).is_file():
        return records.load(folder)
    of_stages = [records.stage_weights(location.folder, stage).name for stage in records.kept_stages(location.folder)]
    names = [records.CONFIG_FILE, records.METRICS_FILE, *([records.WEIGHTS_FILE, *of_stages] if weights else [])]
    for name in names:
        _copy(location.folder / name, folder / name)
    if predictions:
        place = (source.pivot, source.id)
        _copy(location.project.predictions_file(*place), into.predictions_file(*place))
        of_pixels = location.project.predictions_file(*place).with_suffix(maps.SUFFIX)
        if of_pixels.is_file():
            _copy(of_pixels, into.predictions_file(*place).with_suffix(maps.SUFFIX))
    note = f"taken from project {location.project.name}, where it is number {source.number}"
    digest = source.weights if weights else None
    checksums = {name: value for name, value in source.checksums.items() if weights or name not in of_stages}
    changed = replace(source, number=0, weights=digest, notes=[*source.notes, note], checksums=checksums)
    return records.save(into, changed)


def _copy(source: Path, target: Path) -> None:
    with files.durable(target) as temporary:
        shutil.copyfile(source, temporary)
