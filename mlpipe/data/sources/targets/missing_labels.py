"""Missing labels: empty cells, texts that the user names, and texts that only look like it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from mlpipe.data.spelling import plain
from mlpipe.errors import counted, listing, problem

# What programs write where there is no value, in small letters, and words that are names of classes just as well.
_WRITTEN = frozenset({"nan", "null", "n/a", "n.a.", "#n/a", "#n/a n/a", "#na", "<na>", "nat", "1.#qnan", "-nan"})
_WORDS = frozenset({"none", "na", "nil", "?"})
Setting = bool | Sequence[Any] | None


def looks_missing(text: str) -> bool:
    """Whether a text is what programs or people write where there is no value."""
    return text.lower() in _WRITTEN | _WORDS


@dataclass(frozen=True)
class Missing:
    """Texts that stand for a missing value.

    Attributes:
        said: True: all that look like it; False: nothing but an empty cell; a list: these and empty cells; None: nobody
            said it, and what looks missing is asked about.
    """

    said: Setting = None

    @property
    def is_wanted(self) -> bool:
        """Whether the user says that values are missing."""
        return self.said is not None and self.said is not False

    def means(self, text: str) -> bool:
        """Whether a text, as `spelling.plain` has it, means that there is no value."""
        if not text:
            return True
        if self.said is None or isinstance(self.said, bool):
            return self.said is True and looks_missing(text)
        return text in self._listed or text.lower() in self._unspelled

    @property
    def _listed(self) -> set[str]:
        """The texts of the list."""
        entries = () if self.said is None or isinstance(self.said, bool) else self.said
        return {plain(str(entry)) for entry in entries if entry is not None and entry == entry}

    @property
    def _unspelled(self) -> set[str]:
        """Texts that a command line turns into values, so that their spelling is lost: `nan` and `null`."""
        entries = () if self.said is None or isinstance(self.said, bool) else self.said
        return {"null" if entry is None else "nan" for entry in entries if entry is None or entry != entry}

    def problem(self, where: str, labels: Iterable[str]) -> str:
        """A sentence when labels look missing and the user has not said whether they are; empty otherwise.

        One of the words that name classes too, such as `none`, is a class where it is alone.

        Args:
            where: The file and column.
            labels: The label of each row that has one, as `spelling.plain` has it.
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
        """Notes about a label, or a group, that only looks missing."""
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
