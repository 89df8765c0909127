"""`mml post`: calibrated probabilities and the best ensemble, from stored predictions; only a soup runs networks."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Annotated, Any, Literal

import numpy as np
from threadpoolctl import threadpool_limits

from mlpipe import files, kinds
from mlpipe.config.schema import RunConfig
from mlpipe.data.task import has_target
from mlpipe.errors import DataError, ProjectError, counted, did_you_mean, listing, problem
from mlpipe.post import comparison, prior
from mlpipe.post import kind as post_kind
from mlpipe.post.calibration import shrinkage as holding
from mlpipe.post.decision_options import DecisionOptions, positive_problems, prior_problems, scaling_notes
from mlpipe.post.ensembling import choice, evaluation, member_mixture, members
from mlpipe.post.ensembling.ensemble import split_rows
from mlpipe.post.ensembling.member_mixture import Final, Fitting
from mlpipe.post.ensembling.member_rows import Rows
from mlpipe.post.ensembling.members import Candidates, Member
from mlpipe.post.figures import number
from mlpipe.post.prior import Prior
from mlpipe.post.rows import in_order, row_groups
from mlpipe.reports import tables
from mlpipe.running import leaderboard, pixel_ensembles, reuse, soups, tasks
from mlpipe.running.folds import output_records
from mlpipe.running.scheduler import Scheduler
from mlpipe.running.steps import RunContext, Step, raise_all, require_writable
from mlpipe.runs import calibrations, costs, ensembles, predictions, records
from mlpipe.runs.ensembles import EnsembleRecord
from mlpipe.runs.journal import Run, now
from mlpipe.runs.records import ModelRecord
from mlpipe.runs.references import Located, adopt

log = logging.getLogger("mlpipe")


class PostprocessScheduler(Scheduler):
    """Calibrate every record of a task, ensemble them, and evaluate the result.

    Args:
        run_config: The checked configuration.
        context: The project, the display and the request to stop.
        subroutines: Any of calibrate, ensemble.
        prior: The prevalence that probabilities are adjusted to: val, test, quantify, or one number for each class, in order
            or by name.
        calibrator: The method, see `mlpipe.post.calibration.calibrate.calibrate`.
        rates_from: For prior=quantify, the rows on which error rates are measured.
        quantifier: For prior=quantify, the method, see `mlpipe.post.quantify.quantify`.
        select_on: `oof`: members are recipes, chosen on out-of-fold rows; `test`: members are records, chosen on test
            rows.
        search: How members and weights are found; `soup`: average the weights of models that share a start, which gives
            one model.
        eval_frac: With select_on=test, the share of the test rows used for the choice; the others give the estimate.
        budget: The number of ensembles that the search tries.
        weights_budget: The number of weightings tried for each ensemble; 0: equal weights.
        max_ensemble_size: The maximum number of members.
        temperature: Share of random ensembles in the search, 0 to 1.
        weights_temperature: Spread of the weights, 0 to 1.
        most_ms: The time limit for all models of an ensemble together, in milliseconds per image; None: no limit.
        stage: What is calibrated: the members (`before`), the mixture (`after`), `both`, or `none`; auto: chosen by
            cross-validated loss, the simplest one unless another is better by more than noise.
        shrinkage: How strongly a calibration is regularised towards the identity: cv (by cross-validation), none, or a
            precision.
        alpha: The miss rate of prediction sets.
        set_score: The score of prediction sets.
        set_coverage: Whether prediction sets cover the true class at that rate over all images, or over the images of
            each class.
        threshold: The criterion that chooses thresholds of classes or labels; null: no thresholds.
        at_least: The share that thresholds by sensitivity or specificity reach.
        costs: The cost of each decision (column) for each true class (row); null: none.
        deploy_prior: Another prevalence for which the expected performance is reported.
        report: Write the project's report at the end.
        positive: The class or label of interest; None: the second of two classes, or the only label.
        recipes: Only these, by their hash or network as in the leaderboard; None: all that have predictions.
    """

    def __init__(
        self,
        run_config: RunConfig,
        context: RunContext,
        *,
        subroutines: list[str],
        prior: Literal["val", "test", "quantify"] | list[float] | dict[str, float],
        calibrator: Literal[
            "none", "temperature", "bias", "affine", "vector", "matrix", "beta", "histogram", "isotonic", "auto"
        ],
        rates_from: Literal["val", "test"],
        quantifier: Literal["acc", "pacc", "bbse", "bbse_soft", "em", "cc"],
        select_on: Literal["oof", "test"],
        search: Literal["search", "greedy", "certified", "auto", "soup"],
        eval_frac: Annotated[float, "> 0", "< 1"],
        budget: Annotated[int, ">= 1"],
        weights_budget: Annotated[int, ">= 0"],
        max_ensemble_size: Annotated[int, ">= 1"],
        temperature: Annotated[float, ">= 0", "<= 1"],
        weights_temperature: Annotated[float, ">= 0", "<= 1"],
        stage: Literal["auto", "none", "before", "after", "both"],
        shrinkage: str | float,
        alpha: Annotated[float, "> 0", "< 1"],
        set_score: Literal["lac", "aps", "raps"],
        set_coverage: Literal["marginal", "class"],
        threshold: Literal["f1", "balanced_accuracy", "youden", "sensitivity", "specificity", "cost"] | None,
        costs: list[list[float]] | None,
        deploy_prior: list[float] | dict[str, float] | None,
        report: bool,
        at_least: Annotated[float, "> 0", "<= 1"] = 0.95,
        positive: str | int | None = None,
        recipes: list[str | int] | None = None,
        most_ms: Annotated[float, "> 0"] | None = None,
    ) -> None:
        super().__init__(run_config, context)
        self._most_ms = most_ms
        self._recipes = None if recipes is None else [str(recipe) for recipe in recipes]
        self._wants_report, self._positive = report, positive
        self._subroutines, self._requested_priors = subroutines, (prior, deploy_prior)
        self._fitting = Fitting(calibrator, shrinkage, run_config.seed)
        self._rates_from, self._quantifier = rates_from, quantifier
        self._select_on, self._eval_frac = select_on, eval_frac
        self._is_soup = search == "soup" and "ensemble" in subroutines
        self._search = {
            # A soup is a single model.
            "way": "search" if search == "soup" else search,
            "budget": budget,
            "weights_budget": weights_budget,
            "max_ensemble_size": max_ensemble_size,
            "temperature": temperature,
            "weights_temperature": weights_temperature,
        }
        self._stage = stage
        name = None if positive is None else str(positive)
        self._options = DecisionOptions(
            alpha, set_score, set_coverage, threshold, None, costs, at_least=at_least, positive=name
        )

    def plan(self) -> list[Step]:
        """Plan one step for each record's calibration, one for the ensemble, one for the report."""
        config = self.run_config
        # The matrices are narrow: several threads of the linear algebra would only wait for each other.
        threadpool_limits(limits=1)
        raise_all(require_writable(config.out_dir, "out_dir"))
        self._task = tasks.recorded_pivot(config, self.context.project)
        output_records.require_one_head(self._task)
        self._records = self._records_with_predictions()
        holding.fixed_strength(self._fitting.shrinkage)
        about = self._task.kind, self._task.classes
        prior, deploy_prior = self._requested_priors
        self._prior = in_order(prior, self._task.classes, key="mode.prior")
        deploy_prior = in_order(deploy_prior, self._task.classes, key="mode.deploy_prior")
        self._options = dataclasses.replace(self._options, deploy_prior=deploy_prior)
        criteria = post_kind.of(self._task.kind).CRITERIA
        raise_all(prior_problems(self._prior, self._stage, *about) + self._options.problems(*about, criteria))
        raise_all(self._foreign_rows() + self._time_problems() + positive_problems(self._positive, *about))
        self._notes = scaling_notes(self._prior, self._options.deploy_prior, *about)
        for note in self._notes:
            log.warning(note)
        steps = [Step(f"take {located.record.id}", partial(self._adopt, located)) for located in self._adopted_records]
        if self._is_soup:
            steps += self._soup_steps()
        if kinds.of(self._task.kind).is_dense:
            report = [Step("report", self._report)] if self._wants_report else []
            return [*steps, Step("mean of folds", self._mean_of_folds), *report]
        if "calibrate" in self._subroutines and not self._is_soup:
            steps += [Step(f"calibrate {record.id}", partial(self._calibrate, record)) for record in self._records]
        if "ensemble" in self._subroutines:
            steps.append(Step("ensemble", self._ensemble))
        if self._wants_report:
            steps.append(Step("report", self._report))
        return steps

    def _soup_steps(self) -> list[Step]:
        """Plan the averaging of weights and its calibration; later steps use only its records.

        Raises:
            ProjectError: When no two models share a start.
        """
        elsewhere = [located.record for located in self._adopted_records]
        if elsewhere:
            names = listing([record.id for record in elsewhere])
            log.warning(f"{names}: left out of the soup, weights of other projects are not averaged")
        own_records = [record for record in self._records if record not in elsewhere]
        test = self._choosing_test_rows if self._select_on == "test" else None
        self._sharing = soups.sharing(self.context.project, self._task.name, own_records, test)
        can_be = post_kind.of(self._task.kind).PROBABILITIES is not None
        calibrates = can_be and "calibrate" in self._subroutines
        return [Step("soup", self._soup), *([Step("calibrate the soup", self._calibrate_soup)] if calibrates else [])]

    def _soup(self, run: Run | None) -> None:
        assert run is not None
        soups.average(self.run_config, self.context, self._task, self._sharing, run)

    def _calibrate_soup(self, run: Run | None) -> None:
        for record in self._mixed_records(run):
            self._calibrate(record, run)

    def _mixed_records(self, run: Run | None) -> list[ModelRecord]:
        """Return the records to mix: all, or those of the soup."""
        if not self._is_soup:
            return self._records
        assert run is not None
        names = soups.outcome_of(run).records
        return [records.load(self.context.project.model_dir(self._task.name, name)) for name in names]

    def _choosing_test_rows(self, rows: predictions.Predictions) -> list[str]:
        """Return the test rows used for choosing with select_on=test, the same for a soup as for later steps."""
        units = row_groups(rows.sample_ids, self._task.samples.group_of() or None)
        return _halves(rows.sample_ids, rows.targets, self._eval_frac, self.run_config.seed, units)[0]

    def _mean_of_folds(self, run: Run | None) -> None:
        # Test images that chose a soup give no unbiased estimate of it.
        chose = frozenset(self._sharing.judged[0].ids if self._is_soup and self._select_on == "test" else ())
        pixel_ensembles.mean_of_folds(
            self.run_config, self.context, self._task, self._mixed_records(run), run, chose=chose
        )

    def _report(self, run: Run | None) -> None:
        # Matplotlib is slow to import; only the report needs it.
        from mlpipe.reports import html

        path = html.write(self.context.project, self.run_config.data_dir)
        tables.write_csv(tables.leaderboard(self.context.project, self._task.name), self.context.project)
        self.context.facts["report"] = str(path)
        self._tell(f"look at: {path}")

    def _tell(self, text: str) -> None:
        """Tell the user, or only the log if a training reports the result at its end."""
        log.log(logging.DEBUG if self.context.is_part else logging.INFO, text)

    def _records_with_predictions(self) -> list[ModelRecord]:
        project, name = self.context.project, self._task.name
        records.require_whole(project, name)
        stored = self._records_of_recipes(records.load_all(project, name))
        usable_records = [record for record in stored if project.predictions_file(record.pivot, record.id).is_file()]
        self._adopted_records = self._foreign_records({record.id for record in stored})
        usable_records += [located.record for located in self._adopted_records]
        drawing, usable_records = (
            usable_records,
            [candidate for candidate in usable_records if not kinds.of(candidate.kind).draws],
        )
        if drawing and not usable_records:
            wrong = "its models draw images, of which nothing is calibrated or mixed"
            fix = f"mml info task={name} has their scores, mml predict task={name} mode.samples=64 draws images"
            raise ProjectError(problem(f"task {name}", wrong, fix=fix))
        if not usable_records:
            if not stored:
                raise records.untrained_error(project, name)
            wrong = f"project {project.name} has no predictions of it"
            raise ProjectError(problem(f"task {name}", wrong, fix=f"mml predict task={name}"))
        if missing := [record.id for record in stored if record not in usable_records]:
            log.info(f"without predictions, left out: {listing(missing)}")
        return usable_records

    def _records_of_recipes(self, stored: list[ModelRecord]) -> list[ModelRecord]:
        """Return the records of the requested recipes."""
        if self._recipes is None:
            return stored
        arch_by_recipe = {record.recipe: record.arch for record in stored}
        known = listing([f"{recipe} ({arch})" for recipe, arch in arch_by_recipe.items()], most=8)
        names = [*arch_by_recipe, *arch_by_recipe.values()]
        raise_all(
            [
                problem(
                    "mode.recipes",
                    "there is no such recipe",
                    got=name,
                    fix=did_you_mean(name, names, otherwise=f"recipes of {self._task.name}: {known or 'none'}"),
                )
                for name in self._recipes
                if name not in names
            ]
        )
        return [record for record in stored if {record.recipe, record.arch} & set(self._recipes)]

    def _foreign_records(self, known: set[str]) -> list[Located]:
        """Return records of other projects, with predictions, that this one does not have yet."""
        texts = self.run_config.reuse.predictions
        located_records = reuse.foreign_records(texts, "reuse.predictions", self.run_config, self._task.name)
        fitting = [
            located
            for located in located_records
            if located.project.predictions_file(located.record.pivot, located.record.id).is_file()
        ]
        if texts is not None and not fitting:
            wrong = f"no other project has predictions of {self._task.name}"
            raise ProjectError(problem("reuse.predictions", wrong, got=texts, fix="mml predict proj=PROJ makes them"))
        others = {
            classes for located in fitting if (classes := tuple(located.record.classes)) != tuple(self._task.classes)
        }
        if others:
            wrong = f"they are of other classes: {listing(next(iter(others)))}"
            raise ProjectError(problem("reuse.predictions", wrong, got=texts, fix="name records of the same classes"))
        return [located for located in fitting if located.record.id not in known]

    def _adopt(self, located: Located, run: Run | None) -> None:
        adopt(located, self.context.project, weights=False, predictions=True)

    def _foreign_rows(self) -> list[str]:
        """Return a sentence for each file with predictions of samples that the task does not have."""
        known, wrong = set(self._task.samples.ids), []
        foreign_ids = {located.record.id for located in self._adopted_records}
        for record in self._records:
            path = self.context.project.predictions_file(record.pivot, record.id)
            own = {record.pivot, record.task} if record.pivot == self._task.name else set()
            if record.id not in foreign_ids and (unknown := sorted(predictions.sample_ids(path, own) - known)):
                reason = (
                    f"has predictions of samples that task {self._task.name} does not have: {listing(unknown, most=3)}"
                )
                wrong.append(problem(str(path), reason, fix="remove it and run mml predict"))
        return wrong

    def _time_problems(self) -> list[str]:
        """Return a sentence if a time limit is set for ensembles but the models' times were not measured."""
        if self._most_ms is None:
            return []
        if self._is_soup:
            wrong = "is for ensembles of several networks, a soup is as quick as one"
            return [problem("mode.most_ms", wrong, got=self._most_ms, fix="leave it out")]
        if missing := costs.records_without_cost(self.context.project, self._records):
            wrong = f"the times of {listing([record.id for record in missing], most=3)} were not measured"
            fix = f"mml info task={self._task.name} mode.subroutines=[cost] measures them"
            return [problem("mode.most_ms", wrong, got=self._most_ms, fix=fix)]
        return []

    def _quick_members(self, candidates: list[Member]) -> tuple[list[Member], dict[str, float], list[str]]:
        """Return the members within the time limit, the milliseconds of each, and a sentence on the others.

        Raises:
            ProjectError: When there is none.
        """
        project = self.context.project
        times = {candidate.name: costs.milliseconds(project, candidate.predicting) for candidate in candidates}
        if self._most_ms is None:
            return candidates, times, []
        quick = [candidate for candidate in candidates if times[candidate.name] <= self._most_ms]
        if not quick:
            wrong = f"the quickest member takes {min(times.values()):.3g} ms for an image"
            raise ProjectError(problem("mode.most_ms", wrong, got=self._most_ms, fix="allow more, or mode.refit=true"))
        slow = [
            f"{candidate.called} ({times[candidate.name]:.3g} ms)" for candidate in candidates if candidate not in quick
        ]
        sentence = f"slower than mode.most_ms={self._most_ms:g}, left out: {listing(slow)}"
        return quick, times, [sentence] if slow else []

    def _calibrate(self, record: ModelRecord, run: Run | None) -> None:
        """Fit a record's calibration on its validation rows, and fill the column `calibrated` of all its rows.

        A model of all folds has no validation rows: the rows that its folds held out are used.
        """
        project = self.context.project
        path = project.predictions_file(record.pivot, record.id)
        val = self._validation_rows(record)
        if post_kind.of(record.kind).PROBABILITIES is None:
            log.debug(
                f"{record.id}: {kinds.of(record.kind).words.VALUES} are not calibrated; the ensemble gets prediction intervals"
            )
            return
        if not len(val):
            log.warning(f"{record.id}: left as it is, because it has no predictions of its validation rows")
            return
        target_prior = self._prior_of(record, val)
        for note in target_prior.notes:
            log.warning(f"{record.id}: {note}")
        fit_prior, kind = self._fit_prior(record, target_prior), record.kind
        # Images of a patient are similar: rows of patients seen by the fit would overestimate its quality on other
        # patients.
        units = row_groups(val.sample_ids, self._task.samples.group_of() or None)
        try:
            plain = self._fitting.learn(val.logits, val.targets, kind, fit_prior, names=record.classes, groups=units)
        except DataError as error:
            log.warning(f"{record.id}: left as it is, because {error.problems[0]}")
            self._forget(record)
            return
        crossed, missed = member_mixture.cross_fitted(
            val.logits.astype(np.float64), val.targets, kind, self._fitting, fit_prior, groups=units
        )
        # In the stored precision, which halves the memory.
        others = {
            (task, split): (
                crossed
                if (task, split) == (record.task, "val")
                else members.learned(plain, kind)(predictions.load(path, task, split).logits)
            ).astype(np.float32)
            for task, split in predictions.contents(path)
        }
        predictions.write_calibrated(path, others)
        content = {"record": record.id, "created": now(), "prior": target_prior.as_plain(), "calibration": plain}
        if fit_prior is not None:
            content["identity"] = self._fitting.identity().learn(val.logits, val.targets, kind, fit_prior)
        files.write_json(project.calibration_file(record.pivot, record.id), content)
        self._tell_gain(record, Rows(val.sample_ids, val.targets, val.logits, crossed), fit_prior, missed)

    def _validation_rows(self, record: ModelRecord) -> predictions.Predictions:
        """Return the rows on which a record's calibration is fitted; empty if there are none."""
        path = self.context.project.predictions_file(record.pivot, record.id)
        own = predictions.load(path, record.task, "val")
        if not record.refit:
            return own
        try:
            held_out = members.validated(self.context.project, record)
        except ProjectError as error:
            log.warning(f"{record.id}: {error.problems[0]}")
            return own
        if held_out is None:
            return own
        return predictions.Predictions(held_out.ids, held_out.targets, held_out.raw.astype(np.float32))

    def _tell_gain(self, record: ModelRecord, rows: Rows, fit_prior: Any, missed: int) -> None:
        """Log both losses at the rows' own prevalence; all folds together decide later which one is used."""
        prior = None if fit_prior is None else np.asarray(fit_prior)
        own = member_mixture.at_own_prevalence(rows, prior).calibrated
        of = post_kind.probabilities(record.kind)
        before, after = (float(of.each_loss(values, rows.targets)[0].mean()) for values in (rows.raw, own))
        was, became = (number(value, len(rows)) for value in (before, after))
        source = "its folds' held-out" if record.refit else "validation"
        sentence = f"{record.id}: {source} nll {was} as it is, {became} calibrated (cross-fitted"
        if missed:
            want = "rows of every class" + (" in several groups" if self._task.samples.groups else "")
            sentence += f"; {missed} of {counted(len(rows), 'row')} left as they are there, for want of {want}"
        self._tell(sentence + (")" if after < before else "): calibrating it gains nothing here"))
        self.context.facts.setdefault("calibrated", {})[record.id] = {"nll": before, "nll_calibrated": after}

    def _forget(self, record: ModelRecord) -> None:
        """Remove the results of an earlier run, so that nothing depends on them."""
        path = self.context.project.predictions_file(record.pivot, record.id)
        stored = self.context.project.calibration_file(record.pivot, record.id)
        if stored.is_file():
            stored.unlink()
            rows = {pair: predictions.load(path, *pair).logits for pair in predictions.contents(path)}
            predictions.write_calibrated(path, rows)

    def _fit_prior(self, record: ModelRecord, target_prior: Prior) -> Any:
        """Return the prior for a fit; None if it is that of the fit's own rows."""
        return target_prior.given if kinds.of(record.kind).has_classes else self._prior_list()

    def _prior_of(self, record: ModelRecord, val: predictions.Predictions) -> Prior:
        if not kinds.of(record.kind).has_classes:
            return Prior("list" if isinstance(self._prior, list) else "val", tuple(self._prior_list() or ()))
        path = self.context.project.predictions_file(record.pivot, record.id)
        test = predictions.load(path, record.pivot, "test")
        own_test = test if len(test) or not record.nested else predictions.load(path, record.task, "test")
        rates = val if self._rates_from == "val" else own_test
        unlabelled = predictions.load(path, record.pivot, "unlabelled")
        return prior.prior(
            self._prior,
            len(record.classes),
            val_targets=val.targets,
            test_targets=own_test.targets if len(own_test) else None,
            rates_logits=rates.logits if len(rates) else None,
            rates_targets=rates.targets if len(rates) else None,
            unlabelled_logits=unlabelled.logits if len(unlabelled) else None,
            method=self._quantifier,
            seed=self.run_config.seed,
            groups=self._rate_groups(rates, unlabelled),
        )

    def _rate_groups(self, *parts: predictions.Predictions) -> tuple[Any, Any] | None:
        """Return the groups of labelled rows and of the rows whose prevalence is estimated."""
        groups = self._task.samples.group_of()
        first, second = (row_groups(part.sample_ids, groups) for part in parts)
        return (first, second) if groups else None

    def _prior_list(self) -> list[float] | None:
        return list(self._prior) if isinstance(self._prior, list) else None

    def _ensemble(self, run: Run | None) -> None:
        """Choose members and weights, calibrate the mixture if that helps, evaluate and store it."""
        assert run is not None
        gather = members.recipes if self._select_on == "oof" else members.singles
        kind, seed, groups = self._task.kind, self.run_config.seed, self._task.samples.group_of() or None
        selection, others, notes = self._choice(gather(self.context.project, self._mixed_records(run)), groups)
        chosen, final, candidates = selection.chosen, selection.final, list(selection.candidates)
        used = [candidates[place] for place in chosen.members]
        member_list = ", ".join(
            f"{weight:.3f} {member.called}" for weight, member in zip(chosen.weights, used, strict=True)
        )
        self._tell(f"ensemble ({chosen.way}, {len(used)} of {counted(len(candidates), 'member')}): {member_list}")
        # Test rows that chose members give no unbiased estimate: with select_on=test, only the others are used.
        estimate = final.test if others is None or final.test is None else final.test.only(others)
        scores = evaluation.scores(final, estimate, kind, groups, seed)
        decide = evaluation.decisions(final, estimate, kind, self._options, self._task.classes, seed, groups)
        if kinds.of(kind).has_classes:
            predicting = [predictor for member in used for predictor in member.predicting]
            pairs = [members.held_out_and_unlabelled(self.context.project, predictor) for predictor in predicting]
            known = [pair for pair in pairs if pair is not None]
            decide["prevalence"] = evaluation.prevalence(final, known, self._task.classes, seed, groups)
        if self._positive is not None:
            decide["positive"] = str(self._positive)
        record = EnsembleRecord(
            id=f"ens-{files.digest([run.name, [member.name for member in used], list(chosen.weights)])[:8]}",
            created=now(),
            run=run.name,
            task=self._task.name,
            kind=kind,
            classes=list(self._task.classes),
            members=[_entry(member, weight) for member, weight in zip(used, chosen.weights, strict=True)],
            mixing=chosen.mixing,
            way="soup" if self._is_soup else chosen.way,
            select_on=self._select_on,
            stage=final.stage,
            calibration=final.calibration,
            prior=self._prior_facts(final),
            calibrations=self._calibrations(used, final),
            losses=self._losses(selection, run),
            scores=scores,
            decide=decide,
            comparisons=evaluation.comparisons(final, estimate, selection.best, len(used), kind, groups, seed),
            notes=[*self._notes, *notes, *chosen.notes, *final.notes],
        )
        self._store(record, final)
        if self._is_soup:
            self._compare_soup(record)

    def _choice(
        self, pools: Sequence[Candidates], groups: Mapping[str, str] | None
    ) -> tuple[choice.Choice, list[str] | None, list[str]]:
        """Return the members, weights and calibration; the test rows that chose nothing (None: none chose); and notes.

        If the newest recipe lacks folds, it must be better than the recipes with all folds by more than noise;
        otherwise all rows choose.
        """
        choices, impossible = (
            list[tuple[choice.Choice, list[str] | None, list[str]]](),
            list[ProjectError | DataError](),
        )
        for pool in pools:
            try:
                choices.append(self._choice_among(pool, groups))
            except (ProjectError, DataError) as error:
                impossible.append(error)
        if not choices:
            raise impossible[0]
        if impossible:
            selection, others, notes = choices[0]
            wrong = impossible[0].problems[0]
            return (
                selection,
                others,
                [*notes, f"{len(selection.final.chooses)} held-out rows choose, no others can: {wrong}"],
            )
        if len(choices) == 1 or choice.is_better(choices[0][0], choices[1][0], self._task.kind, groups):
            return choices[0]
        selection, others, notes = choices[1]
        by_some, by_all = (len(entry.final.chooses) for entry, _, _ in choices)
        newest = "what the newest recipe gains on those of its folds is no more than chance explains"
        return selection, others, [*notes, f"all {by_all} held-out rows choose, not {by_some} of them: {newest}"]

    def _choice_among(
        self, pool: Candidates, groups: Mapping[str, str] | None
    ) -> tuple[choice.Choice, list[str] | None, list[str]]:
        """Choose among members that have the same rows; returns the same as `_choice`.

        Raises:
            ProjectError: When no member is fast enough.
            DataError: When no member is usable, or there are too few rows.
        """
        kind, seed = self._task.kind, self.run_config.seed
        candidates, times, slow = self._quick_members(pool.members)
        rows = candidates[0].chooses
        share = self._eval_frac if self._select_on == "test" else None
        units = row_groups(rows.ids, groups)
        chose, others = (None, None) if share is None else _halves(rows.ids, rows.targets, share, seed, units)
        search = choice.member_search(kind, rows.targets, share, seed, self._search, units)
        if self._most_ms is not None:
            search = choice.within(search, times, self._most_ms)
        selection = choice.Chooser(kind, self._stage, self._fitting, groups, search, chose).choose(candidates)
        return selection, others, [*pool.notes, *slow]

    def _compare_soup(self, record: EnsembleRecord) -> None:
        """Compare one network with the newest ensemble of several, on the same rows."""
        project, task = self.context.project, self._task
        earlier = [
            ensemble
            for ensemble in ensembles.load_all(project, task.name)
            if ensemble.run != record.run and ensemble.way != "soup"
        ]
        if not earlier or {record.select_on, earlier[-1].select_on} != {"oof"}:
            return
        try:
            first, second = (
                comparison.contender(project, task.name, ensemble.id) for ensemble in (record, earlier[-1])
            )
            result = comparison.compared(first, second, task.samples.group_of() or None, self.run_config.seed)
        except ProjectError as error:
            # The soup is already stored, whatever happens to the earlier ensemble.
            log.warning(f"not compared with {earlier[-1].id}: {error.problems[0]}")
            return
        self.context.facts["soup_compared"] = result.as_plain()
        for sentence in result.sentences():
            self._tell(sentence)

    def _losses(self, selection: choice.Choice, run: Run) -> dict[str, Any]:
        """Return losses as plain data, including those of a soup's candidates if the same rows chose among them."""
        losses = _plain_losses(selection)
        if self._is_soup and not any(record.nested for record in self._mixed_records(run)):
            losses["soup"] = soups.outcome_of(run).losses
        return losses

    def _store(self, record: EnsembleRecord, final: Final) -> None:
        project = self.context.project
        path = project.ensembles_dir(record.task) / f"{record.id}.parquet"
        splits = {"val": final.chooses, "test": final.test, "unlabelled": final.unlabelled}
        if record.select_on == "test":
            # Test rows are not out-of-fold rows; another prevalence needs the rows that set the thresholds.
            splits["chose"] = splits.pop("val")
        with predictions.writer(path, (), record.kind) as sink:
            for split, rows in splits.items():
                if rows is not None:
                    sink.add(record.task, split, -1, rows.ids, rows.targets, rows.raw, rows.calibrated)
        file = ensembles.save(project, record)
        self.context.facts.update(task=record.task, ensemble=record.id, ensemble_file=str(file), scores=record.scores)
        # Scores on the rows that chose are optimistic: only the report and --json show them if there are others.
        split = "test" if "test" in record.scores else "chosen on"
        rows = final.test if split == "test" and final.test is not None else final.chooses
        self._tell(leaderboard.figures(record, int(has_target(rows.targets).sum())))
        self._tell(f"ensemble {record.id}: {file}")
        leaderboard.final(self.context, record.task, self.run_config.data_dir, record.notes)

    def _prior_facts(self, final: Final) -> dict[str, Any]:
        """Return the target prevalence of the final probabilities, with the numbers."""
        kind = "list" if isinstance(self._prior, list) else self._prior
        if final.prior is not None:
            return {"kind": kind, "values": final.prior.tolist()}
        if not kinds.of(self._task.kind).has_classes:
            return {"kind": kind, "values": self._prior_list()}
        return {
            "kind": "val",
            "values": member_mixture.own_shares(final.chooses.targets, len(self._task.classes)).tolist(),
        }

    def _calibrations(self, used: Sequence[Member], final: Final) -> dict[str, Any]:
        """Return each record's calibration, or only its prior shift, if the ensemble uses it."""
        project, calibration_by_id = self.context.project, {}
        pairs = [(part, record) for part in used for record in (*part.records, *([part.refit] if part.refit else []))]
        for member, record in pairs:
            stored = None if final.stage == "after" else calibrations.load(project, record.pivot, record.id)
            if stored is None:
                continue
            plain = stored["calibration"] if member.form == "calibrated" else stored.get("identity")
            if plain is not None:
                calibration_by_id[record.id] = plain
        return calibration_by_id


