"""Data sets derived from others: a selection of items, or several sets in a row."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from mlpipe.data.items import PredictionItem


class Derived:
    """Items of other sets; what those know of an item besides (`isPositive`, `sample_weight`) is asked of them."""

    def __len__(self) -> int:
        raise NotImplementedError

    def place(self, item: int) -> tuple[Any, int]:
        """The set that an item is of, and its number there."""
        raise NotImplementedError

    def sets(self) -> Sequence[Any]:
        """The sets that items are of."""
        raise NotImplementedError

    def __getitem__(self, item: int) -> PredictionItem:
        """The item with this number.

        Raises:
            IndexError: When there is none.
        """
        if not 0 <= item < len(self):
            raise IndexError(item)
        of, number = self.place(item)
        result: PredictionItem = of[number]
        return result

    def __getattr__(self, name: str) -> Any:
        """Attribute of the sets: of an item, from the set that it is in; of the sets themselves, where they agree."""
        if name in ("isPositive", "sample_weight", "get_target", "get_stratify_class"):
            if all(callable(getattr(data_set, name, None)) for data_set in self.sets()):
                return lambda item: getattr(self.place(item)[0], name)(self.place(item)[1])
        elif name == "classes":
            return self.sets()[0].classes
        raise AttributeError(name)


class SubDataSet(Derived):
    """Some items of a set, in an order of their own.

    Args:
        ds: The set.
        idx: Their numbers.
    """

    def __init__(self, ds: Any, idx: Sequence[int]) -> None:
        self._ds, self._rows = ds, [int(row) for row in idx]

    def __len__(self) -> int:
        return len(self._rows)

    def place(self, item: int) -> tuple[Any, int]:
        """The set, and the item's number there."""
        return self._ds, self._rows[item]

    def sets(self) -> Sequence[Any]:
        """The set."""
        return [self._ds]


class CompositeDataSet(Derived):
    """Several sets after another.

    Args:
        components: The sets.
    """

    def __init__(self, components: Sequence[Any]) -> None:
        self._sets = list(components)
        self._places = [(component, row) for component in components for row in range(len(component))]

    def __len__(self) -> int:
        return len(self._places)

    def place(self, item: int) -> tuple[Any, int]:
        """The set, and the item's number there."""
        return self._places[item]

    def sets(self) -> Sequence[Any]:
        """The sets."""
        return self._sets
