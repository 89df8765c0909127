"""Report a training to a tracking server of any kind; a failing server never stops the training."""

from __future__ import annotations

import logging
import math
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import unquote, urlsplit, urlunsplit

from mlpipe import files
from mlpipe.errors import ConfigError, first_line, problem

log = logging.getLogger("mlpipe")

FINISHED, FAILED, STOPPED = "finished", "failed", "stopped"
# Servers that failed in this process: reported once, and not used again.
_GONE: set[str] = set()


@dataclass(frozen=True)
class Place:
    """The subject of a tracked run.

    Attributes:
        project: The project's name, the default group of its runs.
        store: The project's folder.
        run: The run's name.
        logs: The run's folder of logs.
        record: The id of a fold's record; empty: all folds together.
    """

    project: str
    store: Path
    run: str
    logs: Path
    record: str = ""

    @property
    def folder(self) -> Path:
        """Return its folder of logs."""
        return self.logs / self.record if self.record else self.logs

    def of(self, record: str) -> Place:
        """Return the place of a fold of the run, or with an empty id of all folds."""
        return Place(self.project, self.store, self.run, self.logs, record)


class Tracked(Protocol):
    """A run of a tracking server."""

    def configure(self, tree: Mapping[str, Any], text: str) -> None:
        """Store the configuration.

        Args:
            tree: The configuration.
            text: The same as YAML.
        """

    def points(self, values: Mapping[str, float], step: int) -> None:
        """Store a point of each curve."""

    def file(self, path: Path) -> None:
        """Store a copy of a file."""

    def close(self, status: str) -> None:
        """End the run: finished, failed, or stopped and to be continued."""


class Guarded:
    """A tracked run that is opened at the first write, and whose failures are reported once.

    Args:
        label: The name of the writer, such as `logging=mlflow`.
        opens: Opens the run.
        place: The subject of the run.
    """

    def __init__(self, label: str, opens: Callable[[Place], Tracked], place: Place) -> None:
        self._label, self._opens, self._place = label, opens, place
        self._open: Tracked | None = None

    def attempt(self, write: Callable[[Tracked], None]) -> None:
        """Try to write; after a failure, tell the user and write nothing more in this process."""
        if self._label in _GONE:
            return
        try:
            if self._open is None:
                self._open = self._opens(self._place)
            write(self._open)
        except Exception as error:
            _GONE.add(self._label)
            log.debug(f"{self._label} failed", exc_info=True)
            log.warning(f"{self._label}: failed ({without_password(first_line(error))}); the run goes on without it")

    def close(self, status: str) -> None:
        """End the run, if it was started."""
        if self._open is not None:
            self.attempt(lambda run: run.close(status))
        self._open = None


class Marks:
    """How many epochs of a run were sent, stored with its log, so that a continued run sends none twice.

    Args:
        file: The file of the count.
    """

    def __init__(self, file: Path) -> None:
        self._file, self.known = file, dict[str, Any]()
        with suppress(OSError, ValueError):
            content = files.read_json(file)
            self.known = content if isinstance(content, dict) else {}

    def keep(self, **values: Any) -> None:
        """Store values by name."""
        self.known |= values
        self._file.parent.mkdir(parents=True, exist_ok=True)
        files.write_json(self._file, self.known)

    @property
    def epochs(self) -> int:
        """Return how many epochs were sent."""
        count = self.known.get("epochs", 0)
        return count if isinstance(count, int) else 0


def send_epochs(run: Tracked, rows: Sequence[Mapping[str, float]], marks: Marks) -> bool:
    """Send the epochs that were not sent before.

    Args:
        run: The run.
        rows: All epochs so far, as in a record's `metrics.csv`.
        marks: The count of sent epochs; stored before sending, because a missing point does less harm than a duplicate.

    Returns:
        Whether there was anything to send.
    """
    later = [(number, row) for number, row in enumerate(rows) if number >= marks.epochs]
    if later:
        marks.keep(epochs=len(rows))
    for number, row in later:
        run.points(finite({key: value for key, value in row.items() if key not in ("epoch", "stage")}), number)
    return bool(later)


def finite(values: Mapping[str, Any]) -> dict[str, float]:
    """Return the finite numbers among some values: missing, infinite or NaN values are not points of a curve."""
    numbers = {key: value for key, value in values.items() if isinstance(value, int | float)}
    return {key: float(value) for key, value in numbers.items() if math.isfinite(value)}


def flat(tree: Mapping[str, Any], key: str = "") -> Iterator[tuple[str, Any]]:
    """Return the values of a configuration by their full keys; lists and empty sections are values."""
    for name, value in tree.items():
        full = f"{key}.{name}" if key else str(name)
        if isinstance(value, Mapping) and value:
            yield from flat(value, full)
        else:
            yield full, value


def final(scores: Mapping[str, Any], prefix: str = "final") -> dict[str, float]:
    """Return scores with their intervals by flat names: `final/test/accuracy`, `final/test/accuracy_low` and `_high`.

    Args:
        scores: Numbers, mappings of such, and mappings with `value`, `low` and `high`.
        prefix: The prefix of the names.
    """
    values: dict[str, float] = {}
    for name, value in scores.items():
        if isinstance(value, Mapping):
            ends = {"": "value", "_low": "low", "_high": "high"}
            if "value" in value:
                values |= finite({f"{prefix}/{name}{end}": value.get(key) for end, key in ends.items()})
            else:
                values |= final(value, f"{prefix}/{name}")
        elif isinstance(value, int | float) and not isinstance(value, bool):
            values |= finite({f"{prefix}/{name}": value})
    return values


def without_password(text: str) -> str:
    """Return a text with the passwords of its addresses removed."""
    text = re.sub(r"(://[^:/\s@]*):[^\s@]*@", r"\1:***@", text)
    return re.sub(r"(?i)(password|passwd|pwd|token|api_key)=[^&\s]*", r"\1=***", text)


def address_without_login(address: str, key: str) -> tuple[str, dict[str, str]]:
    """Return an address without its user and password, and these as MLflow's environment variables.

    Args:
        address: The address of a server.
        key: The key with the address, for the message.

    Raises:
        ConfigError: When a password is elsewhere than before the server's name.
    """
    parts = urlsplit(address)
    if without_password(parts.query) != parts.query or (parts.password and parts.scheme not in ("http", "https")):
        fix = "set the environment variable MLFLOW_TRACKING_URI to it, and leave this key out"
        raise ConfigError(problem(key, "would be stored with its password", got=without_password(address), fix=fix))
    if not parts.username and not parts.password:
        return address, {}
    where = parts.hostname or ""
    where = f"{where}:{parts.port}" if parts.port else where
    names = {"MLFLOW_TRACKING_USERNAME": parts.username, "MLFLOW_TRACKING_PASSWORD": parts.password}
    known = {name: unquote(value) for name, value in names.items() if value}
    return urlunsplit((parts.scheme, where, *parts[2:])), known
