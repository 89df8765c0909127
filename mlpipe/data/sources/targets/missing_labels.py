"""Missing labels: empty cells, texts that the user names, and texts that only look missing."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from mlpipe.data.spelling import plain
from mlpipe.errors import counted, listing, problem

# What programs write for a missing value, in lower case, and words that may also be class names.
_WRITTEN = frozenset({"nan", "null", "n/a", "n.a.", "#n/a", "#n/a n/a", "#na", "<na>", "nat", "1.#qnan", "-nan"})
_WORDS = frozenset({"none", "na", "nil", "?"})
Setting = bool | Sequence[Any] | None


def looks_missing(text: str) -> bool:
    """Return whether a text is what programs or people write for a missing value."""
    return text.lower() in _WRITTEN | _WORDS


@dataclass(frozen=True)
class Missing:
    """Texts that stand for a missing value.

    Attributes:
        said: True: all that look missing; False: only empty cells; a list: these and empty cells; None: not stated, so that
            an error asks about texts that look missing.
    """

    said: Setting = None

    @property
    def is_wanted(self) -> bool:
        """Return whether the user states that values are missing."""
        return self.said is not None and self.said is not False

    def means(self, text: str) -> bool:
        """Return whether a text, normalised by `spelling.plain`, means a missing value."""
        if not text:
            return True
        if self.said is None or isinstance(self.said, bool):
            return self.said is True and looks_missing(text)
        return text in self._listed or text.lower() in self._unspelled

    @property
    def _listed(self) -> set[str]:
        """Return the texts in the list."""
        entries = () if self.said is None or isinstance(self.said, bool) else self.said
        return {plain(str(entry)) for entry in entries if entry is not None and entry == entry}

    @property
    def _unspelled(self) -> set[str]:
        """Return texts that the command line converts to values, so that their spelling is lost: `nan` and `null`."""
        entries = () if self.said is None or isinstance(self.said, bool) else self.said
        return {"null" if entry is None else "nan" for entry in entries if entry is None or entry != entry}

    def problem(self, where: str, labels: Iterable[str]) -> str:
        """Return a sentence if labels look missing and the user has not stated whether they are; empty otherwise.

        A word that may also be a class name, such as `none`, is a class if it is the only one of these.

        Args:
            where: The file and column.
            labels: The label of each row that has one, normalised by `spelling.plain`.
        """
        counts = self._doubtful(labels)
        if not counts or (len(counts) == 1 and next(iter(counts)).lower() in _WORDS):
            return ""
        fix = (
            "add task.missing=true where these rows have no label, task.missing=false where each of them is a class, "
            "or a list of those that mean none"
        )
        return problem(where, f"has labels that look like missing ones: {_label_counts_text(counts)}", fix=fix)

    def notes(self, where: str, labels: Iterable[str]) -> list[str]:
        """Return notes about a label, or a group, that only looks missing."""
        counts = self._doubtful(labels)
        if not counts:
            return []
        phrase, means = ("is taken as a name", "it means") if len(counts) == 1 else ("are taken as names", "they mean")
        return [
            f"{where}: {_label_counts_text(counts)} {phrase} like any other; task.missing=true says that {means} none"
        ]

    def _doubtful(self, labels: Iterable[str]) -> dict[str, int]:
        if self.said is not None:
            return {}
        return {label: count for label, count in sorted(Counter(labels).items()) if looks_missing(label)}


def _label_counts_text(counts: dict[str, int]) -> str:
    return listing([f"{label!r} ({counted(count, 'row')})" for label, count in counts.items()])
