"""The energy of Poisson's equation against closed forms, finite elements of another making, and finite differences."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
import scipy.sparse as sparse
import torch
from scipy.sparse.linalg import spsolve

from mlpipe.learn.losses.pde import PoissonEnergy, poisson_energy, with_ends


def diffusivity(shape: tuple[int, ...], seed: int = 0) -> Any:
    """A smooth positive field that is no product of functions of one coordinate each, shape (nodes)."""
    rng = np.random.default_rng(seed)
    axes = np.meshgrid(*(np.linspace(0, 1, nodes) for nodes in shape), indexing="ij")
    return np.exp(np.sin(np.pi * (sum(rng.uniform(0.5, 1.5) * x for x in axes) + rng.random())))


def as_tensor(field: Any) -> torch.Tensor:
    return torch.tensor(field)[None, None]


def solved_by_differences(nu: Any) -> Any:
    """The solution by finite volumes around the nodes, fluxes through faces with the mean of both nodes' diffusivity."""
    shape, sides = nu.shape, [1 / (nodes - 1) for nodes in nu.shape]
    number = np.arange(nu.size).reshape(shape)
    rows, columns, values = list[Any](), list[Any](), list[Any]()
    for axis in range(nu.ndim):
        low = tuple(slice(None, -1) if one == axis else slice(None) for one in range(nu.ndim))
        high = tuple(slice(1, None) if one == axis else slice(None) for one in range(nu.ndim))
        face = (nu[low] + nu[high]) / 2 / sides[axis]
        for other in range(nu.ndim):
            if other != axis:
                # A node at a boundary has half a volume.
                width = np.full(shape[other], sides[other])
                width[[0, -1]] /= 2
                face = face * width.reshape([-1 if one == other else 1 for one in range(nu.ndim)])
        for own, off in ((low, high), (high, low)):
            rows += [number[own].ravel(), number[own].ravel()]
            columns += [number[own].ravel(), number[off].ravel()]
            values += [face.ravel(), -face.ravel()]
    matrix = sparse.csr_array(
        (np.concatenate(values), (np.concatenate(rows), np.concatenate(columns))), (nu.size, nu.size)
    )
    known = np.zeros(nu.size)
    known[number[0].ravel()] = 1
    inside = number[1:-1].ravel()
    known[inside] = spsolve(matrix[inside][:, inside].tocsc(), -(matrix @ known)[inside])
    return known.reshape(shape)


def least(nu: Any) -> Any:
    """The solution as the least energy, found by torch's L-BFGS over the nodes' values."""
    u = torch.linspace(1, 0, nu.shape[0], dtype=torch.float64).reshape(1, 1, -1, *[1] * (nu.ndim - 1))
    u = u.expand(1, 1, *nu.shape).clone().requires_grad_()
    loss, field = PoissonEnergy(), as_tensor(nu)
    optimizer = torch.optim.LBFGS(
        [u], max_iter=2000, max_eval=4000, tolerance_grad=1e-10, line_search_fn="strong_wolfe"
    )

    def closure() -> torch.Tensor:
        optimizer.zero_grad()
        value: torch.Tensor = loss(u, field)
        value.backward()
        return value

    optimizer.step(closure)
    return with_ends(u.detach())[0, 0].numpy()


@pytest.mark.parametrize("shape", [(9, 9), (5, 8), (4, 5, 6)])
def test_a_straight_solution_has_the_mean_diffusivity(shape: tuple[int, ...]) -> None:
    u = np.linspace(1, 0, shape[0]).reshape(-1, *[1] * (len(shape) - 1)) * np.ones(shape)
    assert poisson_energy(as_tensor(u), as_tensor(np.full(shape, 3.0))).item() == pytest.approx(3.0)
    # Linear along an axis, whose mean is exact.
    slope = np.linspace(1, 4, shape[1]).reshape(1, -1, *[1] * (len(shape) - 2)) * np.ones(shape)
    assert poisson_energy(as_tensor(u), as_tensor(slope)).item() == pytest.approx(2.5)


