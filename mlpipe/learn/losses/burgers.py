"""Burgers' equation as a loss: initial values go in, solutions over space and time come out, and nobody knows them before."""

from __future__ import annotations

from typing import Annotated

import torch
from torch import Tensor

from mlpipe.errors import ConfigError, problem
from mlpipe.learn.losses.equations import EvolutionEquation
from mlpipe.learn.losses.losses import Labels, refuse_other_kinds


def burgers(
    labels: Labels,
    *,
    diffusion_coeff: Annotated[float, ">= 0"] = 0.0,
    boundary_factor: Annotated[float, ">= 0"] = 1.0,
) -> EvolutionEquation:
    """How far an output is from solving Burgers' equation, see `BurgersResidual`; each sample is its own initial values.

    Args:
        labels: What is known of the training samples.
        diffusion_coeff: The viscosity nu; 0: none.
        boundary_factor: How much the initial values and the boundary count beside the equation.

    Raises:
        ConfigError: When targets are no images, or have several channels.
    """
    refuse_other_kinds("burgers", labels, ("images",))
    if len(labels.counts) != 1:
        wrong = f"takes one channel, the initial values, the task has {len(labels.counts)}"
        raise ConfigError(problem("loss=burgers", wrong, fix="use arrays of one channel"))
    return BurgersResidual(diffusion_coeff, boundary_factor)


class BurgersResidual(EvolutionEquation):
    """The mean squared residual of u_t + u u_x - nu u_xx = 0 in the unit square, and of u(x, 0) = b(x) and u(0, t) = 0.

    Values lie at the nodes of a regular grid over both sides of the square: x runs along the width (d nodes, dx = 1 / (d - 1)),
    t along the height (T nodes, dt = 1 / (T - 1)). Every node has a residual but those of the first time and the first
    place. It is that of the implicit Euler method in time and, in space, of the upwind flux of Engquist and Osher (1981),
    which takes from the left what flows to the right (u > 0) and from the right what flows to the left, and gives shocks
    their speed; u_xx is the central second difference. Behind the last place u goes on as it is there: what flows
    leaves, and with nu > 0 this is u_x(1, t) = 0. The least value, 0, is this method's solution.

    Args:
        diffusion_coeff: nu.
        boundary_factor: How much the last two terms count.
    """

    def __init__(self, diffusion_coeff: float = 0.0, boundary_factor: float = 1.0) -> None:
        super().__init__()
        self._viscosity, self._factor = diffusion_coeff, boundary_factor

    def of_samples(self, outputs: Tensor, target: Tensor) -> Tensor:
        """The loss of each sample, shape (n,).

        Args:
            outputs: u, shape (n, 1, T, d), two nodes or more each way.
            target: The initial values b, shape (n, 1, 1, d).

        Raises:
            ValueError: When the shapes do not fit.
        """
        if wrong := misfit(outputs, target):
            raise ValueError(wrong)
        u, first = outputs[:, 0], target[:, 0, 0]
        inside = residual(u, self._viscosity).square().mean((1, 2))
        edges = (u[:, 0] - first).square().mean(1) + u[:, :, 0].square().mean(1)
        return inside + self._factor * edges


def residual(u: Tensor, viscosity: float = 0.0) -> Tensor:
    """What is left of u_t + u u_x - nu u_xx at each node but those of the first time and place, shape (n, T - 1, d - 1).

    Args:
        u: Shape (n, T, d); the scheme is that of `BurgersResidual`.
        viscosity: nu.
    """
    steps, places = u.shape[1] - 1, u.shape[2] - 1
    now = torch.cat([u[:, 1:], u[:, 1:, -1:]], 2)
    change = (u[:, 1:, 1:] - u[:, :-1, 1:]) * steps
    # Of each node to the one behind it.
    flux = (now[:, :, :-1].clamp(min=0).square() + now[:, :, 1:].clamp(max=0).square()) / 2
    spread = (now[:, :, 2:] - 2 * now[:, :, 1:-1] + now[:, :, :-2]) * places**2
    left: Tensor = change + flux.diff(dim=2) * places - viscosity * spread
    return left


def misfit(outputs: Tensor, target: Tensor) -> str:
    """What is wrong with the shapes of solutions and initial values, in a few words; empty: nothing.

    Args:
        outputs: As for `BurgersResidual`.
        target: As for `BurgersResidual`.
    """
    if target.ndim != 4 or tuple(target.shape[1:3]) != (1, 1):
        return f"initial values are one row of one channel, these are {list(target.shape[1:])}"
    if outputs.ndim != 4 or outputs.shape[1] != 1 or outputs.shape[::3] != target.shape[::3]:
        return (
            f"solutions of rows of {target.shape[3]} are [1, T, {target.shape[3]}], these are {list(outputs.shape[1:])}"
        )
    if min(outputs.shape[2:]) < 2:
        return f"solutions have two times and two places or more, these are {list(outputs.shape[1:])}"
    return ""
