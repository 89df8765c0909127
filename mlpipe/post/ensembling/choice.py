"""The choice of an ensemble: members, weights, form and place of calibration, all judged by the same held-out rows.

The alternative is to use the best single model as it is. So the chosen ensemble is never worse than that on the rows that
choose, and a calibration is used only if it is better by more than noise.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from mlpipe.errors import DataError
from mlpipe.post import kind as post_kind
from mlpipe.post import metrics
from mlpipe.post.ensembling import ensemble, member_mixture
from mlpipe.post.ensembling.ensemble import Ensemble
from mlpipe.post.ensembling.member_mixture import Final, Fitting
from mlpipe.post.ensembling.members import Member
from mlpipe.post.ensembling.simplest import simplest
from mlpipe.post.figures import number
from mlpipe.post.rows import row_groups

# From "nothing is learned" to "everything is".
STAGES = ("none", "before", "after", "both")
_ROUNDING = 1e-12
# The largest number of member sets that are searched if not all members may be together.
_SETS = 24
_LOOKS = 20_000


@dataclass(frozen=True)
class Choice:
    """The chosen ensemble.

    Attributes:
        chosen: Members and weights; `single_losses` are those of members in their best form.
        candidates: All members in the form in which they are mixed.
        alone: All members in their best form.
        final: The mixture's rows.
    """

    chosen: Ensemble
    candidates: Sequence[Member]
    alone: Sequence[Member]
    final: Final

    @property
    def best(self) -> Member:
        """The best single member, in its best form."""
        return self.alone[int(np.nanargmin(self.chosen.single_losses))]


@dataclass(frozen=True)
class _Option:
    """A stage with its own members and weights."""

    chosen: Ensemble
    candidates: Sequence[Member]
    final: Final


@dataclass(frozen=True)
class Chooser:
    """The choice between ways to calibrate and mix.

    Attributes:
        kind: The kind of the task.
        stage: `none`, `before`, `after`, `both`, or `auto`.
        how: How calibrations are fitted.
        groups: The group of each sample; None: every row by itself.
        search: The search for members and weights.
        rows: The names of the rows that choose; None: all of them.
    """

    kind: str
    stage: str
    how: Fitting
    groups: Mapping[str, str] | None
    search: Callable[[Sequence[Member]], Ensemble]
    rows: Sequence[str] | None = None

    def choose(self, candidates: Sequence[Member]) -> Choice:
        """Choose the members, weights and stage.

        Args:
            candidates: All members, calibrated.
        """
        if post_kind.of(self.kind).PROBABILITIES is None:
            chosen, own = self.search(candidates), self._members_on_rows(candidates)
            return Choice(chosen, own, own, member_mixture.mixed(chosen, own, self.kind, "before"))
        raw = [member.uncalibrated() for member in candidates]
        if self.how.method == "none":
            return self._choice(self._option("none", raw), self._members_on_rows(raw), {}, [])
        if self.stage != "auto":
            return self._choice_of_stage(candidates, raw)
        # Judge each member by itself first: one that calibration does not help enters raw, so that the noise of one fit
        # does not spoil the mixture.
        alone = [best_form(member, self.kind, self.groups, self.rows) for member in candidates]
        options, notes = self._options(raw, alone if any(member.form != "raw" for member in alone) else candidates)
        losses_by_name = {
            name: member_mixture.losses_of(option.final.chooses, option.final.prior, self.kind)
            for name, option in options.items()
        }
        losses = {name: float(values.mean()) for name, (values, _) in losses_by_name.items()}
        singles = self._losses(self._members_on_rows(alone))
        # Members and weights were chosen on these rows, so only stages that are not worse than each single member are kept.
        most = min(float(np.nanmin(singles)), losses["none"])
        # If no single member is allowed as the answer, one may be better than every stage: the best stage is then kept.
        most = max(most, min(losses.values())) + _ROUNDING
        able = {name: values for name, (values, _) in losses_by_name.items() if losses[name] <= most}
        # In the order of `options`: `simplest` expects the methods that learn least first.
        units = row_groups(losses_by_name["none"][1], self.groups)
        stage = simplest(able, groups=units)
        return self._choice(
            options[stage],
            self._members_on_rows(alone),
            losses,
            [*notes, *self._loss_sentences(stage, losses, alone)],
            singles,
        )

    def _choice_of_stage(self, candidates: Sequence[Member], raw: Sequence[Member]) -> Choice:
        members = candidates if self.stage in ("before", "both") else raw
        option = self._option("before" if members is candidates else "none", members)
        if self.stage in ("after", "both"):
            final = member_mixture.recalibrated(option.final, self.stage, self.kind, self.how, self.groups)
            option = replace(option, final=final)
        loss = float(member_mixture.losses_of(option.final.chooses, option.final.prior, self.kind)[0].mean())
        return self._choice(option, self._members_on_rows(members), {self.stage: loss}, [])

    def _options(self, raw: Sequence[Member], formed: Sequence[Member]) -> tuple[dict[str, _Option], list[str]]:
        """Return every stage with the members and weights chosen at it."""
        options, notes = {"none": self._option("none", raw), "before": self._option("before", formed)}, []
        for name, source in (("after", "none"), ("both", "before")):
            option = options[source]
            try:
                options[name] = replace(
                    option, final=member_mixture.recalibrated(option.final, name, self.kind, self.how, self.groups)
                )
            except DataError as error:
                notes.append(f"the mixture is not calibrated itself: {error.problems[0]}")
        return options, list(dict.fromkeys(notes))

    def _option(self, stage: str, members: Sequence[Member]) -> _Option:
        chosen, own = self.search(members), self._members_on_rows(members)
        return _Option(chosen, own, member_mixture.mixed(chosen, own, self.kind, stage))

    def _members_on_rows(self, members: Sequence[Member]) -> list[Member]:
        """Return members with only the rows that choose."""
        if self.rows is None:
            return list(members)
        return [replace(member, chooses=member.chooses.only(self.rows)) for member in members]

    def _losses(self, members: Sequence[Member]) -> list[float]:
        losses = []
        for member in members:
            usable = np.isfinite(member.chooses.calibrated).all()
            row_losses = (
                member_mixture.losses_of(member.chooses, member.prior, self.kind)[0] if usable else np.array([np.nan])
            )
            losses.append(float(row_losses.mean()))
        return losses

    def _choice(
        self,
        option: _Option,
        alone: Sequence[Member],
        losses: dict[str, float],
        notes: Sequence[str],
        singles: Sequence[float] | None = None,
    ) -> Choice:
        final = replace(option.final, losses=losses, notes=(*option.final.notes, *notes))
        own = self._losses(alone) if singles is None else singles
        chosen = replace(option.chosen, single_losses=tuple(own))
        if final.stage in losses:
            chosen = replace(chosen, loss=losses[final.stage])
        return Choice(chosen, option.candidates, alone, final)

    def _loss_sentences(self, stage: str, losses: Mapping[str, float], alone: Sequence[Member]) -> list[str]:
        others = {name: value for name, value in losses.items() if name != "none"}
        best = min(others, key=others.__getitem__)
        row_count = len(alone[0].chooses)
        summary = f"cross-validated loss {number(losses['none'], row_count)} raw, {number(losses[best], row_count)} calibrated"
        summary += f" {_PLACES[best]}"
        moved = any(member.prior is not None for member in alone)
        if stage == "none":
            left = "only moved to the prevalence that was asked for" if moved else "left as they are"
            gains = "gains nothing" if losses[best] >= losses["none"] else "gains no more than chance explains"
            return [f"probabilities are {left}: calibrating them {gains} ({summary})"]
        raw = [member.called for member in alone if member.form == "raw"]
        if stage in ("before", "both") and 0 < len(raw) < len(alone):
            return [f"not calibrated, because it gains no more than chance explains: {', '.join(raw)}"]
        return []


_PLACES = {"before": "as members", "after": "as a mixture", "both": "as members and as a mixture"}


def best_form(
    member: Member, kind: str, groups: Mapping[str, str] | None = None, rows: Sequence[str] | None = None
) -> Member:
    """Return a member in raw form, unless its calibrated form is better by more than noise.

    Args:
        member: The member, calibrated.
        kind: `classification` or `multilabel`.
        groups: The group of each sample; None: every row by itself.
        rows: The names of the rows that choose; None: all of them.
    """
    plain, own = member.uncalibrated(), member.chooses if rows is None else member.chooses.only(rows)
    if not np.isfinite(own.calibrated).all():
        return plain
    forms = {"raw": own.uncalibrated(), "calibrated": own}
    losses_by_form = {
        name: member_mixture.losses_of(form_rows, member.prior, kind) for name, form_rows in forms.items()
    }
    units = row_groups(losses_by_form["raw"][1], groups)
    return (
        plain
        if simplest({name: losses for name, (losses, _) in losses_by_form.items()}, groups=units) == "raw"
        else member
    )


def is_better(choice: Choice, other: Choice, kind: str, groups: Mapping[str, str] | None = None) -> bool:
    """Return whether a choice is better by more than noise than one made by more rows, on the rows of the first.

    Args:
        choice: A choice by some rows.
        other: A choice by these and other rows.
        kind: The kind of the task.
        groups: The group of each sample; None: every row by itself.
    """
    rows = choice.final.chooses

    def losses(final: Final) -> tuple[Any, list[str]]:
        own = final.chooses.only(rows.ids)
        if post_kind.of(kind).PROBABILITIES is not None:
            return member_mixture.losses_of(own, final.prior, kind)
        mask = metrics.labelled(own.targets)
        errors = post_kind.of(kind).errors(own.calibrated[mask], own.targets[mask])
        return errors, [own.ids[place] for place in np.flatnonzero(mask).tolist()]

    (more, names), (fewer, _) = losses(other.final), losses(choice.final)
    units = row_groups(names, groups)
    is_noise = simplest({"more": more, "fewer": fewer}, groups=units) == "more"
    return not is_noise and float((more - fewer).mean()) > _ROUNDING


def member_search(
    kind: str, targets: Any, eval_frac: float | None, seed: int, options: Mapping[str, Any], groups: Any = None
) -> Callable[[Sequence[Member]], Ensemble]:
    """Return a search for members and weights, by rows at their own prevalence.

    Args:
        kind: The kind of the task.
        targets: Targets of the rows, as `mlpipe.data.task.Samples.targets`.
        eval_frac: The share of the rows that choose; None: all.
        seed: Seed of every draw.
        options: Search options, as `mlpipe.post.ensembling.ensemble.select` takes them.
        groups: The group of each row, shape (n,); None: every row by itself.
    """

    def search(members: Sequence[Member]) -> Ensemble:
        rows = [member_mixture.at_own_prevalence(member.chooses, member.prior).calibrated for member in members]
        return ensemble.select(rows, targets, kind=kind, eval_frac=eval_frac, seed=seed, groups=groups, **options)

    return search


def within(
    search: Callable[[Sequence[Member]], Ensemble], times: Mapping[str, float], most: float
) -> Callable[[Sequence[Member]], Ensemble]:
    """Return a search that considers only ensembles within a time limit.

    Each largest set of members that fits is searched separately, the best ones first if there are many.

    Args:
        search: A search among members.
        times: The time of each member, by its name, none more than `most`.
        most: The time limit for the members of an ensemble together.
    """

    def quick(members: Sequence[Member]) -> Ensemble:
        alone = [search([candidate]).loss for candidate in members]
        order = sorted(range(len(members)), key=lambda place: alone[place])
        sets = _largest_sets([times[members[place].name] for place in order], most)
        best: Ensemble | None = None
        for chosen in sets:
            places = sorted(order[number] for number in chosen)
            result = search([members[place] for place in places])
            if best is None or result.loss < best.loss:
                best = replace(result, members=tuple(places[member] for member in result.members))
        assert best is not None
        notes = tuple(note for note in best.notes if len(members) == 1 or "one model only" not in note)
        return replace(best, single_losses=tuple(alone), notes=notes)

    return quick


def _largest_sets(times: Sequence[float], most: float) -> list[tuple[int, ...]]:
    """Return maximal sets of places whose times fit, those with the first places first, at most `_SETS`."""
    sets: list[tuple[int, ...]] = []
    looked_at = 0

    def grow(start: int, chosen: tuple[int, ...], total: float) -> None:
        nonlocal looked_at
        looked_at += 1
        for place in range(start, len(times)):
            if len(sets) == _SETS or looked_at > _LOOKS:
                return
            if total + times[place] <= most:
                grow(place + 1, (*chosen, place), total + times[place])
            if total + sum(times[place:]) <= most:
                # A set without this place has room for it, whatever follows, so it would not be maximal.
                return
        others = (times[place] for place in range(len(times)) if place not in chosen)
        if chosen and len(sets) < _SETS and all(total + duration > most for duration in others):
            sets.append(chosen)

    grow(0, (), 0.0)
    return sets
