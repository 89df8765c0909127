"""Studies: where Optuna stores the trials of a search, which studies exist, and the best trial of one."""

from __future__ import annotations

import os
import re
import sqlite3
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import unquote

from mlpipe import current_folder, files, limits, sqlite
from mlpipe.errors import (
    DiskFull,
    MlpipeError,
    ProjectError,
    did_you_mean,
    first_line,
    is_out_of_memory,
    listing,
    not_installed,
    problem,
    short,
)
from mlpipe.runs import study_journals
from mlpipe.runs.project import Project

if TYPE_CHECKING:
    from optuna.storages import BaseStorage
    from optuna.storages.journal import JournalFileSymlinkLock
    from optuna.study import Study
    from optuna.trial import FrozenTrial

# mlpipe's own attributes of a study and of a trial, beside Optuna's.
BASE, METRICS, TASK = "base", "metrics", "task"
RUN, OWNER, ERROR, INTERRUPTED, SECONDS = "run", "owner", "error", "interrupted", "seconds"

_ATTEMPTS = 6
# Seconds after which a journal's lock is stale: a lock is held only for writing a line.
_LOCKED = 15
_CHUNK = 1 << 20
# The number of journal lines that are read quickly, whatever they contain.
_FEW_LINES = 3_000
_ELSE = "move it away, and search again"


def masked(address: str) -> str:
    """Return a storage's address without its password."""
    # Parsed as in SQLAlchemy: a password may contain any character, even @, so the last @ ends it.
    address = re.sub(r"(://[^:/\s]*):.*@", r"\1:***@", address)
    return re.sub(r"(?i)(password|passwd|pwd)=[^&]*", r"\1=***", address)


def address(project: Project, study: str, storage: str | None) -> str:
    """Return a study's storage for display."""
    return masked(storage) if storage is not None else str(journal_file(project, study))


def journal_file(project: Project, study: str) -> Path:
    """Return the journal of one study of a project."""
    return project.studies_dir() / f"{study}.log"


@contextmanager
def opened(project: Project, study: str, storage: str | None) -> Iterator[BaseStorage]:
    """Return Optuna's storage of a study.

    Args:
        project: The project whose folder contains the journal if no storage is named.
        study: The study's name.
        storage: A path or an Optuna URL; None: the project's journal.

    Raises:
        ProjectError: When it cannot be opened or returns an error; passwords are removed.
    """
    import optuna
    from sqlalchemy.exc import SQLAlchemyError

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    where = address(project, study, storage)
    try:
        with _storage_contents_errors(where):
            store = _storage(journal_file(project, study) if storage is None else storage, study)
            _read_all(store, study)
    except (SQLAlchemyError, optuna.exceptions.StorageInternalError, ImportError) as error:
        raise _storage_error(error, where) from None
    try:
        yield store
    except MlpipeError:
        raise
    except (SQLAlchemyError, optuna.exceptions.StorageInternalError, ModuleNotFoundError) as error:
        raise _storage_error(error, where) from None


@contextmanager
def _storage_contents_errors(where: str) -> Iterator[None]:
    """Report a storage with contents that no search writes, whatever error Optuna raises for them.

    Raises:
        ProjectError: Instead of Optuna's error.
    """
    try:
        yield
    except (ValueError, TypeError, LookupError, RuntimeError, AttributeError, AssertionError) as error:
        if is_out_of_memory(error):
            raise
        wrong = f"{where} is not what a search wrote ({type(error).__name__}: {masked(first_line(error))})"
        raise ProjectError(problem("hpo.storage", wrong, fix=_ELSE)) from error


def _read_all(store: BaseStorage, study: str) -> None:
    """Read every trial of a study once, if it exists, so that invalid trials are reported at once."""
    if study in [summary.study_name for summary in store.get_all_studies()]:
        study_id = store.get_study_id_from_name(study)
        directions = len(store.get_study_directions(study_id))
        for trial in store.get_all_trials(study_id, deepcopy=False):
            _require_trial(trial, directions)


