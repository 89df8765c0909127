"""Compare the final model of `mml post` on simulated projects with the best member, the raw mixture, and plain calibration.

Each project has networks of one kind: true probabilities, trained to zero loss (very overconfident, epoch chosen on the
validation rows), underconfident, with wrong biases, or ordinary ones with the epoch chosen on the validation rows; 2 to 20
classes, some of them rare; 40 to 4,000 validation rows in one to five folds; one to four recipes. Losses are in nats, on the
rows used for the choice (cross-fitted where something was fitted) and on 4,000 fresh rows.

    python scripts/simulate_post.py [--projects 200] [--first 0] [--rows N] [--json]
"""

from __future__ import annotations

import argparse
import json
import os
from collections import defaultdict
from typing import Any

# Small products on many threads wait for each other more than they compute.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import numpy as np

from mlpipe.errors import DataError
from mlpipe.post.ensembling import choice, member_mixture
from mlpipe.post.ensembling.member_mixture import Fitting
from mlpipe.post.ensembling.members import Member, Rows, joined, learned, mean
from mlpipe.post.ensembling.mixing import combine
from mlpipe.post.measures.class_metrics import log_softmax, nll

KINDS = ("true", "zero loss", "unsure", "biased", "epoch chosen")
_FRESH = 4000
_SEARCH = {
    "way": "search",
    "budget": 300,
    "weights_budget": 10,
    "max_ensemble_size": 5,
    "temperature": 0.3,
    "weights_temperature": 0.5,
}


def classes_of(rng: np.random.Generator, n: int, classes: int, strength: float) -> tuple[np.ndarray, np.ndarray]:
    """Return true log-probabilities of rows, with unequal class shares, and labels drawn from them."""
    shares = rng.dirichlet(np.full(classes, rng.choice([0.7, 5.0]))) + 0.002
    true = log_softmax(np.log(shares / shares.sum()) + strength * rng.normal(size=(n, classes)))
    drawn = (np.exp(true).cumsum(axis=1) < rng.random((n, 1))).sum(axis=1)
    return true, drawn.clip(0, classes - 1)


def network(rng: np.random.Generator, kind: str, true: np.ndarray, targets: np.ndarray, val: np.ndarray) -> np.ndarray:
    """Return logits of all rows by one network; `val` are the rows on which its epoch is chosen, if one is."""
    scale, bias, noise = {
        "true": (1.0, 0.0, 0.0),
        "zero loss": (rng.uniform(2, 6), 0.5, 0.3),
        "unsure": (rng.uniform(0.4, 0.8), 0.2, 0.1),
        "biased": (rng.uniform(0.8, 1.3), 1.0, 0.2),
        "epoch chosen": (rng.uniform(0.8, 2), 0.0, 0.3),
    }[kind]
    n, classes = true.shape
    final = scale * (true + noise * rng.normal(size=(n, classes))) + bias * rng.normal(size=classes)
    if kind not in ("zero loss", "epoch chosen"):
        return np.asarray(final)
    best, least = final, np.inf
    for _ in range(20):
        wander = 0.6 * scale * rng.normal(size=(n, classes)) + 0.7 * rng.normal(size=classes)
        epoch = np.exp(0.3 * rng.normal()) * (final + wander)
        if (loss := nll(epoch[val], targets[val])) < least:
            best, least = epoch, loss
    return np.asarray(best)


def recipe(
    rng: np.random.Generator, kind: str, true: np.ndarray, targets: np.ndarray, folds: list[np.ndarray], how: Fitting
) -> tuple[Member, list[tuple[np.ndarray, np.ndarray, np.ndarray]]]:
    """Return a recipe as `mml post` reads it, and for each fold its validation logits and targets and its fresh logits."""
    fresh, held_out, tested, parts = np.arange(len(true) - _FRESH, len(true)), [], [], []
    for rows in folds:
        logits = network(rng, kind, true, targets, rows)
        val, truth, other = logits[rows], targets[rows], logits[fresh]
        crossed, there = log_softmax(val), log_softmax(other)
        try:
            plain = how.learn(val, truth, "classification")
            crossed, _ = member_mixture.cross_fitted(val, truth, "classification", how)
            there = learned(plain, "classification")(other)
        except DataError:
            pass
        held_out.append(Rows([str(row) for row in rows], truth, val, crossed))
        tested.append(Rows([str(row) for row in fresh], targets[fresh], other, there))
        parts.append((val, truth, other))
    return Member("", [], joined(held_out), mean(tested, "classification"), None), parts


