"""Steps of several tasks: one batch of each, the shorter ones start again, every epoch by its number alone."""

from __future__ import annotations

from collections import Counter

import numpy as np

from mlpipe.data import sampling
from mlpipe.data.loading.joint import JointBatches
from mlpipe.data.sampling import EpochBatches


def batches(n: int, size: int, fold: int = 0) -> EpochBatches:
    return EpochBatches(np.arange(n), np.zeros(n, np.int64), sampling.full(batch_size=size), 3, fold)


def rows_of(joint: JointBatches, epoch: int) -> list[tuple[list[int], ...]]:
    joint.set_epoch(epoch)
    return [tuple(rows.tolist() for _, rows in step) for step in joint]


def test_the_longest_task_makes_the_epoch_and_the_others_go_on_where_they_were() -> None:
    joint = JointBatches([batches(40, 10), batches(70, 10, 1), batches(30, 10, 2)])
    assert len(joint) == 7
    epochs = [rows_of(joint, epoch) for epoch in range(12)]
    assert all(len(epoch) == 7 for epoch in epochs)
    for place, n in enumerate((40, 70, 30)):
        seen = Counter(row for epoch in epochs for step in epoch for row in step[place])
        assert set(seen) == set(range(n)) and max(seen.values()) - min(seen.values()) <= 1
    alone = batches(40, 10)
    alone.set_epoch(0)
    assert [step[0] for step in epochs[0][:4]] == [rows.tolist() for _, rows in alone]
    alone.set_epoch(1)
    first = [rows.tolist() for _, rows in alone]
    assert [step[0] for step in epochs[0][4:]] == first[:3] and epochs[1][0][0] == first[3]


def test_an_epoch_does_not_depend_on_those_before() -> None:
    made = [batches(40, 10), batches(33, 8, 1)]
    whole = [rows_of(JointBatches(made), epoch) for epoch in range(3)]
    assert rows_of(JointBatches([batches(40, 10), batches(33, 8, 1)]), 2) == whole[2]
    assert whole[0] != whole[1]
