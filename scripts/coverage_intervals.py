"""Measure how often the 95 % intervals of `mml post` contain the true value: the table in docs/post.md.

python scripts/coverage_intervals.py [--draws 400] [--only rates,classes,labels,groups,numbers,masks]

Each figure is the mean over three models (poor, overconfident, good), with the median width in brackets. Class counts are
fixed; the true value is that of the infinite population with these class shares.
"""

from __future__ import annotations

import argparse
from collections import defaultdict
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

from mlpipe.post.intervals.by_metric import metric_intervals
from mlpipe.post.metrics import compute

Array = npt.NDArray[Any]
Draw = Callable[[np.random.Generator, int], tuple[Array, Array, Array | None]]
DESIGNS = {10: (1, 2, 5), 20: (1, 2, 10), 50: (1, 2, 25), 200: (1, 5, 100)}
# Distance between the classes, and scale of the logits: 1 is calibrated, more is overconfident.
MODELS = [(0.5, 1.0), (1.0, 2.5), (2.0, 1.0)]
_MANY = 400_000


def two_classes(n: int, positives: int, apart: float, sharp: float) -> Draw:
    """Return a generator of scores that are normal in each class."""

    def draw(rng: np.random.Generator, times: int) -> tuple[Array, Array, Array | None]:
        targets = np.repeat([1, 0], [positives * times, (n - positives) * times])
        score = rng.normal(size=len(targets)) + apart * (targets - 0.5)
        margin = sharp * (apart * score + np.log(positives / (n - positives)))
        return np.column_stack([-margin / 2, margin / 2]), targets, None

    return draw


