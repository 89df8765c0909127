"""A warm-up by epochs and by parts of them, and one that is too long."""

from __future__ import annotations

import pytest

from mlpipe.errors import ConfigError
from mlpipe.learn.lr_schedulers import cosine, warmup
from mlpipe.learn.lr_schedulers.step import step
from tests.learn.lr_schedulers.conftest import CLOCK, fresh, rates


def test_a_warm_up_longer_than_the_training_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"lr_scheduler.warmup_epochs: is longer than the training, got 9"):
        cosine.cosine(fresh(), CLOCK, warmup_epochs=9)


def test_warm_up_by_epochs_and_a_fraction_of_one() -> None:
    own = rates(warmup.none(fresh(), CLOCK, interval="epoch", warmup_epochs=2), 4)
    assert own == pytest.approx([0.1 / 3, 0.2 / 3, 0.1, 0.1])
    own = rates(step(fresh(), CLOCK, interval="step", step_epochs=1, gamma=0.5, warmup_epochs=0.4), 11)
    assert own == pytest.approx([0.1 / 3, 0.2 / 3, 0.1, 0.1, 0.1, *[0.05] * 5, 0.025])
