"""Log-probabilities of classes against softmax by hand."""

from __future__ import annotations

import numpy as np
import pytest

from mlpipe.post.measures.class_metrics import log_softmax


@pytest.mark.filterwarnings("error")
def test_logits_of_a_network_that_diverged_are_told_by_nan_without_a_warning() -> None:
    inf, nan = np.inf, np.nan
    found = log_softmax(np.array([[0.0, np.log(3.0)], [-inf, 2.0], [inf, 0.0], [inf, inf], [-inf, -inf], [nan, 0.0]]))
    assert np.allclose(np.exp(found[:2]), [[0.25, 0.75], [0.0, 1.0]])
    assert np.isnan(found[3:]).all() and np.isnan(found[2, 0])
