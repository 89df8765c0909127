"""The greedy choice of models whose weights are averaged, against an order worked out by hand."""

from __future__ import annotations

import math

from mlpipe.post.ensembling.soup import greedy


def test_better_ones_are_tried_first_and_stay_where_the_mean_is_no_worse() -> None:
    # Alone: b .3, d .35, a .5, c NaN. With b: d makes it .25, a on top .26 (no), c on top .25 (equal: yes).
    means = {(1, 3): 0.25, (1, 3, 0): 0.26, (1, 3, 2): 0.25}
    asked = list[tuple[int, ...]]()

    def loss(members: tuple[int, ...]) -> float:
        asked.append(members)
        return means[members]

    found = greedy([0.5, 0.3, math.nan, 0.35], loss)
    assert found.members == (1, 3, 2) and found.loss == 0.25
    assert asked == [(1, 3), (1, 3, 0), (1, 3, 2)]
    assert [members for members, _ in found.tried] == [(1,), (3,), (0,), (2,), *asked]


def test_the_best_alone_where_no_mean_is_as_good() -> None:
    found = greedy([0.2, 0.1], lambda members: math.nan)
    assert found.members == (1,) and found.loss == 0.1
    assert greedy([0.2, 0.1], lambda members: 0.1001).members == (1,)