def _entry(member: Member, weight: float) -> dict[str, Any]:
    """Return a member in the form stored in the ensemble's record."""
    entry = {"name": member.name, "weight": weight, "records": [record.id for record in member.records]}
    return entry if member.refit is None else {**entry, "refit": member.refit.id}


def _halves(
    ids: Sequence[str], targets: Any, share: float, seed: int, groups: Any = None
) -> tuple[list[str], list[str]]:
    """Return the ids of the test rows that chose and of the others, as drawn by `ensemble.select`."""
    labelled_rows = np.flatnonzero(has_target(targets))
    units = None if groups is None else groups[labelled_rows]
    chosen, others = split_rows(len(labelled_rows), share, np.random.default_rng(seed), units)
    return [ids[row] for row in labelled_rows[np.sort(chosen)]], [ids[row] for row in labelled_rows[others]]


def _plain_losses(selection: choice.Choice) -> dict[str, Any]:
    chosen, names = selection.chosen, [member.name for member in selection.alone]
    return {
        "ensemble": chosen.loss,
        "members": dict(zip(names, chosen.single_losses, strict=True)),
        "forms": {member.name: member.form for member in selection.alone},
        "held_out": chosen.held_out_loss,
        "gap": chosen.gap,
        "tried": chosen.tried,
        "stages": selection.final.losses,
    }
