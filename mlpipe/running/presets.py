"""Presets (`mml train preset=fast time_limit=5m`): several recipes within a time limit, then their best mixture."""

from __future__ import annotations

import logging
import shutil
import statistics
import time
from collections.abc import Iterable, Mapping
from copy import deepcopy
from dataclasses import replace
from functools import cached_property, partial
from pathlib import Path
from typing import Any, NotRequired, TypedDict

import numpy as np

from mlpipe import files, kinds
from mlpipe import stored as stored_files
from mlpipe.config import presets, rules
from mlpipe.config.assemble import assemble
from mlpipe.config.environment import cores
from mlpipe.config.schema import RunConfig
from mlpipe.data import kind as targets
from mlpipe.data.splits import methods, variants
from mlpipe.errors import ConfigError, DataError, Interrupted, counted, problem
from mlpipe.names import path_of
from mlpipe.post import kind as post_kind
from mlpipe.post.figures import percent
from mlpipe.running import image_times, leaderboard, next_command, stored_decisions, task_names, tasks
from mlpipe.running.scheduler import Scheduler
from mlpipe.running.steps import Deadline, Follower, RunContext, Step, raise_all, require_writable
from mlpipe.running.time_plan import Pace, PlannedAnew, Shape, clock, epochs_within, within_stages
from mlpipe.runs import records
from mlpipe.runs.journal import Run

log = logging.getLogger("mlpipe")

_DECIDED_FILE = "preset.json"
# Reserved for calibration, ensembling and the end of the process, on an otherwise idle machine: seconds, seconds per
# trained fold, and seconds per thousand images; then the report's. A share of the limit is reserved in addition.
_POST, _POST_FOLD, _POST_PER_THOUSAND, _REPORT = 2.5, 0.15, 0.5, 2.0
_RESERVE = 0.02
# The share of a recipe's time after which its speed is known, and the deviation that causes a new plan.
_PACE, _FAR = 0.03, 0.06
# The maximum share of the remaining time for the first recipe's pass over the images.
_FIRST_PASS = 0.5
# With fewer epochs, a network does not improve on a linear head.
_LEAST_EPOCHS = 2
# If fewer than `_ENOUGH_EPOCHS` epochs of all folds fit, fewer folds are trained: as many as fit with `_WISHED_EPOCHS`
# epochs each. They must hold out at least `_LEAST_HELD_OUT` images, and on average `_LEAST_OF_A_CLASS` of each class,
# because these images choose the mixture.
_ENOUGH_EPOCHS, _WISHED_EPOCHS = 3, 5
_LEAST_HELD_OUT, _LEAST_OF_A_CLASS = 100, 5
# Seconds of a fold besides its pass over the images, until the first fold has measured them.
_FOLD_SECONDS = 1.5
# The test share that runs of version 0.1.0 set aside.
_TEST_FRACTION_BEFORE = 0.2
# Duration in seconds of measuring the training speed.
_LEARN_SECONDS = 2.0
# Duration in seconds of the work that measures this process's share of a core.
_SPIN = 0.05


def slowness() -> float:
    """Return how many times longer work takes than on an idle core: 1 without other programs."""
    before, worked = time.perf_counter(), time.thread_time()
    while time.thread_time() - worked < _SPIN:
        pass
    return max(1.0, (time.perf_counter() - before) / _SPIN)


class _Decided(TypedDict):
    """The decision on how a recipe is trained, as stored with the run."""

    epochs: int
    seconds: float | None
    scale: NotRequired[float]
    is_final: NotRequired[bool]
    left_out: NotRequired[list[str]]


