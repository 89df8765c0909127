"""`mml fit`: train the Musket experiments of a project, and write Musket's files into their folders."""

from __future__ import annotations

import logging
import shlex
import traceback
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Annotated, Any

from mlpipe import current_folder, files
from mlpipe.config.overrides import key_of
from mlpipe.config.recipe_file import as_text
from mlpipe.config.schema import RunConfig
from mlpipe.data import user_code
from mlpipe.dialects import detect, front, sentences
from mlpipe.dialects.musket import experiment_files, experiment_search
from mlpipe.dialects.musket import files as layout
from mlpipe.dialects.musket.commands import task
from mlpipe.dialects.musket.commands.task import Settings
from mlpipe.dialects.musket.experiment_files import CONCRETE, CONFIG, SUMMARY
from mlpipe.errors import ConfigError, DiskFull, Interrupted, MlpipeError, problem
from mlpipe.running import launch
from mlpipe.running.launch import Command
from mlpipe.running.scheduler import Scheduler
from mlpipe.running.steps import AGAIN, RunContext, Step, full_disk
from mlpipe.running.sweeps import search
from mlpipe.runs.journal import Run

log = logging.getLogger("mlpipe")

_RUNNING, _ERROR = "inProgress.yaml", "error.yaml"
# Keys that differ between the seeds of an experiment, with Musket's initial values.
_SEEDS = {"testSplitSeed": 123, "random_state": 33}


