"""`mml info`: tasks, sample pictures, studies and the leaderboard of a project; imports no torch."""

from __future__ import annotations

import errno
import logging
from collections.abc import Callable
from dataclasses import asdict
from functools import cached_property
from typing import Any, TypeVar

import numpy as np

from mlpipe import files, kinds, plugins
from mlpipe.config.schema import RunConfig
from mlpipe.data import sampling, sources
from mlpipe.data.decoding.images import Pixels, UnreadableImageError
from mlpipe.data.task import Task
from mlpipe.errors import ConfigError, counted, listing, problem
from mlpipe.reports import differences, gallery, tables
from mlpipe.running import tasks
from mlpipe.running.scheduler import Scheduler
from mlpipe.running.steps import RunContext, Step, raise_all
from mlpipe.runs import records, studies
from mlpipe.runs.journal import Run

log = logging.getLogger("mlpipe")

T = TypeVar("T")

_PER_CLASS = 6
_MOST_CLASSES = 12


class InfoScheduler(Scheduler):
    """Show what a project and the data folder hold, as text, pictures and CSV.

    Args:
        run_config: The checked configuration.
        context: The project, the display and the request to stop.
        subroutines: Any of tasks, hpo, samples (or sample_grid), models, more_data, compare, oof, cost, report, plugins.
        positive: For the report, the class or label of interest; None: the stored one, else the second of two classes.
        compare: Two recipes, records or ensembles; if given, the subroutine compare runs.
        study_name: An Optuna study.
        info_grid: One picture with a cell for each task.
        info_individual: One sample picture for each task.
        augmented: Draw sample grids after augmentation too.
    """

    def __init__(
        self,
        run_config: RunConfig,
        context: RunContext,
        *,
        subroutines: list[str],
        study_name: str | None,
        info_grid: bool,
        info_individual: bool,
        augmented: bool,
        compare: list[str | int] | None,
        positive: str | int | None = None,
    ) -> None:
        super().__init__(run_config, context)
        self._subroutines = ["samples" if name == "sample_grid" else name for name in subroutines]
        self._study_name, self._info_grid, self._info_individual = study_name, info_grid, info_individual
        self._positive = None if positive is None else str(positive)
        self._augmented, self._model_names = augmented, [str(model) for model in compare or []]

    def plan(self) -> list[Step]:
        """Plan one step for each subroutine; none of them creates a run."""
        calls = {
            "tasks": self._tasks,
            "hpo": self._hpo,
            "samples": self._samples,
            "models": self._models,
            "more_data": self._more_data,
            "compare": self._compare,
            "oof": self._out_of_fold,
            "cost": self._cost,
            "report": self._report,
            "plugins": self._plugins,
        }
        subroutines = {*self._subroutines, *(["compare"] if self._model_names else [])}
        if self._positive is not None:
            from mlpipe.post.decision_options import positive_problems

            judged = tasks.recorded_pivot(self.run_config, self.context.project)
            raise_all(positive_problems(self._positive, judged.kind, judged.classes))
        if "compare" in subroutines:
            self._choose_compared()
        return [Step(name, calls[name], in_project=False) for name in calls if name in subroutines]

    def _choose_compared(self) -> None:
        from mlpipe.post import comparison

        if len(self._model_names) != 2:
            fix = "name two: mml info mode.compare=[resnet18,latest]"
            raise ConfigError(problem(comparison.KEY, "must name two models", got=self._model_names or None, fix=fix))
        self._task = tasks.recorded_pivot(self.run_config, self.context.project)
        self._pair = [comparison.contender(self.context.project, self._task.name, model) for model in self._model_names]

    @cached_property
    def _pivot(self) -> Task:
        return tasks.pivot(self.run_config)

    @cached_property
    def _known_tasks(self) -> list[Task]:
        return [self._pivot, *(tasks.other_task(self.run_config, name) for name in self.run_config.task_list)]

    def _tasks(self, run: Run | None) -> None:
        described = []
        firsts: list[tuple[Pixels, str]] = []
        for of in self._known_tasks:
            counts = of.class_counts()
            rows = [[name, str(count)] for name, count in zip(of.classes, counts.tolist(), strict=True)]
            log.info(f"task {of.name}: {tasks.describe(of)}")
            log.info(tables.grid([kinds.of(of.kind).words.OUTPUT, "images"], rows))
            for note in of.notes:
                log.info(f"note: {note}")
            described.append(
                {
                    "task": of.name,
                    "kind": of.kind,
                    "parts": of.part_sizes(),
                    "classes": dict(zip(of.classes, counts.tolist(), strict=True)),
                    "notes": list(of.notes),
                    "file": str(tasks.described_in(self.run_config.data_dir, of)),
                }
            )
            firsts += [(pixels, of.name) for _, pixels in _examples(of, np.arange(len(of.samples)), 1)]
            if self._info_individual:
                chosen = _examples(of, np.arange(len(of.samples)), 1)
                captions = [_caption(of, row) for row, _ in chosen]
                self._draw(of, f"task_{of.name}", [pixels for _, pixels in chosen], captions)
        if self._info_grid and firsts:
            self._draw(self._pivot, "tasks", [pixels for pixels, _ in firsts], [name for _, name in firsts])
        self.context.facts["tasks"] = described

    def _plugins(self, run: Run | None) -> None:
        installed_plugins = plugins.installed()
        brought = {plugin.name: [f"{group}={name}" for group, name in plugin.options] for plugin in installed_plugins}
        rows = [
            [plugin.name, plugin.distribution, plugin.package, listing(brought[plugin.name], most=20) or "nothing"]
            for plugin in installed_plugins
        ]
        log.info(tables.grid(["plugin", "installed", "package", "brings"], rows) if rows else "no plugin is installed")
        self.context.facts["plugins"] = [
            {
                "plugin": entry.name,
                "installed": entry.distribution,
                "package": entry.package,
                "brings": brought[entry.name],
            }
            for entry in installed_plugins
        ]

    def _hpo(self, run: Run | None) -> None:
        project, name = self.context.project, self._study_name
        if name is None:
            names = studies.names(project)
            hint = f"; more of one: mml info mode.study_name={names[0]}" if names else ""
            log.info(f"studies: {listing(names)}{hint}" if names else "no study")
            self.context.facts["hpo"] = {"studies": names}
            return
        from mlpipe.reports import studies as study_reports

        with studies.loaded(project, name) as study:
            facts = study_reports.facts(study, studies.masked(name))
        log.info(study_reports.as_text(facts))
        pictures = _write_unless_read_only(lambda: study_reports.write(facts, project)) or []
        if pictures:
            log.info(f"look at: {listing(pictures)}")
        self.context.facts["hpo"] = {**facts, "files": [str(path) for path in pictures]}

    def _samples(self, run: Run | None) -> None:
        for of in self._known_tasks:
            chosen: list[tuple[int, Pixels]] = []
            for rows_of_class in _by_class(of):
                chosen += _examples(of, rows_of_class, _PER_CLASS)
            captions = [_caption(of, row) for row, _ in chosen]
            self._draw(of, f"samples_{of.name}", [pixels for _, pixels in chosen], captions, columns=_PER_CLASS)
            if self._augmented:
                rows = np.array([row for row, _ in chosen], np.int64)
                pixels = self._augmented_images(of, rows)
                self._draw(of, f"samples_{of.name}_augmented", pixels, captions, columns=_PER_CLASS)

    def _augmented_images(self, of: Task, rows: sampling.Rows) -> list[Pixels]:
        """Return cached images after the training augmentations of epoch 0."""
        from mlpipe.data.augment import libraries
        from mlpipe.data.cache import packs, variant_packs
        from mlpipe.reports import drawn_targets

        config = self.run_config
        preprocessing = tasks.preprocessing_of(config, of)
        bases = of.bases or (of,)
        folders = [config.data_dir / base.name / "cache" / packs.pack_id(base, preprocessing) for base in bases]
        if all(map(packs.is_complete, folders)):
            cached = [packs.load(folder, preprocessing) for folder in folders]
            # A variant has other rows than the task it is made of.
            images = (variant_packs.joined(of, cached) if of.bases else cached[0]).take(rows)
        else:
            read = sources.reader(of, preprocessing.channels)
            images = [preprocessing(read(int(row))) for row in rows]
            images = images if preprocessing.is_ragged else np.stack(images)
        seeds = sampling.sample_seeds(tuple(of.samples.ids[row] for row in rows))
        seeds = sampling.epoch_seeds(seeds, config.seed, 0, 0)
        built = [(step.target, step.build()) for step in config.recipe.augmentations.cpu]
        built = [(target, transform) for target, transform in built if libraries.changes_images(transform)]
        return drawn_targets.augmented(of, rows, images, preprocessing, built, seeds)

    def _models(self, run: Run | None) -> None:
        project = self.context.project
        board = tables.leaderboard(project)
        together = tables.for_people(board, project)
        self.context.facts["models"] = board
        log.info(tables.as_text(together))
        for joined in (row for row in together if row.get("seeds")):
            self._seeds(joined, board)
        for note in tables.notes(board, project):
            log.warning(note)
        if not board:
            return
        if path := _write_unless_read_only(lambda: tables.write_csv(board, project)):
            log.info(f"look at: {path} and {project.plots_dir()}")
        from mlpipe.running import leaderboard

        named = {row["task"] for row in board}
        task = self._pivot.name if self._pivot.name in named else board[0]["task"]
        own = [row for row in board if row["task"] == task]
        leaderboard.final(self.context, task, self.run_config.data_dir, with_figures=True, board=own)

    def _seeds(self, joined: dict[str, Any], board: list[dict[str, Any]]) -> None:
        """Return each seed of a row that averages several."""
        rows = {row["recipe"]: row for row in board if row["task"] == joined["task"]}
        alone = [rows[recipe] for recipe in joined["of_recipes"]]
        self.context.facts.setdefault("seeds", []).append(joined)
        log.info(f"seeds {listing(joined['seeds'])} of {joined['arch']}, one by one:")
        log.info(tables.as_text(alone).partition("\n")[2])

    def _more_data(self, run: Run | None) -> None:
        from mlpipe.reports import more_data

        pivot = self._pivot.name.partition("+")[0]
        groups = self._pivot.samples.group_of() or None
        estimates, notes = more_data.more_data(self.context.project, pivot, self.run_config.seed, groups)
        self.context.facts["more_data"] = [estimate.as_plain() for estimate in estimates]
        sentences = [*(sentence for estimate in estimates for sentence in estimate.sentences()), *notes]
        how = f"train parts of it: mml train -m 'task={pivot}+subset?0.25,{pivot}+subset?0.5,{pivot}'"
        for sentence in sentences or [f"what more images of {pivot} would bring is not known; {how}"]:
            log.info(sentence)

    def _compare(self, run: Run | None) -> None:
        from mlpipe.post import comparison

        groups = self._task.samples.group_of() or None
        first, second = self._pair
        result = comparison.compared(first, second, groups, self.run_config.seed)
        differs = self._differences()
        self.context.facts["compare"] = {**result.as_plain(), "differs": dict(differs or ())}
        for sentence in result.sentences():
            log.info(sentence)
        if differs:
            cells = [[key, *values] for key, values in differs]
            log.info(
                "what their configurations differ in:\n" + tables.grid(["key", result.first, result.second], cells)
            )
        elif differs is not None:
            log.info("their configurations are the same")

    def _differences(self) -> list[tuple[str, list[str]]] | None:
        """Return the differences between two stored configurations; None if one has none, as ensembles."""
        newest_records = [contender.newest for contender in self._pair]
        trees = [
            differences.configuration(self.context.project, record)[0]
            for record in newest_records
            if record is not None
        ]
        return differences.differences(trees) if len(trees) == 2 and all(trees) else None

    def _out_of_fold(self, run: Run | None) -> None:
        from mlpipe.reports import out_of_fold

        of = tasks.recorded_pivot(self.run_config, self.context.project).name
        paths, row_count = _write_unless_read_only(lambda: out_of_fold.write(self.context.project, of)) or ([], None)
        if row_count is None:
            return
        self.context.facts["oof"] = {"task": of, "rows": row_count, "files": [str(path) for path in paths]}
        if not paths:
            log.info(f"no out-of-fold predictions of {of} yet: mml predict makes them")
            return
        log.info(f"{counted(row_count, 'out-of-fold prediction')} of {of}; look at: {listing(paths)}")

    def _cost(self, run: Run | None) -> None:
        from mlpipe.running import measured_costs

        project, of = self.context.project, tasks.recorded_pivot(self.run_config, self.context.project).name
        costs = measured_costs.of_task(self.run_config, self.context, of)
        self.context.facts["cost"] = [{"record": record.id, **asdict(cost)} for record, cost in costs]
        rows = [
            [
                record.recipe,
                record.arch,
                f"{cost.parameters / 1e6:.2f} M",
                f"{cost.flops / 1e9:.3g} G",
                f"{cost.weights_bytes / 1e6:.1f} MB",
                f"{cost.peak_bytes / 1e6:.1f} MB",
                f"{cost.ms_1:.3g}",
                f"{cost.ms_32:.3g}",
            ]
            for record, cost in costs
        ]
        header = ["recipe", "arch", "parameters", "FLOPs", "weights", "memory", "ms alone", "ms of 32"]
        if rows:
            log.info(f"cost of an image of {of}, for one model of each recipe ({costs[0][1].machine}):")
            log.info(tables.grid(header, rows))
        else:
            log.info(f"no model of {of} in project {project.name} has weights: there is nothing to measure")

    def _report(self, run: Run | None) -> None:
        if not records.load_all(self.context.project):
            log.info("no records yet, so that there is nothing to report")
            return
        # Matplotlib is slow to import; only the report needs it.
        from mlpipe.reports import html

        if path := _write_unless_read_only(
            lambda: html.write(self.context.project, self.run_config.data_dir, self._positive)
        ):
            self.context.facts["report"] = str(path)
            log.info(f"look at: {path}")

    def _draw(self, of: Task, name: str, pixels: list[Pixels], captions: list[str], *, columns: int = 0) -> None:
        """Draw a picture into the project, or beside the task's description if there is no project yet."""
        project = self.context.project
        beside = tasks.described_in(self.run_config.data_dir, of).parent / "plots"
        folder = project.plots_dir() if project.root.is_dir() else beside
        file = folder / f"{files.safe_name(name)}.png"
        if path := _write_unless_read_only(lambda: gallery.grid(pixels, captions, file, columns=columns)):
            self.context.facts.setdefault("pictures", []).append(str(path))
            log.info(f"look at: {path}")


