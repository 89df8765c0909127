"""Trials of a search: ask Optuna, run, tell Optuna, until the study has the requested number."""

from __future__ import annotations

import gc
import json
import logging
import math
import shutil
import statistics
import time
import warnings
from collections.abc import Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Any

from mlpipe import files
from mlpipe.config import keys, presets, resolve, search_space
from mlpipe.errors import (
    ConfigError,
    DiskFull,
    Interrupted,
    MlpipeError,
    Pruned,
    TrainingError,
    counted,
    first_line,
    listing,
    problem,
)
from mlpipe.post.figures import number, setting
from mlpipe.reports import studies as study_reports
from mlpipe.reports.progress import Display
from mlpipe.running import launch
from mlpipe.running.folds import output_records
from mlpipe.running.launch import Prepared
from mlpipe.running.steps import AGAIN, Deadline, Follower, Stop, end_process, full_disk
from mlpipe.running.sweeps.search import Search
from mlpipe.runs import journal, records, studies
from mlpipe.stored import fits

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution
    from optuna.pruners import BasePruner
    from optuna.samplers import BaseSampler
    from optuna.study import Study
    from optuna.trial import FrozenTrial, Trial

log = logging.getLogger("mlpipe")

# Reserved for the state of a stopped trial, the table and the end of the process: seconds, and a share of the limit.
_ENDING, _ENDING_SHARE = 4.0, 0.02
# Seconds for which another process's trial without a stored owner is left alone.
_NEW = 60.0
# The trials that this process is running: after a full disk, others may still name it as their owner.
_RUNNING: set[tuple[str, str, int]] = set()


def execute(search: Search, *, display: Any = None, stop: Any = None, started: float | None = None) -> dict[str, Any]:
    """Continue a study until it has `hpo.trials` trials, or its time is over.

    No trial is started that would take longer than the remaining time, judged by the median of the finished trials. A
    trial that is running when the time is over is stopped as if by the user: the same command continues it.

    Args:
        search: The result of `search.prepare`.
        display: Shows progress; None makes one for standard error.
        stop: Whether the user asked to stop, shared with the command that the search is a part of; None makes one.
        started: The start time of the command, on the clock of `time.monotonic`; None: now.

    Returns:
        The facts that `--json` prints.

    Raises:
        Interrupted: When asked to stop; the same command continues.
        DiskFull: When a trial, or the study, ran out of disk space; likewise.
        TrainingError: When no trial of the study finished.
        ConfigError: When the study was started with another configuration or space.
    """
    import optuna

    somebody = stop or Stop(end_process)
    limit = presets.seconds_of(search.base.tree.get("time_limit"))
    began = time.monotonic() if started is None else started
    # The rest of the time is for saving the state of a trial, and writing the table.
    end = math.inf if limit is None else began + limit * (1 - _ENDING_SHARE) - _ENDING
    clock = Deadline(somebody, end)
    with (
        full_disk(AGAIN),
        somebody.listening(),
        studies.opened(search.project, search.study, search.hpo.storage) as storage,
    ):
        search.project.studies_dir().mkdir(parents=True, exist_ok=True)
        study = optuna.create_study(
            storage=storage,
            study_name=search.study,
            directions=list(search.directions),
            load_if_exists=True,
            pruner=_pruner(search),
        )
        # Before any trial is taken, because values of trials with different configurations cannot be compared.
        _require_same(search, study)
        log.info(
            f"study {search.study}: {len(studies.counted(study))} of {counted(_total(search), 'trial')}; {search.address}"
        )
        ran = _run_all(search, study, clock, somebody, display or Display())
        if limit is not None and clock() and not studies.finished(study):
            fix = (
                f"mml train hpo=optuna time_limit={math.ceil(2 * limit)}s ..., or the same command again, which goes on"
            )
            raise Interrupted(problem("time_limit", f"no trial ended within {limit:g} s", fix=fix))
        facts = study_reports.facts(study, search.address)
        log.info("\n" + study_reports.as_text(facts))
        if ran and not studies.finished(study):
            raise TrainingError(f"study {search.study}: no trial could be finished; the table above has the reasons")
        if len(study.directions) == 1 and studies.finished(study):
            more = f"{search.study} mode.refit=true" if search.refits else search.study
            # Studies are looked up in the project of the command.
            where = "" if search.base.proj == "default" else f" proj={search.base.proj}"
            log.info(f"to train with the best trial's values: mml train use_best_params={more}{where} ...")
    return {"mode": search.base.mode, "project": search.base.proj, **facts}


