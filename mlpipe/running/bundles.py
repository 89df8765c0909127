"""Bundles: stored models with what they need of their project, as one zip that predicts without the project.

The zip contains the records with their weights (safetensors) and configurations, calibrations, the ensemble, the rows
that another prevalence needs, the task without its samples, and the card; `manifest.json` has the checksum of each
file.
"""

from __future__ import annotations

import shutil
import zipfile
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, TypedDict

import mlpipe
from mlpipe import files, kinds, limits, stored
from mlpipe.data import archives, task
from mlpipe.data import kind as data_kind
from mlpipe.data.task import Row, Task
from mlpipe.errors import DataError, ProjectError, listing, problem
from mlpipe.post import decisions
from mlpipe.post.ensembling import new_rows
from mlpipe.running import exported_facts, model_card
from mlpipe.running.predictor import Predictor, Stored
from mlpipe.runs import ensembles, predictions, records
from mlpipe.runs.project import Project
from mlpipe.runs.records import ModelRecord

FORMAT = 1
_MANIFEST, _TASK, _CARD, _PROJECT = "manifest.json", "task.json", "card.json", "project"
# Keys of a task's source that describe the values of targets in files.
_OF_TARGETS = ("masks", "targets")
# A fixed date, so that the same models give the same file.
_DATE = (1980, 1, 1, 0, 0, 0)


class Member(TypedDict):
    """A member of the predictor: its name, its weight and the ids of its records."""

    name: str
    weight: float
    records: list[str]


class Manifest(TypedDict):
    """The contents of `manifest.json`."""

    format: int
    version: str
    task: str
    ensemble: str | None
    members: list[Member]
    files: dict[str, str]


def write(predictor: Predictor, path: Path) -> None:
    """Durably write stored models as a bundle.

    Args:
        predictor: The models.
        path: The zip.
    """
    source = predictor.stored
    with TemporaryDirectory(prefix="mlpipe-bundle-") as name:
        folder = Path(name)
        home = Project(folder / _PROJECT)
        for record in source.records:
            _copy_record(source.project, home, record, predicts=True)
        _copy_rows(predictor, home)
        if source.ensemble is not None:
            ensembles.save(home, source.ensemble)
        task.save(_sample_template(predictor), folder / _TASK)
        files.write_json(folder / _CARD, model_card.facts(predictor))
        # Without the files of locks.
        entries = (entry for entry in folder.rglob("*") if entry.is_file() and not entry.name.startswith("."))
        names = sorted(entry.relative_to(folder).as_posix() for entry in entries)
        members = [
            {"name": name, "weight": weight, "records": [model.id for model in several]}
            for name, several, weight in source.members
        ]
        manifest = {
            "format": FORMAT,
            "version": mlpipe.__version__,
            "task": source.task,
            "ensemble": source.ensemble.id if source.ensemble is not None else None,
            "members": members,
            "files": {name: files.digest_file(folder / name) for name in names},
        }
        files.write_sealed(folder / _MANIFEST, manifest)
        with files.durable(path) as temporary, zipfile.ZipFile(temporary, "w", zipfile.ZIP_DEFLATED) as archive:
            for name in (_MANIFEST, *names):
                with (folder / name).open("rb") as handle, archive.open(zipfile.ZipInfo(name, _DATE), "w") as out:
                    shutil.copyfileobj(handle, out)


def opened(path: Path, trust: Sequence[str] = ()) -> Stored:
    """Open a bundle: return its models, unpacked into a folder that is deleted with them.

    Args:
        path: The zip.
        trust: Modules that its configurations may name, see `mlpipe.config.snapshot.load`.

    Raises:
        DataError: When it is not an archive, or has unsafe members.
        ProjectError: When it is not a bundle, was changed, or is of a newer version.
    """
    holds = TemporaryDirectory(prefix="mlpipe-bundle-")
    folder = Path(holds.name) / "bundle"
    archives.unpack(path, folder, fix="export it again")
    try:
        return _stored_models(path, folder, trust, holds)
    except (DataError, ProjectError) as error:
        # The temporary folder is unknown to the user, and is deleted.
        raise ProjectError([sentence.replace(f"{folder}/", f"{path}: ") for sentence in error.problems]) from error


def _stored_models(path: Path, folder: Path, trust: Sequence[str], holds: object) -> Stored:
    """Return the models of an unpacked bundle."""
    manifest = _checked_manifest(path, folder)
    home = Project(folder / _PROJECT)
    pivot = _pivot(folder / _TASK)
    ensemble = None
    if (ensemble_id := manifest["ensemble"]) is not None:
        ensemble = ensembles.load(
            _manifest_file(path, manifest, folder, home.ensembles_dir(manifest["task"]) / f"{ensemble_id}.json")
        )
    members = []
    for member in manifest["members"]:
        folders = [home.model_dir(manifest["task"], name) for name in member["records"]]
        several = [
            records.load(_manifest_file(path, manifest, folder, at / records.RECORD_FILE).parent) for at in folders
        ]
        members.append((member["name"], several, float(member["weight"])))
    card: Any = _card(folder / _CARD)
    return Stored(
        home, manifest["task"], ensemble, members, folder / "data", tuple(trust), pivot=pivot, card=card, holds=holds
    )


def _pivot(path: Path) -> Task:
    """Return the task of a bundle, which has no samples of its own and is small.

    Raises:
        ProjectError: When it is not.
    """
    try:
        limits.require_ordinary(path, limits.RECORD)
    except OSError as error:
        raise ProjectError(problem(str(path), f"cannot be read ({error})", fix="export it again")) from error
    return task.load(path)


