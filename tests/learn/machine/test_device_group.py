"""What processes that learn together hand over, without starting any."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from mlpipe.data.sampling import OrderedBatches, Shard
from mlpipe.learn.machine import device_group
from mlpipe.learn.machine.device_group import Rounds


def test_one_process_keeps_what_it_has() -> None:
    rounds = Rounds(Shard(), 0)
    (found,) = rounds.gathered_values(np.arange(3))
    assert found.tolist() == [0, 1, 2] and rounds.rest() == []
    assert device_group.mean(torch.tensor(2.0)) == 2


@pytest.mark.parametrize(("rows", "ranks"), [(40, 2), (32, 2), (5, 3), (9, 4), (70, 3)])
def test_every_row_comes_once_and_in_its_order(rows: int, ranks: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Rounds one after the other, as processes that wait for each other go through them."""
    batches = len(OrderedBatches(np.arange(rows), 8))
    own = [[part for _, part in OrderedBatches(np.arange(rows), 8, Shard(rank, ranks))] for rank in range(ranks)]
    everyone = [Rounds(Shard(rank, ranks), batches) for rank in range(ranks)]
    given: list[Any] = []

    def gather(values: Any, found: list[Any] | None) -> None:
        if found is None:
            given.append(values)
        else:
            found[:] = [values, *reversed(given)]
            given.clear()

    monkeypatch.setattr(device_group.distributed, "gather_object", gather)
    received: list[int] = []
    for number in range(-(-batches // ranks)):
        # The first process answers last, when the others' values are there.
        for rank in reversed(range(ranks)):
            mine = own[rank][number] if number < len(own[rank]) else None
            found = everyone[rank].rest() if mine is None else everyone[rank].gathered_values(mine)
            assert rank == 0 or found == []
            received += [int(row) for one in found for row in one]
    assert received == list(range(rows)) and not given
    assert [one.rest() for one in everyone] == [[]] * ranks
