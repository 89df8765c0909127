"""One error for all faults of a table or folder: the first faults of each kind, and how many more there are."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from typing import TypeVar

from mlpipe.errors import DataError, did_you_mean

Result = TypeVar("Result")
# How many sentences are shown if all faults are of one kind, and for each kind if there are several.
_OF_ONE_KIND, _OF_EACH = 10, 5


class ManyFaults(DataError):
    """Faults of several kinds, of which the first ones are shown.

    Attributes:
        kinds: All sentences of each kind.

    Args:
        kinds: All sentences of each kind.
    """

    def __init__(self, kinds: Sequence[Sequence[str]]) -> None:
        self.kinds = [list(kind) for kind in kinds if kind]
        most = _OF_ONE_KIND if len(self.kinds) == 1 else _OF_EACH
        sentences: list[str] = []
        for kind in self.kinds:
            more = len(kind) - most
            sentences += [*kind[:most], *([f"and {more} more like these"] if more > 0 else [])]
        super().__init__(sentences)


class Faults:
    """Collects the faults of independent steps, to report them together."""

    def __init__(self) -> None:
        self._kinds: list[list[str]] = []

    def add(self, sentences: Sequence[str]) -> None:
        """Add faults of one kind."""
        self._kinds.append(list(sentences))

    def of(self, step: Callable[[], Result], otherwise: Result) -> Result:
        """Return the result of a step; if it fails, keep its faults and return `otherwise`.

        Args:
            step: Raises `DataError` for its faults.
            otherwise: The value that the next steps continue with.
        """
        try:
            return step()
        except ManyFaults as error:
            self._kinds += error.kinds
        except DataError as error:
            self._kinds.append(list(error.problems))
        return otherwise

    def tell(self) -> None:
        """Raise all faults, if any.

        Raises:
            ManyFaults: With the first faults of each kind.
        """
        raise_kinds(*self._kinds)


def advice(faults: Sequence[str], word: str, options: Collection[str], *, otherwise: str) -> str:
    """Suggest the known name closest to a misspelt word, only for faults that are shown, because the search is slow.

    Args:
        faults: The earlier faults of the same kind.
        word: The misspelt word.
        options: The known names.
        otherwise: The advice if no name is similar, and for faults that are only counted.
    """
    return did_you_mean(word, options, otherwise=otherwise) if len(faults) < _OF_ONE_KIND else otherwise


def raise_kinds(*kinds: Sequence[str]) -> None:
    """Raise the first sentences of each kind, if there are any.

    Raises:
        ManyFaults: With these sentences and the number of further ones of each kind.
    """
    if any(kinds):
        raise ManyFaults(kinds)


def raise_some(problems: Sequence[str]) -> None:
    """Raise the first of many sentences of one kind, if there are any.

    Raises:
        ManyFaults: With these sentences and the number of further ones.
    """
    raise_kinds(problems)
