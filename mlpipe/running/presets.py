"""Presets (`mml train preset=fast time_limit=5m`): several recipes within a time limit, then their best mixture."""

from __future__ import annotations

import logging
import shutil
import time
from collections.abc import Mapping
from copy import deepcopy
from dataclasses import replace
from functools import partial
from typing import Any

from mlpipe import files, kinds
from mlpipe.config import presets, rules
from mlpipe.config.assemble import assemble
from mlpipe.config.environment import cores
from mlpipe.config.schema import RunConfig
from mlpipe.data import kind as targets
from mlpipe.data.splits import methods
from mlpipe.data.task import Task
from mlpipe.errors import ConfigError, counted, problem
from mlpipe.names import path_of
from mlpipe.running import leaderboard, stored_decisions, tasks
from mlpipe.running.scheduler import Scheduler
from mlpipe.running.steps import Follower, RunContext, Step
from mlpipe.running.time_plan import Pace, PlannedAnew, Shape, clock, epochs_within
from mlpipe.runs.journal import Run

log = logging.getLogger("mlpipe")

_DECIDED_FILE = "preset.json"
# Kept for calibration, ensembling, the report and the process's own end: seconds, a share of the limit, and seconds for each
# thousand images.
_RESERVE_SECONDS, _RESERVE, _RESERVE_PER_THOUSAND = 3.0, 0.02, 1.0
# The share of a recipe's time after which its pace is known, and how far from the plan makes a new one.
_PACE, _FAR = 0.03, 0.06
_TEST_FRACTION = 0.2