def _run_all(search: Search, study: Study, clock: Deadline, somebody: Stop, display: Display) -> int:
    """Run trials until there are enough, or the time is over; return how many finished."""
    ran = 0
    while True:
        _stop_if_asked(somebody, search, study)
        if _is_too_late(clock, study):
            return ran
        next_trial = _next_trial(search, study)
        if next_trial is None:
            return ran
        try:
            _run_trial(search, study, next_trial, clock, display)
        except Interrupted:
            if somebody() or not clock():
                raise
            log.info(f"the time is over: trial {next_trial[0].number} is stopped; the same command goes on with it")
            return ran
        ran += 1


def _is_too_late(clock: Deadline, study: Study) -> bool:
    """Return whether the remaining time is shorter than a usual trial."""
    durations = [
        float(seconds)
        for trial in studies.finished(study)
        if isinstance(seconds := trial.user_attrs.get(studies.SECONDS), int | float)
    ]
    usual = statistics.median(durations) if durations else 0.0
    if clock.left() > usual:
        return False
    log.info(f"no further trial: {max(0.0, clock.left()):.0f} s are left, and one takes about {usual:.0f} s")
    return True


def _total(search: Search) -> int:
    if search.hpo.sampler != "grid":
        return search.hpo.trials
    return min(search.hpo.trials, len(search_space.points(search.space)))


def _next_trial(search: Search, study: Study) -> tuple[Trial, str | None] | None:
    """Return a trial that no process runs any more, with its run, or a new one; None if there are enough."""
    # Counting, asking and taking are atomic: otherwise two processes could both run the last trial, or take the same
    # orphan.
    with files.locked(search.project.studies_dir() / f".{search.study}.lock"):
        # Interrupted trials first: they are counted already, and would otherwise stay unfinished.
        if (orphan := _orphan(search, study)) is not None:
            return orphan
        if len(studies.counted(study)) >= _total(search):
            return None
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            study.sampler = _sampler(search, study)
            trial = study.ask(_distributions(search.space))
        _take(search, trial)
        return trial, None


def _take(search: Search, trial: Trial) -> None:
    trial.set_user_attr(studies.OWNER, _owner(search))
    _RUNNING.add((search.address, search.study, trial.number))


def _owner(search: Search) -> dict[str, Any]:
    return {**journal.identity(), "project": str(search.project.root)}


def _orphan(search: Search, study: Study) -> tuple[Trial, str | None] | None:
    """Return an interrupted trial to continue; one whose run is missing is marked as failed and does not count."""
    import optuna
    from optuna.trial import TrialState

    for frozen in study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
        if not _is_orphan(search, frozen):
            continue
        run = frozen.user_attrs.get(studies.RUN)
        has_run = run is None or _is_run(search, run)
        trial = optuna.trial.Trial(study, frozen._trial_id)
        if has_run and set(trial.params) == set(search.space):
            _take(search, trial)
            return trial, run
        trial.set_user_attr(studies.INTERRUPTED, True)
        trial.set_user_attr(studies.ERROR, "interrupted, and its run is gone")
        study.tell(trial, state=TrialState.FAIL)
        log.warning(f"trial {frozen.number} was interrupted and its run is gone: noted as failed, does not count")
    return None


def _is_orphan(search: Search, frozen: FrozenTrial) -> bool:
    if studies.OWNER not in frozen.user_attrs:
        # In a project's own storage, a trial is asked for and taken under one lock.
        started = frozen.datetime_start
        is_old = started is None or (datetime.now() - started).total_seconds() > _NEW
        return is_old or search.hpo.storage is None
    owner = frozen.user_attrs[studies.OWNER]
    if not fits(owner, journal.Owner):
        return True
    if journal.is_own(owner):
        return (search.address, search.study, frozen.number) not in _RUNNING
    if owner.get("released") is not True and journal.is_live(owner):
        return False
    # In a shared storage, a trial of another project is continued there.
    return search.hpo.storage is None or owner.get("project") == str(search.project.root)


def _stop_if_asked(stop: Stop, search: Search, study: Study) -> None:
    if stop():
        raise _interruption(search, study)