def _write_unless_read_only(write: Callable[[], T]) -> T | None:
    """Return what was written; None, with a log line, if a folder is read-only: the facts were printed anyway."""
    try:
        return write()
    except OSError as error:
        if error.errno not in (errno.EROFS, errno.EACCES, errno.EPERM):
            raise
        log.warning(f"not written, for the folder is only for reading ({error.strerror}): {error.filename}")
        return None


def _examples(of: Task, rows: sampling.Rows, count: int) -> list[tuple[int, Pixels]]:
    """Return the first readable images of some rows, with their targets that have places drawn on them."""
    from mlpipe.reports import drawn_targets

    read, drawing = sources.reader(of, of.channels), drawn_targets.of_task(of)
    examples: list[tuple[int, Pixels]] = []
    for row in rows.tolist():
        if len(examples) == count:
            break
        try:
            pixels = read(row)
            examples.append((row, pixels if drawing is None else drawing(pixels, row)))
        except UnreadableImageError:
            continue
    return examples


def _by_class(of: Task) -> list[sampling.Rows]:
    """Return the rows of each class or label; for numbers, rows from the smallest to the largest."""
    targets, kind = of.samples.targets, kinds.of(of.kind)
    if not kind.has_probabilities:
        known = np.flatnonzero(of.samples.labelled)
        if kind.is_dense:
            return [known[: 4 * _PER_CLASS]]
        ordered = known[np.argsort(targets[known, 0], kind="stable")]
        return [ordered[np.linspace(0, len(ordered) - 1, min(len(ordered), 4 * _PER_CLASS)).astype(int)]]
    columns = range(min(len(of.classes), _MOST_CLASSES))
    if targets.ndim == 1:
        return [np.flatnonzero(targets == number) for number in columns]
    return [np.flatnonzero(targets[:, number] > 0) for number in columns]


def _caption(of: Task, row: int) -> str:
    label = kinds.of(of.kind).words.told(of.samples.targets[row], of.classes)
    return of.samples.ids[row] if label is None else label
