"""What `mml post` hands over, on simulated projects: against the best single member, what is raw, and the bare fit.

Each project has networks of one kind: true probabilities, trained to zero loss (far too sure, and its epoch chosen on the
validation rows), too unsure, with wrong biases, or ordinary ones whose epoch was chosen on the validation rows; 2 to 20
classes, some of them rare; 40 to 4,000 validation rows in one to five folds; one to four recipes. Losses are of the rows
that chose (cross-fitted where something was fitted) and of 4,000 fresh rows, in nats.

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
    """True log-probabilities of rows whose classes have unequal shares, and labels drawn from them."""
    shares = rng.dirichlet(np.full(classes, rng.choice([0.7, 5.0]))) + 0.002
    true = log_softmax(np.log(shares / shares.sum()) + strength * rng.normal(size=(n, classes)))
    drawn = (np.exp(true).cumsum(axis=1) < rng.random((n, 1))).sum(axis=1)
    return true, drawn.clip(0, classes - 1)


def network(rng: np.random.Generator, kind: str, true: np.ndarray, targets: np.ndarray, val: np.ndarray) -> np.ndarray:
    """Logits of all rows by one network; `val` are the rows that choose its epoch where one is chosen."""
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
    """A recipe as `mml post` sees it, and each fold's logits and targets of validation with its logits of fresh rows."""
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
    """The kept mixture of fresh rows as it would be with the bare fit of every record."""
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
    """One project: what is kept and its losses beside those of what else there was."""
    rng = np.random.default_rng(number)
    kind = KINDS[number % len(KINDS)]
    n = rows or int(np.exp(rng.uniform(np.log(40), np.log(4000))))
    classes, many = int(rng.integers(2, 21)), int(rng.integers(1, 5))
    true, targets = classes_of(rng, n + _FRESH, classes, rng.uniform(1, 3))
    folds = np.array_split(rng.permutation(n), int(rng.choice([1, 3, 5])) if n >= 100 else 1)
    how = Fitting("affine", "cv", 0)
    found = [recipe(rng, kind, true, targets, list(folds), how) for _ in range(many)]
    members = [one for one, _ in found]
    search = choice.member_search("classification", members[0].chooses.targets, None, 0, _SEARCH)
    kept = choice.Chooser("classification", "auto", how, None, search).choose(members)
    raw = choice.Chooser("classification", "none", how, None, search).choose(members)
    truth = targets[-_FRESH:]
    assert kept.final.test is not None and raw.final.test is not None and kept.best.test is not None
    bare = bare_of([parts for _, parts in found], kept.chosen.weights, kept.chosen.members)
    alone = [nll(one.test.calibrated, truth) for one in kept.alone if one.test is not None]
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


def summary(found: list[dict[str, Any]]) -> list[str]:
    """Means over projects, by kind and by how many rows there are."""
    groups: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for one in found:
        groups["all"].append(one)
        groups[one["kind"]].append(one)
        groups["40 to 150 rows" if one["rows"] < 150 else "150 to 800" if one["rows"] < 800 else "800 and more"].append(
            one
        )
    lines = [f"{'projects':16s} {'':>4s} {'kept':>8s} {'- best member':>14s} {'- raw':>8s} {'- bare':>8s}  stages"]
    for name, several in groups.items():
        fresh = {key: np.mean([one["fresh"][key] for one in several]) for key in several[0]["fresh"]}
        stages = {stage: sum(one["stage"] == stage for one in several) for stage in choice.STAGES}
        off = [fresh["kept"] - fresh[key] for key in ("best member", "raw", "bare")]
        lines.append(
            f"{name:16s} {len(several):4d} {fresh['kept']:8.4f} {off[0]:14.4f} {off[1]:8.4f} {off[2]:8.4f}  {stages}"
        )
    return lines


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--projects", type=int, default=200)
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--rows", type=int, help="validation rows of every project; drawn without it")
    parser.add_argument("--json", action="store_true", help="print each project as a line of JSON instead of the table")
    given = parser.parse_args()
    found = []
    for number in range(given.first, given.first + given.projects):
        found.append(project(number, given.rows))
        if given.json:
            print(json.dumps(found[-1]), flush=True)
    if not given.json:
        print("\n".join(summary(found)))


if __name__ == "__main__":
    main()
