"""Learned weights of tasks are those of the paper."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from mlpipe.learn import task_weights


def test_uncertainty_is_the_likelihood_of_the_paper() -> None:
    losses, log_variance = torch.tensor([2.0, 0.5]), torch.tensor([0.3, -1.2], requires_grad=True)
    loss = task_weights.uncertainty(losses, log_variance, ["classification", "regression"])
    sigma = torch.exp(log_variance / 2).detach()
    wanted = 2.0 / sigma[0] ** 2 + sigma[0].log() + 0.5 / (2 * sigma[1] ** 2) + sigma[1].log()
    assert float(loss.detach()) == pytest.approx(float(wanted), rel=1e-6)
    # The best variance of a number is its mean squared error, that of classes twice their loss.
    for value, kind, best in ((0.5, "regression", 0.5), (2.0, "classification", 4.0)):
        at = torch.tensor([float(np.log(best))], requires_grad=True)
        task_weights.uncertainty(torch.tensor([value]), at, [kind]).backward()
        assert float(at.grad[0]) == pytest.approx(0, abs=1e-6)  # type: ignore[index]
