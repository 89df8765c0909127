import numpy as np
import pytest
from sklearn.metrics import matthews_corrcoef
from statsmodels.stats.proportion import proportion_confint

from mlpipe.post.intervals import one_more_row
from mlpipe.post.intervals.one_more_row import Table
from mlpipe.post.sums import AGREEMENT


@pytest.mark.parametrize(("hits", "n"), [(0, 8), (1, 8), (5, 12), (30, 30)])
def test_ends_of_a_share_are_those_of_clopper_and_pearson(hits: int, n: int) -> None:
    once, right = np.ones(n), np.arange(n) < hits
    found = one_more_row.mean_ends(
        right.astype(float), once, once, np.arange(n), n, level=0.95, resamples=40_000, seed=0, best=np.zeros(n)
    )
    assert found == pytest.approx(proportion_confint(hits, n, 0.05, "beta"), abs=0.006)


def test_a_confident_model_that_was_never_wrong_is_not_certain() -> None:
    """Of thirty rows all right, one in ten may be wrong (rule of three), each at the price of its confidence."""
    own, worst = np.full(30, 0.01), np.full(30, 5.0)
    low, high = one_more_row.mean_ends(own, worst, np.ones(30), np.arange(30), 30, level=0.95, resamples=4000, seed=0)
    share = proportion_confint(0, 30, 0.05, "beta")[1]
    assert low == pytest.approx(0.01) and high == pytest.approx(0.01 + share * 4.99, rel=0.05)


def test_agreement_of_many_rows_has_the_ends_of_the_bootstrap() -> None:
    rng = np.random.default_rng(0)
    table = np.array([[300.0, 60, 40], [50, 250, 30], [20, 40, 210]])
    cells = rng.multinomial(1000, table.ravel() / 1000, 600)
    rows = [np.repeat(np.arange(9), one) for one in cells]
    drawn = [matthews_corrcoef(one // 3, one % 3) for one in rows]
    found = one_more_row.table_ends(Table.of(table), AGREEMENT["mcc"], level=0.95, resamples=4000, seed=0)
    assert found == pytest.approx(np.quantile(drawn, [0.025, 0.975]), abs=0.008)


def test_a_class_with_one_row_may_be_missed() -> None:
    """One hit of one: its recall is at least .025, and so is the coefficient about that of so small a recall."""
    table = np.array([[1.0, 0], [0, 99]])
    low, high = one_more_row.table_ends(Table.of(table), AGREEMENT["kappa"], level=0.95, resamples=4000, seed=0)
    assert low < 0.15 and high > 0.99
