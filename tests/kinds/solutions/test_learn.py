"""Of a sample its loss is kept, also where others have none; what is no solution is refused."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest
import torch
from torch import Tensor

from mlpipe import kinds
from mlpipe.config.components import Component
from mlpipe.config.schema import Recipe
from mlpipe.errors import ConfigError, DataError
from mlpipe.kinds.solutions import learn as solutions
from mlpipe.learn.losses import equations
from mlpipe.learn.losses.equations import BurgersResidual, Equation, PoissonEnergy
from mlpipe.learn.machine import hardware
from mlpipe.learn.machine.hardware import numerics_for
from mlpipe.running import launch

ROWS = torch.rand(3, 1, 1, 6, generator=torch.Generator().manual_seed(1))
GIVEN = torch.rand(3, 1, 4, 6, generator=torch.Generator().manual_seed(2))


def solving(*more: str) -> Recipe:
    return launch.prepare("train", ["task=initial_values", "task.size=6", "loss=burgers", *more]).run_config.recipe


def check(recipe: Recipe, target: Tensor, outputs: Tensor, loss: Equation) -> None:
    solutions.check(recipe, cast(Any, SimpleNamespace(kind="images")), {"target": target}, outputs, loss)


def test_each_sample_has_its_own_loss() -> None:
    loss, target = BurgersResidual(0.1, 2.0), ROWS.clone()
    target[1] = torch.nan
    lost, known = solutions.rows(loss, GIVEN, target)
    for row in (0, 2):
        assert lost[row].item() == pytest.approx(loss(GIVEN[row : row + 1], ROWS[row : row + 1]).item(), rel=1e-6)
    assert np.array_equal(known.numpy(), [[1], [np.nan], [1]], equal_nan=True) and lost[1].item() == 0


def test_a_recipe_predicts_solutions_where_its_loss_is_an_equation() -> None:
    recipe = solving()
    assert (
        kinds.decide("images", recipe.loss) == "solutions" and kinds.decide("regression", recipe.loss) == "regression"
    )
    assert kinds.decide("images", Component("loss", "mlpipe.learn.losses.numbers.mse")) == "images"


def test_differences_keep_their_digits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hardware, "has_matrix_units", lambda: True)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    pack = cast(Any, SimpleNamespace(shape=(1, 6)))
    assert numerics_for(solving(), pack, "solutions").precision == "32-true"
    assert numerics_for(solving("trainer.precision=bf16-mixed"), pack, "solutions").precision == "bf16-mixed"
    other = replace(solving(), loss=Component("loss", "mlpipe.learn.losses.numbers.mse"))
    assert numerics_for(other, pack, "images").precision == "bf16-mixed"


def test_what_is_no_solution_is_refused() -> None:
    check(solving(), ROWS, GIVEN, BurgersResidual())
    with pytest.raises(
        DataError, match=r"takes initial values, one row of one channel, the task's samples are \[1, 4, 6\]"
    ):
        check(solving(), GIVEN, GIVEN, BurgersResidual())
    with pytest.raises(
        ConfigError, match=r"arch: solutions have two times and two places or more, these are \[1, 1, 6\]"
    ):
        check(solving(), ROWS, ROWS, BurgersResidual())
    with pytest.raises(ConfigError, match="tta: a view of a sample has another solution, got 'flips'"):
        check(solving("tta=flips"), ROWS, GIVEN, BurgersResidual())


def test_solutions_of_poisson_are_judged_by_their_energy() -> None:
    nu = torch.rand(3, 1, 5, 4, generator=torch.Generator().manual_seed(3)) + 0.5
    given, loss = torch.rand_like(nu), PoissonEnergy()
    target = nu.clone()
    target[2] = torch.nan
    lost, known = solutions.rows(loss, given, target)
    assert lost[:2, 0].tolist() == pytest.approx(equations.poisson_energy(equations.with_ends(given), nu)[:2].tolist())
    assert np.array_equal(known.numpy(), [[1], [1], [np.nan]], equal_nan=True)
    assert loss(given, nu).item() == pytest.approx(loss.of_samples(given, nu).mean().item())
    share = torch.tensor([1.0, 0.0, 3.0])
    expected = (loss.of_samples(given, nu) * share).sum().item() / 4
    assert loss(given, nu, share).item() == pytest.approx(expected)


def test_poisson_is_solved_on_the_nodes_of_its_samples() -> None:
    recipe = replace(solving(), loss=Component("loss", "mlpipe.learn.losses.equations.poisson"))
    assert kinds.decide("images", recipe.loss) == "solutions" and not equations.is_over_time("images", recipe.loss)
    assert equations.is_over_time("images", solving().loss)
    check(recipe, GIVEN + 0.1, GIVEN, PoissonEnergy())
    with pytest.raises(
        ConfigError, match=r"solutions have the nodes of their samples, \[1, 1, 6\], these are \[1, 4, 6\]"
    ):
        check(recipe, ROWS, GIVEN, PoissonEnergy())
