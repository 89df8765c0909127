"""Equations as losses against known solutions, finite volumes and finite elements."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
import scipy.sparse as sparse
import torch
from scipy.integrate import solve_ivp
from scipy.optimize import root
from scipy.sparse.linalg import spsolve

from mlpipe.errors import ConfigError
from mlpipe.learn.losses.equations import BurgersResidual, PoissonEnergy, burgers, poisson_energy, residual, with_ends
from mlpipe.learn.losses.labels import Labels


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


def test_other_shapes_are_no_solutions_of_poisson() -> None:
    with pytest.raises(ValueError, match=r"u of \[1, 2, 4, 4\] and nu of \[1, 2, 4, 4\]"):
        poisson_energy(torch.ones(1, 2, 4, 4), torch.ones(1, 2, 4, 4))
    with pytest.raises(ValueError, match="are no solutions"):
        poisson_energy(torch.ones(1, 1, 4, 4), torch.ones(1, 1, 4, 5))


def bump(x: Any, height: float = 1.0) -> Any:
    """Initial values of one wave."""
    return height * (1 - np.cos(2 * np.pi * x)) / 2


def stepped(first: Any, times: int, nu: float = 0.0) -> Any:
    """A solution step by step: of each time the implicit equations are solved by scipy, shape (times, places)."""
    places = len(first)
    dx, dt, found = 1 / (places - 1), 1 / (times - 1), [first]

    def off(unknown: Any, before: Any) -> Any:
        u = np.concatenate([[0.0], unknown, unknown[-1:]])
        out = np.empty(places - 1)
        for i in range(1, places):
            right = 0.5 * max(u[i], 0) ** 2 + 0.5 * min(u[i + 1], 0) ** 2
            left = 0.5 * max(u[i - 1], 0) ** 2 + 0.5 * min(u[i], 0) ** 2
            bend = (u[i + 1] - 2 * u[i] + u[i - 1]) / dx**2
            out[i - 1] = (u[i] - before[i]) / dt + (right - left) / dx - nu * bend
        return out

    for _ in range(times - 1):
        before = found[-1]
        solved = root(off, before[1:], args=(before,), method="hybr", tol=1e-10)
        assert np.abs(off(solved.x, before)).max() < 1e-6
        found.append(np.concatenate([[0.0], solved.x]))
    return np.stack(found)


def of_lines(first: Any, times: int, places: int, nu: float, fine: int = 401) -> Any:
    """A solution by central differences on a fine grid and an integrator of scipy, at coarser nodes."""
    x = np.linspace(0, 1, fine)
    dx = x[1]

    def change(_: float, u: Any) -> Any:
        u = np.concatenate([[0.0], u[1:]])
        # u_x = 0 at the right end.
        wide = np.append(u, u[-2])
        flow = -(wide[2:] ** 2 - wide[:-2] ** 2) / (4 * dx) + nu * (wide[2:] - 2 * wide[1:-1] + wide[:-2]) / dx**2
        if nu == 0:
            flow[-1] = -u[-1] * (3 * u[-1] - 4 * u[-2] + u[-3]) / (2 * dx)
        return np.concatenate([[0.0], flow])

    found = solve_ivp(
        change, (0, 1), first(x), "LSODA", np.linspace(0, 1, times), rtol=1e-6, atol=1e-8, lband=1, uband=2
    )
    nodes = np.linspace(0, 1, places)
    return np.stack([np.interp(nodes, x, found.y[:, time]) for time in range(times)])


def least_residual(first: Any, times: int, nu: float, factor: float) -> tuple[Any, float]:
    """The solution of the least loss, found by torch's L-BFGS over all its values."""
    b = torch.tensor(first)[None, None, None]
    u = b.expand(1, 1, times, -1).clone().requires_grad_()
    loss = BurgersResidual(nu, factor)
    optimizer = torch.optim.LBFGS(
        [u], max_iter=3000, max_eval=6000, tolerance_grad=1e-9, tolerance_change=0, history_size=50,
        line_search_fn="strong_wolfe",
    )  # fmt: skip

    def closure() -> torch.Tensor:
        optimizer.zero_grad()
        value: torch.Tensor = loss(u, b)
        value.backward()
        return value

    optimizer.step(closure)
    return u.detach()[0, 0].numpy(), float(loss(u, b).detach())


def loss_of(u: Any, nu: float = 0.0, factor: float = 1.0) -> float:
    """The loss of a solution with its own first row as initial values."""
    tensor = torch.tensor(u)[None, None]
    return float(BurgersResidual(nu, factor)(tensor, tensor[:, :, :1]))


@pytest.mark.parametrize(("nu", "height"), [(0.0, 1.0), (0.0, -1.0), (0.05, 1.0)])
def test_the_least_loss_is_the_solution_of_another_solver(nu: float, height: float) -> None:
    # At height -1 all flows to the left, and both ends matter.
    first = bump(np.linspace(0, 1, 11), height)
    found, left = least_residual(first, 9, nu, factor=64.0)
    expected = stepped(first, 9, nu)
    assert left < 1e-6
    assert np.linalg.norm(found - expected) < 0.005 * np.linalg.norm(expected)
    # The equation matters: nothing stays as it was.
    assert np.linalg.norm(expected - first) > 0.2 * np.linalg.norm(expected)


