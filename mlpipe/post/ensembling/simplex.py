"""Exact minima over the probability simplex: a quadratic, and the likelihood of a mixture, with an optimality certificate."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from mlpipe.post.rows import Floats

# With more shares than this the search begins near the minimum: at most so many steps are made towards it, until none
# moves a share by more than this.
_MANY, _MOST_PROJECTED, _STILL = 50, 1000, 1e-9


@dataclass(frozen=True)
class Mixture:
    """Shares that maximise a likelihood: no others are better by more than `gap` nats per row."""

    weights: Floats
    loss: float
    gap: float
    steps: int


def least_quadratic(gram: Floats, linear: Floats, *, start: Floats | None = None) -> Floats:
    """Return the shares p that minimise p'Gp - 2h'p, shape (k,), by a primal active-set method.

    Args:
        gram: G, positive semidefinite, shape (k, k).
        linear: h, shape (k,).
        start: Shares near the minimum, shape (k,); None: unknown.
    """
    size = len(linear)
    tolerance = 1e-14 * max(1.0, float(np.abs(gram).max()), float(np.abs(linear).max()))
    # From the best single share on, a face of the simplex grows and shrinks by one share at a time. The value never rises,
    # so no face recurs and the search ends.
    first = int(np.argmin(np.diag(gram) - 2 * linear))
    shares, active = np.zeros(size), [first]
    shares[first] = 1.0
    if size > _MANY:
        # For many classes, adding shares one by one would solve as many systems; near the minimum only a few are left.
        shares = _near(gram, linear, shares if start is None else start)
        active = np.flatnonzero(shares).tolist()
    for _ in range(50 * size):
        target = np.zeros(size)
        target[active] = _minimum_on_face(gram, linear, active)
        if target[active].min() >= 0:
            # The face's minimum lies within it: go there, and add the share that lowers the value fastest. If none
            # does, no shares are better, since the problem is convex.
            shares = target
            slope = gram @ shares - linear
            slope -= slope[active].mean()
            slope[active] = 0.0
            entering = int(slope.argmin())
            if slope[entering] >= -tolerance:
                break
            active.append(entering)
            continue
        # It lies outside: go towards it until the first share is zero and leaves the face.
        falling = [place for place in active if target[place] < 0]
        length = min(shares[place] / (shares[place] - target[place]) for place in falling)
        shares = shares + length * (target - shares)
        leaving = min(falling, key=lambda place: shares[place])
        shares[leaving] = 0.0
        active = [place for place in active if place != leaving and (shares[place] > 0 or target[place] > 0)]
    shares = np.maximum(shares, 0.0)
    return np.asarray(shares / shares.sum())


def _near(gram: Floats, linear: Floats, start: Floats) -> Floats:
    """Approach the minimum by accelerated gradient steps projected onto the simplex (Beck and Teboulle 2009)."""
    # No curvature is larger than the largest row sum.
    step = 1 / max(float(np.abs(gram).sum(axis=1).max()), 1e-300)
    shares = ahead = start / start.sum()
    momentum = 1.0
    for _ in range(_MOST_PROJECTED):
        before, shares = shares, _projected(ahead - step * (gram @ ahead - linear))
        moved = shares - before
        if (ahead - shares) @ moved > 0:
            # Overshot: the next step has no momentum.
            momentum = 1.0
        after = (1 + np.sqrt(1 + 4 * momentum**2)) / 2
        ahead, momentum = shares + (momentum - 1) / after * moved, after
        if np.abs(moved).max() < _STILL:
            break
    return np.asarray(shares)


def _projected(point: Floats) -> Floats:
    """Return the nearest point on the simplex (Duchi et al. 2008)."""
    ordered = np.sort(point)[::-1]
    excess = (np.cumsum(ordered) - 1) / np.arange(1, len(point) + 1)
    return np.asarray(np.maximum(point - excess[np.flatnonzero(ordered > excess)[-1]], 0.0))


def _minimum_on_face(gram: Floats, linear: Floats, active: list[int]) -> Floats:
    """Return the minimum in which only the active shares may differ from zero, and may be negative."""
    size = len(active)
    system = np.ones((size + 1, size + 1))
    system[:size, :size] = gram[np.ix_(active, active)]
    system[size, size] = 0.0
    right = np.append(linear[active], 1.0)
    try:
        solved = np.linalg.solve(system, right)
    except np.linalg.LinAlgError:  # Two columns are identical: any division between them is equally good.
        solved = np.linalg.lstsq(system, right)[0]
    return np.asarray(solved[:size])


def expected_shares(likelihoods: Floats, weights: Floats, row_weights: Floats) -> Floats:
    """Return shares after one step of expectation-maximisation, which never lowers the likelihood, shape (k,).

    Args:
        likelihoods: Likelihood of each row under each component, shape (n, k).
        weights: Shares of the components, shape (k,).
        row_weights: Weights of the rows that sum to one, shape (n,).
    """
    return np.asarray(weights * (likelihoods.T @ (row_weights / (likelihoods @ weights))))


def most_likely(
    likelihoods: Floats, row_weights: Floats | None = None, *, start: Floats | None = None, gap: float = 1e-12
) -> Mixture:
    """Return the shares that maximise the mean log of the mixed likelihoods, with the gap that certifies them.

    Expectation-maximisation, then steps to the minimum over the simplex of the second-order model (Kim, Carbonetto,
    Stephens and Anitescu 2020). The certificate is log max_k mean_i(l_ik / sum_j l_ij w_j), an upper bound of what any
    other shares could gain.

    Args:
        likelihoods: Not negative, shape (n, k); at least one positive in each row; a row's scale is arbitrary.
        row_weights: Weights of the rows, shape (n,); None: equal.
        start: The starting shares, all positive, shape (k,).
        gap: Stop when the certificate is at most this.
    """
    n, size = likelihoods.shape
    masses = np.full(n, 1 / n) if row_weights is None else row_weights / row_weights.sum()
    used = masses > 0
    likelihoods, masses = likelihoods[used], masses[used]
    weights = np.full(size, 1 / size) if start is None else start / start.sum()
    # Expectation-maximisation is fast far from the maximum and slow near it: it only brings the shares near enough for the
    # second-order steps below.
    for _ in range(3):
        weights = expected_shares(likelihoods, weights, masses)
    steps = stalled = 0
    while True:
        mixed = likelihoods @ weights
        loss = -float(masses @ np.log(mixed))
        ratios = likelihoods.T @ (masses / mixed)
        bound = max(0.0, float(np.log(ratios.max())))
        if bound <= gap or stalled >= 5 or steps >= 1000:
            return Mixture(weights, loss, bound, steps)
        # `goal` is the exact minimum of the likelihood's quadratic model around these shares, which may be far off where
        # the model is poor: then only a part of the step is taken, or one step of expectation-maximisation if even the
        # smallest part gains nothing beyond rounding.
        scaled = likelihoods * (np.sqrt(masses) / mixed)[:, None]
        curvature = scaled.T @ scaled
        goal = least_quadratic(curvature, curvature @ weights + ratios, start=weights)
        better = _line_search(likelihoods, masses, weights, goal, loss, float(ratios @ (goal - weights)))
        weights = expected_shares(likelihoods, weights, masses) if better is None else better
        steps, stalled = steps + 1, stalled + (better is None)


def _line_search(
    likelihoods: Floats, masses: Floats, weights: Floats, goal: Floats, loss: float, gain: float
) -> Floats | None:
    """Halve the step towards the goal until it lowers the loss enough; None if rounding hides every gain."""
    length = 1.0
    while length > 1e-6:
        tried = weights + length * (goal - weights)
        mixed = likelihoods @ tried
        if mixed.min() > 0 and -float(masses @ np.log(mixed)) <= loss - 1e-4 * length * gain + 1e-16:
            return np.asarray(tried)
        length /= 2
    return None
