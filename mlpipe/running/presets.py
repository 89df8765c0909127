"""`mml train preset=fast time_limit=5m`: several recipes of one task within a time limit, then the best mixture of them."""

from __future__ import annotations

import logging
import re
import shutil
import time
from collections.abc import Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from mlpipe import files
from mlpipe.config import rules
from mlpipe.config.assemble import assemble, cores
from mlpipe.config.components import Component
from mlpipe.config.schema import RunConfig
from mlpipe.data.splits import methods
from mlpipe.data.task import Task
from mlpipe.errors import ConfigError, problem
from mlpipe.modes.post import PostprocessScheduler
from mlpipe.modes.train import TrainingScheduler
from mlpipe.names import path_of
from mlpipe.running import leaderboard, tasks
from mlpipe.running import stored_decisions as decided
from mlpipe.running.epoch_time import Pace, PlannedAnew
from mlpipe.running.scheduler import Follower, Scheduler, Step, World
from mlpipe.runs import maps
from mlpipe.runs.journal import Run

log = logging.getLogger("mlpipe")

_DECIDED_FILE = "preset.json"
# Kept for calibration, ensembling, the report and the process's own end: seconds, a share of the limit, and seconds for each
# thousand images.
_RESERVE_SECONDS, _RESERVE, _RESERVE_PER_THOUSAND = 3.0, 0.02, 1.0
# Training and prediction cost more than the bare step that was measured: loading, augmentation, validation, saving; and each
# fold has to be begun.
_OVERHEAD, _FOLD_SECONDS = 1.1, 1.5
# The share of a recipe's time after which its pace is known, and how far from the plan makes a new one.
_PACE, _FAR = 0.03, 0.06
_TEST_FRACTION = 0.2
_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400}


def seconds_of(text: Any) -> float | None:
    """Seconds of a time such as `90`, `45s`, `30m` or `1h30m`; None of None.

    Raises:
        ConfigError: When it is none.
    """
    if text is None:
        return None
    if isinstance(text, int | float) and not isinstance(text, bool) and text > 0:
        return float(text)
    parts = re.findall(r"(\d+(?:\.\d+)?)([smhd])", str(text).replace(" ", ""))
    if not parts or "".join(f"{number}{unit}" for number, unit in parts) != str(text).replace(" ", ""):
        fix = "write a number of seconds, or for example 45s, 30m, 1h30m"
        raise ConfigError(problem("time_limit", "is no time", got=text, fix=fix))
    total = sum(float(number) * _UNITS[unit] for number, unit in parts)
    if total <= 0:
        raise ConfigError(problem("time_limit", "must be longer than nothing", got=text))
    return total


def recipe_overrides(preset: Mapping[str, Any], name: str, given: Sequence[str]) -> list[str]:
    """The overrides of one recipe: what is common to a preset, then the command line, then what makes this recipe.

    The command line's choices and keys of a group whose option the recipe chooses, such as its optimizer, are meant for
    the other recipes.

    Args:
        preset: The preset's section.
        name: The recipe.
        given: What the command line says, without `preset` and `time_limit`.
    """
    said = {_key(text) for text in given}
    own = [str(text) for text in preset["recipes"][name]]
    keys = {_key(text) for text in own}
    common = [str(text) for text in preset["common"] if _key(text) not in said]
    others = [text for text in given if _key(text) not in keys and _key(text).split(".")[0] not in keys]
    return [*common, *others, *own]


def adopted(config: RunConfig) -> RunConfig:
    """The configuration with the scheduler of presets, where its tree holds recipes of one."""
    if not (config.tree.get("preset") or {}).get("trees"):
        return config
    return replace(config, scheduler=Component("mode", path_of("mode", "preset"), {}))


@dataclass(frozen=True)
class Shape:
    """What the data and the machine are like.

    Attributes:
        train: Images that learn or validate.
        test: Images of the test part.
        folds: Folds that are trained.
        train_second: Seconds of one image in training.
        evaluate_second: Seconds of one image in evaluation.
    """

    train: int
    test: int
    folds: int
    train_second: float
    evaluate_second: float

    def epoch(self) -> float:
        """Seconds of one epoch of one fold with its validation."""
        share = 0.8 if self.folds == 1 else (self.folds - 1) / self.folds
        learning = self.train * share * self.train_second * _OVERHEAD
        return learning + self.train * (1 - share) * self.evaluate_second

    def at(self, epoch_seconds: float) -> Shape:
        """The same with another speed: that at which an epoch of one fold takes so long."""
        factor = epoch_seconds / self.epoch()
        return replace(self, train_second=factor * self.train_second, evaluate_second=factor * self.evaluate_second)

    def predicting(self) -> float:
        """Seconds of all folds' predictions."""
        images = self.test + self.train / max(self.folds, 2)
        return self.folds * (_FOLD_SECONDS + images * self.evaluate_second * _OVERHEAD)


def epochs_within(seconds: float, shape: Shape, most: int) -> int:
    """How many epochs of all folds, with their predictions, fit into a time; 0: not even one.

    Args:
        seconds: The time.
        shape: What the data and the machine are like.
        most: The epochs that the recipe asks for.
    """
    left = seconds - shape.predicting()
    return max(0, min(most, int(left / (shape.folds * shape.epoch()))))