@pytest.mark.parametrize("shape", [(4, 3), (3, 4, 3)])
def test_the_energy_is_the_integral_of_a_fine_sum(shape: tuple[int, ...]) -> None:
    rng = np.random.default_rng(1)
    u, nu = rng.random(shape), rng.random(shape) + 0.5
    # Products of the interpolated fields are of low degree: six Gauss points along each axis integrate them exactly.
    points, weights = np.polynomial.legendre.leggauss(6)
    total = 0.0
    for element in itertools.product(*(range(nodes - 1) for nodes in shape)):
        for place in itertools.product(range(6), repeat=len(shape)):
            x = np.array([(points[one] + 1) / 2 for one in place])
            value, slope = 0.0, np.zeros(len(shape))
            for corner in itertools.product((0, 1), repeat=len(shape)):
                node = tuple(np.add(element, corner))
                parts = np.where(corner, x, 1 - x)
                value += nu[node] * parts.prod()
                for axis in range(len(shape)):
                    sign = 1 if corner[axis] else -1
                    slope[axis] += u[node] * sign * np.delete(parts, axis).prod() * (shape[axis] - 1)
            volume = np.prod([weights[one] / 2 for one in place]) / np.prod(np.subtract(shape, 1))
            total += value * (slope**2).sum() * volume
    # Two points are exact for cubics; nu |grad u|^2 is a cubic along each axis.
    assert poisson_energy(as_tensor(u), as_tensor(nu)).item() == pytest.approx(total, rel=1e-10)


@pytest.mark.parametrize(("shape", "most"), [((33, 33), 0.01), ((17, 25), 0.01), ((13, 11, 13), 0.01)])
def test_the_least_energy_is_the_solution_of_finite_differences(shape: tuple[int, ...], most: float) -> None:
    nu = diffusivity(shape)
    found, expected = least(nu), solved_by_differences(nu)
    assert np.linalg.norm(found - expected) < most * np.linalg.norm(expected)
    # The solution varies along the other axes, too, which it does not where the field is a product of such functions.
    assert max(np.ptp(expected, axis=axis).max() for axis in range(1, len(shape))) > 0.1
    # The field matters: with constant diffusivity the solution is a straight line.
    straight = np.linspace(1, 0, shape[0]).reshape(-1, *[1] * (len(shape) - 1)) * np.ones(shape)
    assert np.linalg.norm(expected - straight) > 4 * most * np.linalg.norm(expected)


@pytest.mark.parametrize("shape", [(6, 5), (5, 4, 6), (7,)])
def test_constant_diffusivity_has_a_straight_solution(shape: tuple[int, ...]) -> None:
    straight = np.linspace(1, 0, shape[0]).reshape(-1, *[1] * (len(shape) - 1)) * np.ones(shape)
    assert np.allclose(least(np.full(shape, 2.5)), straight, atol=1e-6)


def test_both_ends_are_given_and_learn_nothing() -> None:
    outputs = torch.rand(2, 1, 6, 5, dtype=torch.float64, requires_grad=True)
    ended = with_ends(outputs)
    assert (ended[:, :, 0] == 1).all() and (ended[:, :, -1] == 0).all()
    PoissonEnergy()(outputs, torch.ones(2, 1, 6, 5, dtype=torch.float64)).backward()
    assert outputs.grad is not None
    assert (outputs.grad[:, :, [0, -1]] == 0).all() and (outputs.grad[:, :, 1:-1] != 0).any()


def test_samples_have_weights() -> None:
    outputs, nu = torch.rand(3, 1, 4, 4), torch.rand(3, 1, 4, 4)
    each = [PoissonEnergy()(outputs[one : one + 1], nu[one : one + 1]) for one in range(3)]
    assert torch.isclose(PoissonEnergy()(outputs, nu), torch.stack(each).mean())
    weighted = PoissonEnergy()(outputs, nu, torch.tensor([1.0, 0.0, 3.0]))
    assert torch.isclose(weighted, (each[0] + 3 * each[2]) / 4)


def test_other_shapes_are_refused() -> None:
    with pytest.raises(ValueError, match=r"u of \[1, 2, 4, 4\] and nu of \[1, 2, 4, 4\]"):
        poisson_energy(torch.ones(1, 2, 4, 4), torch.ones(1, 2, 4, 4))
    with pytest.raises(ValueError, match="are no solutions"):
        poisson_energy(torch.ones(1, 1, 4, 4), torch.ones(1, 1, 4, 5))