class PresetScheduler(Scheduler):
    """Run a preset's recipes one after the other, each in its share of the time, then post-processing.

    The first recipe is always trained, with smaller images if a pass over the images would take too long. Other recipes
    are trained if they fit into the remaining time, and given up if they turn out not to fit.

    Args:
        run_config: The checked configuration; its tree contains the composed trees of the recipes.
        context: The project, the display and the request to stop.
    """

    def __init__(self, run_config: RunConfig, context: RunContext) -> None:
        super().__init__(run_config, context)
        self._limit = presets.seconds_of(run_config.tree.get("time_limit"))
        context.display.ends_at = None if self._limit is None else context.started + self._limit
        self._trees: Mapping[str, Any] = run_config.tree["preset"]["trees"]
        self._children: dict[str, Any] = {}
        self._plans: dict[str, dict[str, Any]] = {}
        self._step_seconds: dict[str, dict[str, float]] = {}
        self._pace: Pace | None = None
        self._shape: Shape | None = None
        self._slow = 1.0

    def plan(self) -> list[Step]:
        """Plan every recipe's steps under its name; how a recipe is trained is decided at its turn."""
        config = self.run_config
        raise_all(require_writable(config.out_dir, "out_dir") + require_writable(config.data_dir, "data_dir"))
        known = task_names.created(config.data_dir)
        self._task = tasks.pivot(self._without_test(config))
        tasks.refuse_results_inside(self._task, config.project_dir)
        kind = kinds.of(self._task.kind)
        mixing = post_kind.of(kind.name).ENSEMBLING
        if mixing is None or not mixing.MIXES_COLUMNS:
            fix = "leave it out, and choose an arch, such as unet for masks or yolo for boxes"
            raise ConfigError(problem("preset", f"is not for {kind.words.TARGETS}", fix=fix))
        self._apply_stored_split()
        if config.resume:
            self._plans = self._stored(self.context.project.run_dir(config.resume) / _DECIDED_FILE)
        # The plan of each recipe is made twice: here, for the names of its steps and to find all problems, and again at
        # its turn, when the remaining time is known. A step in the project is therefore only a name here. Of the steps
        # before the run, only those of the first recipe are done beforehand: they find unreadable images.
        self._tell_task(is_new=not self._task.bases and self._task.name not in known)
        steps: list[Step] = []
        for name in self._names():
            with self.context.display.during(f"planning recipe {name}"):
                planned = [step for step in self._child(name, {}).plan() if step.name != "leaderboard"]
            is_first = name == self._names()[0]
            for step in planned:
                if step.in_project:
                    steps.append(Step(f"{name}: {step.name}", partial(self._do_in_turn, name, step.name)))
                elif is_first:
                    steps.append(Step(f"{name}: {step.name}", partial(self._do_before_run, name, step.name), False))
            if is_first:
                trained = [step.name for step in planned if step.name.startswith("train fold")]
                self._labels = [step.partition(" ")[2] for step in trained]
                self._folds = len(trained)
        measure = Step("measure", self._measure, in_project=False)
        return [measure, *steps, Step("post", self._post), Step("leaderboard", self._leaderboard)]

    def outlook(self) -> None:
        """Report the expected duration."""
        self._measure(None)

    def _names(self) -> list[str]:
        return [name for name in self._trees if name != "post"]

    def _without_test(self, config: RunConfig) -> RunConfig:
        """Return the configuration for a variant of the task, whose test part exists only if requested."""
        if not config.tags or config.given is None:
            return config
        tree = {**config.tree, "split": _split_without_test(config.tree["split"], config.given)}
        return replace(assemble(tree), given=config.given)

    def _apply_stored_split(self) -> None:
        """Apply the stored split of the task to the recipes with the same split; a continued run has its own.

        A test part is set aside, and tested on, if the task has one or the user requested one.
        """
        keys = self.run_config.given
        if keys is None:
            self._trees = self._recipes_as_begun()
            return
        trees, is_tested = {}, "test" in self._task.samples.parts
        for name, tree in self._trees.items():
            section = _split_without_test(tree["split"], keys)
            if "split" not in keys:
                described = tasks.described_in(self.run_config.data_dir, self._task)
                of_task = stored_decisions.split_section(section, keys, described, self.run_config.tree["trust"])
                # A recipe with another split is intended by the preset.
                section = of_task if of_task["_target_"] == section["_target_"] else section
            trees[name] = {**tree, "split": section}
            mode = tree["mode"]
            tests = is_tested or bool(section.get("test_fraction")) or mode.get("nested")
            if name != "post" and tests and "predict" in mode["subroutines"] and "mode.subroutines" not in keys:
                trees[name]["mode"] = {**mode, "subroutines": [*mode["subroutines"], "test"]}
            if mode.get("refit") and "mode.refit" not in keys and not self._holds_out(tree, section):
                trees[name]["mode"] = {**trees[name]["mode"], "refit": False}
        preset = {**self.run_config.tree["preset"], "trees": trees}
        self._trees = trees
        self.decided(replace(self.run_config, tree={**self.run_config.tree, "preset": preset}))

    def _recipes_as_begun(self) -> Mapping[str, Any]:
        """Return the recipes of a continued run; runs of version 0.1.0 set test images aside without storing that."""
        first = self._trees[self._names()[0]]["split"]
        is_open = "test_fraction" in first and not first["test_fraction"] and "test" not in self._task.samples.parts
        if "sizes" in self.run_config.tree["preset"] or not is_open:
            return self._trees
        split = {"test_fraction": _TEST_FRACTION_BEFORE}
        return {name: {**tree, "split": {**tree["split"], **split}} for name, tree in self._trees.items()}

    def _holds_out(self, tree: Mapping[str, Any], section: Mapping[str, Any]) -> bool:
        """Return whether a split holds out training images, from which a refit could additionally learn."""
        split = tasks.split_of(assemble({**tree, "split": section}), self._task)
        learned = len(variants.whole(self._task, split).train)
        return any(len(variants.plain(self._task, split, fold).train) < learned for fold in split.validated)

    def _child(self, name: str, changes: Mapping[str, Any], pace: Pace | None = None) -> Any:
        """Return the scheduler of one recipe, with some keys changed; `pace` follows its epochs."""
        tree = deepcopy(dict(self._trees[name]))
        for key, value in changes.items():
            node, (*path, last) = tree, key.split(".")
            for part in path:
                node = node.setdefault(part, {})
            node[last] = value
        # Its split is already decided, see `_apply_stored_split`.
        config = replace(assemble(tree), given=(self.run_config.given or frozenset()) | {"split"})
        follower = Follower(lambda name: None, pace.epoch) if pace is not None else None
        is_first = name == self._names()[0]
        stop = self.context.stop if is_first or self._limit is None else Deadline(self.context.stop, self._end_time())
        child: Any = config.scheduler.build(config, replace(self.context, follower=follower, stop=stop))
        child.looked_at = self._task
        return child

    def _tell_task(self, *, is_new: bool) -> None:
        """Describe the task, unless it is new and was described before, and its rare classes."""
        task, phrases = self._task, list[str]()
        if not is_new:
            phrases.append(tasks.describe(task))
        if targets.of(task.kind).IS_CLASS_NUMBER:
            counts = task.class_counts()
            rarest = task.classes[int(counts.argmin())]
            phrases.append(
                f"the rarest class, {rarest}, has {percent(counts.min() / max(1, counts.sum()))} of the labels"
            )
        if phrases:
            log.info(f"task {task.name}: {'; '.join(phrases)}")

    def _measure(self, run: Run | None) -> None:
        """Measure this machine's speed, in about two seconds, and estimate the duration of everything."""
        import torch

        config = self._child(self._names()[0], {}).run_config
        with self.context.display.during("measuring how fast this machine is"):
            self._slow = slowness()
            self._times = image_times.measured(config, self._task)
        device = torch.cuda.get_device_name() if torch.cuda.is_available() else f"{cores()} cores, no GPU"
        times, task = self._times, self._task
        arch = config.recipe.arch.params.get("name") or "the network"
        log.info(
            f"{device}; measured: {arch} looks at {1 / times.evaluate:.0f} images/s, one pass over "
            f"{counted(times.images, 'image')} takes about {clock(times.one_pass(times.size))}"
        )
        shape, epochs = self._expected_shape(), 0
        whole = 0.0
        for name in self._names():
            epochs = self._most_epochs(name)
            if self._is_exact(name):
                whole += self._needed_seconds(name, self._scales(name)[0])
            else:
                whole += shape.folds * epochs * shape.epoch() + shape.predicting()
        limit = "no time limit" if self._limit is None else f"time limit {clock(self._limit)}"
        size = len(task.samples) * times.size**2 * task.channels + 4 * times.parameters * self._folds
        log.info(
            f"plan: {', '.join(self._names())}, {counted(self._folds, 'fold')} each, then post; all of it would "
            f"take about {clock(whole)}, {limit}; about {size / 1e6:.0f} MB on the disk"
        )

    def _most_epochs(self, name: str) -> int:
        stepped = [int(stage["epochs"]) for stage in self._stages(name) if stage.get("head") is None]
        return sum(stepped) if stepped else int(self._trees[name]["trainer"]["max_epochs"])

    def _stages(self, name: str) -> list[dict[str, Any]]:
        """Return the stages of a recipe."""
        return list(self._trees[name]["stages"]["list"])

    def _exact_heads(self, name: str) -> int:
        """Return how many of a recipe's stages fit a head exactly, without steps."""
        return len([stage for stage in self._stages(name) if stage.get("head") is not None])

    def _is_exact(self, name: str) -> bool:
        return rules.is_exact(self._trees[name])

    def _scales(self, name: str) -> list[float]:
        """Return the image sizes for a recipe, as shares of the others' size, the preferred one first."""
        sizes = (self.run_config.tree["preset"].get("sizes") or {}).get(name, 1.0)
        return [float(size) for size in (sizes if isinstance(sizes, list) else [sizes])]

    def _do_before_run(self, name: str, step: str, run: Run | None) -> None:
        """Run a step of the first recipe before the run's folder exists."""
        if name not in self._children:
            self._begin(name, self._recipe_plan(name, None))
        self._calls[step](None)

    def _do_in_turn(self, name: str, step: str, run: Run | None) -> None:
        """Run a step of a recipe, after deciding on the recipe before its first step."""
        assert run is not None
        self._run = run
        decided = self._recipe_plan(name, run)
        if decided["epochs"] == 0 or step.partition(" ")[2] in decided.get("left_out", ()):
            return
        if name not in self._children and not self._begin_if_possible(name, decided):
            return
        if step.startswith("train ") and self._is_late(name, step):
            return
        began = time.monotonic()
        try:
            self._do_step(name, step, run)
        except Interrupted:
            if self.context.stop():
                raise
            self._give_up(name, "its time is over")
        self._step_seconds.setdefault(name, {})[step] = time.monotonic() - began

    def _do_step(self, name: str, step: str, run: Run) -> None:
        """Run a step; repeat the first fold's training if its speed changes the plan."""
        with self.context.display.within(name):
            self._do_with_pace(name, step, run)

    def _do_with_pace(self, name: str, step: str, run: Run) -> None:
        if self._pace is None or not step.startswith("train fold"):
            self._calls[step](run)
            return
        before = _fold_files(run)
        self._pace.begin()
        try:
            self._calls[step](run)
        except PlannedAnew:
            _remove(_fold_files(run) - before)
            # At its measured speed, not even the minimum number of epochs may fit.
            if (decided := self._recipe_plan(name, run))["epochs"] > 0:
                self._begin(name, decided)
                self._calls[step](run)
        self._pace = None

    def _begin_if_possible(self, name: str, decided: Mapping[str, Any]) -> bool:
        """Start a recipe; its network may not accept images of another size."""
        try:
            steps = self._begin(name, decided)
            if decided.get("scale", 1.0) != 1.0:
                for step in steps:
                    if not step.in_project:
                        step.call(None)
        except (ConfigError, DataError) as error:
            if decided.get("scale", 1.0) == 1.0:
                raise
            self._give_up(name, error.problems[0])
            return False
        except Interrupted:
            if self.context.stop():
                raise
            self._give_up(name, "its time is over")
            return False
        return True

    def _begin(self, name: str, decided: Mapping[str, Any]) -> list[Step]:
        """Create the scheduler of the next recipe."""
        changes: dict[str, Any] = {}
        self._pace = None
        if decided.get("scale", 1.0) != 1.0:
            changes["preprocessing.size"] = _scaled(self._trees[name]["preprocessing"]["size"], decided["scale"])
        if not self._is_exact(name):
            changes["trainer.max_epochs"] = decided["epochs"]
            changes["stages.list"] = within_stages(self._stages(name), decided["epochs"])
            if decided["seconds"] is not None:
                stop = {"_target_": path_of("callbacks", "time_limit"), "seconds": decided["seconds"]}
                changes["callbacks.time_limit"] = stop
                if not decided.get("is_final", True):
                    judge = partial(self._judge, name, decided)
                    self._pace = Pace(_PACE * decided["seconds"], judge, self._exact_heads(name))
        child = self._child(name, changes, self._pace)
        steps: list[Step] = child.plan()
        self._calls = {step.name: step.call for step in steps}
        self._children = {name: child}
        return steps

    def _judge(self, name: str, decided: Mapping[str, Any], epoch_seconds: float, epoch_count: int) -> None:
        """Compare a recipe's plan with its measured speed.

        Raises:
            PlannedAnew: When clearly more epochs, from the start, than planned would fit, or clearly fewer.
        """
        assert self._shape is not None
        log.debug(f"{name}: an epoch takes {epoch_seconds:.2f} s; {self._shape.epoch():.2f} s were measured")
        self._shape = self._shape.at(epoch_seconds)
        trained = replace(self._shape, folds=self._trained_folds(decided))
        fitting, planned = self._fitting_epochs(name, trained), decided["epochs"]
        is_too_long = epoch_count + fitting < (1 - _FAR) * planned and fitting >= epoch_count
        if is_too_long or fitting > (1 + _FAR) * planned:
            log.info(f"{name}: an epoch takes {epoch_seconds:.1f} s, so that the plan is made anew")
            self._store(name, {**self._decide(name), "is_final": True})
            raise PlannedAnew

    def _is_late(self, name: str, step: str) -> bool:
        """Return whether a training started now would end too late; then it is left out, or its recipe given up.

        Folds are useful without a refit. Without the last folds, a cross-validation is still useful if it is of the
        first recipe, or of networks whose folds hold out enough images.
        """
        of_folds = [
            seconds
            for step_name, seconds in self._step_seconds.get(name, {}).items()
            if step_name.startswith("train fold")
        ]
        if self._limit is None or not of_folds:
            return False
        is_refit, decided = not step.startswith("train fold"), self._plans[name]
        usual = statistics.median(of_folds[1:]) if len(of_folds) > 1 else _FOLD_SECONDS * self._slow
        # A model of all folds replaces them only if all of them exist.
        is_short = is_refit and bool(decided.get("left_out"))
        needed = usual if self._is_exact(name) or is_refit else self._least_fold_seconds(len(of_folds))
        if not is_short and needed <= self._remaining_seconds():
            return False
        is_some = name == self._names()[0] or (not self._is_exact(name) and self._is_enough(len(of_folds)))
        if not is_some and not is_refit:
            self._give_up(name, f"{clock(max(self._remaining_seconds(), 0))} are left")
            return True
        label, left_out = step.partition(" ")[2], decided.get("left_out", ())
        # The remaining time only shrinks: later trainings are left out as well. Those left out from the start are
        # reported with the plan.
        is_said = bool(left_out) if is_refit else self._labels[self._labels.index(label) - 1] in left_out
        if not is_said:
            which = f"{label} is" if is_refit or label == self._labels[-1] else f"{label} and what follows it are"
            log.info(f"{name}: {which} left out, {clock(max(self._remaining_seconds(), 0))} are left")
        self._store(name, {**decided, "left_out": [*left_out, label]})
        return True

    def _least_fold_seconds(self, before: int) -> float:
        """Return the least seconds of one more fold: an epoch, and predictions of it and of earlier folds."""
        shape = replace(self._shape or self._expected_shape(), folds=before + 1)
        return shape.epoch() + shape.predicting()

    def _give_up(self, name: str, why: str) -> None:
        """Give up a started recipe, and delete its trained folds: all members need the rows that choose."""
        log.info(f"{name}: left out after all: {why}")
        self._store(name, {"epochs": 0, "seconds": 0.0})
        project, child = self.context.project, self._children.get(name)
        for record in records.load_all(project, self._task.name):
            if child is not None and record.run == self._run.name and record.recipe == child.recipe_hash:
                folder = project.model_dir(record.pivot, record.id)
                project.predictions_file(record.pivot, record.id).unlink(missing_ok=True)
                shutil.rmtree(folder)
        # Recipes run sequentially, and finished folds have no state: any state belongs to this recipe.
        _remove(self._run.checkpoints_dir.glob("*"))

    def _recipe_plan(self, name: str, run: Run | None) -> dict[str, Any]:
        """Return how a recipe is trained: decided once, and stored with the run for continued runs."""
        if name not in self._plans:
            self._plans[name] = {**self._decide(name), "is_final": False}
        if run is not None and self._plans != self._stored(run.folder / _DECIDED_FILE):
            files.write_json(run.folder / _DECIDED_FILE, self._plans)
        return self._plans[name]

    def _store(self, name: str, decided: dict[str, Any]) -> None:
        self._plans[name] = decided
        self._recipe_plan(name, self._run)

    def _stored(self, path: Any) -> dict[str, dict[str, Any]]:
        if not path.exists():
            return {}
        decisions = stored_files.read(path, dict[str, _Decided], "start the training anew")
        return {name: dict(decision) for name, decision in decisions.items()}

    def _decide(self, name: str) -> dict[str, Any]:
        """Decide epochs, seconds per fold and image size of a recipe; no epochs: it is left out."""
        most = self._most_epochs(name)
        if self._is_exact(name):
            scale = self._scale(name)
            if scale == 0.0:
                needs = clock(self._needed_seconds(name, min(self._scales(name))))
                log.info(
                    f"{name}: left out, {clock(max(self._remaining_seconds(), 0))} are left and it takes about {needs}"
                )
                return {"epochs": 0, "seconds": 0.0}
            size = _scaled(self._trees[name]["preprocessing"]["size"], scale)
            if name in self._spare() and (network := self._loses_epochs(name, scale)):
                log.info(f"{name}: left out, {network} has epochs of all folds for what is left")
                return {"epochs": 0, "seconds": 0.0}
            log.info(f"{name}: a head on frozen features at {_sides(size)} pixels, one pass over the images")
            return {"epochs": most, "seconds": None, "scale": scale}
        if self._limit is None:
            log.info(f"{name}: {counted(most, 'epoch')} of each fold")
            return {"epochs": most, "seconds": None}
        left, shape = self._remaining_seconds(), self._measured_shape(name)
        folds, epochs = self._folds_and_epochs(name, shape)
        share = self._share_seconds(name)
        if epochs == 0:
            least = min(_LEAST_EPOCHS, most)
            needed = least * shape.folds * shape.epoch() + shape.predicting() + self._head_seconds(name, shape)
            log.info(
                f"{name}: left out, {clock(max(left, 0))} are left and {counted(least, 'epoch')} of "
                f"{counted(shape.folds, 'fold')} with their predictions take about {clock(needed)}"
            )
            return {"epochs": 0, "seconds": 0.0}
        trained = replace(shape, folds=folds)
        seconds = (share - trained.predicting()) / folds
        of_folds = "each fold" if folds == self._folds else f"{folds} of {counted(self._folds, 'fold')}"
        log.info(
            f"{name}: {epochs} of {counted(most, 'epoch')} of {of_folds}, in at most {clock(share)} of the {clock(left)} left"
        )
        decided: dict[str, Any] = {"epochs": epochs, "seconds": round(seconds, 1)}
        return decided if folds == self._folds else {**decided, "left_out": self._labels[folds:]}

    def _spare(self) -> list[str]:
        """Return the recipes for time that no network can use better."""
        return list(self.run_config.tree["preset"].get("spare") or [])

    def _loses_epochs(self, name: str, scale: float) -> str | None:
        """Return the network that would lose epochs it could use to a head on frozen features; None: none.

        Only networks after that head that could otherwise be trained well are considered: all folds, for as many epochs
        as are wished for when fewer folds are trained.
        """
        if self._limit is None:
            return None
        needed, names = self._needed_seconds(name, scale), self._names()
        for network in names[names.index(name) :]:
            if self._is_exact(network):
                continue
            shape = self._measured_shape(network)
            folds, epochs = self._folds_and_epochs(network, shape)
            is_well = folds == self._folds and epochs >= min(_WISHED_EPOCHS, self._most_epochs(network))
            if is_well and self._folds_and_epochs(network, shape, needed) != (folds, epochs):
                return network
        return None

    def _folds_and_epochs(self, name: str, shape: Shape, reserved: float = 0.0) -> tuple[int, int]:
        """Return how many folds of a recipe are trained, and for how many epochs; no epochs: it does not fit.

        `reserved` are seconds of the remaining time that are needed for something else.

        A few epochs of all folds are better than none, but more epochs of fewer folds are better still: a network
        trained for two epochs adds little to a head that was fitted exactly.
        """
        most = self._most_epochs(name)
        by_folds = {
            folds: self._fitting_epochs(name, replace(shape, folds=folds), reserved)
            for folds in range(self._most_folds(name), 0, -1)
            if folds == self._folds or self._is_enough(folds)
        }
        for folds, epochs in by_folds.items():
            if epochs >= min(_ENOUGH_EPOCHS if folds == self._folds else _WISHED_EPOCHS, most):
                return folds, epochs
        return next(((folds, of) for folds, of in by_folds.items() if of >= min(_LEAST_EPOCHS, most)), (0, 0))

    def _most_folds(self, name: str) -> int:
        """Return the smallest number of folds of the other recipes trained in steps: their images choose the mixture."""
        others = [decision for other, decision in self._plans.items() if other != name and not self._is_exact(other)]
        return min(
            (self._trained_folds(decision) for decision in others if decision["epochs"] > 0), default=self._folds
        )

    def _trained_folds(self, decided: Mapping[str, Any]) -> int:
        """Return how many folds of a recipe are trained; a refit may be left out, too."""
        return self._folds - len(set(decided.get("left_out", ())) & set(self._labels))

    def _is_enough(self, folds: int) -> bool:
        """Return whether so many folds hold out enough images to choose a mixture, each image equally often."""
        _, times = np.unique(np.concatenate(self._held_out[:folds]), return_counts=True)
        least = max(_LEAST_HELD_OUT, _LEAST_OF_A_CLASS * len(self._task.classes))
        return len(times) >= least and bool((times == times[0]).all())

    def _scale(self, name: str) -> float:
        """Return the share of the usual image size for a recipe with frozen features; 0: it does not fit."""
        scales = self._scales(name)
        if self._limit is None:
            return scales[0]
        if name != self._names()[0]:
            return next(
                (scale for scale in scales if self._needed_seconds(name, scale) <= self._remaining_seconds()), 0.0
            )
        side = max(1, round(self._times.size * scales[0]))
        size = replace(self._times, size=side, evaluate=self._times.evaluate * scales[0] ** 2).size_within(
            _FIRST_PASS * self._remaining_seconds()
        )
        if size < side:
            log.info(f"one pass over the images takes too long: of {size} x {size} pixels in place of {side} x {side}")
        return scales[0] * size / side

    def _needed_seconds(self, name: str, scale: float) -> float:
        """Estimate the seconds of a recipe with frozen features, from an earlier one or else as measured."""
        times, first = self._times, self._names()[0]
        mirrored = bool(self._trees[name]["optimizer"].get("flips"))
        recipes = [
            recipe for recipe, decided in self._plans.items() if decided["epochs"] > 0 and recipe in self._step_seconds
        ]
        is_there = any(self._plans[recipe].get("scale") == scale for recipe in recipes)
        passes = (0 if is_there else 1) + mirrored
        took = self._step_seconds.get(first, {})
        of_folds = [seconds for step, seconds in took.items() if step.startswith("train fold")]
        if len(of_folds) < 2:
            rest = (self._folds + 1) * _FOLD_SECONDS * self._slow
            pass_seconds = times.one_pass(times.size, is_cached=True)
        else:
            fold = statistics.median(of_folds[1:])
            # Only the pass takes longer with more pixels, and the first fold made it.
            pass_seconds = max(of_folds[0] - fold, 0.0) / self._plans[first].get("scale", 1.0) ** 2
            rest = sum(took.values()) - max(of_folds[0] - fold, 0.0)
        reading = 0.0 if is_there else times.images * times.read
        longer = times.mirrored_fit(self._expected_shape().learning()) if mirrored else 1.0
        return longer * rest + passes * pass_seconds * scale**2 + reading

    def _expected_shape(self) -> Shape:
        """Return the size of the data and the speed of training estimated from evaluation."""
        test = int(self._task.samples.labelled.sum()) - self._learning_count
        held_out = statistics.fmean(map(len, self._held_out)) / self._learning_count
        return Shape(self._learning_count, test, self._folds, held_out, 3 * self._times.evaluate, self._times.evaluate)

    @cached_property
    def _learning_count(self) -> int:
        """Return the number of training and validation images."""
        split = tasks.split_of(self._child(self._names()[-1], {}).run_config, self._task)
        return int(self._task.samples.labelled.sum()) - int((split.fold == methods.TEST).sum())

    @cached_property
    def _held_out(self) -> list[variants.Rows]:
        """Return the validation rows of each fold, in training order."""
        split = tasks.split_of(self._child(self._names()[0], {}).run_config, self._task)
        return [variants.plain(self._task, split, int(label.rpartition(" ")[2])).val for label in self._labels]

    def _measured_shape(self, name: str) -> Shape:
        """Return the same with the measured training speed, measured only if it could matter."""
        if self._shape is not None:
            return self._shape
        guessed = self._expected_shape()
        if 2 * self._fitting_epochs(name, replace(guessed, folds=1)) < _LEAST_EPOCHS:
            return guessed
        from mlpipe.learn.machine import speed

        config = self._child(name, {}).run_config
        channels = tasks.preprocessing_of(config, self._task).channels
        batch = min(int(config.recipe.sampling.params.get("batch_size", 32)), 32)
        outputs = len(self._task.classes)
        with self.context.display.during("measuring the speed of training"):
            measurement = speed.speed(
                config.recipe, channels, self._times.size, outputs, batch, most_seconds=_LEARN_SECONDS
            )
        log.info(f"measured: {1 / measurement.train:.0f} images/s in training")
        self._shape = replace(guessed, train_second=measurement.train, evaluate_second=measurement.evaluate)
        return self._shape

    def _fitting_epochs(self, name: str, shape: Shape, reserved: float = 0.0) -> int:
        """Return how many epochs of a recipe fit into its share of the remaining time, minus the reserved time."""
        seconds = self._share_seconds(name, reserved) - self._head_seconds(name, shape)
        return epochs_within(seconds, shape, self._most_epochs(name))

    def _head_seconds(self, name: str, shape: Shape) -> float:
        """Return the seconds of the exact heads from which a recipe's folds start."""
        return self._exact_heads(name) * shape.folds * self._fold_seconds()

    def _share_seconds(self, name: str, reserved: float = 0.0) -> float:
        """Return a recipe's share of the remaining seconds, divided among the recipes trained in steps."""
        names = self._names()
        later = [recipe for recipe in names[names.index(name) :] if not self._is_exact(recipe)]
        return (self._remaining_seconds() - reserved) / len(later)

    def _fold_seconds(self) -> float:
        """Return the seconds of an exact head on existing features, as in the first recipe's later folds."""
        took = self._step_seconds.get(self._names()[0], {})
        of_folds = [seconds for step, seconds in took.items() if step.startswith("train fold")]
        return statistics.median(of_folds[1:]) if len(of_folds) > 1 else _FOLD_SECONDS * self._slow

    def _remaining_seconds(self) -> float:
        """Return the seconds left for training."""
        return self._end_time() - time.monotonic()

    def _end_time(self) -> float:
        """Return when training must end, on the clock of `time.monotonic`."""
        assert self._limit is not None
        return self.context.started + self._limit * (1 - _RESERVE) - self._closing_seconds(is_reported=True)

    def _closing_seconds(self, *, is_reported: bool) -> float:
        """Return the seconds needed after the last training."""
        folds = self._folds * len([decision for decision in self._plans.values() if decision["epochs"] > 0])
        work: float = _POST + _POST_FOLD * folds + _POST_PER_THOUSAND * len(self._task.samples) / 1000
        return (work + _REPORT * is_reported) * self._slow

    def _post(self, run: Run | None) -> None:
        tree = deepcopy(dict(self._trees["post"]))
        if self._limit is not None:
            left = self.context.started + self._limit - time.monotonic()
            if left < self._closing_seconds(is_reported=True) and tree["mode"]["report"]:
                writes = next_command.info_command(self.run_config, self.context.project, "mode.subroutines=[report]")
                log.info(f"no time is left for the report; it is written by: {writes}")
                tree["mode"]["report"] = False
        config = assemble(tree)
        scheduler: Scheduler = config.scheduler.build(config, replace(self.context, is_part=True))
        for step in scheduler.plan():
            self.context.stop.check()
            step.call(run)

    def _leaderboard(self, run: Run | None) -> None:
        assert run is not None
        seconds = time.monotonic() - self.context.started
        self.context.facts["seconds"] = round(seconds, 1)
        limit = "" if self._limit is None else f" of {clock(self._limit)}"
        log.info(f"took {clock(seconds)}{limit}")
        config, project, name = self.run_config, self.context.project, self._task.name
        is_there = not config.remove.parameters and any(
            record.run == run.name for record in records.load_all(project, name)
        )
        command = next_command.predict_command(config, project, self._task, self._task.kind, run) if is_there else ""
        leaderboard.tell_result(self.context, config, [name], command)


def _split_without_test(section: Mapping[str, Any], keys: frozenset[str]) -> dict[str, Any]:
    """Return a section `split` without a test part, unless the user requested one."""
    if "test_fraction" not in section or "split.test_fraction" in keys:
        return dict(section)
    return {**section, "test_fraction": 0.0}


def _fold_files(run: Run) -> set[Path]:
    """Return states, recoveries and curves of folds, in training or finished."""
    return {*run.checkpoints_dir.glob("*"), *(run.folder / "logs").glob("*")}


def _remove(paths: Iterable[Path]) -> None:
    for path in paths:
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink()


def _scaled(size: Any, scale: float) -> Any:
    """Scale a size in pixels, or height and width, to a multiple of 32 (of 8 if it is small)."""
    if isinstance(size, list):
        return [_scaled(side, scale) for side in size]
    if scale == 1.0:
        return size
    step = 32 if size >= 64 else 8
    return max(step, round(size * scale / step) * step)


def _sides(size: Any) -> str:
    return " x ".join(map(str, size)) if isinstance(size, list) else f"{size} x {size}"