def three_classes(n: int, rare: int, apart: float, sharp: float) -> Draw:
    """Return a generator of a rare and two frequent classes."""
    counts = np.array([rare, (n - rare) // 2, n - rare - (n - rare) // 2])

    def draw(rng: np.random.Generator, times: int) -> tuple[Array, Array, Array | None]:
        targets = np.repeat(np.arange(3), counts * times)
        score = rng.normal(size=(len(targets), 3)) + apart * np.eye(3)[targets]
        return sharp * (apart * score + np.log(counts / n)), targets, None

    return draw


def labels(n: int, positives: int, apart: float, sharp: float) -> Draw:
    """Return a generator of three labels, the first rare, with correlated scores in each row."""
    shares = np.array([positives / n, 0.5, 0.5])

    def draw(rng: np.random.Generator, times: int) -> tuple[Array, Array, Array | None]:
        many = n * times
        first = np.repeat([1, 0], [positives * times, many - positives * times])
        second = np.arange(many) % 2
        targets = np.column_stack([first, second, rng.permutation(second)]).astype(float)
        noise = 0.7 * rng.normal(size=(many, 1)) + 0.7 * rng.normal(size=(many, 3))
        return sharp * (apart * (noise + apart * (targets - 0.5)) + np.log(shares / (1 - shares))), targets, None

    return draw


def grouped(n: int, positives: int, apart: float, sharp: float) -> Draw:
    """Return a generator of groups of five rows of one class that share most of their noise."""

    def draw(rng: np.random.Generator, times: int) -> tuple[Array, Array, Array | None]:
        of_group = np.repeat([1, 0], [positives * times, (n // 5 - positives) * times])
        targets, groups = np.repeat(of_group, 5), np.repeat(np.arange(len(of_group)), 5)
        noise = 0.9 * rng.normal(size=len(of_group))[groups] + 0.44 * rng.normal(size=len(groups))
        margin = sharp * (apart * (noise + apart * (targets - 0.5)) + np.log(positives / (n // 5 - positives)))
        return np.column_stack([-margin / 2, margin / 2]), targets, groups

    return draw


def numbers(n: int, positives: int, apart: float, sharp: float) -> Draw:
    """Return a generator of predicted numbers with normal errors, some of them on a larger scale."""

    def draw(rng: np.random.Generator, times: int) -> tuple[Array, Array, Array | None]:
        truth = rng.normal(size=(n * times, 1))
        size = np.where(rng.random(truth.shape) < 0.2, sharp, 1.0) / (1 + apart)
        return truth + size * rng.normal(size=truth.shape), truth, None

    return draw


def masks(n: int, positives: int, apart: float, sharp: float) -> Draw:
    """Return a generator of pixel counts: background in all images, one class in some, segmented with varying quality."""

    def draw(rng: np.random.Generator, times: int) -> tuple[Array, Array, Array | None]:
        many = n * times
        there = np.repeat([1, 0], [positives * times, many - positives * times])
        true = there * rng.integers(50, 400, many)
        skill = rng.beta(2 * (1 + apart) ** 2, 2, many)
        hits = np.round(true * skill)
        alarms = np.round(rng.exponential(20 / (1 + apart), many))
        guess = hits + alarms
        pixels = 1024
        outputs = np.column_stack([pixels - guess, guess, pixels - true - alarms, hits])
        return outputs, np.column_stack([pixels - true, true]).astype(float), None

    return draw


PARTS: dict[str, tuple[str, Callable[..., Draw], tuple[str, ...]]] = {
    "rates": (
        "classification", two_classes,
        ("accuracy", "balanced_accuracy", "macro_f1", "mcc", "kappa", "auroc", "average_precision", "nll", "brier"),
    ),
    "classes": (
        "classification", three_classes,
        ("balanced_accuracy", "macro_f1", "mcc", "kappa", "auroc", "average_precision", "nll"),
    ),
    "labels": (
        "multilabel", labels,
        ("accuracy", "exact_match", "macro_f1", "micro_f1", "auroc", "average_precision", "nll", "brier"),
    ),
    "groups": (
        "classification", grouped,
        ("accuracy", "balanced_accuracy", "macro_f1", "mcc", "kappa", "auroc", "average_precision", "nll", "brier"),
    ),
    "numbers": ("regression", numbers, ("rmse", "mse", "mae", "r2", "pearson", "spearman")),
    "masks": (
        "segmentation", masks,
        ("dice", "iou", "pixel_accuracy", "foreground_dice", "foreground_iou", "image_dice"),
    ),
}  # fmt: skip


def designs(part: str) -> Iterator[tuple[int, int]]:
    """Yield (rows, positives) of a part; for groups, positives counts groups; for numbers it is 0."""
    for n, counts in DESIGNS.items():
        if part == "numbers":
            yield n, 0
        elif part == "groups":
            yield from ((5 * n, positives) for positives in counts)
        else:
            yield from ((n, positives) for positives in counts)


def coverage(part: str, n: int, positives: int, draws: int, seed: int = 0) -> dict[str, tuple[float, float, float]]:
    """Return for each metric the mean coverage of all models, the median width, and the share of draws with an interval.

    Args:
        part: One of `PARTS`.
        n: Rows.
        positives: Rows (or groups) of the rare class.
        draws: Simulated samples of each model.
        seed: Seed of the draws.
    """
    kind, of, names = PARTS[part]
    rng = np.random.default_rng([seed, n, positives])
    covered: dict[str, list[float]] = defaultdict(list)
    widths: dict[str, list[float]] = defaultdict(list)
    shown: dict[str, list[float]] = defaultdict(list)
    for model in MODELS:
        draw = of(n, positives, *model)
        logits, targets, _ = draw(rng, _MANY // n)
        truth = compute(names, logits, targets, kind)
        hits: dict[str, list[bool]] = defaultdict(list)
        for number in range(draws):
            logits, targets, groups = draw(rng, 1)
            intervals = metric_intervals(names, logits, targets, kind=kind, groups=groups, resamples=300, seed=number)
            for name, interval in intervals.items():
                is_finite = interval.low == interval.low
                shown[name].append(is_finite)
                if is_finite:
                    hits[name].append(interval.low - 1e-9 <= truth[name] <= interval.high + 1e-9)
                    widths[name].append(interval.high - interval.low)
        for name, of_draws in hits.items():
            covered[name].append(float(np.mean(of_draws)))
    return {
        name: (
            float(np.mean(covered[name] or [np.nan])),
            float(np.median(widths[name] or [np.nan])),
            float(np.mean(shown[name])),
        )
        for name in names
    }


def main() -> None:
    """Print a table for each part."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--draws", type=int, default=400)
    parser.add_argument("--only", default=",".join(PARTS))
    arguments = parser.parse_args()
    for part in arguments.only.split(","):
        _, _, names = PARTS[part]
        print(f"\n{part}\n| n | positives | {' | '.join(names)} |\n|{'---|' * (2 + len(names))}", flush=True)
        for n, positives in designs(part):
            results = coverage(part, n, positives, arguments.draws)
            cells = ["-" if np.isnan(low) else f"{low:.3f} ({wide:.2f})" for low, wide, _ in results.values()]
            print(f"| {n} | {positives} | {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()