class FitScheduler(Scheduler):
    """Trains experiments one after the other.

    Args:
        run_config: The checked configuration.
        context: The project, the display and the request to stop.
        project: The folder with experiments; None: the current folder, or the project that contains it.
        name: Names of experiments, separated by commas; empty: all unfinished ones.
        num_gpus: Number of GPUs to use at once: several GPUs train several folds in parallel.
        gpus_per_net: Number of GPUs that train one fold together.
        num_workers: Number of loader processes.
        allow_resume: Resume an interrupted training.
        force_recalc: Compute predictions and reports again, without training.
        launch_tasks: Run every task of the project on each experiment after its training.
        only_report: Write the reports from stored predictions.
        cache: Folder of the image cache; None: `.cache` in the project.
        folds: Folds to train, separated by commas; empty: all.
        lenient: Allow unknown keys, and monitors that nothing computes.
        overrides: Further overrides for each experiment, separated by blanks.
    """

    def __init__(
        self,
        run_config: RunConfig,
        context: RunContext,
        *,
        project: str | None,
        name: str,
        num_gpus: Annotated[int, ">= 0"],
        gpus_per_net: Annotated[int, ">= 0"],
        num_workers: Annotated[int, ">= 0"],
        allow_resume: bool,
        force_recalc: bool,
        launch_tasks: bool,
        only_report: bool,
        cache: str | None,
        folds: str | int | list[int],
        lenient: bool,
        overrides: str,
    ) -> None:
        super().__init__(run_config, context)
        self._root = experiment_files.project_root(project)
        self._names = experiment_files.experiment_names(name, project)
        self._workers, self._resume, self._lenient = num_workers, allow_resume, lenient
        self._recalculate, self._only_report, self._tasks = force_recalc, only_report, launch_tasks
        self._cache = current_folder.expanded(cache).absolute() if cache else self._root / ".cache"
        self._folds = [part.strip() for part in str(folds).strip("[]").split(",") if part.strip()]
        self._overrides = shlex.split(overrides)
        self._devices = _devices(num_gpus, gpus_per_net)

    def plan(self) -> list[Step]:
        """Return one step per experiment (and seed); all are translated and checked before the first one is trained.

        Raises:
            ConfigError: With a sentence for every problem of any experiment.
        """
        if wrong := [fold for fold in self._folds if not fold.isdigit()]:
            raise ConfigError(problem("mode.folds", "must be numbers of folds", got=wrong, fix="for example 0,2"))
        steps: list[Step] = []
        problems = experiment_files.keys_of_recipes(self.run_config, "fit")
        for folder in self._experiments():
            try:
                # Find all mistakes of the file before the configurations of its seeds are written.
                translation = detect.translated(
                    folder / CONFIG, lenient=self._lenient, also=frozenset(user_code.custom_objects())
                )
                if "task" not in {*translation.chosen(), *map(key_of, self._overrides)}:
                    fix = "name a function with its arguments, for example {getTrain: []}"
                    raise ConfigError(problem("dataset", "is missing", fix=fix))
                for config in self._configs(folder):
                    self._check(config)
                    label = config.parent.relative_to(self._root).as_posix()
                    steps.append(Step(f"fit {label}", partial(self._fit, config), in_project=False))
                launched = self._task_steps(folder)
            except ConfigError as error:
                problems += [f"{folder.name}: {sentence}" for sentence in error.problems]
                continue
            if "num_seeds" in experiment_files.source_of(folder / CONFIG):
                steps.append(Step(f"summary {folder.name}", partial(self._summarize_seeds, folder), in_project=False))
            steps += launched
        if problems:
            raise ConfigError(problems)
        if not steps:
            log.info("every experiment is finished; name one to run it again")
        return steps

    def _task_steps(self, folder: Path) -> list[Step]:
        """Return the steps of the project's tasks that follow an experiment, if requested."""
        if not self._tasks:
            return []
        settings = Settings(tuple(self.run_config.tree.get("trust") or ()), tuple(self._overrides), self._cache)
        configs = self._configs(folder)
        return [step for path in configs for step in task.steps_of(path, self._root, (), settings, self.context)]

    def run(self, resumed: Run | None = None) -> None:
        """Train one experiment after the other; each is a run of its own project.

        Raises:
            Interrupted: When asked to stop, with the command to resume.
            DiskFull: When there is no disk space, likewise.
        """
        with full_disk(AGAIN), self.context.stop.listening():
            for step in self.plan():
                names = f"--name {','.join(self._names)} " if self._names else ""
                go_on = f"to go on: mml fit {names}--allow_resume True"
                try:
                    self.context.stop.check()
                    step.call(None)
                except Interrupted:
                    raise Interrupted(f"stopped in {step.name}; {go_on}") from None
                except Exception as error:
                    if not files.disk_is_full(error):
                        raise
                    raise DiskFull(f"{files.why_full(error)}; stopped in {step.name}", go_on) from error
            self._run_after_fit()

    def _run_after_fit(self) -> None:
        """Call the functions that `fit_callbacks.after_fit` marks in the project's modules once."""
        if not self.context.facts.get("results"):
            return
        config = experiment_files.experiments(self._root, self._names)[0] / CONFIG
        trust = tuple(self.run_config.tree.get("trust") or ())
        for name, function in task.marked(config, trust, "after_fit").items():
            log.info(f"after_fit: {name}")
            task.called(f"after_fit {name}", function)

    def _experiments(self) -> list[Path]:
        folders = experiment_files.experiments(self._root, self._names)
        if self._names or self._only_report or self._recalculate:
            return folders
        return [folder for folder in folders if not (folder / SUMMARY).exists()]

    def _configs(self, folder: Path) -> list[Path]:
        """Return the configuration files of an experiment: its own, or one for each seed."""
        source = experiment_files.source_of(folder / CONFIG)
        count = source.get("num_seeds")
        if count is None:
            return [folder / CONFIG]
        own = {key: value for key, value in experiment_files.written(folder / CONFIG).items() if key != "num_seeds"}
        return [self._seed_config(folder / str(seed) / CONCRETE, own, seed) for seed in range(count)]

    def _seed_config(self, path: Path, own: Mapping[str, Any], seed: int) -> Path:
        """Return the configuration of one seed, rewritten from the experiment's if that has changed; its seeds stay."""
        before = experiment_files.seed_config(path)
        seeds = {key: before.get(key, int(own.get(key, usual)) + seed) for key, usual in _SEEDS.items()}
        content = {**own, **seeds}
        if before == content:
            return path
        if before:
            log.info(
                f"{path.parent.relative_to(self._root).as_posix()}: written anew from {CONFIG}, with its own seeds"
            )
            (path.parent / SUMMARY).unlink(missing_ok=True)
        path.parent.mkdir(parents=True, exist_ok=True)
        files.write_text(path, files.yaml_text(content))
        return path

    def _check(self, config: Path) -> None:
        if experiment_files.is_searched(config):
            training = self._train_overrides(config, "train", "predict")
            with sentences.of_file(training):
                search.prepare(Command("train", training), front=front)
        else:
            front.prepared("train", self._train_overrides(config, "train"))

    def _train_overrides(self, config: Path, *subroutines: str) -> list[str]:
        folds = [f"mode.folds=[{','.join(self._folds)}]"] if self._folds else []
        return [
            f"recipe={config}",
            f"mode.lenient={str(self._lenient).lower()}",
            *self._folder_overrides(config),
            f"sys.num_workers={self._workers}",
            *self._devices,
            f"seed={42 + (int(config.parent.name) if config.name == CONCRETE else 0)}",
            f"mode.subroutines=[{','.join(subroutines)}]",
            *folds,
            *self._overrides,
        ]

    def _folder_overrides(self, config: Path) -> list[str]:
        project = experiment_files.results_of(config)
        return [
            f"out_dir={as_text(str(project.root.parent))}",
            f"proj={as_text(project.name)}",
            f"data_dir={as_text(str(self._cache))}",
        ]

    def _fit(self, config: Path, run: Run | None) -> None:
        folder = config.parent
        (folder / SUMMARY).unlink(missing_ok=True)
        (folder / _ERROR).unlink(missing_ok=True)
        files.write_text(folder / _RUNNING, "{}\n")
        log.info(f"experiment {folder.relative_to(self._root / 'experiments').as_posix()}")
        try:
            if experiment_files.is_searched(config):
                self._search(config)
                return
            if self._recalculate or self._only_report:
                prepared = front.prepared("predict", self._train_overrides(config, "predict"))
            else:
                prepared = front.prepared(
                    "train", self._resume_overrides(config) or self._train_overrides(config, "train", "predict")
                )
            for note in prepared.notes:
                log.info(note)
            if not self._only_report:
                follower = experiment_files.follower(config, experiment_files.results_of(config))
                with sentences.of_file(self._train_overrides(config)):
                    launch.execute(prepared, display=self.context.display, stop=self.context.stop, follower=follower)
            self._report(config, prepared.run_config)
        except (Interrupted, KeyboardInterrupt):
            raise
        except MlpipeError as error:
            if files.disk_is_full(error):
                # Not an error of the experiment, which can be resumed.
                raise
            entry = {"type": type(error).__name__, "value": str(error), "trace": traceback.format_exc()}
            files.write_text(folder / _ERROR, files.yaml_text({"errors": [entry]}))
            raise
        finally:
            (folder / _RUNNING).unlink(missing_ok=True)

    def _search(self, config: Path) -> None:
        """Search an experiment's hyperparameters; trials of earlier commands count."""
        overrides, project = self._train_overrides(config, "train", "predict"), experiment_files.results_of(config)
        if self._recalculate or self._only_report:
            summary = experiment_search.report(config, project, overrides)
        else:
            summary = experiment_search.run(config, project, overrides, self.context.display, self.context.stop)
        self.context.facts.setdefault("results", {})[str(config.parent)] = summary["best"]["result"]
        log.info(f"written to {config.parent / SUMMARY}")

    def _resume_overrides(self, config: Path) -> list[str]:
        """Return the overrides that resume an unfinished run; empty if there is none, or it was not requested."""
        project = experiment_files.results_of(config)
        unfinished = experiment_files.unfinished(project)
        if not self._resume or unfinished is None:
            return []
        now = front.prepared("train", self._train_overrides(config, "train", "predict")).run_config
        if not experiment_files.is_resumable_as(unfinished, now):
            log.info(f"{config.name} is another one than that of the run that was interrupted: it is trained anew")
            return []
        return launch.words_to_continue(now, unfinished.name)

    def _report(self, config: Path, config_of_run: RunConfig) -> None:
        _, value = experiment_files.report(config, experiment_files.results_of(config), config_of_run)
        self.context.facts.setdefault("results", {})[str(config.parent)] = value
        log.info(f"written to {config.parent / SUMMARY}")

    def _summarize_seeds(self, folder: Path, run: Run | None) -> None:
        """Write the parent's summary of an experiment with several seeds, and links to the files of each."""
        results = self.context.facts.get("results", {})
        seeds = [path.parent for path in experiment_files.seeds_of(folder)]
        values = [results[str(seed)] for seed in seeds if str(seed) in results]
        for link in [*folder.glob("metrics/*"), *folder.glob("weights/*")]:
            # A link of a seed that is no longer requested.
            if link.is_symlink() and link.name not in {seed.name for seed in seeds}:
                link.unlink()
        for seed in seeds:
            for name in ("metrics", "weights"):
                link = folder / name / seed.name
                if not (seed / name).is_dir():
                    # A searched experiment has these files in the folders of its trials.
                    continue
                link.parent.mkdir(exist_ok=True)
                if not link.exists() and not link.is_symlink():
                    link.symlink_to(Path("..") / seed.name / name, target_is_directory=True)
        files.write_text(folder / SUMMARY, files.yaml_text(layout.spread(values)))


def _devices(num_gpus: int, gpus_per_net: int) -> list[str]:
    """Return the overrides that distribute a training over the available GPUs; empty if one of them trains everything."""
    if max(num_gpus, gpus_per_net) < 2:
        return []
    import torch

    gpu_count = torch.cuda.device_count()
    if gpu_count < max(num_gpus, gpus_per_net):
        log.info(f"{max(num_gpus, gpus_per_net)} GPUs are asked for, there are {gpu_count}")
    together, beside = min(gpus_per_net, gpu_count), min(num_gpus, gpu_count)
    if together > 1:
        # Processes that train a fold together do not compute metrics on training images.
        return [f"trainer.devices={together}", "metrics.while_training=false"]
    return [f"sys.fold_workers={beside}"] if beside > 1 else []
