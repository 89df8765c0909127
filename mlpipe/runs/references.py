"""References to other projects and their records (`PROJ`, `PROJ#3`, `PROJ#ID`), by name, number or path; and adoption."""

from __future__ import annotations

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
    """A record and the project that it lies in.

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
        """The file of its weights, if it keeps any."""
        return self.folder / records.WEIGHTS_FILE

    @property
    def config(self) -> Path:
        """The configuration that it was trained with."""
        return self.folder / records.CONFIG_FILE

    def name(self, out_dir: Path) -> str:
        """`PROJ#3`, or `PATH#3` where the project lies outside the results folder."""
        root = self.project.root
        return f"{self.project.name if root.parent == out_dir else root}#{self.record.number}"


def project(text: str, key: str, out_dir: Path) -> Project:
    """The project that a name or a path means.

    Args:
        text: A name of a folder in `out_dir`, or a path with a slash.
        key: The configuration key that says so, for the sentence.
        out_dir: The folder of all projects.

    Raises:
        ProjectError: When there is no such project; the sentence lists what is there.
    """
    place = Project(Path(text) if "/" in text else out_dir / text)
    if text and place.tasks_dir().is_dir():
        return place
    there = sorted(path.parent.name for path in out_dir.glob("*/tasks") if path.is_dir()) if out_dir.is_dir() else []
    fix = did_you_mean(text, there, otherwise=f"projects in {out_dir}: {listing(there) or 'none'}")
    raise ProjectError(problem(key, "there is no such project", got=text, fix=fix))


def record(text: str, key: str, out_dir: Path) -> Located:
    """The record that `PROJ#NUMBER` or `PROJ#ID` means.

    Raises:
        ProjectError: When there is no such project or record; the sentence lists what is there.
    """
    name, _, wanted = text.partition("#")
    home = project(name, key, out_dir)
    there = records.load_all(home)
    for one in there:
        if wanted in (str(one.number), one.id):
            return Located(home, one)
    known = listing([f"#{one.number} ({one.id})" for one in there], most=6) or "none"
    fix = did_you_mean(wanted, [one.id for one in there], otherwise=f"records of {home.name}: {known}")
    raise ProjectError(problem(key, "there is no such record", got=text, fix=fix))


def located(texts: str | Sequence[str], key: str, out_dir: Path) -> list[Located]:
    """All records that references mean, each once, in the references' order and then in that of their creation.

    Raises:
        ProjectError: With a sentence for every reference that means nothing.
    """
    found: dict[Path, Located] = {}
    wrong: list[str] = []
    for text in [texts] if isinstance(texts, str) else texts:
        try:
            if "#" in text:
                those = [record(text, key, out_dir)]
            else:
                home = project(text, key, out_dir)
                those = [Located(home, one) for one in records.load_all(home)]
        except ProjectError as error:
            wrong += error.problems
            continue
        found |= {one.folder: one for one in those}
    if wrong:
        raise ProjectError(wrong)
    return list(found.values())


def check_weights(one: Located, key: str, out_dir: Path) -> None:
    """Refuse a record whose weights are gone or are not those that it was written with.

    Raises:
        ProjectError: When they are.
    """
    name = one.name(out_dir)
    if one.record.weights is None or not one.weights.is_file():
        fix = "choose another, or train it again with mode.store_parameters=true"
        raise ProjectError(problem(key, "the record keeps no weights", got=name, fix=fix))
    if files.digest_file(one.weights) != one.record.weights:
        wrong = f"{one.weights} is not the file that the record was written with"
        raise ProjectError(problem(key, wrong, got=name, fix="choose another record"))


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
    changed = replace(source, number=0, weights=kept, notes=[*source.notes, note], checksums=checksums)
    return records.save(into, changed)


def _copy(source: Path, target: Path) -> None:
    with files.durable(target) as temporary:
        shutil.copyfile(source, temporary)
