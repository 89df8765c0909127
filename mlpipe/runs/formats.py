"""Format numbers of projects and data folders, and the conversions between them; no other module knows old formats.

`VERSIONS` lists versions of mlpipe and their formats. A migration is a pair of pure functions on plain data; `planned`
finds the required conversions and performs all of them in memory, so that nothing is written if one file cannot be
converted; `convert` keeps a copy of the old file and replaces it atomically.
"""

from __future__ import annotations

import copy
import shutil
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from mlpipe import files
from mlpipe.errors import ProjectError, first_line, listing, problem

RECORD = 2
RUN = 1
ENSEMBLE = 1
# The same as `mlpipe.data.task.FORMAT`, as a test checks.
TASK = 2
# Configurations have no format number: `_config_format` infers it from their sections.
CONFIG = 2

Kind = Literal["record", "config", "task", "run", "ensemble"]
Plain = dict[str, Any]
CURRENT: Mapping[Kind, int] = {"record": RECORD, "config": CONFIG, "task": TASK, "run": RUN, "ensemble": ENSEMBLE}
VERSIONS: Mapping[str, Mapping[Kind, int]] = {
    "0.1.0.dev1": {"record": 1, "config": 1, "task": 1, "run": 1, "ensemble": 1},
    "0.1.0": CURRENT,
}
BACKUPS = "backups"


class OlderFormat(ProjectError):
    """A file of an older version, which `mml upgrade` converts: it is not damaged, and must not be skipped."""


def check(stored: Mapping[str, Any], wanted: int, path: Path) -> None:
    """Refuse a file of another format.

    Raises:
        OlderFormat: When its `format` is older.
        ProjectError: When its format is any other one.
    """
    stored_number = stored.get("format") if isinstance(stored, Mapping) else None
    if stored_number != wanted:
        is_older = isinstance(stored_number, int) and stored_number < wanted
        way = (
            f"bring it here with mml upgrade mode.version={next(iter(VERSIONS))}" if is_older else "use a newer mlpipe"
        )
        fix = f"this version of mlpipe reads format {wanted}; {way}"
        sentence = problem(
            str(path), "has another format", got=stored_number if stored_number is not None else "none", fix=fix
        )
        raise (OlderFormat if is_older else ProjectError)(sentence)


_UNKNOWN_LEVEL = "its prediction intervals are left out, as their level was not stored: run mml post again"


def with_interval_alpha(ensemble: Plain) -> Plain:
    """Return a stored ensemble in which the half-widths contain only outputs.

    Earlier versions stored the miss rate of intervals among them, as `alpha`. If an output of that name hid it, the
    ensemble has no intervals and a note says so, because their level is unknown.

    Args:
        ensemble: The contents of its file.
    """
    decide = ensemble["decide"] if isinstance(ensemble.get("decide"), dict) else {}
    halves = decide.get("halfwidths")
    if not isinstance(halves, dict) or "interval_alpha" in decide:
        return ensemble
    if "alpha" in ensemble.get("classes", []):
        others = {key: value for key, value in decide.items() if key != "halfwidths"}
        return {**ensemble, "decide": others, "notes": [*ensemble.get("notes", []), _UNKNOWN_LEVEL]}
    of_outputs = {name: half for name, half in halves.items() if name != "alpha"}
    return {**ensemble, "decide": {**decide, "halfwidths": of_outputs, "interval_alpha": halves.get("alpha")}}


@dataclass(frozen=True)
class Conversion:
    """One file to convert.

    Attributes:
        path: The file.
        kind: The kind of its contents.
        old: Its format.
        new: The target format.
        text: Its new content.
    """

    path: Path
    kind: Kind
    old: int
    new: int
    text: str


