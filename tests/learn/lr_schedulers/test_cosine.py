"""Cosines are torch's; a warm-up before them."""

from __future__ import annotations

import pytest
from torch.optim.lr_scheduler import CosineAnnealingLR

from mlpipe.learn.lr_schedulers import cosine, warmup
from tests.learn.lr_schedulers.conftest import CLOCK, fresh, rates


def test_cosine_is_torchs() -> None:
    for interval, ticks in (("step", 40), ("epoch", 8)):
        own = rates(cosine.cosine(fresh(), CLOCK, interval=interval), ticks)  # type: ignore[arg-type]
        assert own == pytest.approx(rates(CosineAnnealingLR(fresh(), T_max=ticks), ticks), abs=1e-12)


def test_warm_up_rises_in_equal_steps_then_hands_over() -> None:
    own = rates(cosine.cosine(fresh(), CLOCK, warmup_epochs=1.0, min_ratio=0.1), 40)
    assert own[:6] == pytest.approx([0.1 * k / 6 for k in (1, 2, 3, 4, 5)] + [0.1])
    assert own[6:] == sorted(own[6:], reverse=True)
    assert own[-1] == pytest.approx(0.01, rel=0.1)
    assert set(rates(warmup.none(fresh(), CLOCK), 40)) == {0.1}


def test_a_restart_begins_after_the_warm_up() -> None:
    own = rates(cosine.cosine_restart(fresh(), CLOCK, period_epochs=2, warmup_epochs=1.0), 40)
    assert [own[step] for step in (5, 15, 25)] == pytest.approx([0.1] * 3) and min(own[14], own[24]) < 0.01
