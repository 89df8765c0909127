"""Data sets derived from others: a selection of items, or several sets concatenated."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from mlpipe.data.items import PredictionItem


class Derived:
    """Items of other sets, which also answer further questions about an item (`isPositive`, `sample_weight`)."""

    def __len__(self) -> int:
        raise NotImplementedError

    def place(self, item: int) -> tuple[Any, int]:
        """Return the set that an item comes from, and its number there."""
        raise NotImplementedError

    def sets(self) -> Sequence[Any]:
        """Return the sets that items come from."""
        raise NotImplementedError

    def __getitem__(self, item: int) -> PredictionItem:
        """Return the item with this number.

        Raises:
            IndexError: If there is none.
        """
        if not 0 <= item < len(self):
            raise IndexError(item)
        of, number = self.place(item)
        result: PredictionItem = of[number]
        return result

    def __getattr__(self, name: str) -> Any:
        """Return a method about an item, which asks the set of that item, or the `classes` of the sets."""
        if name in ("isPositive", "sample_weight", "get_target", "get_stratify_class"):
            if all(callable(getattr(data_set, name, None)) for data_set in self.sets()):
                return lambda item: getattr(self.place(item)[0], name)(self.place(item)[1])
        elif name == "classes":
            return self.sets()[0].classes
        raise AttributeError(name)


class SubDataSet(Derived):
    """Some items of a set, in a given order.

    Args:
        ds: The set.
        idx: The numbers of the items.
    """

    def __init__(self, ds: Any, idx: Sequence[int]) -> None:
        self._ds, self._rows = ds, [int(row) for row in idx]

    def __len__(self) -> int:
        return len(self._rows)

    def place(self, item: int) -> tuple[Any, int]:
        """Return the set, and the item's number there."""
        return self._ds, self._rows[item]

    def sets(self) -> Sequence[Any]:
        """Return the set."""
        return [self._ds]


class CompositeDataSet(Derived):
    """Several sets, concatenated.

    Args:
        components: The sets.
    """

    def __init__(self, components: Sequence[Any]) -> None:
        self._sets = list(components)
        self._places = [(component, row) for component in components for row in range(len(component))]

    def __len__(self) -> int:
        return len(self._places)

    def place(self, item: int) -> tuple[Any, int]:
        """Return the set, and the item's number there."""
        return self._places[item]

    def sets(self) -> Sequence[Any]:
        """Return the sets."""
        return self._sets
