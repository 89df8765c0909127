"""Time the computations of `mml post`: calibration, ensemble search and metrics of 20 records of 10,000 samples and 10 classes.

Calibration of one record is compared with psrcal, the search with a plain loop over lists of combinations. The two sides
of a comparison take turns in the same run.

    python scripts/bench_post.py [--records 20] [--samples 10000] [--classes 10] [--rounds 3] [--json]
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import statistics
import time
from collections.abc import Callable
from functools import partial

# Small products on many threads wait for each other more than they compute.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import numpy as np
from scipy.special import log_softmax

from mlpipe.post import kind as post_kind
from mlpipe.post.calibration.calibrate import calibrate
from mlpipe.post.ensembling.ensemble import select
from mlpipe.post.intervals.by_metric import metric_intervals
from mlpipe.post.measures.class_metrics import METRICS


def records(count: int, n: int, classes: int) -> tuple[list[np.ndarray], np.ndarray]:
    """Return overconfident logits of models of different strength, each of shape (n, classes), and the targets, shape (n,)."""
    rng = np.random.default_rng(0)
    targets = rng.integers(0, classes, n)
    drawn = []
    for strength in np.linspace(1.0, 2.5, count):
        logits = rng.normal(size=(n, classes))
        logits[np.arange(n), targets] += strength
        drawn.append(3 * logits + rng.normal(size=classes))
    return drawn, targets


def seconds(work: Callable[[], object]) -> float:
    """Return the wall time of one call."""
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def with_psrcal(logits: np.ndarray, targets: np.ndarray) -> None:
    """Fit and apply the same calibration with psrcal."""
    import torch
    from psrcal.calibration import AffineCalLogLoss

    fit = AffineCalLogLoss(torch.tensor(logits), torch.tensor(targets))
    fit.train()
    fit.calibrate(torch.tensor(logits))


def plain_search(predictions: list[np.ndarray], targets: np.ndarray, budget: int, weights_budget: int) -> float:
    """Search as the reference implementation does, on half of the rows: lists of combinations, one loss at a time."""
    rng = np.random.default_rng(0)
    rows = rng.choice(len(targets), len(targets) // 2, replace=False)
    parts, goal = [logits[rows] for logits in predictions], targets[rows]

    def loss(logits: np.ndarray) -> float:
        return float(-log_softmax(logits, axis=1)[np.arange(len(goal)), goal].mean())

    single = [loss(part) for part in parts]
    order = [int(place) for place in np.argsort(single, kind="stable")]
    left = {size: list(itertools.combinations(order, size)) for size in range(2, 6)}
    best = float("inf")
    while budget > 0 and any(left.values()):
        size = rng.choice([size for size, combinations in left.items() if combinations])
        place = 0 if rng.random() > 0.3 else rng.integers(len(left[size]))
        members = left[size].pop(place)
        for weights in rng.dirichlet(0.5 / np.array([single[member] for member in members]), size=weights_budget):
            best = min(best, loss(sum(w * parts[member] for w, member in zip(weights, members, strict=True))))
            budget -= 1
    return best


def measure(calibrated: list[np.ndarray], targets: np.ndarray, names: list[str]) -> None:
    """Compute the metrics of every record with their intervals."""
    for logits in calibrated:
        metric_intervals(names, logits, targets, kind="classification")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--records", type=int, default=20)
    parser.add_argument("--samples", type=int, default=10_000)
    parser.add_argument("--classes", type=int, default=10)
    parser.add_argument("--budget", type=int, default=1000)
    parser.add_argument("--weights-budget", type=int, default=10)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", action="store_true", help="print one JSON document instead of the table")
    arguments = parser.parse_args()
    logits, targets = records(arguments.records, arguments.samples, arguments.classes)
    budgets = {"budget": arguments.budget, "weights_budget": arguments.weights_budget}
    with_psrcal(logits[0][:100], targets[:100])  # Imports psrcal before the timing.

    calibrated: list[np.ndarray] = []
    took = {
        "calibrate": seconds(lambda: calibrated.extend(calibrate(record, targets).apply(record) for record in logits))
    }
    took["search"] = seconds(lambda: select(calibrated, targets, eval_frac=0.5, **budgets))
    for title, names in {"final metrics": post_kind.of("classification").FINAL, "all metrics": list(METRICS)}.items():
        work = partial(measure, calibrated, targets, names)
        took[f"{title} with intervals"] = seconds(work)

    pairs: dict[str, tuple[list[float], list[float]]] = {"psrcal": ([], []), "plain loop": ([], [])}
    for _ in range(arguments.rounds):
        pairs["psrcal"][0].append(seconds(lambda: calibrate(logits[0], targets).apply(logits[0])))
        pairs["psrcal"][1].append(seconds(lambda: with_psrcal(logits[0], targets)))
        pairs["plain loop"][0].append(seconds(lambda: select(calibrated, targets, eval_frac=0.5, **budgets)))
        pairs["plain loop"][1].append(seconds(lambda: plain_search(calibrated, targets, *budgets.values())))
    ratios = {name: statistics.median(other) / statistics.median(own) for name, (own, other) in pairs.items()}
    if arguments.json:
        print(json.dumps({**vars(arguments), "seconds": took, "pairs": pairs, "times_faster_than": ratios}))
        return
    print(f"{arguments.records} records, {arguments.samples} samples, {arguments.classes} classes")
    for name, value in took.items():
        print(f"  {name:32s} {value:8.2f} s")
    for name, ratio in ratios.items():
        own, other = (statistics.median(values) for values in pairs[name])
        print(f"  beside {name:12s} {own:8.3f} s against {other:8.3f} s: {ratio:.1f} times faster")


if __name__ == "__main__":
    main()
