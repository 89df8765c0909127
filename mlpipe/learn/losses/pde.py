"""Losses of networks that solve differential equations: the equation says how wrong an output is, no solution is learned."""

from __future__ import annotations

import itertools
import math
from functools import lru_cache

import torch
from torch import Tensor

from mlpipe.errors import ConfigError, problem
from mlpipe.learn.losses.equations import Equation
from mlpipe.learn.losses.losses import Labels, refuse_other_kinds


def poisson(labels: Labels) -> Equation:
    """The energy of Poisson's equation, see `PoissonEnergy`; each image is its own target, the diffusivity.

    Args:
        labels: What is known of the training images.

    Raises:
        ConfigError: When targets are no images, or have several channels.
    """
    refuse_other_kinds("poisson", labels, ("images",))
    if len(labels.counts) != 1:
        wrong = f"takes one channel, the diffusivity, the task has {len(labels.counts)}"
        raise ConfigError(problem("loss=poisson", wrong, fix="use task.channels=1 and task.target_channels=1"))
    return PoissonEnergy()


class PoissonEnergy(Equation):
    """The energy of a solution of div(nu grad u) = 0 in the unit square, cube or interval; the solution is where it is least.

    u is 1 at the first index of the first axis and 0 at its last; elsewhere nothing flows through the boundary. Values lie at
    the nodes of a regular grid, between which u and nu are interpolated (Q1 finite elements), and the integral of
    nu |grad u|^2 is taken at two Gauss points along each axis, as in Balu et al. 2021 (DiffNet). Those two faces of the
    network's output are overwritten, so that it learns the inside only.
    """

    def of_samples(self, outputs: Tensor, target: Tensor) -> Tensor:
        """The energy of each sample, shape (n,).

        Args:
            outputs: u, shape (n, 1, *nodes), axes of two nodes or more.
            target: nu, in the same shape; where a network solves the equation it is its input.

        Raises:
            ValueError: When the shapes differ, or there are several channels.
        """
        return poisson_energy(with_ends(outputs), target)


def with_ends(outputs: Tensor) -> Tensor:
    """The solution with its values at both ends of the first axis: 1 and 0.

    Args:
        outputs: Shape (n, 1, *nodes).
    """
    first, last = torch.ones_like(outputs[:, :, :1]), torch.zeros_like(outputs[:, :, :1])
    return torch.cat([first, outputs[:, :, 1:-1], last], 2)


def poisson_energy(u: Tensor, nu: Tensor) -> Tensor:
    """The integral of nu |grad u|^2 over the unit square, cube or interval, shape (n,).

    Args:
        u: Values at the nodes, shape (n, 1, *nodes).
        nu: Diffusivity at the nodes, in the same shape.

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
    # (n, points, axes, elements) and (n, points, elements); an element's own length is 2.
    gradients = torch.einsum("pca,nce->npae", slopes, corners[0]) * (2 / sides)[:, None]
    diffusivity = torch.einsum("pc,nce->npe", values, corners[1])
    return (diffusivity * gradients.square().sum(2)).sum((1, 2)) * float((sides / 2).prod())


def _corners(field: Tensor) -> Tensor:
    """The values at the corners of each element, shape (n, corners, elements)."""
    spans = (slice(None, -1), slice(1, None))
    single = field[:, 0]
    parts = [single[(slice(None), *chosen)] for chosen in itertools.product(spans, repeat=single.ndim - 1)]
    return torch.stack([part.flatten(1) for part in parts], 1)


@lru_cache(maxsize=8)
def _shapes(axes: int, dtype: torch.dtype, device: torch.device) -> tuple[Tensor, Tensor]:
    """At each Gauss point the value and the slopes of each corner's shape function in the element [-1, 1]^axes."""
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