def planned(project: Path, data_dir: Path, version: str) -> list[Conversion]:
    """Return the conversions of everything to the formats of a version, older or newer.

    Args:
        project: The project's folder.
        data_dir: The folder of tasks.
        version: A key of `VERSIONS`.

    Raises:
        ProjectError: With a sentence for every file that is damaged, has an unknown newer format, or cannot be
            represented in the target format.
    """
    conversions: list[Conversion] = []
    wrong: list[str] = []
    for path, kind in [*_project_files(project), *((path, "task") for path in sorted(data_dir.glob("*/task.json")))]:
        try:
            conversion = _conversion(path, kind, VERSIONS[version][kind])
        except ProjectError as error:
            wrong += error.problems
            continue
        conversions += [conversion] if conversion is not None else []
    if wrong:
        raise ProjectError(wrong)
    return conversions


def convert(conversion: Conversion, root: Path, backup: str) -> Path:
    """Copy a file to `root/backups/BACKUP/` and replace its contents.

    Returns:
        The copy.
    """
    backup_path = root / BACKUPS / backup / conversion.path.relative_to(root)
    with files.durable(backup_path) as temporary:
        shutil.copyfile(conversion.path, temporary)
    files.write_text(conversion.path, conversion.text)
    return backup_path


def _project_files(project: Path) -> Iterator[tuple[Path, Kind]]:
    patterns: list[tuple[str, Kind]] = [
        # Configurations first, because a record is read together with its configuration.
        ("tasks/*/models/*/config.yaml", "config"),
        ("runs/*/*/config.yaml", "config"),
        ("tasks/*/models/*/record.json", "record"),
        ("tasks/*/ensembles/*.json", "ensemble"),
        ("runs/*/*/plan.json", "run"),
    ]
    for pattern, kind in patterns:
        for path in sorted(project.glob(pattern)):
            yield path, kind


def _conversion(path: Path, kind: Kind, target: int) -> Conversion | None:
    """Return the conversion of one file to the target format; None if it has that format."""
    stored = _read(path, kind)
    old = _config_format(stored) if kind == "config" else stored.get("format")
    if not isinstance(old, int) or not 1 <= old <= CURRENT[kind]:
        fix = f"this version of mlpipe knows {kind} formats up to {CURRENT[kind]}; use a newer mlpipe"
        raise ProjectError(problem(str(path), "has a format that is not known here", got=old, fix=fix))
    if old == target:
        return None
    new, step = copy.deepcopy(stored), 1 if target > old else -1
    for number in range(old, target, step):
        # The step from n to n + 1 is stored under n + 1.
        up, down = MIGRATIONS[kind][max(number, number + step)]
        try:
            new = (up if step > 0 else down)(new)
        except _CannotSayError as error:
            fix = "remove that record, or keep this version"
            raise ProjectError(problem(str(path), f"format {number + step} cannot say {error}", fix=fix)) from None
        except (KeyError, TypeError, AttributeError) as error:
            raise ProjectError(problem(str(path), f"is damaged ({error!r})", fix="remove it or mend it")) from error
    return Conversion(path, kind, old, target, _text(new, kind))


def _read(path: Path, kind: Kind) -> Plain:
    try:
        stored = files.read_yaml(path) if kind == "config" else files.read_json(path)
    except (OSError, ValueError) as error:
        reason = first_line(error)
        raise ProjectError(problem(str(path), f"cannot be read ({reason})", fix="remove it or mend it")) from error
    if not isinstance(stored, dict):
        raise ProjectError(problem(str(path), "is damaged", fix="remove it or mend it"))
    return stored


def _text(content: Plain, kind: Kind) -> str:
    if kind == "config":
        return files.yaml_text(content, allow_unicode=True, width=120)
    return files.json_text(content)


class _CannotSayError(Exception):
    """An older format cannot represent a file's contents."""


def _config_format(tree: Plain) -> int:
    return 2 if "logging" in tree else 1