def _card(path: Path) -> model_card.Card:
    """Return the card of a bundle, which must have a model."""
    fix = "export it again"
    try:
        return model_card.checked(stored.read(path, dict[str, Any], fix))
    except (TypeError, ValueError) as error:
        raise ProjectError(problem(str(path), f"is damaged ({error})", fix=fix)) from error


def _checked_manifest(path: Path, folder: Path) -> Manifest:
    """Return the manifest of an unpacked bundle after verifying all files.

    Raises:
        ProjectError: When it is not a manifest, is of a newer version, or a file was changed, is missing or was added.
    """
    try:
        plain = files.read_json(folder / _MANIFEST, limits.RECORD)
        if plain["format"] > FORMAT:
            wrong = (
                f"is of a newer version ({plain['version']}, format {plain['format']}), this one reads format {FORMAT}"
            )
            raise ProjectError(problem(str(path), wrong, fix="update this program, or export it with this version"))
        broken = files.seal_is_broken(plain)
        manifest = stored.checked(Manifest, {key: value for key, value in plain.items() if key != "checksum"})
        members = manifest["members"]
        if not members or not all(member["records"] and member["weight"] >= 0 for member in members):
            raise ValueError("it has a member without records, or no member")
        if not sum(member["weight"] for member in members) > 0:
            raise ValueError("its members have no weight")
    except (OSError, ValueError, KeyError, TypeError) as error:
        wrong = f"is no bundle ({error})"
        raise ProjectError(problem(str(path), wrong, fix="give a file of mml export mode.format=bundle")) from error
    paths = {entry.relative_to(folder).as_posix() for entry in folder.rglob("*") if entry.is_file()} - {_MANIFEST}
    changed = sorted(paths ^ set(manifest["files"]))
    changed += [
        name
        for name, digest in manifest["files"].items()
        if name in paths and files.digest_file(folder / name) != digest
    ]
    if broken is not False or changed:
        wrong = f"was changed since it was written: {listing(changed or [_MANIFEST], most=3)}"
        raise ProjectError(problem(str(path), wrong, fix="export it again"))
    return manifest


def _manifest_file(path: Path, manifest: Manifest, folder: Path, file: Path) -> Path:
    """Return the path of a file that the manifest lists.

    Raises:
        ProjectError: When it is not listed; then a name leads outside the bundle.
    """
    # Absolute paths and paths with `..` are not below the folder, however they are spelt.
    name = file.relative_to(folder).as_posix() if file.is_relative_to(folder) else str(file)
    if name not in manifest["files"]:
        raise ProjectError(problem(str(path), f"does not hold {name}", fix="export it again"))
    return file


def _copy_record(source: Project, home: Project, record: ModelRecord, *, predicts: bool) -> None:
    """Copy a record and the files that it predicts with."""
    at = record.pivot, record.id
    names = [records.RECORD_FILE, *([records.CONFIG_FILE, records.WEIGHTS_FILE] if predicts else [])]
    pairs = [(source.model_dir(*at) / name, home.model_dir(*at) / name) for name in names]
    for original, other in [*pairs, (source.calibration_file(*at), home.calibration_file(*at))]:
        if original.is_file():
            other.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(original, other)


def _copy_rows(predictor: Predictor, home: Project) -> None:
    """Copy the held-out rows used to estimate a prevalence and to make decisions again; samples get numbers."""
    source, its = predictor.stored, kinds.of(predictor.kind)
    decide = source.ensemble.decide if source.ensemble is not None else {}
    if its.is_dense or not (its.has_classes or "halfwidths" in decide):
        return
    by_id = {model.id: model for model in records.load_all(source.project, source.task)}
    # A sample has the same number in all files, in the order of names: rows of folds and repeats are joined by it.
    numbers = {name: number for number, name in enumerate(sorted(predictor.pivot.samples.ids))}
    for record in source.records if its.has_classes else ():
        for member in [record, *(by_id[name] for name in record.refit or [] if name in by_id)]:
            # For a model of all folds, the rows that its folds held out.
            if member is not record:
                _copy_record(source.project, home, member, predicts=False)
            paths = [project.predictions_file(member.pivot, member.id) for project in (source.project, home)]
            split = "val" if member is record else member.held_out
            _copy_splits(paths[0], paths[1], member.task, [split], member.kind, numbers)
    if source.ensemble is not None:
        paths = [new_rows.rows_file(project, source.ensemble) for project in (source.project, home)]
        _copy_splits(paths[0], paths[1], source.ensemble.task, decisions.CHOSE, source.ensemble.kind, numbers)


def _copy_splits(
    origin: Path, to: Path, of_task: str, splits: Sequence[str], kind: str, numbers: dict[str, int]
) -> None:
    """Copy rows, with numbers for the names of their samples; unknown names get the next ones."""
    if not origin.is_file():
        return
    with predictions.writer(to, [], kind) as sink:
        for split in splits:
            rows = predictions.load(origin, of_task, split)
            if len(rows):
                names = [f"{numbers.setdefault(name, len(numbers)):09d}" for name in rows.sample_ids]
                sink.add(of_task, split, -1, names, rows.targets, rows.logits, rows.calibrated)


def _sample_template(predictor: Predictor) -> Task:
    """Return a task that describes new samples: one sample without known contents, and no folders."""
    pivot = predictor.pivot
    source = {**exported_facts.source_of(predictor)}
    for key, value in (pivot.bases or (pivot,))[0].source.items():
        if key in _OF_TARGETS:
            source[key] = {name: setting for name, setting in value.items() if name != "root"}
    unknown = data_kind.of(pivot.kind).unknown(len(pivot.classes))
    return task.make(
        files.safe_name(predictor.stored.task),
        pivot.classes,
        [Row("sample", "unlabelled", unknown, "")],
        channels=pivot.channels,
        kind=pivot.kind,
        dtype=pivot.dtype,
        source=source,
        has_new_classes=False,
    )