def _interruption(search: Search, study: Study) -> Interrupted:
    count = len(studies.finished(study))
    return Interrupted(
        f"stopped with {count} of {_total(search)} trials of study {search.study} finished; "
        "to go on, run the same command again"
    )


def _run_trial(search: Search, study: Study, next_trial: tuple[Trial, str | None], stop: Stop, display: Any) -> None:
    """Run one trial, from its values to Optuna's tell; its errors are recorded, an interruption is raised."""
    from optuna.trial import TrialState

    trial, run = next_trial
    drawn = {key: setting(value) if isinstance(value, float) else value for key, value in trial.params.items()}
    values = " ".join(search_space.overrides(drawn))
    title = _title(search, trial)
    log.info(f"{title}{' goes on' if run else ''}: {values}")
    started = time.perf_counter()
    try:
        with display.within(title):
            reached = _measure(search, trial, run, stop, display)
    except (Interrupted, KeyboardInterrupt):
        # Optuna is not told: the trial stays unfinished in the study, and is continued later with its run.
        _release(search, trial)
        raise _interruption(search, study) from None
    except Pruned as error:
        _clean(search, trial)
        study.tell(trial, state=TrialState.PRUNED)
        log.info(f"trial {trial.number}: {error}")
    except Exception as error:
        if files.disk_is_full(error):
            _release(search, trial)
            progress = (
                f"{len(studies.finished(study))} of {counted(_total(search), 'trial')} of study {search.study} finished"
            )
            raise DiskFull(f"{files.why_full(error)}; {progress}", AGAIN) from error
        _note_failure(search, study, trial, error)
    else:
        trial.set_user_attr(studies.SECONDS, round(time.perf_counter() - started, 3))
        study.tell(trial, reached)
        pairs = zip(search.metrics, reached, strict=True)
        log.info(f"trial {trial.number}: {', '.join(f'{name} {number(value) or value}' for name, value in pairs)}")
    finally:
        _RUNNING.discard((search.address, search.study, trial.number))


def _title(search: Search, trial: Trial) -> str:
    """Return a trial's title: its number in the study, and its position among all unless lost ones have numbers too."""
    total = _total(search)
    return f"trial {trial.number} ({trial.number + 1}/{total})" if trial.number < total else f"trial {trial.number}"


def _release(search: Search, trial: Trial) -> None:
    """Release a trial, so that it can be continued, also in this process."""
    try:
        trial.set_user_attr(studies.OWNER, {**_owner(search), "released": True})
    except Exception as error:
        # If the disk is too full for this as well, the end of this process, or its list of trials, has the same effect.
        if not files.disk_is_full(error):
            raise


def _note_failure(search: Search, study: Study, trial: Trial, error: Exception) -> None:
    from optuna.trial import TrialState

    text = str(error) if isinstance(error, MlpipeError) else f"{type(error).__name__}: {error}"
    log.debug(f"trial {trial.number} failed", exc_info=error)
    log.warning(f"trial {trial.number} failed: {text}")
    trial.set_user_attr(studies.ERROR, text[:2000])
    _clean(search, trial)
    study.tell(trial, state=TrialState.FAIL)
    # The frames of an error keep the network's memory, which the next trial needs.
    error.__traceback__ = None
    gc.collect()


def _clean(search: Search, trial: Trial) -> None:
    """Delete the saved states of a run that will not be continued."""
    if _is_run(search, run := trial.user_attrs.get(studies.RUN)):
        shutil.rmtree(search.project.run_dir(str(run)) / "checkpoints", ignore_errors=True)


def _is_run(search: Search, name: Any) -> bool:
    """Return whether a value is the name of a run of the project: a study from elsewhere may contain any path."""
    return any(run.name == name for run in journal.all_runs(search.project))


def _measure(search: Search, trial: Trial, run: str | None, stop: Stop, display: Any) -> list[float]:
    """Run the trial; return the mean over its folds of every metric."""
    if run is not None:
        # Only the folders are given: everything else is in the stored configuration of the run.
        config = search.base
        prepared: Prepared = launch.prepare(launch.Command(config.mode, launch.words_to_continue(config, run)))
    else:
        prepared = search.trial(trial.params, trial.number)
    report_epoch = Reporter(trial, search.directions[0]).epoch if search.hpo.pruner != "none" else _no_report
    follower = Follower(lambda name: trial.set_user_attr(studies.RUN, name), report_epoch)
    facts = launch.execute(prepared, display=display, stop=stop, follower=follower, is_part=True)
    own = [record for record in records.load_all(search.project) if record.run == facts["run"] and not record.refit]
    folds = output_records.without_heads(own)
    return [_mean_over_folds(folds, name) for name in search.metrics]