# Format 2 of configurations adds curves of loggers, steps on the device, and bounds of gradients in the optimizer's
# section.
_ADDED: Mapping[str, Mapping[str, Any]] = {
    "optimizer": {"clip_norm": None, "clip_value": None},
    "preprocessing": {"interpolation": "bilinear", "keep": "fixed", "max_side": None},
    "augmentations": {"device": {"pipeline": []}},
}
_FORMAT_1_METRICS = {
    "train": ["accuracy"],
    "final": ["accuracy", "balanced_accuracy", "macro_f1", "auroc", "nll", "brier"],
}
_STANDARD_PREPROCESSING = "mlpipe.data.preprocessing.standard"


def _config_up(tree: Plain) -> Plain:
    for section, added in _ADDED.items():
        if section != "preprocessing" or tree[section]["_target_"] == _STANDARD_PREPROCESSING:
            tree[section] = {**added, **tree[section]}
    return {**tree, "logging": {"_target_": "mlpipe.learn.loggers.none"}}


def _config_down(tree: Plain) -> Plain:
    for section, added in _ADDED.items():
        for key, value in added.items():
            if tree[section].pop(key, value) != value:
                raise _CannotSayError(f"{section}.{key}")
    for key, names in _FORMAT_1_METRICS.items():
        if tree["metrics"][key] == "auto":
            tree["metrics"][key] = list(names)
    for section in ("logging", "reuse", "remove", "healing"):
        tree.pop(section, None)
    return tree


def _record_up(stored: Plain) -> Plain:
    """Convert a record: format 2 adds kinds of tasks besides classification, and tables of classes."""
    return {**stored, "kind": "classification", "details": {}, "format": 2}


def _record_down(stored: Plain) -> Plain:
    if stored["kind"] != "classification":
        raise _CannotSayError(f"a {stored['kind']} task")
    if stored.get("refit"):
        raise _CannotSayError("a model of all folds")
    added = ("kind", "details", "events", "checksum", "checksums")
    return {**{key: value for key, value in stored.items() if key not in added}, "format": 1}


def _task_up(stored: Plain) -> Plain:
    """Convert a task: format 2 adds a dtype, and a hash of all columns of the samples."""
    samples = stored["samples"]
    before = [stored["kind"], stored["classes"], samples["id"], samples["part"], samples["target"], samples["digest"]]
    _require_hash(stored, before)
    after = [stored["kind"], stored["classes"], "uint8", samples]
    return {**stored, "dtype": "uint8", "source_hash": files.digest(after), "format": 2}


def _task_down(stored: Plain) -> Plain:
    samples, kind = stored["samples"], stored["kind"]
    _require_hash(stored, [kind, stored["classes"], stored["dtype"], samples])
    if kind != "classification":
        raise _CannotSayError(f"a {kind} task")
    if stored["dtype"] != "uint8":
        raise _CannotSayError(f"{stored['dtype']} images")
    if more := [key for key in samples if key not in ("id", "part", "target", "digest")]:
        raise _CannotSayError(f"samples with {listing(more)}")
    if stored["source"].get("type") not in ("fashion_mini", "digits", "folder"):
        raise _CannotSayError(f"images from {stored['source'].get('type')}")
    before = [kind, stored["classes"], samples["id"], samples["part"], samples["target"], samples["digest"]]
    fields = {key: value for key, value in stored.items() if key != "dtype"}
    return {**fields, "source_hash": files.digest(before), "format": 1}


def _require_hash(stored: Plain, of: list[Any]) -> None:
    if files.digest(of) != stored["source_hash"]:
        raise KeyError("its hash does not fit")


Migration = tuple[Callable[[Plain], Plain], Callable[[Plain], Plain]]
# By kind and the newer of two formats: the conversion up to it, and the conversion down from it.
MIGRATIONS: Mapping[Kind, Mapping[int, Migration]] = {
    "record": {2: (_record_up, _record_down)},
    "config": {2: (_config_up, _config_down)},
    "task": {2: (_task_up, _task_down)},
    "run": {},
    "ensemble": {},
}
