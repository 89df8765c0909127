"""Metrics of drawn images: the distance of their features from those of real ones, and how well a critic tells them apart.

`outputs` has the shape (n, 2 + 2 * features): the critic's scores of a real and of a drawn image, the features of the real
one, those of the drawn one; `targets` (n, 1) is 1.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]


def features_of(outputs: Array) -> tuple[Array, Array]:
    """Return the features of the real and of the drawn images, shape (n, features) each, float64."""
    real, drawn = np.split(outputs[:, 2:].astype(np.float64), 2, axis=1)
    return real, drawn


def frechet(outputs: Array, targets: Array) -> float:
    """The squared Fréchet distance of two normal distributions with the means and covariances of the features.

    |m - m'|^2 + tr(S + S' - 2 (S S')^(1/2)) (Dowson & Landau 1982; of Inception's features it is the FID of Heusel et al.
    2017). NaN with fewer than two images.
    """
    return frechet_distance(*features_of(outputs))


def frechet_distance(sample: Array, other: Array) -> float:
    """Return the same for two samples.

    Args:
        sample: Shape (n, features).
        other: Shape (m, features).
    """
    if min(len(sample), len(other)) < 2:
        return float("nan")
    first, second = (np.atleast_2d(np.cov(part, rowvar=False)) for part in (sample, other))
    root = _root(first)
    # The eigenvalues of S S' are those of S^(1/2) S' S^(1/2), which is symmetric.
    common = np.sqrt(np.clip(np.linalg.eigvalsh(root @ second @ root), 0, None)).sum()
    apart = ((sample.mean(axis=0) - other.mean(axis=0)) ** 2).sum()
    return float(max(0.0, apart + np.trace(first) + np.trace(second) - 2 * common))


def _root(matrix: Array) -> Array:
    """Return the symmetric square root of a positive semidefinite matrix."""
    values, vectors = np.linalg.eigh(matrix)
    return np.asarray((vectors * np.sqrt(np.clip(values, 0, None))) @ vectors.T)


def critic_gap(outputs: Array, targets: Array) -> float:
    """The critic's mean score of real images minus that of drawn ones."""
    return float(outputs[:, 0].astype(np.float64).mean() - outputs[:, 1].astype(np.float64).mean())


METRICS: dict[str, Callable[[Array, Array], float]] = {"frechet": frechet, "critic_gap": critic_gap}