def _no_report(position: int, epoch: int, epochs: int, score: float) -> None:
    """Ignore epochs, if nothing is pruned."""


def _mean_over_folds(folds: list[records.ModelRecord], name: str) -> float:
    part, _, metric = name.partition("/")
    scores = [record.scores.get(part, {}).get(metric) for record in folds]
    numbers = [float(score) for score in scores if score is not None and math.isfinite(score)]
    if not numbers or len(numbers) < len(scores):
        raise TrainingError(f"{name} is no number in {len(scores) - len(numbers)} of {counted(len(scores), 'fold')}")
    return sum(numbers) / len(numbers)


class Reporter:
    """Report to Optuna, after every epoch, the mean over folds of the best score so far, the current fold's included.

    The step is `position * epochs + epoch`, so trials are compared in the same fold at the same epoch.

    Args:
        trial: The trial, whose reports before an interruption count.
        direction: Whether a lower or higher value is better.
    """

    def __init__(self, trial: Trial, direction: str) -> None:
        self._trial, self._less = trial, direction == "minimize"
        self._best: dict[int, float] = {}

    def epoch(self, position: int, epoch: int, epochs: int, score: float) -> None:
        """Report one epoch.

        Raises:
            Pruned: When the pruner requests it.
        """
        if math.isnan(score):
            return
        reported = self._trial.study._storage.get_trial(self._trial._trial_id).intermediate_values
        if not self._best:
            self._best = best_of_folds(reported, epochs)
        before = self._best.get(position, score)
        self._best[position] = min(before, score) if self._less else max(before, score)
        step = position * epochs + epoch
        # A continued trial repeats the epochs after its last saved state, which were already reported.
        if step not in reported:
            bests = [self._best[fold] for fold in range(position + 1) if fold in self._best]
            self._trial.report(sum(bests) / len(bests), step)
        if self._trial.should_prune():
            folds = f", {counted(position, 'fold')} before it" if position else ""
            raise Pruned(f"pruned after epoch {epoch + 1} of {epochs}{folds}")


def best_of_folds(reported: Mapping[int, float], epochs: int) -> dict[int, float]:
    """Return each fold's best score, computed from the reported means."""
    best: dict[int, float] = {}
    for step in sorted(reported):
        position = step // epochs
        before = [value for fold, value in best.items() if fold < position]
        best[position] = reported[step] * (len(before) + 1) - sum(before)
    return best


def _require_same(search: Search, study: Study) -> None:
    """Refuse to mix trials that are not comparable; a new study stores what its trials share."""
    from optuna.distributions import check_distribution_compatibility

    shared, attributes = search.shared(), study.user_attrs
    if studies.BASE not in attributes:
        study.set_user_attr(studies.METRICS, list(search.metrics))
        _store_shared(search, study)
        return
    # Studies of earlier versions store neither their task nor all sections, and paths as they were typed.
    is_older = studies.TASK not in attributes
    fix = f"choose another hpo.study, or go on as it began ({search.address})"
    try:
        stored = json.loads(attributes[studies.BASE])
        if not isinstance(stored, dict):
            raise ValueError("it is no mapping")
        if is_older:
            resolve.make_task_paths_absolute(stored.get("task"))
            shared = {key: value for key, value in shared.items() if key in stored}
        changed = _differences(stored, shared, set(search.space))
    except (TypeError, ValueError, AttributeError, RecursionError) as error:
        wrong = f"says nothing of how it was begun ({first_line(error)})"
        raise ConfigError(problem(f"study {search.study}", wrong, fix=fix)) from error
    problems = [problem(f"study {search.study}", f"was begun with another {key}", fix=fix) for key in changed]
    if not problems and attributes.get(studies.TASK, search.task) != search.task:
        # The same words, after files of the source have changed.
        wrong = f"was begun with the images of task {attributes[studies.TASK]}, these are {search.task}"
        problems.append(problem(f"study {search.study}", wrong, fix=fix))
    if studies.metrics_of(study) != list(search.metrics) or [d.name.lower() for d in study.directions] != list(
        search.directions
    ):
        problems.append(
            problem(f"study {search.study}", f"optimises {listing(studies.metrics_of(study))} otherwise", fix=fix)
        )
    now = _distributions(search.space)
    for trial in study.get_trials(deepcopy=False):
        for key, distribution in trial.distributions.items():
            try:
                if key not in now:
                    problems.append(problem(f"study {search.study}", f"also searches {key}", fix=fix))
                else:
                    check_distribution_compatibility(distribution, now[key])
            except ValueError:
                problems.append(problem(f"study {search.study}", f"searches another kind or list of {key}", fix=fix))
        problems += [
            problem(f"study {search.study}", f"does not search {key}", fix=fix)
            for key in now
            if key not in trial.distributions and trial.distributions
        ]
    if problems:
        raise ConfigError(list(dict.fromkeys(problems)))
    if is_older:
        _store_shared(search, study)