def bare_of(parts: list[list[tuple[np.ndarray, np.ndarray, np.ndarray]]], weights: Any, members: Any) -> np.ndarray:
    """Return the chosen mixture on the fresh rows with a plain calibration of every record."""
    how, mixed = Fitting("affine", "none", 0), []
    for place in members:
        folds = []
        for val, truth, other in parts[place]:
            try:
                folds.append(learned(how.learn(val, truth, "classification"), "classification")(other))
            except DataError:
                folds.append(log_softmax(other))
        mixed.append(combine(folds, [1 / len(folds)] * len(folds), "classification", "probabilities"))
    return combine(mixed, weights, "classification", "logits")


def project(number: int, rows: int | None = None) -> dict[str, Any]:
    """Simulate a project; return its final model's losses and those of the alternatives."""
    rng = np.random.default_rng(number)
    kind = KINDS[number % len(KINDS)]
    n = rows or int(np.exp(rng.uniform(np.log(40), np.log(4000))))
    classes, many = int(rng.integers(2, 21)), int(rng.integers(1, 5))
    true, targets = classes_of(rng, n + _FRESH, classes, rng.uniform(1, 3))
    folds = np.array_split(rng.permutation(n), int(rng.choice([1, 3, 5])) if n >= 100 else 1)
    how = Fitting("affine", "cv", 0)
    recipes = [recipe(rng, kind, true, targets, list(folds), how) for _ in range(many)]
    members = [member for member, _ in recipes]
    search = choice.member_search("classification", members[0].chooses.targets, None, 0, _SEARCH)
    kept = choice.Chooser("classification", "auto", how, None, search).choose(members)
    raw = choice.Chooser("classification", "none", how, None, search).choose(members)
    truth = targets[-_FRESH:]
    assert kept.final.test is not None and raw.final.test is not None and kept.best.test is not None
    bare = bare_of([parts for _, parts in recipes], kept.chosen.weights, kept.chosen.members)
    alone = [nll(member.test.calibrated, truth) for member in kept.alone if member.test is not None]
    return {
        "project": number,
        "kind": kind,
        "rows": n,
        "classes": classes,
        "recipes": many,
        "folds": len(folds),
        "stage": kept.final.stage,
        "chose": {
            "kept": kept.chosen.loss,
            "best member": float(np.nanmin(kept.chosen.single_losses)),
            "raw": raw.chosen.loss,
        },
        "fresh": {
            "kept": nll(kept.final.test.calibrated, truth),
            "best member": nll(kept.best.test.calibrated, truth),
            "luckiest member": min(alone),
            "raw": nll(raw.final.test.calibrated, truth),
            "bare": nll(bare, truth),
        },
    }


def summary(results: list[dict[str, Any]]) -> list[str]:
    """Return a table of means over projects, by kind and by number of rows."""
    groups: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for result in results:
        rows = result["rows"]
        by_size = "40 to 150 rows" if rows < 150 else "150 to 800" if rows < 800 else "800 and more"
        for name in ("all", result["kind"], by_size):
            groups[name].append(result)
    lines = [f"{'projects':16s} {'':>4s} {'kept':>8s} {'- best member':>14s} {'- raw':>8s} {'- bare':>8s}  stages"]
    for name, group in groups.items():
        fresh = {key: np.mean([result["fresh"][key] for result in group]) for key in group[0]["fresh"]}
        stages = {stage: sum(result["stage"] == stage for result in group) for stage in choice.STAGES}
        off = [fresh["kept"] - fresh[key] for key in ("best member", "raw", "bare")]
        lines.append(
            f"{name:16s} {len(group):4d} {fresh['kept']:8.4f} {off[0]:14.4f} {off[1]:8.4f} {off[2]:8.4f}  {stages}"
        )
    return lines


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--projects", type=int, default=200)
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--rows", type=int, help="validation rows of every project; random by default")
    parser.add_argument("--json", action="store_true", help="print each project as a line of JSON instead of the table")
    arguments = parser.parse_args()
    results = []
    for number in range(arguments.first, arguments.first + arguments.projects):
        results.append(project(number, arguments.rows))
        if arguments.json:
            print(json.dumps(results[-1]), flush=True)
    if not arguments.json:
        print("\n".join(summary(results)))


if __name__ == "__main__":
    main()