def _require_trial(trial: FrozenTrial, directions: int) -> None:
    """Refuse a trial that no search writes: a storage returns whatever its file contains.

    Raises:
        ValueError: With the trial and the problem.
    """
    values = trial.values
    is_value = isinstance(values, list) and len(values) == directions
    if trial.state.name == "COMPLETE" and not (is_value and all(map(_is_number, values))):
        raise ValueError(f"trial {trial.number} has ended, and its values are {short(values)}")
    for name, mapping in (
        ("parameters", trial.params),
        ("notes", trial.user_attrs),
        ("reported values", trial.intermediate_values),
    ):
        if not isinstance(mapping, dict):
            raise ValueError(f"trial {trial.number} has {name} that are {short(mapping)}")
    for key, value in trial.params.items():
        if not isinstance(value, str | int | float | None):
            raise ValueError(f"trial {trial.number} has the parameter {key} {short(value)}")


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _require_tables(where: str, study: str) -> None:
    """Refuse an SQLite file with computed contents, which may not terminate, or with more than a search writes.

    Raises:
        ProjectError: When a study is too large.
        ValueError: When contents are computed.
    """
    for path in _files_of(where):
        try:
            if not path.exists():
                continue
            limits.require_ordinary(path, limits.STORED)
            odd = sqlite.computed_in(path)
        except sqlite3.DataError as error:
            # Its table definitions are longer than the connection reads.
            raise _long_text(where) from error
        except limits.ForeignFileError as error:
            raise ProjectError(
                problem("hpo.storage", f"cannot be read ({error})", got=masked(where), fix=_ELSE)
            ) from error
        except (sqlite3.Error, OSError):
            # The error is reported when it is opened.
            continue
        if odd is not None:
            raise ValueError(odd)
        try:
            size = _size(path, study)
        except sqlite3.DataError as error:
            raise _long_text(where) from error
        except sqlite3.Error as error:
            # Contents that cannot be counted may be too large, whichever part a search would read; but a writer may be
            # active.
            if getattr(error, "sqlite_errorcode", 0) & 0xFF in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
                continue
            raise ValueError(first_line(error)) from error
        _require_little(where, size)


