"""Losses of equations: how far each output is from solving its sample's equation; no solution needs to be known."""

from __future__ import annotations

import itertools
import math
from functools import lru_cache
from typing import Annotated

import torch
from torch import Tensor, nn

from mlpipe import kinds
from mlpipe.config.components import Component
from mlpipe.errors import ConfigError, problem
from mlpipe.learn.losses.labels import Facts, Labels, refuse_unless
from mlpipe.learn.losses.means import mean_of_rows


class Equation(nn.Module):
    """The mean over samples of an equation's loss.

    A function of `conf/loss` that builds one is annotated to return it, which tells that the run solves an equation.
    """

    def forward(self, outputs: Tensor, target: Tensor, weight: Tensor | None = None) -> Tensor:
        """Return the mean over samples.

        Args:
            outputs: The network's outputs, as for `of_samples`.
            target: The data of the equation, as for `of_samples`.
            weight: Sample weights, shape (n,).

        Raises:
            ValueError: When the shapes do not fit.
        """
        values = self.of_samples(outputs, target)
        return mean_of_rows(values, None if weight is None else weight.to(values.dtype))

    def of_samples(self, outputs: Tensor, target: Tensor) -> Tensor:
        """Return the equation's loss of each sample, shape (n,); less is better.

        Args:
            outputs: The network's outputs, shape (n, 1, ...).
            target: The data of the equation, shape (n, 1, ...).

        Raises:
            ValueError: When the shapes do not fit.
        """
        raise NotImplementedError


class EvolutionEquation(Equation):
    """An equation over time: a sample is one row of initial values, and the network decides the number of time nodes."""


def is_over_time(task_kind: str, loss: Component) -> bool:
    """Whether a run solves an equation over time.

    Args:
        task_kind: The value of `task.kind`.
        loss: The recipe's loss.
    """
    return kinds.decide(task_kind, loss) != task_kind and EvolutionEquation.__name__ in loss.gives


def _has_images(its: Facts) -> bool:
    return its.of_numbers and its.is_dense


def burgers(
    labels: Labels,
    *,
    diffusion_coeff: Annotated[float, ">= 0"] = 0.0,
    boundary_factor: Annotated[float, ">= 0"] = 1.0,
) -> EvolutionEquation:
    """The residual of Burgers' equation, see `BurgersResidual`; each sample is its own initial values.

    Args:
        labels: Facts about the training samples.
        diffusion_coeff: The viscosity nu; 0: none.
        boundary_factor: The weight of the initial values and the boundary relative to the equation.

    Raises:
        ConfigError: When targets are not images, or have several channels.
    """
    refuse_unless(_has_images, "burgers", labels)
    if len(labels.counts) != 1:
        wrong = f"takes one channel, the initial values, the task has {len(labels.counts)}"
        raise ConfigError(problem("loss=burgers", wrong, fix="use arrays of one channel"))
    return BurgersResidual(diffusion_coeff, boundary_factor)


class BurgersResidual(EvolutionEquation):
    """The mean squared residual of u_t + u u_x - nu u_xx = 0 in the unit square, and of u(x, 0) = b(x) and u(0, t) = 0.

    Values lie at the nodes of a regular grid over the square: x runs along the width (d nodes, dx = 1 / (d - 1)),
    t along the height (T nodes, dt = 1 / (T - 1)). Every node has a residual except those of the first time and the first
    place. The scheme is implicit Euler in time and the upwind flux of Engquist and Osher (1981) in space: it takes from
    the left what flows to the right (u > 0), and from the right what flows to the left, which gives shocks their correct
    speed. u_xx is the central second difference. Beyond the last place u continues with its last value: what flows leaves
    the domain, and for nu > 0 this is u_x(1, t) = 0. The minimum, 0, is reached by the solution of this scheme.

    Args:
        diffusion_coeff: nu.
        boundary_factor: The weight of the last two terms.
    """

    def __init__(self, diffusion_coeff: float = 0.0, boundary_factor: float = 1.0) -> None:
        super().__init__()
        self._viscosity, self._factor = diffusion_coeff, boundary_factor

    def of_samples(self, outputs: Tensor, target: Tensor) -> Tensor:
        """Return the loss of each sample, shape (n,).

        Args:
            outputs: u, shape (n, 1, T, d), with at least two nodes along each axis.
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
    """Return u_t + u u_x - nu u_xx at all nodes except those of the first time and place, shape (n, T - 1, d - 1).

    Args:
        u: Shape (n, T, d); for the scheme see `BurgersResidual`.
        viscosity: nu.
    """
    steps, places = u.shape[1] - 1, u.shape[2] - 1
    now = torch.cat([u[:, 1:], u[:, 1:, -1:]], 2)
    change = (u[:, 1:, 1:] - u[:, :-1, 1:]) * steps
    # The flux from each node to the next.
    flux = (now[:, :, :-1].clamp(min=0).square() + now[:, :, 1:].clamp(max=0).square()) / 2
    spread = (now[:, :, 2:] - 2 * now[:, :, 1:-1] + now[:, :, :-2]) * places**2
    left: Tensor = change + flux.diff(dim=2) * places - viscosity * spread
    return left


def misfit(outputs: Tensor, target: Tensor) -> str:
    """Describe a mismatch between the shapes of solutions and initial values; empty if there is none.

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