class PresetScheduler(Scheduler):
    """Runs a preset's recipes one after the other, each in its share of the time, then post-processing.

    Args:
        run_config: The checked configuration; its tree holds the composed trees of the recipes.
        context: The project, the display and the request to stop.
    """

    def __init__(self, run_config: RunConfig, context: RunContext) -> None:
        super().__init__(run_config, context)
        self._limit = presets.seconds_of(run_config.tree.get("time_limit"))
        self._trees: Mapping[str, Any] = run_config.tree["preset"]["trees"]
        self._children: dict[str, Scheduler] = {}
        self._pace: Pace | None = None

    def plan(self) -> list[Step]:
        """Every recipe's steps under its name; how many epochs each gets is decided when its turn comes."""
        self._task = tasks.pivot(self.run_config)
        self._take_decided()
        kind = kinds.of(self._task.kind)
        if kind.is_dense:
            fix = "leave it out, and choose arch=unet with arch.encoder"
            raise ConfigError(problem("preset", f"is not for {kind.words.TARGETS}", fix=fix))
        self._changes = self._for_task(self._task)
        # The plan of each recipe is made twice: here, for the names of its steps and for all that can be wrong, and again when
        # its turn comes and it is known how much time is left for it. So a step in the project is only a name here.
        steps: list[Step] = []
        for name in self._names():
            child = self._child(name, {})
            for step in child.plan():
                if step.name == "leaderboard":
                    continue
                call = step.call if not step.in_project else partial(self._in_turn, name, step.name)
                steps.append(Step(f"{name}: {step.name}", call, step.in_project))
            self._folds = len([step for step in steps if step.name.startswith(f"{name}: train fold")])
        # Told first: measuring loads PyTorch and the network, which takes seconds.
        self._say_what_it_is_like()
        self._shape = self._measured()
        self._say_how_long()
        return [*steps, Step("post", self._post), Step("leaderboard", self._leaderboard)]

    def _names(self) -> list[str]:
        return [name for name in self._trees if name != "post"]

    def _take_decided(self) -> None:
        """Put what was decided for the task into the recipes that split alike; a continued run has it in its own.

        A recipe that splits otherwise is what the preset is about.
        """
        given = self.run_config.given
        if given is None or "split" in given:
            return
        trees = {}
        for name, tree in self._trees.items():
            section = stored_decisions.changed(
                tree["split"], given, tasks.described_in(self.run_config.data_dir, self._task)
            )
            is_alike = section["_target_"] == tree["split"]["_target_"]
            trees[name] = {**tree, "split": section} if is_alike else tree
        preset = {**self.run_config.tree["preset"], "trees": trees}
        self._trees = trees
        self.decided(replace(self.run_config, tree={**self.run_config.tree, "preset": preset}))

    def _for_task(self, task: Task) -> dict[str, Any]:
        """What the task asks of every recipe: test images of its own where it came with none."""
        split = self._trees[self._names()[0]]["split"]
        if split.get("test_fraction") or "test" in task.samples.parts or "test_fraction" not in split:
            return {}
        return {"split.test_fraction": _TEST_FRACTION}

    def _child(self, name: str, changes: Mapping[str, Any], pace: Pace | None = None) -> Scheduler:
        """The scheduler of one recipe, its configuration changed in some keys; `pace` follows its epochs."""
        tree = deepcopy(dict(self._trees[name]))
        for key, value in {**self._changes, **changes}.items():
            node, (*path, last) = tree, key.split(".")
            for part in path:
                node = node.setdefault(part, {})
            node[last] = value
        # Its split has been decided, see `_take_decided`.
        config = replace(assemble(tree), given=(self.run_config.given or frozenset()) | {"split"})
        follower = Follower(lambda name: None, pace.epoch) if pace is not None else None
        child: Scheduler = config.scheduler.build(config, replace(self.context, follower=follower))
        return child

    def _measured(self) -> Shape:
        from mlpipe.learn.machine import speed

        config = self._child(self._names()[-1], {}).run_config
        channels = tasks.preprocessing_of(config, self._task).channels
        batch = min(int(config.recipe.sampling.params.get("batch_size", 32)), 32)
        given = config.recipe.preprocessing.params["size"]
        size = max(given) if isinstance(given, list) else int(given)
        found = speed.speed(config.recipe, channels, size, len(self._task.classes), batch)
        split = tasks.split_of(config, self._task)
        test = int((split.fold == methods.TEST).sum())
        labelled = int(self._task.samples.labelled.sum()) - test
        self._bytes = len(self._task.samples) * size * size * channels + 8 * found.parameters * self._folds
        return Shape(labelled, test, self._folds, found.train, found.evaluate)

    def _say_what_it_is_like(self) -> None:
        task = self._task
        counts = task.class_counts()
        told = tasks.describe(task)
        if targets.of(task.kind).IS_CLASS_NUMBER:
            told += f"; the rarest class has {100 * counts.min() / max(1, counts.sum()):.1f} % of the labels"
        log.info(told)
        arch = self._trees[self._names()[-1]]["arch"]
        log.info(f"measures how fast {arch.get('name') or 'the network'} learns on this machine")

    def _say_how_long(self) -> None:
        import torch

        shape = self._shape
        device = torch.cuda.get_device_name() if torch.cuda.is_available() else f"{cores()} cores, no GPU"
        speeds = f"{1 / shape.train_second:.0f} images/s in training, {1 / shape.evaluate_second:.0f} in evaluation"
        log.info(f"{device}; measured: {speeds}; an epoch of one fold takes about {shape.epoch():.1f} s")
        epochs = self._most_epochs(self._names()[-1])
        tuned = [name for name in self._names() if not self._is_exact(name)]
        whole = len(tuned) * (shape.folds * epochs * shape.epoch() + shape.predicting())
        whole += (shape.train + shape.test) * shape.evaluate_second
        limit = "no time limit" if self._limit is None else f"time limit {clock(self._limit)}"
        log.info(
            f"plan: {', '.join(self._names())}, {counted(shape.folds, 'fold')} each, then post; all epochs would "
            f"take about {clock(whole)}, {limit}; about {self._bytes / 1e6:.0f} MB on the disk"
        )

    def _most_epochs(self, name: str) -> int:
        return int(self._trees[name]["trainer"]["max_epochs"])

    def _is_exact(self, name: str) -> bool:
        return rules.is_exact(self._trees[name])

    def _in_turn(self, name: str, step: str, run: Run | None) -> None:
        """Do a step of a recipe, whose length is decided before its first one, and once more when its pace is known."""
        assert run is not None
        decided = self._decided(name, run)
        if decided["epochs"] == 0:
            return
        if name not in self._children:
            self._begin(name, decided, run)
        if self._pace is None or not step.startswith("train fold"):
            self._calls[step](run)
            return
        states = set(run.checkpoints_dir.glob("*"))
        self._pace.begin()
        try:
            self._calls[step](run)
        except PlannedAnew:
            for state in set(run.checkpoints_dir.glob("*")) - states:
                shutil.rmtree(state)
            self._begin(name, self._decided(name, run), run)
            self._calls[step](run)
        self._pace = None

    def _begin(self, name: str, decided: Mapping[str, Any], run: Run) -> None:
        """Make the scheduler of a recipe whose turn has come."""
        changes: dict[str, Any] = {}
        self._pace = None
        if not self._is_exact(name):
            changes["trainer.max_epochs"] = decided["epochs"]
            if decided["seconds"] is not None:
                stop = {"_target_": path_of("callbacks", "time_limit"), "seconds": decided["seconds"]}
                changes["callbacks.time_limit"] = stop
                if not decided.get("is_final", True):
                    self._pace = Pace(_PACE * decided["seconds"], partial(self._judge, name, decided, run))
        child = self._child(name, changes, self._pace)
        self._calls = {one.name: one.call for one in child.plan()}
        self._children = {name: child}

    def _judge(self, name: str, decided: Mapping[str, Any], run: Run, epoch_seconds: float, done: int) -> None:
        """Compare a recipe's plan with its pace.

        Raises:
            PlannedAnew: When clearly more epochs would fit, from the start, than are planned, or clearly fewer.
        """
        log.debug(f"{name}: an epoch takes {epoch_seconds:.2f} s; {self._shape.epoch():.2f} s were measured")
        self._shape = self._shape.at(epoch_seconds)
        fitting, planned = self._fitting(name)[0], decided["epochs"]
        is_too_long = done + fitting < (1 - _FAR) * planned and fitting >= done
        if is_too_long or fitting > (1 + _FAR) * planned:
            log.info(f"{name}: an epoch takes {epoch_seconds:.1f} s, so that the plan is made anew")
            self._store(name, {**self._decide(name), "is_final": True}, run)
            raise PlannedAnew

    def _decided(self, name: str, run: Run) -> dict[str, Any]:
        """Epochs of a recipe and seconds of each of its folds; decided once, so that a continued run does the same."""
        found = self._stored(run).get(name)
        return found if found is not None else self._store(name, {**self._decide(name), "is_final": False}, run)

    def _store(self, name: str, decided: dict[str, Any], run: Run) -> dict[str, Any]:
        files.write_json(run.folder / _DECIDED_FILE, {**self._stored(run), name: decided})
        return decided

    def _stored(self, run: Run) -> dict[str, dict[str, Any]]:
        path = run.folder / _DECIDED_FILE
        return files.read_json(path) if path.is_file() else {}

    def _decide(self, name: str) -> dict[str, Any]:
        most = self._most_epochs(name)
        if self._is_exact(name) or self._limit is None:
            if self._is_exact(name):
                log.info(f"{name}: a linear head on frozen features, which cost one pass over the images")
            else:
                log.info(f"{name}: {counted(most, 'epoch')} of each fold")
            return {"epochs": most, "seconds": None}
        left = self._left()
        epochs, share = self._fitting(name)
        if epochs == 0:
            log.info(
                f"{name}: left out, {clock(max(left, 0))} are left and one epoch of "
                f"{counted(self._shape.folds, 'fold')} takes about {clock(self._shape.folds * self._shape.epoch())}"
            )
            return {"epochs": 0, "seconds": 0.0}
        seconds = (share - self._shape.predicting()) / self._shape.folds
        log.info(
            f"{name}: {epochs} of {counted(most, 'epoch')} of each fold, in at most {clock(share)} of the {clock(left)} left"
        )
        return {"epochs": epochs, "seconds": round(seconds, 1)}

    def _fitting(self, name: str) -> tuple[int, float]:
        """How many epochs of a recipe fit into its share of what is left, and that share."""
        names = self._names()
        later = [one for one in names[names.index(name) :] if not self._is_exact(one)]
        share = self._left() / len(later)
        return epochs_within(share, self._shape, self._most_epochs(name)), share

    def _left(self) -> float:
        """Seconds that are left for training."""
        assert self._limit is not None
        reserve = _RESERVE_SECONDS + _RESERVE * self._limit + _RESERVE_PER_THOUSAND * len(self._task.samples) / 1000
        return self._limit - reserve - (time.monotonic() - self.context.started)

    def _post(self, run: Run | None) -> None:
        config = assemble(deepcopy(dict(self._trees["post"])))
        scheduler: Scheduler = config.scheduler.build(config, self.context)
        for step in scheduler.plan():
            self.context.stop.check()
            step.call(run)

    def _leaderboard(self, run: Run | None) -> None:
        leaderboard.show(self.context, self._task.name)
        taken = time.monotonic() - self.context.started
        self.context.facts["seconds"] = round(taken, 1)
        limit = "" if self._limit is None else f" of {clock(self._limit)}"
        log.info(f"took {clock(taken)}{limit}")