def _size(path: Path, study: str) -> sqlite.Size:
    """Return how much of a file is read for a study: its trials with their data, and the rest.

    Args:
        path: The file.
        study: The study's name; empty: the only study.
    """
    with sqlite.opened(path) as connection:
        names = [row[0] for row in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
        of_study = "study_id IN (SELECT study_id FROM studies WHERE study_name = ?)"
        tables: dict[str, tuple[str, list[str]]] = {}
        for name in names:
            columns = {row[0] for row in connection.execute("SELECT name FROM pragma_table_info(?)", [name])}
            # Data of every study is read to find out which studies exist.
            tables[name] = "TRUE", []
            if study and "trial_id" in columns and {"trials", "studies"} <= set(names):
                tables[name] = f"trial_id IN (SELECT trial_id FROM trials WHERE {of_study})", [study]
        return sqlite.size(connection, tables)


def _require_journal(path: Path) -> None:
    """Refuse a journal longer than a search writes.

    Raises:
        ProjectError: When it is too long, unreadable, or not a regular file.
    """
    rows = values = 0
    try:
        byte_count = limits.require_ordinary(path)
        if byte_count <= limits.STUDY:
            with path.open("rb") as file:
                while piece := file.read(_CHUNK):
                    rows += piece.count(b"\n")
                    values += sum(piece.count(sign) for sign in (b",", b"[", b"{"))
        _require_little(str(path), sqlite.Size(rows, byte_count, values))
        steps = study_journals.steps(path, limits.STUDY_STEPS) if rows > _FEW_LINES else 0
    except OSError as error:
        wrong = f"cannot be read ({first_line(error)})"
        raise ProjectError(problem("hpo.storage", wrong, got=str(path), fix="name another file")) from error
    if steps > limits.STUDY_STEPS:
        raise _too_much(str(path), f"lines that take more than {limits.STUDY_STEPS:,} steps to read")


def _require_little(where: str, size: sqlite.Size) -> None:
    """Refuse a study that is too large to read.

    Raises:
        ProjectError: With the part that is too large.
    """
    most = sqlite.Size(limits.STUDY_ROWS, limits.STUDY, limits.STUDY_VALUES)
    for unit, count, limit in zip(size._fields, size, most, strict=True):
        if count > limit:
            raise _too_much(where, f"{count:,} {unit} of a study, more than the {limit:,} that are read")


def _too_much(where: str, excess: str) -> ProjectError:
    return ProjectError(problem("hpo.storage", f"{masked(where)} holds {excess}", fix=_ELSE))


def _long_text(where: str) -> ProjectError:
    return _too_much(where, f"a text of more than {limits.STUDY:,} bytes")


def _files_of(where: str) -> list[Path]:
    """Return the files that an address may denote: as written, and as SQLite decodes a `file:` URI's percent-encoding."""
    from sqlalchemy import make_url

    name = make_url(where).database or ""
    paths = [Path(name)]
    if name.startswith("file:"):
        paths.append(Path(unquote(re.sub("^file:(?://(?:localhost)?(?=/))?", "", name).partition("#")[0])))
    return paths


def _storage_error(error: Exception, where: str) -> MlpipeError:
    if files.disk_is_full(error):
        return DiskFull(f"{where}: {files.why_full(error)}")
    cause = error.__cause__ or error
    if isinstance(cause, ModuleNotFoundError):
        if cause.name == "psycopg":
            return ProjectError(not_installed("hpo.storage", "psycopg"))
        wrong = f"needs the module {cause.name}, which is not installed"
        return ProjectError(problem("hpo.storage", wrong, got=where, fix=f"install {cause.name}"))
    reason = masked(first_line(cause))
    fix = "check that it is there, its user and its password, or leave hpo.storage out for a file in the project"
    return ProjectError(problem("hpo.storage", f"failed ({reason})", got=where, fix=fix))


def _storage(where: str | Path, study: str) -> BaseStorage:
    import optuna
    from optuna.storages.journal import JournalFileBackend
    from sqlalchemy.exc import IntegrityError, OperationalError, ProgrammingError

    if isinstance(where, Path) or "://" not in where:
        path = current_folder.expanded(where).absolute()
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.exists():
            _require_journal(path)
            _repair_journal(path)
        return optuna.storages.JournalStorage(JournalFileBackend(str(path), lock_obj=_lock(path)))
    if where.startswith("redis"):
        return optuna.storages.get_storage(where)
    if where.startswith("sqlite"):
        _require_tables(where, study)
    # Several processes write to one SQLite file, and servers close idle connections during long trials.
    waits = (
        {"connect_args": {"timeout": 100, "factory": sqlite.BoundedConnection}}
        if where.startswith("sqlite")
        else {"pool_pre_ping": True}
    )
    for attempt in range(1, _ATTEMPTS):
        try:
            return optuna.storages.RDBStorage(where, engine_kwargs=waits)
        except (IntegrityError, ProgrammingError, OperationalError) as error:
            # Processes that start together with an empty database create its tables at once; one of them succeeds.
            if not re.search("already exists|duplicate key|unique constraint", str(error), re.IGNORECASE):
                raise
            time.sleep(0.2 * attempt)
    return optuna.storages.RDBStorage(where, engine_kwargs=waits)


def _lock(path: Path) -> JournalFileSymlinkLock:
    """Return the lock of a journal; unlike Optuna's own, it does not wait forever, busily, for a dangling link.

    Such a link remains if a search was killed and its project has been moved.
    """
    from optuna.storages.journal import JournalFileSymlinkLock

    class Lock(JournalFileSymlinkLock):
        def acquire(self) -> bool:
            place, last_change, since = Path(self._lock_file), 0, time.monotonic()
            while True:
                try:
                    place.symlink_to(self._lock_target_file)
                    return True
                except FileExistsError:
                    pass
                try:
                    # The time of the link itself, wherever it points.
                    now = place.lstat().st_mtime_ns
                except FileNotFoundError:
                    continue
                if now != last_change:
                    last_change, since = now, time.monotonic()
                if time.monotonic() - since > _LOCKED:
                    with suppress(RuntimeError):
                        self.release()
                time.sleep(0.02)

    return Lock(str(path))


def _repair_journal(path: Path) -> None:
    """Cut off an incomplete line that a full disk left at a journal's end; otherwise Optuna could not read later lines."""
    if not _is_torn(path):
        return
    lock = _lock(path)
    lock.acquire()
    try:
        # Another process may have been writing the line.
        if _is_torn(path):
            content = path.read_bytes()
            os.truncate(path, content.rfind(b"\n") + 1)
    finally:
        lock.release()


def _is_torn(path: Path) -> bool:
    if not path.is_file() or not path.stat().st_size:
        return False
    with path.open("rb") as file:
        file.seek(-1, os.SEEK_END)
        return file.read(1) != b"\n"


def names(project: Project) -> list[str]:
    """Return the studies whose journals lie in the project."""
    return sorted(path.stem for path in project.studies_dir().glob("*.log"))


@contextmanager
def loaded(project: Project, reference: str, storage: str | None = None) -> Iterator[Study]:
    """Return an existing study: `NAME`, `PROJ:NAME`, a storage URL with one study, or `URL#NAME`.

    Raises:
        ProjectError: When it does not exist; the sentence lists the studies.
    """
    import optuna

    project, name, storage = _study_place(project, reference, storage)
    if storage is None and not journal_file(project, name).is_file():
        raise _missing_study(reference, names(project), f"project {project.name}")
    with opened(project, name, storage) as store:
        study_names = optuna.study.get_all_study_names(store)
        if not name and len(study_names) == 1:
            name = study_names[0]
            with _storage_contents_errors(address(project, name, storage)):
                _read_all(store, name)
        if name not in study_names:
            raise _missing_study(reference, study_names, address(project, name, storage))
        yield optuna.load_study(study_name=name, storage=store)


def _study_place(project: Project, reference: str, storage: str | None) -> tuple[Project, str, str | None]:
    if "://" in reference:
        url, _, name = reference.partition("#")
        return project, name, url
    if storage is None and ":" in reference:
        other, _, name = reference.partition(":")
        return Project(project.root.parent / other), name, None
    return project, reference, storage


def _missing_study(reference: str, study_names: Sequence[str], where: str) -> ProjectError:
    if not study_names:
        return ProjectError(
            problem("study", f"{where} has no studies", got=masked(reference), fix="make one with mml train hpo=optuna")
        )
    fix = did_you_mean(reference, study_names, otherwise="choose one of them")
    return ProjectError(
        problem("study", f"{where} has the studies {listing(study_names)}", got=masked(reference), fix=fix)
    )


def best(study: Study, number: int | None = None) -> FrozenTrial:
    """Return the best finished trial, or the finished trial with a number.

    Raises:
        ProjectError: When no trial is finished, or several metrics give a Pareto front of best ones.
    """
    trials = finished(study)
    if number is not None:
        if fitting := [trial for trial in trials if trial.number == number]:
            return fitting[0]
        numbers = listing([trial.number for trial in trials]) or "none"
        raise ProjectError(
            problem(
                f"study {study.study_name}", "has no such finished trial", got=number, fix=f"finished ones: {numbers}"
            )
        )
    if not trials:
        raise ProjectError(problem(f"study {study.study_name}", "has no finished trial", fix="let it run first"))
    if len(study.directions) > 1:
        on_front = front(study)
        members = (
            listing([f"#{trial.number}" for trial in on_front]) or f"of its {len(trials):,} trials, too many to compare"
        )
        wrong = f"has several metrics, so its best trials are a front ({members})"
        fix = f"choose one, such as use_best_params={study.study_name}#{(on_front or trials)[0].number}"
        raise ProjectError(problem(f"study {study.study_name}", wrong, fix=fix))
    return study.best_trial


def best_trials(study: Study) -> list[FrozenTrial]:
    """Return the finished trials with the best value, by number; of several metrics the Pareto front, see `front`."""
    if len(study.directions) > 1:
        return front(study)
    trials = finished(study)
    return [trial for trial in trials if trial.value == study.best_value] if trials else []


def front(study: Study) -> list[FrozenTrial]:
    """Return the Pareto-optimal trials; none if there are too many for pairwise comparison."""
    return study.best_trials if len(finished(study)) <= limits.STUDY_FRONT else []


def finished(study: Study) -> list[FrozenTrial]:
    """Return the trials that ran to their end, by number."""
    from optuna.trial import TrialState

    return study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))


def counted(study: Study) -> list[FrozenTrial]:
    """Return the trials that count towards hpo.trials: all but those ended by an interruption."""
    return [trial for trial in study.get_trials(deepcopy=False) if not trial.user_attrs.get(INTERRUPTED)]


def metrics_of(study: Study) -> list[str]:
    """Return the metrics that the study optimises."""
    stored = study.user_attrs.get(METRICS)
    if not isinstance(stored, list) or len(stored) != len(study.directions):
        return [f"value {index}" for index in range(len(study.directions))]
    return [str(name) for name in stored]