def poisson(labels: Labels) -> Equation:
    """The energy of Poisson's equation, see `PoissonEnergy`; each image is its own target, the diffusivity.

    Args:
        labels: Facts about the training images.

    Raises:
        ConfigError: When targets are not images, or have several channels.
    """
    refuse_unless(_has_images, "poisson", labels)
    if len(labels.counts) != 1:
        wrong = f"takes one channel, the diffusivity, the task has {len(labels.counts)}"
        raise ConfigError(problem("loss=poisson", wrong, fix="use task.channels=1 and task.target_channels=1"))
    return PoissonEnergy()


class PoissonEnergy(Equation):
    """The energy of a solution of div(nu grad u) = 0 in the unit square, cube or interval, which the solution minimises.

    u is 1 at the first index of the first axis and 0 at its last; nothing flows through the rest of the boundary. Values lie
    at the nodes of a regular grid, between which u and nu are interpolated (Q1 finite elements), and the integral of
    nu |grad u|^2 uses two Gauss points along each axis, as in Balu et al. 2021 (DiffNet). The two faces with fixed values
    are overwritten in the network's output, so that it learns the inside only.
    """

    def of_samples(self, outputs: Tensor, target: Tensor) -> Tensor:
        """Return the energy of each sample, shape (n,).

        Args:
            outputs: u, shape (n, 1, *nodes), with at least two nodes along each axis.
            target: nu, of the same shape; it is the input of a network that solves the equation.

        Raises:
            ValueError: When the shapes differ, or there are several channels.
        """
        return poisson_energy(with_ends(outputs), target)


def with_ends(outputs: Tensor) -> Tensor:
    """Set the values at both ends of the first axis of a solution to 1 and 0.

    Args:
        outputs: Shape (n, 1, *nodes).
    """
    first, last = torch.ones_like(outputs[:, :, :1]), torch.zeros_like(outputs[:, :, :1])
    return torch.cat([first, outputs[:, :, 1:-1], last], 2)


def poisson_energy(u: Tensor, nu: Tensor) -> Tensor:
    """Return the integral of nu |grad u|^2 over the unit square, cube or interval, shape (n,).

    Args:
        u: Values at the nodes, shape (n, 1, *nodes).
        nu: Diffusivity at the nodes, of the same shape.

    Raises:
        ValueError: When the shapes differ, or there are several channels.
    """
    if u.shape != nu.shape or u.shape[1] != 1 or u.ndim < 3:
        raise ValueError(
            f"u of {list(u.shape)} and nu of {list(nu.shape)} are no solutions and diffusivities of one grid"
        )
    axes = u.ndim - 2
    values, slopes = _shapes(axes, u.dtype, u.device)
    sides = torch.tensor([1 / (nodes - 1) for nodes in u.shape[2:]], dtype=u.dtype, device=u.device)
    corners = _corners(u), _corners(nu)
    # (n, points, axes, elements) and (n, points, elements); the reference element has length 2.
    gradients = torch.einsum("pca,nce->npae", slopes, corners[0]) * (2 / sides)[:, None]
    diffusivity = torch.einsum("pc,nce->npe", values, corners[1])
    return (diffusivity * gradients.square().sum(2)).sum((1, 2)) * float((sides / 2).prod())


def _corners(field: Tensor) -> Tensor:
    """Return the values at the corners of each element, shape (n, corners, elements)."""
    spans = (slice(None, -1), slice(1, None))
    single = field[:, 0]
    parts = [single[(slice(None), *chosen)] for chosen in itertools.product(spans, repeat=single.ndim - 1)]
    return torch.stack([part.flatten(1) for part in parts], 1)


@lru_cache(maxsize=8)
def _shapes(axes: int, dtype: torch.dtype, device: torch.device) -> tuple[Tensor, Tensor]:
    """Return the values and slopes of the corners' shape functions at each Gauss point of the element [-1, 1]^axes."""
    points = list(itertools.product((-1 / math.sqrt(3), 1 / math.sqrt(3)), repeat=axes))
    signs = list(itertools.product((-1, 1), repeat=axes))
    values = [
        [math.prod((1 + s * x) / 2 for s, x in zip(sign, point, strict=True)) for sign in signs] for point in points
    ]
    slopes = [
        [
            [
                sign[axis]
                / 2
                * math.prod((1 + sign[other] * point[other]) / 2 for other in range(axes) if other != axis)
                for axis in range(axes)
            ]
            for sign in signs
        ]
        for point in points
    ]
    return torch.tensor(values, dtype=dtype, device=device), torch.tensor(slopes, dtype=dtype, device=device)