def _store_shared(search: Search, study: Study) -> None:
    study.set_user_attr(studies.TASK, search.task)
    study.set_user_attr(studies.BASE, json.dumps(search.shared(), sort_keys=True))


def _differences(old: Any, new: Any, searched: set[str], path: str = "") -> list[str]:
    """Return the keys whose values differ, recursively in mappings, except searched ones.

    A key that the older configuration lacks was added later: its default value changes nothing.
    """
    if path in searched or old == new:
        return []
    if not (isinstance(old, dict) and isinstance(new, dict)):
        return [f"{path} ({old} instead of {new})"]
    names = {key: f"{path}.{key}" if path else key for key in [*old, *new]}
    return [
        difference
        for key, name in names.items()
        if key in old or not _is_default(name, new[key])
        for difference in _differences(old.get(key), new.get(key), searched, name)
    ]


def _is_default(name: str, value: Any) -> bool:
    key = keys.find(name)
    return key is not None and any(entry.default and files.plain_yaml(entry.default) == value for entry in key.settings)


def _distributions(space: Mapping[str, search_space.Parameter]) -> dict[str, BaseDistribution]:
    from optuna import distributions as kinds

    distributions: dict[str, BaseDistribution] = {}
    for key, parameter in space.items():
        if parameter.choices:
            distributions[key] = kinds.CategoricalDistribution(parameter.choices)
        elif parameter.whole:
            distributions[key] = kinds.IntDistribution(
                int(parameter.low), int(parameter.high), parameter.log, int(parameter.step or 1)
            )
        else:
            distributions[key] = kinds.FloatDistribution(parameter.low, parameter.high, parameter.log, parameter.step)
    return distributions


def _sampler(search: Search, study: Study) -> BaseSampler:
    """Return the sampler of the next trial, seeded by its number, so that a continued study gives the same trials."""
    from optuna import samplers

    hpo, number = search.hpo, len(study.get_trials(deepcopy=False))
    seed = int(files.digest([search.base.seed, number])[:8], 16)
    if hpo.sampler == "tpe":
        return samplers.TPESampler(seed=seed, n_startup_trials=hpo.startup_trials)
    if hpo.sampler == "gp":
        return samplers.GPSampler(seed=seed, n_startup_trials=hpo.startup_trials)
    if hpo.sampler == "nsga2":
        return samplers.NSGAIISampler(seed=seed, population_size=max(2, hpo.startup_trials))
    if hpo.sampler == "qmc":
        # The study stores the position in the sequence, and the seed determines the sequence.
        return samplers.QMCSampler(seed=search.base.seed, scramble=True)
    if hpo.sampler == "grid":
        tried = [trial.params for trial in studies.counted(study)]
        left = [point for point in search_space.points(search.space) if point not in tried]
        return samplers.PartialFixedSampler(left[0], samplers.RandomSampler(seed=seed))
    return samplers.RandomSampler(seed=seed)


def _pruner(search: Search) -> BasePruner:
    from optuna import pruners

    if search.hpo.pruner == "median":
        return pruners.MedianPruner(n_startup_trials=search.hpo.startup_trials)
    if search.hpo.pruner == "hyperband":
        folds = sum(step.startswith("train fold ") for step in search.steps)
        most = max(1, folds * search.base.recipe.epochs)
        return pruners.HyperbandPruner(min_resource=1, max_resource=most, reduction_factor=3)
    return pruners.NopPruner()
