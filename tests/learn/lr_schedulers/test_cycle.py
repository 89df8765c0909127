"""One cycle is torch's."""

from __future__ import annotations

import pytest
import torch
from torch.optim.lr_scheduler import OneCycleLR

from mlpipe.learn.lr_schedulers import cycle
from tests.learn.lr_schedulers.conftest import CLOCK, fresh, rates


def test_one_cycle_peaks_at_the_optimizers_rate() -> None:
    own = rates(cycle.one_cycle(fresh(), CLOCK), 39)
    assert max(own) == pytest.approx(0.1, rel=0.02)
    assert own[0] == pytest.approx(0.1 / 25)


def test_one_cycle_by_steps_is_torchs() -> None:
    """F12: one_cycle named a key that was not there, and stepped by epochs."""
    own = rates(cycle.one_cycle(fresh(), CLOCK, pct_start=0.4, anneal="linear"), 39)
    reference = OneCycleLR(fresh(), max_lr=0.1, total_steps=40, pct_start=0.4, anneal_strategy="linear")
    assert own == pytest.approx(rates(reference, 39), abs=1e-15)


def test_one_cycle_moves_the_momentum_where_there_is_one_and_it_may() -> None:
    def momenta(moves: bool) -> list[float]:
        optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(2))], lr=0.1, momentum=0.9)
        schedule, found = cycle.one_cycle(optimizer, CLOCK, cycle_momentum=moves), list[float]()
        for _ in range(39):
            found.append(optimizer.param_groups[0]["momentum"])
            optimizer.step()
            schedule.step()
        return found

    assert (momenta(True)[0], min(momenta(True))) == (0.95, pytest.approx(0.85, abs=2e-3))
    assert set(momenta(False)) == {0.9}
    # torch refuses such optimizers unless it is told to leave the momentum alone.
    weights = [torch.nn.Parameter(torch.zeros(2))]
    without = [torch.optim.Adagrad(weights, lr=0.1), torch.optim.Adadelta(weights, lr=0.1)]
    reference = rates(OneCycleLR(fresh(), max_lr=0.1, total_steps=40, cycle_momentum=False), 39)
    for optimizer in without:
        assert rates(cycle.one_cycle(optimizer, CLOCK), 39) == pytest.approx(reference, abs=1e-15)