class PresetScheduler(Scheduler):
    """Runs a preset's recipes one after the other, each in its share of the time, then post-processing.

    Args:
        run_config: The checked configuration; its tree holds the composed trees of the recipes.
        world: The project, the display, the wish to stop.
    """

    def __init__(self, run_config: RunConfig, world: World) -> None:
        super().__init__(run_config, world)
        self._limit = seconds_of(run_config.tree.get("time_limit"))
        self._trees: Mapping[str, Any] = run_config.tree["preset"]["trees"]
        self._children: dict[str, TrainingScheduler] = {}
        self._pace: Pace | None = None

    def plan(self) -> list[Step]:
        """Every recipe's steps under its name; how many epochs each gets is decided when its turn comes."""
        self._task = tasks.pivot(self.run_config)
        self._take_decided()
        if self._task.kind in maps.KINDS:
            fix = "leave it out, and choose arch=unet with arch.encoder"
            what = "masks" if self._task.kind == "segmentation" else "target images"
            raise ConfigError(problem("preset", f"is not for {what}", fix=fix))
        self._changes = self._for_task(self._task)
        steps: list[Step] = []
        for name in self._names():
            child = self._child(name, {})
            for step in child.plan():
                if step.name == "leaderboard":
                    continue
                call = step.call if not step.in_project else partial(self._in_turn, name, step.name)
                steps.append(Step(f"{name}: {step.name}", call, step.in_project))
            self._folds = len([step for step in steps if step.name.startswith(f"{name}: train fold")])
        self._shape = self._measured()
        self._say_what_it_is_like()
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
            section = decided.changed(tree["split"], given, tasks.described_in(self.run_config.data_dir, self._task))
            is_alike = section["_target_"] == tree["split"]["_target_"]
            trees[name] = {**tree, "split": section} if is_alike else tree
        preset = {**self.run_config.tree["preset"], "trees": trees}
        self._trees, self.run_config = trees, replace(self.run_config, tree={**self.run_config.tree, "preset": preset})

    def _for_task(self, task: Task) -> dict[str, Any]:
        """What the task asks of every recipe: test images of its own where it came with none."""
        split = self._trees[self._names()[0]]["split"]
        if split.get("test_fraction") or "test" in task.samples.parts or "test_fraction" not in split:
            return {}
        return {"split.test_fraction": _TEST_FRACTION}

    def _child(self, name: str, changes: Mapping[str, Any], pace: Pace | None = None) -> TrainingScheduler:
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
        child: TrainingScheduler = config.scheduler.build(config, replace(self.world, follower=follower))
        return child

    def _measured(self) -> Shape:
        from mlpipe.learn import speed

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
        import torch

        task, shape = self._task, self._shape
        counts = task.class_counts()
        device = torch.cuda.get_device_name() if torch.cuda.is_available() else f"{cores()} cores, no GPU"
        told = f"{tasks.describe(task)}; {device}"
        if task.kind == "classification":
            told += f"; the rarest class has {100 * counts.min() / max(1, counts.sum()):.1f} % of the labels"
        log.info(told)
        log.info(
            f"measured: {1 / shape.train_second:.0f} images/s in training, {1 / shape.evaluate_second:.0f} in evaluation; "
            f"an epoch of one fold takes about {shape.epoch():.1f} s"
        )
        epochs = self._most_epochs(self._names()[-1])
        tuned = [name for name in self._names() if not self._is_exact(name)]
        whole = len(tuned) * (shape.folds * epochs * shape.epoch() + shape.predicting())
        whole += (shape.train + shape.test) * shape.evaluate_second
        limit = "no time limit" if self._limit is None else f"time limit {_clock(self._limit)}"
        log.info(
            f"plan: {', '.join(self._names())}, {shape.folds} fold{'s' * (shape.folds > 1)} each, then post; all epochs would "
            f"take about {_clock(whole)}, {limit}; about {self._bytes / 1e6:.0f} MB on the disk"
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
                log.info(f"{name}: {most} epochs of each fold")
            return {"epochs": most, "seconds": None}
        left = self._left()
        epochs, share = self._fitting(name)
        if epochs == 0:
            log.info(
                f"{name}: left out, {_clock(max(left, 0))} are left and one epoch of {self._shape.folds} "
                f"fold{'s' * (self._shape.folds > 1)} takes about {_clock(self._shape.folds * self._shape.epoch())}"
            )
            return {"epochs": 0, "seconds": 0.0}
        seconds = (share - self._shape.predicting()) / self._shape.folds
        log.info(
            f"{name}: {epochs} of {most} epochs of each fold, in at most {_clock(share)} of the {_clock(left)} left"
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
        return self._limit - reserve - (time.monotonic() - self.world.started)

    def _post(self, run: Run | None) -> None:
        config = assemble(deepcopy(dict(self._trees["post"])))
        scheduler = config.scheduler.build(config, self.world)
        assert isinstance(scheduler, PostprocessScheduler)
        for step in scheduler.plan():
            self.world.stop.check()
            step.call(run)

    def _leaderboard(self, run: Run | None) -> None:
        leaderboard.show(self.world, self._task.name)
        taken = time.monotonic() - self.world.started
        self.world.facts["seconds"] = round(taken, 1)
        limit = "" if self._limit is None else f" of {_clock(self._limit)}"
        log.info(f"took {_clock(taken)}{limit}")


def _key(text: str) -> str:
    name = text.lstrip("+~").partition("=")[0]
    return "callbacks" + name[3:] if name == "cbs" or name.startswith("cbs.") else name


def _clock(seconds: float) -> str:
    """A time for people: 45 s, 3 min 20 s, 12 min, 1 h 30 min."""
    if seconds < 100:
        return f"{seconds:.0f} s"
    if seconds < 600:
        minutes, rest = divmod(round(seconds), 60)
        return f"{minutes} min {rest} s" if rest else f"{minutes} min"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 100 else f"{minutes // 60} h {minutes % 60} min"
