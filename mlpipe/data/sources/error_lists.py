"""One error for all faults of a table or a folder: the first ones of each sort, and how many more there are."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from typing import TypeVar

from mlpipe.errors import DataError, did_you_mean

Result = TypeVar("Result")
# Sentences that are shown where all faults are of one kind, and of each kind where there are several.
_OF_ONE_KIND, _OF_EACH = 10, 5


class ManyFaults(DataError):
    """Faults of several kinds, of which the first ones are shown.

    Attributes:
        kinds: Every sentence of each kind.

    Args:
        kinds: Them.
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
    """Collects the faults of steps that do not need each other, to tell all of them at once."""

    def __init__(self) -> None:
        self._kinds: list[list[str]] = []

    def add(self, sentences: Sequence[str]) -> None:
        """Add faults of one kind."""
        self._kinds.append(list(sentences))

    def of(self, step: Callable[[], Result], otherwise: Result) -> Result:
        """The result of a step, or something in its place when it finds faults, which are kept.

        Args:
            step: Raises `DataError` for its faults.
            otherwise: What the next steps go on with.
        """
        try:
            return step()
        except ManyFaults as error:
            self._kinds += error.kinds
        except DataError as error:
            self._kinds.append(list(error.problems))
        return otherwise

    def tell(self) -> None:
        """Raise all faults, if there are any.

        Raises:
            ManyFaults: With the first ones of each kind.
        """
        raise_kinds(*self._kinds)


def advice(faults: Sequence[str], word: str, options: Collection[str], *, otherwise: str) -> str:
    """The name that a word may mean, for the faults that are shown: to look for it among many names takes a while.

    Args:
        faults: Those of its kind before this one.
        word: What is wrong.
        options: What there is.
        otherwise: What to say where no name is near, and of faults that are only counted.
    """
    return did_you_mean(word, options, otherwise=otherwise) if len(faults) < _OF_ONE_KIND else otherwise


def raise_kinds(*kinds: Sequence[str]) -> None:
    """Raise the first few sentences of each kind, if there are any.

    Raises:
        ManyFaults: With them, and how many more there are of each.
    """
    if any(kinds):
        raise ManyFaults(kinds)


def raise_some(problems: Sequence[str]) -> None:
    """Raise the first few of many sentences of one kind, if there are any.

    Raises:
        ManyFaults: With them, and how many more there are.
    """
    raise_kinds(problems)
