"""Evaluation of an ensemble: scores with intervals, comparisons, thresholds and prediction sets."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from mlpipe.errors import counted
from mlpipe.post import comparison, conformal, figures
from mlpipe.post import decisions as deciding
from mlpipe.post import kind as post_kind
from mlpipe.post.calibration.calibrate import calibrate
from mlpipe.post.decision_options import DecisionOptions
from mlpipe.post.ensembling.member_mixture import Final, at_own_prevalence, own_shares
from mlpipe.post.ensembling.member_rows import Array, Rows
from mlpipe.post.ensembling.members import Member
from mlpipe.post.figures import number, percent
from mlpipe.post.intervals import by_metric
from mlpipe.post.quantify import ONE_GROUP, quantify
from mlpipe.post.rows import row_groups

_DRAWS = 200
# With more classes an estimate takes seconds per draw, and a few rows of a class say little about its error rates.
_MOST_ESTIMATED = 300


def scores(
    final: Final, estimate: Rows | None, kind: str, groups: Mapping[str, str] | None, seed: int
) -> dict[str, dict[str, Any]]:
    """Return each metric with its interval, on the rows that chose (optimistic) and on test rows.

    Args:
        final: The ensemble's rows.
        estimate: Rows that were not used to choose it; None without any.
        kind: The kind of the task.
        groups: The group of each sample; None: every row by itself.
        seed: Seed of the bootstrap.
    """
    part, by_split = post_kind.of(kind), {}
    for name, rows in (("chosen on", at_own_prevalence(final.chooses, final.prior)), ("test", estimate)):
        if rows is None or not len(rows):
            continue
        units = row_groups(rows.ids, groups)
        names = [*part.FINAL, *(part.FURTHER if name == "test" else ())]
        values = by_metric.metric_intervals(names, rows.calibrated, rows.targets, kind=kind, groups=units, seed=seed)
        by_split[name] = {key: value.as_plain() for key, value in values.items()}
    return by_split


def comparisons(
    final: Final,
    estimate: Rows | None,
    best: Member,
    members: int,
    kind: str,
    groups: Mapping[str, str] | None,
    seed: int,
) -> list[str]:
    """Compare the ensemble in sentences with its best single member, on the rows of the estimate.

    Args:
        final: The ensemble's rows.
        estimate: Rows that were not used to choose it; None: those that chose.
        best: The best single member, in its best form.
        members: The number of members.
        kind: The kind of the task.
        groups: The group of each sample; None: every row by itself.
        seed: Seed of the bootstrap.
    """
    rows, other = estimate, best.test
    if rows is None:
        rows, other = at_own_prevalence(final.chooses, final.prior), at_own_prevalence(best.chooses, best.prior)
    if other is None or members < 2 or set(rows.ids) - set(other.ids):
        return []
    form = " (as it is)" if best.form == "raw" else " (calibrated)"
    form = "" if post_kind.of(kind).PROBABILITIES is None else form
    begun = f"The ensemble and its best member {best.called}{form} on {counted(len(rows), 'row')}:"
    names = "the ensemble", "its best member"
    tests = comparison.paired(rows, other.only(rows.ids), kind, groups, seed, names)
    return [begun, *(test.sentence for test in tests)]


def decisions(
    final: Final,
    estimate: Rows | None,
    kind: str,
    options: DecisionOptions,
    classes: Sequence[str],
    seed: int,
    groups: Mapping[str, str] | None = None,
) -> dict[str, Any]:
    """Return calibration errors, prediction sets or intervals, thresholds, and performance at another prevalence, as plain data.

    Args:
        final: The ensemble's rows; those that chose set cut-offs and thresholds.
        estimate: Rows on which coverage is measured; None without any.
        kind: The kind of the task.
        options: The decision options.
        classes: The names of the outputs.
        seed: Seed of draws.
        groups: The group of each sample; None: every row by itself.
    """
    part = post_kind.ensembling(kind)
    return part.decisions(final.chooses, final.prior, estimate, options, classes, seed, groups)


def prevalence(
    final: Final,
    models: Sequence[tuple[Rows, Rows]],
    classes: Sequence[str],
    seed: int,
    groups: Mapping[str, str] | None = None,
) -> dict[str, Any]:
    """Return the share of each class among the rows that chose, the test rows, and (estimated) the unlabelled ones.

    Each model's error rates on its own validation rows correct its own predictions of the unlabelled rows (PACC);
    maximum likelihood of its calibrated probabilities is a second estimate; both are averaged over models. A mixture of
    folds has no validation rows that none of them saw, so its own error rates would be biased.

    Args:
        final: The ensemble's rows.
        models: For each record its validation rows and its unlabelled rows.
        classes: The names of the classes.
        seed: Seed of the bootstrap.
        groups: The group of each sample; None: every row by itself.
    """
    by_split: dict[str, Any] = {"chosen on": own_shares(final.chooses.targets, len(classes)).tolist()}
    if final.test is not None and (final.test.targets >= 0).any():
        by_split["test"] = own_shares(final.test.targets, len(classes)).tolist()
    if models:
        by_split["unlabelled"] = _unlabelled_prevalence(models, seed, groups)
    return by_split


def _unlabelled_prevalence(
    models: Sequence[tuple[Rows, Rows]], seed: int, groups: Mapping[str, str] | None
) -> dict[str, Any]:
    estimate = estimated_prevalence(models, seed, groups)
    if estimate.shares is None:
        return {"note": estimate.note}
    likely = []
    for place in estimate.telling:
        val, unlabelled = models[place]
        learned = calibrate(val.raw, val.targets)
        likely.append(quantify(learned.apply(val.raw), val.targets, learned.apply(unlabelled.raw), method="em"))
    second, gap = (
        np.mean([result.values for result in likely], axis=0).tolist(),
        max(result.gap or 0.0 for result in likely),
    )
    values, low, high = (shares.tolist() for shares in estimate.shares)
    note = {"note": estimate.note} if estimate.note else {}
    return {"values": values, "low": low, "high": high, "by_likelihood": second, "gap": gap, **note}


@dataclass(frozen=True)
class Estimate:
    """The prevalence of unlabelled rows, by the models that distinguish the classes.

    Attributes:
        telling: The places of these models.
        note: A note for the reader; may be empty.
        shares: Shares of the classes, and the ends of their 95 % intervals, shape (classes,) each; None without such a model.
    """

    telling: tuple[int, ...]
    note: str
    shares: tuple[Array, Array, Array] | None


def estimated_prevalence(
    models: Sequence[tuple[Rows, Rows]], seed: int, groups: Mapping[str, str] | None = None
) -> Estimate:
    """Return the mean over models of PACC and of its bootstrap intervals, without models that hardly distinguish the classes.

    Args:
        models: For each record its validation rows and its unlabelled rows, one pair at least.
        seed: Seed of the bootstrap.
        groups: The group of each sample, whose rows are drawn together; None: every row by itself.
    """
    if (classes := models[0][0].raw.shape[1]) > _MOST_ESTIMATED:
        return Estimate((), f"there are {classes:,} classes, and it is estimated of {_MOST_ESTIMATED} at most", None)
    arguments: dict[str, Any] = {"method": "pacc", "draws": _DRAWS, "seed": seed}
    units = [None if groups is None else tuple(row_groups(part.ids, groups) for part in pair) for pair in models]
    estimates = [
        quantify(val.raw, val.targets, rows.raw, groups=own, **arguments)  # type: ignore[arg-type]
        for (val, rows), own in zip(models, units, strict=True)
    ]
    telling = tuple(place for place, estimate in enumerate(estimates) if estimate.means_something)
    blind = len(estimates) - len(telling)
    if not telling:
        model = "the model hardly tells" if blind == 1 else f"the {blind} models hardly tell"
        return Estimate((), f"{model} the classes apart, so that counting predictions means nothing", None)
    values, low, high = (
        np.mean([getattr(estimates[place], name) for place in telling], axis=0) for name in ("values", "low", "high")
    )
    without = f"without {blind} of {counted(len(estimates), 'model')}, which hardly tell the classes apart"
    alone = any(ONE_GROUP in estimates[place].notes for place in telling)
    note = "; ".join([without] * bool(blind) + [ONE_GROUP] * alone)
    return Estimate(telling, note, (values, low, high))


def sentences(decided: Mapping[str, Any], rows: int | None = None, classes: Sequence[str] = ()) -> list[str]:
    """Describe the results of `decisions` in words.

    Args:
        decided: What `decisions` returned.
        rows: The number of rows they were measured on; None: unknown.
        classes: The names of the outputs; none: shares are shown without names.
    """
    clauses = []
    if error := decided.get("calibration_error"):
        changed = abs(error["after"] - error["before"]) > 1e-9
        text = f", after calibration {number(error['after'], rows)}" if changed else "; nothing is calibrated"
        measure = "expected calibration error (how far probabilities are from how often they come true)"
        clauses.append(f"{measure} {number(error['before'], rows)}{text}")
    if sets := decided.get("sets"):
        by_class = ", for each class by itself" if conformal.ConformalSets.from_plain(sets).by_class else ""
        text = "prediction sets, the classes that an image may be of "
        text += f"(method {sets['score']}, alpha {sets['alpha']:g}{by_class}, cut-offs from the rows that chose): "
        text += deciding.in_words(sets)
        if "observed_coverage" in sets:
            text += f"; it was for {percent(sets['observed_coverage'], rows)} of the rows"
            text += f", with {sets['mean_size']:.2g} classes in a set on average"
            shares = [share for share in sets.get("observed_by_class", []) if share is not None]
            text += f"; of the worst class for {percent(min(shares), rows)}" if len(shares) > 1 else ""
        clauses.append(text)
    if halves := decided.get("halfwidths"):
        text = ", ".join(
            # Infinite in memory, null once it was stored.
            f"{name} none (too few rows)" if value is None or np.isinf(value) else f"{name} ± {value:.4g}"
            for name, value in halves.items()
        )
        clauses.append(f"prediction intervals ({100 * (1 - decided['interval_alpha']):g} %): {text}")
    if costs := decided.get("costs"):
        text = f"{number(costs['each'], rows)} for each image, "
        text += f"by the most probable class {number(costs['most_probable'], rows)}"
        normal = "" if costs["normalised"] is None else f", {costs['normalised']:.3f} of the best constant decision's"
        clauses.append(f"cost of the decisions that cost least: {text}{normal}")
    if cuts := decided.get("thresholds"):
        clauses.append(deciding.threshold_text(cuts, rows))
    if deployment := decided.get("at_deploy_prior"):
        measure = f"accuracy {number(deployment['accuracy'], rows)}, nll {number(deployment['nll'], rows)}"
        elsewhere = figures.prevalence(classes, deployment["prior"])
        clauses.append(f"at the prevalence {elsewhere}, with probabilities moved to it: expect {measure}")
    if among := decided.get("prevalence", {}).get("unlabelled"):
        if "values" not in among:
            return [*clauses, f"the prevalence among the unlabelled images is not estimated: {among['note']}"]
        ends = zip(among["values"], among["low"], among["high"], strict=True)
        text = ", ".join(f"{value:.3f} ({low:.3f} to {high:.3f})" for value, low, high in ends)
        note = f"; {among['note']}" if "note" in among else ""
        clauses.append(f"estimated prevalence among the unlabelled images (95 % intervals): {text}{note}")
    return clauses