@pytest.mark.program
@pytest.mark.parametrize(("nu", "height", "most"), [(0.0, 0.2, 0.015), (0.02, 0.5, 0.015), (0.05, 1.0, 0.02)])
def test_the_method_converges_to_a_method_of_lines(nu: float, height: float, most: float) -> None:
    off = []
    for nodes in (33, 65, 129):
        u = torch.tensor(stepped(bump(np.linspace(0, 1, nodes), height), nodes, nu))[None]
        # What has no residual is the least loss, whatever found it.
        assert residual(u, nu).abs().max() < 1e-5 and loss_of(u[0].numpy(), nu) < 1e-10
        expected = of_lines(lambda x: bump(x, height), nodes, nodes, nu)
        off.append(float(np.linalg.norm(u[0].numpy() - expected) / np.linalg.norm(expected)))
    assert off[2] < most
    # Of the first order: half the grid, half the error.
    assert 1.6 < off[0] / off[1] < 2.4 and 1.6 < off[1] / off[2] < 2.4


def test_a_shock_has_its_speed() -> None:
    # b = x up to 1/2 and 0 behind it: u = x / (1 + t) up to the shock at sqrt(1 + t) / 2.
    nodes = 49
    x, t = np.linspace(0, 1, nodes), np.linspace(0, 1, nodes)[:, None]
    first = np.where(x <= 0.5, x, 0.0)
    exact = np.where(x <= np.sqrt(1 + t) / 2, x / (1 + t), 0.0)
    found = stepped(first, nodes)
    assert loss_of(found) < 1e-8
    assert np.abs(found - exact).mean() < 0.015
    front = x[np.flatnonzero(found[-1] > 0.5 * found[-1].max())[-1]]
    assert front == pytest.approx(np.sqrt(2) / 2, abs=0.03)


def test_a_spreading_slope_has_the_residual_of_its_differences() -> None:
    # u = x / (1 + t) solves the equation; what is left of it are the differences' own errors, of the first order.
    left = []
    for nodes in (9, 17, 33):
        x, t = np.linspace(0, 1, nodes), np.linspace(0, 1, nodes)[:, None]
        left.append(float(residual(torch.tensor(x / (1 + t))[None]).abs().max()))
    assert left[0] < 0.2 and 1.7 < left[0] / left[1] < 2.3 and 1.7 < left[1] / left[2] < 2.3


@pytest.mark.parametrize("nu", [0.0, 0.3])
def test_the_loss_is_a_sum_over_nodes(nu: float) -> None:
    rng = np.random.default_rng(3)
    u, b = rng.normal(size=(2, 1, 4, 6)), rng.normal(size=(2, 1, 1, 6))
    total = []
    for sample in range(2):
        v, squares = u[sample, 0], list[float]()
        for j in range(1, 4):
            for i in range(1, 6):
                right = v[j, i + 1] if i < 5 else v[j, i]
                out = max(v[j, i], 0) ** 2 / 2 + min(right, 0) ** 2 / 2
                into = max(v[j, i - 1], 0) ** 2 / 2 + min(v[j, i], 0) ** 2 / 2
                bend = (right - 2 * v[j, i] + v[j, i - 1]) * 25
                squares.append(((v[j, i] - v[j - 1, i]) * 3 + (out - into) * 5 - nu * bend) ** 2)
        edges = ((v[0] - b[sample, 0, 0]) ** 2).mean() + (v[:, 0] ** 2).mean()
        total.append(np.mean(squares) + 7.0 * edges)
    loss = BurgersResidual(nu, 7.0)
    given = torch.tensor(u), torch.tensor(b)
    assert loss.of_samples(*given).tolist() == pytest.approx(total)
    assert float(loss(*given)) == pytest.approx(np.mean(total))
    weighted = float(loss(*given, torch.tensor([1.0, 3.0])))
    assert weighted == pytest.approx((total[0] + 3 * total[1]) / 4)


def test_the_scheme_follows_the_flow() -> None:
    u = torch.tensor(np.random.default_rng(0).random((1, 5, 8)) + 0.1)
    # Mirrored in space and sign the equation is the same, at the nodes between both ends.
    inside, mirrored = residual(u)[:, :, :-1], residual(-u.flip(2))[:, :, :-1]
    assert torch.allclose(mirrored.flip(2), -inside, atol=1e-12)
    # Of what flows to the right only what is on the left matters, and the other way round.
    for sign, unseen, seen in ((1, 5, 3), (-1, 3, 5)):
        for place, matters in ((unseen, False), (seen, True)):
            other = sign * u.clone()
            other[0, 2, place] *= 0.5
            assert (residual(other)[0, 1, 3] != residual(sign * u)[0, 1, 3]).item() == matters


@pytest.mark.parametrize(
    ("outputs", "target", "said"),
    [
        ((1, 1, 4, 8), (1, 1, 4, 8), r"one row of one channel, these are \[1, 4, 8\]"),
        ((1, 1, 4, 7), (1, 1, 1, 8), r"solutions of rows of 8 are \[1, T, 8\], these are \[1, 4, 7\]"),
        ((1, 2, 4, 8), (1, 1, 1, 8), r"these are \[2, 4, 8\]"),
        ((1, 1, 1, 8), (1, 1, 1, 8), r"two times and two places or more, these are \[1, 1, 8\]"),
    ],
)
def test_other_shapes_are_no_solutions_of_burgers(outputs: tuple[int, ...], target: tuple[int, ...], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        BurgersResidual()(torch.ones(outputs), torch.ones(target))


def test_it_is_for_samples_of_one_channel() -> None:
    assert isinstance(burgers(Labels("images", torch.zeros(1), 3), diffusion_coeff=0.1), BurgersResidual)
    with pytest.raises(ConfigError, match="takes one channel, the initial values, the task has 2"):
        burgers(Labels("images", torch.zeros(2), 3))
    with pytest.raises(ConfigError, match="burgers is for images tasks, this task is regression"):
        burgers(Labels("regression", torch.zeros(1), 3))
