"""One cycle is torch's."""

from __future__ import annotations

import pytest

from mlpipe.learn.lr_schedulers import cycle
from tests.learn.lr_schedulers.conftest import CLOCK, fresh, rates


def test_one_cycle_peaks_at_the_optimizers_rate() -> None:
    own = rates(cycle.one_cycle(fresh(), CLOCK), 39)
    assert max(own) == pytest.approx(0.1, rel=0.02)
    assert own[0] == pytest.approx(0.1 / 25)


def test_one_cycle_by_steps_is_torchs() -> None:
    """F12: one_cycle named a key that was not there, and stepped by epochs."""
    from torch.optim.lr_scheduler import OneCycleLR

    own = rates(cycle.one_cycle(fresh(), CLOCK, pct_start=0.4, anneal="linear"), 39)
    reference = OneCycleLR(fresh(), max_lr=0.1, total_steps=40, pct_start=0.4, anneal_strategy="linear")
    assert own == pytest.approx(rates(reference, 39), abs=1e-15)
