"""Check the integrity of a run's files by checksums: records, weights, curves, configurations, predictions."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from mlpipe import files, kinds, parquet
from mlpipe.errors import ProjectError, first_line, is_out_of_memory
from mlpipe.lazy_imports import LazyModule
from mlpipe.runs import ensembles, maps, records
from mlpipe.runs.ensembles import EnsembleRecord
from mlpipe.runs.project import Project
from mlpipe.runs.records import ModelRecord

if TYPE_CHECKING:
    import pyarrow as pa
else:
    pa = LazyModule("pyarrow")

Verdict = Literal["ok", "damaged", "missing", "differs", "not compared"]


@dataclass(frozen=True)
class Finding:
    """The result of one check.

    Attributes:
        of: The id of the record or ensemble.
        what: The part that was checked.
        verdict: The verdict.
        why: A short reason if it is not ok.
    """

    of: str
    what: str
    verdict: Verdict
    why: str = ""

    @property
    def is_wrong(self) -> bool:
        """Whether it requires action."""
        return self.verdict in ("damaged", "missing", "differs")


def of_record(project: Project, record: ModelRecord) -> Iterator[Finding]:
    """Return a finding for each file of a trained fold.

    Args:
        project: The project.
        record: The record.
    """
    folder = project.model_dir(record.pivot, record.id)
    yield seal_finding(folder / records.RECORD_FILE, record.id)
    if record.weights is None:
        yield Finding(record.id, records.WEIGHTS_FILE, "not compared", "no weights were kept")
    else:
        yield _hash_finding(folder / records.WEIGHTS_FILE, record.id, record.weights)
    of_stages = [name for name in record.checksums if name.startswith("weights.stage")]
    for name in (records.METRICS_FILE, records.CONFIG_FILE, *of_stages):
        yield _hash_finding(folder / name, record.id, record.checksums.get(name))
    path = project.predictions_file(record.pivot, record.id)
    if path.exists():
        yield predictions_finding(path, record.id, "predictions")
        if kinds.of(record.kind).is_dense:
            yield maps_finding(path.with_suffix(maps.SUFFIX), record.id)


def of_ensemble(project: Project, ensemble: EnsembleRecord) -> Iterator[Finding]:
    """Return a finding for each file of an ensemble.

    Args:
        project: The project.
        ensemble: The ensemble.
    """
    folder = project.ensembles_dir(ensemble.task)
    yield seal_finding(folder / f"{ensemble.id}.json", ensemble.id)
    yield predictions_finding(folder / f"{ensemble.id}.parquet", ensemble.id, "predictions")
    if kinds.of(ensemble.kind).is_dense:
        yield maps_finding(folder / f"{ensemble.id}{maps.SUFFIX}", ensemble.id)


def records_of_run(project: Project, run: str) -> tuple[list[ModelRecord], list[EnsembleRecord], list[Finding]]:
    """Return the records and ensembles that a run made, and a finding for each unreadable one.

    Args:
        project: The project.
        run: The run's name.
    """
    folds: list[ModelRecord] = []
    mixtures: list[EnsembleRecord] = []
    wrong: list[Finding] = []
    for path in sorted(project.tasks_dir().glob(f"*/models/*/{records.RECORD_FILE}")):
        try:
            folds.append(records.load(path.parent))
        except ProjectError as error:
            # Its run is unknown, so it counts for every run.
            wrong.append(Finding(path.parent.name, records.RECORD_FILE, "damaged", str(error)))
    for path in sorted(project.tasks_dir().glob("*/ensembles/*.json")):
        try:
            mixtures.append(ensembles.load(path))
        except ProjectError as error:
            wrong.append(Finding(path.stem, path.name, "damaged", str(error)))
    return [fold for fold in folds if fold.run == run], [mixture for mixture in mixtures if mixture.run == run], wrong


def seal_finding(path: Path, of: str) -> Finding:
    """Check that a JSON file has the checksum stored in it.

    Args:
        path: The file.
        of: The id of its owner.
    """
    try:
        broken = files.seal_is_broken(files.read_json(path))
    except FileNotFoundError:
        return Finding(of, path.name, "missing")
    except (OSError, ValueError, TypeError) as error:
        return Finding(of, path.name, "damaged", f"cannot be read ({type(error).__name__})")
    if broken is None:
        return Finding(of, path.name, "not compared", "it was written without a checksum")
    return Finding(of, path.name, "damaged", "it was changed since it was written") if broken else _ok(of, path.name)


def predictions_finding(path: Path, of: str, subject: str) -> Finding:
    """Check that every page of a file of predictions has its checksum.

    Args:
        path: The file.
        of: The id of its owner.
        subject: Its contents.
    """
    try:
        with parquet.opened(path, page_checksum_verification=True) as stored:
            for _ in stored.iter_batches(4096):
                pass
    except FileNotFoundError:
        return Finding(of, subject, "missing")
    except (OSError, ValueError, pa.ArrowException) as error:
        if is_out_of_memory(error):
            raise
        return Finding(of, subject, "damaged", first_line(error))
    return _ok(of, subject)


def maps_finding(path: Path, of: str) -> Finding:
    """Check that every map of a file has its original checksum.

    Args:
        path: The file.
        of: The id of its owner.
    """
    subject = "maps of pixels"
    if not path.is_file():
        return Finding(of, subject, "missing")
    broken = maps.first_damage(path)
    return Finding(of, subject, "damaged", broken) if broken else _ok(of, subject)


def _hash_finding(path: Path, of: str, expected: str | None) -> Finding:
    if not path.is_file():
        return Finding(of, path.name, "missing")
    if expected is None:
        return Finding(of, path.name, "not compared", "it was written without a checksum")
    if files.digest_file(path) != expected:
        return Finding(of, path.name, "damaged", "it was changed since it was written")
    return _ok(of, path.name)


def _ok(of: str, subject: str) -> Finding:
    return Finding(of, subject, "ok")
